"""Client of the management API: balance, API keys, billing, usage records."""

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any, TypeVar
from urllib.parse import quote

import msgspec

from rollout_console.tokenlab.errors import Garbage, Uncertain
from rollout_console.tokenlab.models import is_usd
from rollout_console.tokenlab.transport import Client, Method, Transport, printable
from rollout_console.tokenlab.types import (
    ApiKey,
    Balance,
    Billing,
    CreatedKey,
    Spent,
    UsagePage,
    UsageRecord,
)
from rollout_gate.secret import Secret
from rollout_gate.untrusted import UndecodableError, decode_json, decode_json_of_others

_MOST_PAGES = 200
_MOST_AMOUNT = Decimal(10) ** 15
_MOST_EXPONENT = 18
_MOST_DIGITS = 64
_MOST_PLACES = 40
"""Decimal places of one record's cost: prices are per million tokens, and discounts divide."""
_MOST_TOKENS = 10**15
PAGE = 100
"""The most usage records of a page that the API takes."""
_FIRST, _LAST = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
_KEYS = "/v1/management/api-keys"
_ANY_SUCCESS = range(200, 300)
_SECRET = re.compile(rb'"key"\s*:\s*"(sk-[^\x00-\x20"\\\x7f-\xff]+)"')
"""The secret in an answer that is no JSON, or nests too deeply."""

T = TypeVar("T")


class _BalanceAnswer(msgspec.Struct):
    organization_id: str
    balance_decimal: str
    total_recharge_decimal: str
    total_used_decimal: str
    currency: str | None = None


class _KeyAnswer(msgspec.Struct):
    id: str
    name: str
    key_prefix: str
    status: str
    used_amount_decimal: str
    created_at: datetime
    limit_amount_decimal: str | None = None
    models: list[str] = []
    expires_at: datetime | None = None
    last_used_at: datetime | None = None
    key: str = ""


class _Pagination(msgspec.Struct):
    totalPages: int = 1


class _KeyList(msgspec.Struct):
    data: list[_KeyAnswer]
    pagination: _Pagination = msgspec.field(default_factory=_Pagination)


class _Row(msgspec.Struct):
    cost_decimal: str
    model: str = ""
    date: str = ""
    requests: int = 0


class _Breakdowns(msgspec.Struct):
    by_model: list[_Row] = []
    daily_cost: list[_Row] = []


class _Summary(msgspec.Struct):
    total_requests: int
    total_cost_decimal: str
    currency: str | None = None


class _BillingAnswer(msgspec.Struct):
    summary: _Summary
    breakdowns: _Breakdowns


class _UsageItem(msgspec.Struct):
    """An item of the usage list. Only what reconciliation cannot do without is required."""

    cost_decimal: str
    created_at: datetime
    request_id: str | None = None
    billing_transaction_id: str | None = None
    currency: str | None = None
    model: str | None = None
    logical_model: str | None = None
    scene: str | None = None
    usage_unit: str | None = None
    usage_quantity_decimal: str | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None


class _UsagePagination(msgspec.Struct):
    total: int
    totalPages: int


class _UsageSummary(msgspec.Struct):
    total_cost_decimal: str | None = None
    currency: str | None = None


class _UsageAnswer(msgspec.Struct):
    items: list[_UsageItem]
    pagination: _UsagePagination
    summary: _UsageSummary = msgspec.field(default_factory=_UsageSummary)


