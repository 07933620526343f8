"""Client of ``/v1/models``, which is public and needs no credential; parses both schemas.

The API's contract calls a model's request schema ``request_format_summary`` and
``request_format_details``; its migration guide ``public_contract_summary`` and
``public_contract``. Either name is accepted, in a list as in a detail.
"""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any, TypeVar
from urllib.parse import quote

import msgspec

from rollout_console.tokenlab.errors import Garbage, Refused
from rollout_console.tokenlab.models import (
    MOST_COUNT,
    Contract,
    Evidence,
    ModelInfo,
    Price,
    is_amount,
    is_count,
    is_share,
    is_usd,
)
from rollout_console.tokenlab.transport import Client, Transport
from rollout_gate.secret import Secret
from rollout_gate.untrusted import UndecodableError, decode_json

_MOST_BYTES = 32 * 1024 * 1024
_MOST_TEXT = 300
_MOST_NUMBER = 40
"""The most characters of a number; a longer one is not parsed."""
_LIMITS = ("resolutions", "durations", "aspect_ratios", "output_formats", "service_limits",
           "required_selectors", "optional_selectors", "status_mode")  # fmt: skip

T = TypeVar("T")


class _Listed(msgspec.Struct):
    """A list of models, each parsed lazily: one malformed item does not discard the others."""

    data: list[msgspec.Raw]


_listed_of = msgspec.json.Decoder(_Listed)
_object_of = msgspec.json.Decoder(dict[str, Any])


class CatalogueClient(Client):
    """Fetches models; with an API key, only those that the key may use. Raises ApiError."""

    def __init__(self, base_url: str, key: Secret | None = None, *, timeout_s: float = 8.0):
        super().__init__(Transport(base_url, key, "sk-", timeout_s, most_bytes=_MOST_BYTES))

    async def models(self, recommended_for: str = "") -> list[ModelInfo]:
        """Fetch all models, or those of a scene with their evidence, in the API's order."""
        query = {"recommended_for": recommended_for} if recommended_for else None
        data = await self._transport.call("GET", "/v1/models", query=query)
        try:
            items = map(_item, decode_json(data, _listed_of).data)
        except UndecodableError:
            raise Garbage("the list of models is not what the API's contract says") from None
        return [read_model(item) for item in items if item.get("id")]

    async def model(self, name: str) -> ModelInfo | None:
        """Fetch one model with its complete contract; None for a 404."""
        try:
            data = await self._transport.call("GET", f"/v1/models/{quote(name, safe='/')}")
        except Refused as error:
            if error.status == 404:
                return None
            raise
        answer = _decoded(data)
        if not answer.get("id"):
            raise Garbage("the model's detail is not what the API's contract says")
        return read_model(answer)


def read_model(item: Mapping[str, Any]) -> ModelInfo:
    """Parse one item of a list, or a detail, in the full or the compact view."""
    more = _table(item.get("tokenlab"))
    lifecycle = _table(more.get("lifecycle"))
    commercial = _table(more.get("commercial"))
    aliases = _texts(more.get("aliases"))
    return ModelInfo(
        id=_text(item["id"]),
        provider=_text(item.get("provider") or next(iter(_texts(more.get("providers"))), "")
                       or item.get("owned_by")),
        category=_text(item.get("category") or more.get("category")),
        aliases=tuple(name for name in aliases if name != item["id"]),
        tags=_texts(item.get("capabilities") or more.get("capabilities")),
        max_input=_whole(_first(item, more, "max_input_tokens")),
        max_output=_whole(_first(item, more, "max_output_tokens")),
        price=_price(more, _table(item.get("pricing") or more.get("pricing"))),
        stage=_text(lifecycle.get("stage") or item.get("status") or "active"),
        reason=_text(lifecycle.get("reason")),
        replacement=_text(lifecycle.get("replacement_model")),
        released_at=_time(lifecycle.get("released_at")),
        deprecated_at=_time(lifecycle.get("deprecated_at")),
        sunset_at=_time(lifecycle.get("sunset_at")),
        retired_at=_time(lifecycle.get("retired_at")),
        latest=_first(lifecycle, item, "latest") is True,
        free=commercial.get("user_charge_policy") == "free",
        free_until=_time(commercial.get("free_until")),
        evidence=_evidence(item, more),
        contract=_contract(item, more),
        formats=_formats(item, more),
    )  # fmt: skip


