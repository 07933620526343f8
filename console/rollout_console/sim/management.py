"""The management API: balance, API keys, their usage and billing."""

from collections import defaultdict
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from rollout_console.sim.errors import ApiFault
from rollout_console.sim.inference import credential, json_body, state_of
from rollout_console.sim.state import DEMO_TOKEN, ORGANISATION, ApiKey, SimState, Usage

_FIRST, _LAST = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
_STATUSES = ("active", "inactive", "revoked")


def _managed(request: Request) -> SimState:
    secret = credential(request)
    if secret.startswith("sk-"):
        raise ApiFault(403, "An API key does not work on management routes.", "forbidden")
    if secret != DEMO_TOKEN:
        raise ApiFault(401, "The management token is not valid.")
    return state_of(request)


async def balance(request: Request) -> Response:
    """GET /v1/management/balance."""
    sim = _managed(request)
    amounts = {
        "balance": sim.balance,
        "total_recharge": sim.recharged,
        "total_used": sim.used,
    }
    body: dict[str, Any] = {"object": "organization_balance", "organization_id": ORGANISATION}
    for name, amount in amounts.items():
        body |= {name: float(amount), f"{name}_decimal": _text(amount)}
    return JSONResponse(body)


async def list_keys(request: Request) -> Response:
    """GET /v1/management/api-keys."""
    sim = _managed(request)
    page, limit = _paging(request)
    keys = list(sim.keys.values())
    shown = [key_json(key) for key in keys[(page - 1) * limit : page * limit]]
    return JSONResponse(
        {"object": "list", "data": shown, "pagination": _pagination(page, limit, len(keys))}
    )


async def create_key(request: Request) -> Response:
    """POST /v1/management/api-keys; the only answer with the complete secret."""
    sim = _managed(request)
    fields = _checked(await json_body(request), need_name=True)
    secret = sim.new_id("sk-sim-")
    key = ApiKey(sim.new_id("key_"), fields["name"], secret)
    _change(key, fields)
    sim.add_key(key)
    return JSONResponse(key_json(key) | {"key": secret}, 201)


async def patch_key(request: Request) -> Response:
    """PATCH /v1/management/api-keys/{id}."""
    sim = _managed(request)
    key = _key(sim, request)
    fields = _checked(await json_body(request), need_name=False)
    if key.status == "revoked":
        raise ApiFault(400, "A revoked key cannot be changed.")
    _change(key, fields)
    return JSONResponse(key_json(key))


async def key_usage(request: Request) -> Response:
    """GET /v1/management/api-keys/{id}/usage."""
    sim = _managed(request)
    key = _key(sim, request)
    page, limit = _paging(request, usual=50)
    found = _filtered(sim, key, request)
    items = [_usage_json(use) for use in found[(page - 1) * limit : page * limit]]
    return JSONResponse(
        {
            "api_key": key_json(key),
            "items": items,
            "pagination": _pagination(page, limit, len(found)),
            "summary": _summary(found),
            "breakdowns": _breakdowns(found),
        }
    )


async def key_billing(request: Request) -> Response:
    """GET /v1/management/api-keys/{id}/billing."""
    sim = _managed(request)
    key = _key(sim, request)
    found = _filtered(sim, key, request)
    return JSONResponse(
        {
            "api_key": key_json(key),
            "summary": _summary(found),
            "breakdowns": _breakdowns(found),
        }
    )


def key_json(key: ApiKey) -> dict[str, Any]:
    """Return a key as lists show it: with a prefix instead of its secret."""
    return {
        "id": key.id,
        "name": key.name,
        "key_prefix": key.secret[:9] + "...",
        "status": key.status,
        "limit_amount": None if key.limit is None else float(key.limit),
        "limit_amount_decimal": None if key.limit is None else _text(key.limit),
        "used_amount": float(key.used),
        "used_amount_decimal": _text(key.used),
        "models": list(key.models),
        "expires_at": _time(key.expires_at),
        "last_used_at": _time(key.last_used_at),
        "created_at": _time(key.created_at),
    }