class ManagementClient(Client):
    """Calls the management API with a management token, and never with an API key.

    Every method raises ApiError; see Transport for what is refused before it is sent.
    """

    def __init__(self, base_url: str, token: Secret, *, timeout_s: float = 5.0) -> None:
        super().__init__(Transport(base_url, token, "mt-", timeout_s))

    async def balance(self) -> Balance:
        """Fetch the organisation's balance."""
        answer = await self._ask("GET", "/v1/management/balance", _BalanceAnswer)
        _refuse_foreign(answer.currency)
        return Balance(
            printable(answer.organization_id),
            _amount(answer.balance_decimal),
            _amount(answer.total_recharge_decimal),
            _amount(answer.total_used_decimal),
        )

    async def keys(self) -> list[ApiKey]:
        """Fetch all API keys of the organisation, page by page.

        The contract documents no query parameters, but answers with pagination: the first page is
        requested without any, further ones with ``page`` and only where there are any.
        """
        found: dict[str, ApiKey] = {}
        for page in range(1, _MOST_PAGES + 1):
            query = {"page": str(page)} if page > 1 else None
            answer = await self._ask("GET", _KEYS, _KeyList, query=query)
            before = len(found)
            found |= {key.id: _key(key) for key in answer.data}
            # A server that ignores ``page`` sends the same page again: stop.
            if page >= answer.pagination.totalPages or len(found) == before:
                break
        return list(found.values())

    async def create_key(
        self,
        name: str,
        *,
        limit: Decimal | None = None,
        models: tuple[str, ...] = (),
        expires_at: datetime | None = None,
    ) -> CreatedKey:
        """Create a key (name of 1 to 50 characters; limit in US dollars, None for none).

        The API has no idempotency key: after Uncertain, check the list before a retry. An answer
        with a good secret is never refused, as the secret is in no other: what else is odd in it
        is named in the result, and stands there as it was asked for.
        """
        body = {
            "name": name,
            "limitAmount": _number(limit),
            "models": list(models),
            "expiresAt": _rfc3339(expires_at),
        }
        data = await self._transport.call(
            "POST", _KEYS, body=body, expect=_ANY_SUCCESS, changes=True
        )
        return _created(data, name, limit, models, expires_at)

    async def change_key(self, key_id: str, changes: Mapping[str, Any]) -> ApiKey:
        """Change a key; ``changes`` are ``name``, ``limit`` (Decimal or None), ``models``,
        ``expires_at`` (datetime or None) and ``status`` (active, inactive, revoked)."""
        writers: dict[str, tuple[str, Callable[[Any], Any]]] = {
            "limit": ("limitAmount", _number),
            "expires_at": ("expiresAt", _rfc3339),
            "models": ("models", list),
        }
        body: dict[str, Any] = {}
        for name, value in changes.items():
            wire, write = writers.get(name, (name, lambda given: given))
            body[wire] = write(value)
        path = f"{_KEYS}/{quote(key_id, safe='')}"
        answer = await self._ask("PATCH", path, _KeyAnswer, body=body)
        try:
            return _key(answer)
        except Garbage as error:
            raise Uncertain(str(error)) from None

    async def billing(
        self, key_id: str, *, start: str = "", end: str = "", model: str = ""
    ) -> Billing:
        """Fetch what a key has cost; ``start`` and ``end`` are dates or RFC 3339, inclusive."""
        given = {"startDate": start, "endDate": end, "model": model}
        query = {name: value for name, value in given.items() if value}
        path = f"{_KEYS}/{quote(key_id, safe='')}/billing"
        answer = await self._ask("GET", path, _BillingAnswer, query=query)
        _refuse_foreign(answer.summary.currency)
        rows = answer.breakdowns
        return Billing(
            answer.summary.total_requests,
            _amount(answer.summary.total_cost_decimal),
            tuple(_spent(row.model, row) for row in rows.by_model),
            tuple(_spent(row.date, row) for row in sorted(rows.daily_cost, key=lambda r: r.date)),
        )

    async def usage(
        self, key_id: str, *, page: int, start: datetime, end: datetime, limit: int = PAGE
    ) -> UsagePage:
        """Fetch one page of a key's usage records of a range of time, both ends inclusive.

        Costs come from the decimal strings alone, never from the JSON numbers.
        """
        query = {
            "page": str(page), "limit": str(limit),
            "startDate": _rfc3339(start) or "", "endDate": _rfc3339(end) or "",
        }  # fmt: skip
        path = f"{_KEYS}/{quote(key_id, safe='')}/usage"
        answer = await self._ask("GET", path, _UsageAnswer, query=query)
        pages, total = answer.pagination.totalPages, answer.pagination.total
        if not (0 <= total <= _MOST_TOKENS and 0 <= pages <= _MOST_TOKENS):
            raise Garbage("the answer counts its records implausibly")
        _refuse_foreign(answer.summary.currency)
        said = answer.summary.total_cost_decimal
        return UsagePage(
            [_usage(item) for item in answer.items],
            pages,
            total,
            None if said is None else _amount(said, _MOST_PLACES),
        )

    async def _ask(
        self,
        method: Method,
        path: str,
        shape: type[T],
        *,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
        expect: int = 200,
    ) -> T:
        changes = method != "GET"
        data = await self._transport.call(
            method, path, query=query, body=body, expect=expect, changes=changes
        )
        try:
            return decode_json(data, msgspec.json.Decoder(shape))
        except UndecodableError:
            odd = f"the answer of {path} is not what the API's contract says"
            raise (Uncertain if changes else Garbage)(odd) from None