def _contract(item: Mapping[str, Any], more: Mapping[str, Any]) -> Contract:
    # Later names override earlier ones: the most detailed comes last.
    merged: dict[str, Any] = {}
    for name in (
        "public_contract_summary", "request_format_summary", "public_contract",
        "request_format_details",
    ):  # fmt: skip
        merged |= {k: v for k, v in _table(more.get(name)).items() if v not in (None, [], {})}
    operations = (
        merged.get("public_operations")
        or more.get("supported_operations")
        or item.get("supported_operations")
    )
    example = merged.get("recommended_request") or merged.get("recommended_request_summary")
    return Contract(
        operations=_texts(operations),
        endpoint=_text(merged.get("request_endpoint") or item.get("request_endpoint")),
        endpoints={
            _text(name): _text(path)
            for name, path in _table(merged.get("request_endpoint_by_operation")).items()
            if path
        },
        inputs=_texts(merged.get("documented_inputs") or merged.get("supported_parameters")),
        outputs=_texts(merged.get("documented_outputs")),
        status_endpoints=_texts(merged.get("fallback_status_endpoints")),
        notes=_texts(merged.get("notes")),
        limits={name: _plain(merged[name]) for name in _LIMITS if name in merged},
        example=_table(example) or None,
    )


def _formats(item: Mapping[str, Any], more: Mapping[str, Any]) -> tuple[str, ...] | None:
    for table in (more, _table(more.get("public_contract")), item):
        if isinstance(table.get("accepted_request_formats"), list):
            return _texts(table["accepted_request_formats"])
    return None


def _evidence(item: Mapping[str, Any], more: Mapping[str, Any]) -> dict[str, Evidence]:
    found = {
        _text(scene): _one_evidence(table)
        for scene, table in _table(more.get("agent_preferences")).items()
        if isinstance(table, dict)
    }
    compact = item.get("recommendation")
    if isinstance(compact, dict):
        found[_text(item.get("category"))] = _one_evidence(compact)
    return found


def _one_evidence(table: Mapping[str, Any]) -> Evidence:
    success = table.get("success_rate_24h")
    if isinstance(success, bool) or not isinstance(success, int | float) or not is_share(success):
        success = None
    return Evidence(
        rank=_whole(table.get("preferred_rank")),
        success=None if success is None else float(success),
        samples=_whole(table.get("sample_count_24h")) or 0,
        status=_text(table.get("status") or "insufficient_samples"),
        updated_at=_text(table.get("updated_at")),
    )


def _price(more: Mapping[str, Any], pricing: Mapping[str, Any]) -> Price:
    unit = _text(pricing.get("unit") or more.get("pricing_unit"))
    if not unit and pricing.get("per_request") is not None:
        unit = "per_request"
    varies = True in (pricing.get("has_complex_pricing"), more.get("has_complex_pricing"))
    if not is_usd(pricing.get("currency")):
        return Price(unit=unit, varies=varies)  # an amount in another currency is no price here
    return Price(
        unit=unit,
        input_per_1m=_money(pricing, "input_per_1m", "input"),
        output_per_1m=_money(pricing, "output_per_1m", "output"),
        per_request=_money(pricing, "per_request", "price"),
        least=_money(pricing, "min_price"),
        most=_money(pricing, "max_price"),
        varies=varies,
    )


def _money(table: Mapping[str, Any], *names: str) -> Decimal | None:
    """Parse the first of these fields that is set; None for a value that cannot be a price."""
    value = next((table[name] for name in names if table.get(name) is not None), None)
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    if isinstance(value, int):
        return Decimal(value) if is_count(value) else None
    try:
        amount = Decimal(str(value)[: _MOST_NUMBER + 1])
    except InvalidOperation:
        return None
    return amount if len(str(value)) <= _MOST_NUMBER and is_amount(amount) else None


def _item(raw: msgspec.Raw) -> dict[str, Any]:
    try:
        return decode_json(raw, _object_of)
    except UndecodableError:
        return {}


def _decoded(data: bytes) -> dict[str, Any]:
    try:
        return decode_json(data, _object_of)
    except UndecodableError:
        raise Garbage("the answer of /v1/models is not what the API's contract says") from None


def _first(one: Mapping[str, Any], other: Mapping[str, Any], name: str) -> Any:
    return one.get(name) if one.get(name) is not None else other.get(name)


def _table(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: Any, read: Callable[[Any], T]) -> tuple[T, ...]:
    return tuple(read(one) for one in value) if isinstance(value, list) else ()


def _texts(value: Any) -> tuple[str, ...]:
    return _list([one for one in value if one] if isinstance(value, list) else None, _text)


def _text(value: Any) -> str:
    return "" if value is None else str(value)[:_MOST_TEXT]


def _plain(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(_text(one) for one in value)[:_MOST_TEXT]
    if isinstance(value, dict):
        return ", ".join(f"{k} {v}" for k, v in value.items() if v is not None)[:_MOST_TEXT]
    return _text(value)


def _whole(value: Any) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    # This comparison rejects NaN as well.
    return int(value) if 0 <= value <= MOST_COUNT else None


def _time(value: Any) -> datetime | None:
    if not isinstance(value, str):
        return None
    try:
        at = datetime.fromisoformat(value)
        return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    except (ValueError, OverflowError):
        # OverflowError: datetime.max in another zone is out of range in UTC.
        return None