def _checked(body: object, *, need_name: bool) -> dict[str, Any]:
    if not isinstance(body, dict):
        raise ApiFault(400, "The body must be a JSON object.")
    known = {"name", "limitAmount", "limitCurrency", "models", "expiresAt"}
    known |= set() if need_name else {"status"}
    problems = [
        {"field": name, "message": problem}
        for name, problem in ((name, _problem(name, body[name])) for name in body if name in known)
        if problem
    ]
    if body.get("limitCurrency") == "CNY":
        raise ApiFault(400, "CNY limits are retired; use USD.", "currency_retired")
    if need_name and "name" not in body:
        problems.append({"field": "name", "message": "is required"})
    if not need_name and not any(name in known for name in body):
        problems.append({"field": "", "message": "at least one field is needed"})
    if problems:
        first = problems[0]
        raise ApiFault(
            400, f"{first['field']} {first['message']}".strip(), validation_errors=problems
        )
    return body


def _problem(name: str, value: object) -> str:
    checks: dict[str, tuple[Callable[[Any], bool], str]] = {
        "name": (
            lambda v: isinstance(v, str) and 1 <= len(v.strip()) <= 50,
            "must have 1 to 50 characters",
        ),
        "limitAmount": (_is_limit, "must be null or from 0 to 1000000"),
        "limitCurrency": (lambda v: v in ("USD", "CNY"), "must be USD"),
        "models": (
            lambda v: isinstance(v, list) and all(isinstance(m, str) for m in v),
            "must be an array of model ids",
        ),
        "expiresAt": (lambda v: v is None or _parsed(v) is not None, "must be RFC 3339 or null"),
        "status": (lambda v: v in _STATUSES, f"must be one of {', '.join(_STATUSES)}"),
    }  # fmt: skip
    check, message = checks[name]
    return "" if check(value) else message


def _is_limit(value: object) -> bool:
    if value is None:
        return True
    return (
        isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1_000_000
    )


def _change(key: ApiKey, fields: dict[str, Any]) -> None:
    if "name" in fields:
        key.name = fields["name"].strip()
    if "limitAmount" in fields:
        amount = fields["limitAmount"]
        key.limit = None if amount is None else Decimal(str(amount))
    if "models" in fields:
        key.models = list(fields["models"])
    if "expiresAt" in fields:
        key.expires_at = _parsed(fields["expiresAt"])
    if "status" in fields:
        key.status = fields["status"]


def _key(sim: SimState, request: Request) -> ApiKey:
    key = sim.keys.get(request.path_params["key"])
    if key is None:
        raise ApiFault(404, "There is no such API key.")
    return key


def _paging(request: Request, usual: int = 20) -> tuple[int, int]:
    values = []
    for name, default, most in (("page", 1, 10**6), ("limit", usual, 100)):
        text = request.query_params.get(name, str(default))
        if not (text.isascii() and text.isdigit() and 1 <= int(text) <= most):
            raise ApiFault(400, f"{name} must be from 1 to {most}.", param=name)
        values.append(int(text))
    return values[0], values[1]