def _key(answer: _KeyAnswer) -> ApiKey:
    return ApiKey(
        id=printable(answer.id),
        name=printable(answer.name),
        prefix=printable(answer.key_prefix[:16]),
        status=printable(answer.status),
        limit=None if answer.limit_amount_decimal is None else _amount(answer.limit_amount_decimal),
        used=_amount(answer.used_amount_decimal),
        models=tuple(printable(model) for model in answer.models),
        expires_at=_utc(answer.expires_at),
        last_used_at=_utc(answer.last_used_at),
        created_at=_utc(answer.created_at) or datetime.fromtimestamp(0, UTC),
    )


def _created(
    data: bytes,
    name: str,
    limit: Decimal | None,
    models: tuple[str, ...],
    expires_at: datetime | None,
) -> CreatedKey:
    """Read the answer to a create; raises Uncertain where it has no secret."""
    try:
        given = decode_json_of_others(data)
    except UndecodableError:
        given = None
    fields = given if isinstance(given, dict) else {}
    found = _SECRET.search(data)
    secret = fields.get("key") or (found[1].decode() if found is not None else "")
    if not isinstance(secret, str) or not secret.startswith("sk-") or printable(secret) != secret:
        raise Uncertain(f"the answer of {_KEYS} does not hold the secret of the new key")
    good: dict[str, Any] = {
        "id": "", "name": name, "key_prefix": "", "status": "active", "used_amount_decimal": "0",
        "created_at": datetime.now(UTC), "models": list(models), "expires_at": expires_at,
        "limit_amount_decimal": None if limit is None else str(limit),
    }  # fmt: skip
    odd = []
    for field in msgspec.structs.fields(_KeyAnswer):
        if field.name == "key":
            continue
        try:
            if field.name in fields or field.required:
                changed = good | {field.name: fields[field.name]}
                _key(msgspec.convert(changed, _KeyAnswer))
                good = changed
        except (KeyError, ValueError, Garbage):  # ValueError: also of a lone surrogate
            odd.append(field.name)
    return CreatedKey(_key(msgspec.convert(good, _KeyAnswer)), Secret(secret), tuple(odd))


def _spent(name: str, row: _Row) -> Spent:
    return Spent(printable(name), row.requests, _amount(row.cost_decimal))


def _utc(at: datetime | None) -> datetime | None:
    """Convert a time to UTC; clamp to datetime.min or max where the conversion overflows."""
    if at is None:
        return None
    if at.tzinfo is None:
        return at.replace(tzinfo=UTC)
    try:
        return at.astimezone(UTC)
    except OverflowError:
        return _LAST if at.year > 1 else _FIRST


def _usage(item: _UsageItem) -> UsageRecord:
    _refuse_foreign(item.currency)
    at = _utc(item.created_at)
    assert at is not None
    return UsageRecord(
        item.request_id or None,
        item.billing_transaction_id or None,
        printable(item.model or item.logical_model or ""),
        printable(item.scene or ""),
        printable(item.usage_unit or ""),
        printable(item.usage_quantity_decimal or "")[:_MOST_DIGITS],
        min(max(item.prompt_tokens or 0, 0), _MOST_TOKENS),
        min(max(item.completion_tokens or 0, 0), _MOST_TOKENS),
        _amount(item.cost_decimal, _MOST_PLACES),
        at,
    )


def _refuse_foreign(currency: str | None) -> None:
    """Raise Garbage for an amount that is not in US dollars: no sum may take it for one."""
    if not is_usd(currency):
        raise Garbage("the answer holds an amount that is not in US dollars")


def _amount(text: str, most_places: int = _MOST_EXPONENT) -> Decimal:
    """Parse a decimal amount; raises Garbage for an implausible one, which is never printed."""
    try:
        amount = Decimal(text[: _MOST_DIGITS + 1])
    except InvalidOperation:
        amount = Decimal("NaN")
    exponent = amount.as_tuple().exponent
    if not isinstance(exponent, int) or len(text) > _MOST_DIGITS:
        raise Garbage("the answer holds an amount that is not a number")
    if not -most_places <= exponent <= _MOST_EXPONENT or abs(amount) > _MOST_AMOUNT:
        raise Garbage("the answer holds an implausible amount")
    return amount


def _number(limit: Decimal | None) -> float | None:
    """Convert to the contract's JSON number; two decimals are exact up to the maximum limit."""
    return None if limit is None else float(limit)


def _rfc3339(at: datetime | None) -> str | None:
    return None if at is None else at.astimezone(UTC).isoformat().replace("+00:00", "Z")