def _pagination(page: int, limit: int, total: int) -> dict[str, int]:
    return {"page": page, "limit": limit, "total": total, "totalPages": -(-total // limit)}


def _filtered(sim: SimState, key: ApiKey, request: Request) -> list[Usage]:
    """Return the key's settled records that the query asks for, newest first."""
    query, now = request.query_params, sim.clock()
    start = _date(query.get("startDate"), "startDate", end=False) or _FIRST
    end = _date(query.get("endDate"), "endDate", end=True) or _LAST
    model = query.get("model", query.get("logicalModel"))
    vendor, scene = query.get("modelVendor"), query.get("scene")
    return [
        use
        for use in sim.usage_between(key.id, start, end)
        if use.listed_from <= now
        and model in (None, use.model.id)
        and vendor in (None, use.model.provider)
        and scene in (None, use.model.category)
    ]


def _date(text: str | None, name: str, *, end: bool) -> datetime | None:
    if text is None:
        return None
    found = _parsed(text.replace(" ", "+"))
    if found is None:
        raise ApiFault(400, f"{name} must be a date or RFC 3339 with a zone.", param=name)
    # An end date without a time includes that complete day.
    return found + timedelta(days=1, microseconds=-1) if end and len(text) == 10 else found


def _parsed(value: object) -> datetime | None:
    if not isinstance(value, str):
        return None
    try:
        found = datetime.fromisoformat(value)
    except ValueError:
        return None
    if len(value) == 10:
        return found.replace(tzinfo=UTC)
    return found if found.tzinfo is not None else None


def _usage_json(use: Usage) -> dict[str, Any]:
    text = use.model.category == "chat"
    quantity = Decimal(use.tokens_in + use.tokens_out) if text else Decimal(1)
    return {
        "request_id": use.request_id or None,
        "billing_transaction_id": use.billing_id or None,
        "model": use.model.id,
        "logical_model": use.model.id,
        "model_vendor": use.model.provider,
        "scene": use.model.category,
        "usage_unit": "token" if text else "request",
        "usage_quantity": float(quantity),
        "usage_quantity_decimal": _text(quantity),
        "prompt_tokens": use.tokens_in,
        "completion_tokens": use.tokens_out,
        "total_tokens": use.tokens_in + use.tokens_out,
        "cache_read_tokens": 0,
        "cache_write_tokens": 0,
        "cache_write_tokens_5m": 0,
        "cache_write_tokens_1h": 0,
        "cost": float(use.cost),
        "cost_decimal": _text(use.cost),
        "created_at": _time(use.at),
    }


def _summary(found: list[Usage]) -> dict[str, Any]:
    cost = sum((use.cost for use in found), Decimal(0))
    tokens_in, tokens_out = sum(u.tokens_in for u in found), sum(u.tokens_out for u in found)
    return {
        "total_requests": len(found),
        "total_cost": float(cost),
        "total_cost_decimal": _text(cost),
        "total_prompt_tokens": tokens_in,
        "total_completion_tokens": tokens_out,
        "total_tokens": tokens_in + tokens_out,
        "usage_unit_breakdown": [
            {"usage_unit": "token", "usage_quantity": float(tokens_in + tokens_out)}
        ],
    }


def _breakdowns(found: list[Usage]) -> dict[str, Any]:
    def grouped(by: Callable[[Usage], str]) -> Iterable[tuple[str, list[Usage]]]:
        groups: dict[str, list[Usage]] = defaultdict(list)
        for use in found:
            groups[by(use)].append(use)
        return groups.items()

    def money(uses: list[Usage]) -> dict[str, Any]:
        cost = sum((use.cost for use in uses), Decimal(0))
        return {"cost": float(cost), "cost_decimal": _text(cost)}

    def model_row(name: str, uses: list[Usage]) -> dict[str, Any]:
        quantity = Decimal(sum(use.tokens_in + use.tokens_out for use in uses))
        return {
            "model": name,
            "logical_model": name,
            "model_vendor": uses[0].model.provider,
            "requests": len(uses),
            "usage_quantity": float(quantity),
            "usage_quantity_decimal": _text(quantity),
            **money(uses),
        }

    models = [model_row(name, uses) for name, uses in grouped(lambda use: use.model.id)]
    return {
        "by_model": models,
        "by_logical_model": models,
        "by_model_vendor": [
            {"model_vendor": name, "requests": len(uses), **money(uses)}
            for name, uses in grouped(lambda use: use.model.provider)
        ],
        "by_scene": [
            {"scene": name, "requests": len(uses), **money(uses)}
            for name, uses in grouped(lambda use: use.model.category)
        ],
        "daily_cost": [
            {"date": day, **money(uses)} for day, uses in grouped(lambda use: f"{use.at:%Y-%m-%d}")
        ],
    }


def _text(amount: Decimal) -> str:
    return f"{amount:f}"


def _time(at: datetime | None) -> str | None:
    return None if at is None else at.astimezone(UTC).isoformat().replace("+00:00", "Z")
