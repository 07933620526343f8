"""Parse a rollout file into a RolloutFile, or into every problem with its line and column."""

import re
import tomllib
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from msgspec.structs import replace

from rollout_gate.bucketing import ALGORITHM, bucket_prefix
from rollout_gate.file.budgets import budgets_from
from rollout_gate.file.errors import FileError, Problem
from rollout_gate.file.health import prometheus_from
from rollout_gate.file.model import (
    DEFAULT_BASE_URL,
    FORMATS,
    GUARD_MODES,
    MAX_BYTES,
    MEDIA_FORMATS,
    PHASES,
    SIGNALS,
    GuardMode,
    GuardSettings,
    OrgShare,
    PreviousPrice,
    RampSettings,
    RolloutFile,
    Route,
    SubjectHeaders,
)
from rollout_gate.file.positions import scan
from rollout_gate.file.revision import revision_of
from rollout_gate.file.validation import Fields, Problems

_NOTHING = OrgShare(None)
"""An org's line with neither share nor latch: the org is treated like one without a line."""

_AT = r" \(at (?:line (\d+), column (\d+)|end of document)\)$"


def parse(data: bytes) -> RolloutFile:
    """Parse ``data``, the bytes of a rollout file.

    Raises FileError with every problem found. Unknown keys are warnings of the result.
    """
    text = _decode(data)
    table = _load(text)
    found = Problems()
    try:
        file = rollout_from(Fields(table, (), found), revision_of(data))
    except (ValueError, ArithmeticError, RecursionError) as error:
        # No value is known to raise here; should one, the threads that follow the file survive.
        raise FileError([Problem(f"not valid: a value that cannot be used ({error})")]) from None
    errors, warnings = found.located(lambda: scan(text))
    if errors:
        raise FileError(errors)
    return replace(file, warnings=tuple(warnings)) if warnings else file


def _decode(data: bytes) -> str:
    if len(data) > MAX_BYTES:
        size, most = len(data) / 1048576, MAX_BYTES // 1048576
        raise FileError([Problem(f"the file has {size:.0f} MiB; at most {most} MiB are read")])
    if data.startswith(b"\xef\xbb\xbf"):
        raise FileError([Problem("starts with a byte-order mark; save it as plain UTF-8", 1, 1)])
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        before = data[: error.start]
        line = before.count(b"\n") + 1
        column = error.start - (before.rfind(b"\n") + 1) + 1
        byte = data[error.start]
        raise FileError(
            [Problem(f"byte 0x{byte:02x} is not UTF-8; save the file as UTF-8", line, column)]
        ) from None


def _load(text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text, parse_float=Decimal)
    except tomllib.TOMLDecodeError as error:
        message = str(error)
        place = re.search(_AT, message)
        lines = text.split("\n")
        line, column = len(lines), len(lines[-1]) + 1
        if place is not None and place.group(1):
            line, column = int(place.group(1)), int(place.group(2))
        what = re.sub(_AT, "", message)
        raise FileError([Problem(f"not valid TOML: {what}", line, column)]) from None
    except RecursionError:
        raise FileError([Problem("not valid: arrays or tables nested too deeply", 1, 1)]) from None
    except (ValueError, ArithmeticError):
        line = _line_of_bad_number(text)
        raise FileError([Problem("not valid: a number too long to read", line, 1)]) from None


def _line_of_bad_number(text: str) -> int:
    """Return the line with the longest run of digits: tomllib gives no position for these."""
    runs = re.finditer(r"[0-9_]+", text)
    longest = max(runs, key=lambda run: len(run.group()), default=None)
    return 1 if longest is None else text.count("\n", 0, longest.start()) + 1


def rollout_from(top: Fields, revision: str) -> RolloutFile:
    """Return what the top table says; problems are noted in it, and defaults used in their place.

    Each key of the format is read here, once, so that a recorder in place of the table sees all.
    """
    top.pinned("schema", 1)
    top.pinned("algorithm", ALGORITHM)
    tokenlab, health = top.table("tokenlab"), top.table("health")
    history = top.table("history")
    history.path("path", "rollout.history.sqlite3")  # validated only: the console uses it
    guard = _guard(top.table("guard"), GuardSettings())
    ramp = _ramp(top.table("ramp"), RampSettings())
    routes = top.table("routes")
    if not top.has("routes"):
        # An editor that truncates a file before writing it must not put an empty one in force.
        top.error((), "has no [routes.NAME]: an empty or half-written file is not used")
    found = {name: _route(name, routes.table(name), guard, ramp) for name in routes.names()}
    file = RolloutFile(
        revision=revision,
        rolled_back=top.flag("rolled_back"),
        base_url=tokenlab.base_url("base_url", DEFAULT_BASE_URL),
        profile=tokenlab.text("profile", "default"),
        access_log=health.path("access_log", "access.jsonl"),
        prometheus=prometheus_from(health),
        guard=guard,
        ramp=ramp,
        routes=found,
        budgets=budgets_from(top.table("budgets"), found),
        subject_headers=_subject_headers(top.table("serve")),
    )
    for fields in (top, tokenlab, health, history):
        fields.warn_unknown()
    return file


def _subject_headers(fields: Fields) -> SubjectHeaders:
    headers = SubjectHeaders(
        org=fields.header("org_header"),
        key=fields.header("key_header"),
        key_alias=fields.header("key_alias_header"),
        flags=fields.header("flags_header"),
        job_id=fields.header("job_id_header"),
    )
    fields.warn_unknown()
    return headers


def _route(name: str, fields: Fields, guard: GuardSettings, ramp: RampSettings) -> Route:
    if not name:
        fields.error((), "a route needs a name")
    route = Route(
        name=name,
        format=fields.choice("format", FORMATS, None),
        model=fields.text("model", ""),
        phase=fields.choice("phase", PHASES, "inventory"),
        rolled_back=fields.flag("rolled_back"),
        default_points=fields.percent("default_percent", 0),
        previous_base_url=fields.base_url("previous_base_url", ""),
        orgs=_orgs(fields.table("orgs")),
        keys=_shares(fields.table("keys")),
        flags=_shares(fields.table("flags")),
        guard=_guard(fields.table("guard"), guard),
        ramp=_ramp(fields.table("ramp"), ramp),
        hash_prefix=bucket_prefix(name),
        dedupe_s=fields.duration("dedupe", 0, least=10, most=86_400),
        max_open_s=fields.duration("max_open", 0, least=10, most=7 * 86_400),
        previous_price=_previous_price(fields.table("previous_price")),
    )
    for name, given in (("dedupe", route.dedupe_s), ("max_open", route.max_open_s)):
        if given and route.format not in MEDIA_FORMATS:
            fields.warn((name,), "has an effect on routes with async jobs alone")
    fields.warn_unknown()
    return route


def _previous_price(fields: Fields) -> PreviousPrice | None:
    """Return the prices of the previous side; None where there are none."""
    names = ("input_per_1m", "output_per_1m", "per_request")
    first, second, each = (fields.price(name) for name in names)
    fields.warn_unknown()
    if first is None and second is None and each is None:
        return None
    for name, one, other in ((names[0], first, second), (names[1], second, first)):
        if one is None and other is not None:
            fields.warn((), f"has no {name}: those tokens count as free")
    free = Decimal(0)
    return PreviousPrice(first or free, second or free, each or free)


def _orgs(fields: Fields) -> dict[str, OrgShare]:
    orgs = {}
    for org, value in fields.items():
        if org == "*":
            fields.warn((org,), "is an org of that very name; default_percent is for all others")
        if isinstance(value, dict):
            line = fields.table(org)
            points = line.percent("percent", -1)
            share = OrgShare(None if points < 0 else points, line.flag("rolled_back"))
            line.warn_unknown()
            if share != _NOTHING:
                orgs[org] = share
        else:
            orgs[org] = OrgShare(fields.percent(org, 0))
    return orgs


def _shares(fields: Fields) -> dict[str, int]:
    return {name: fields.percent(name, 0) for name in fields.names()}


def _guard(fields: Fields, base: GuardSettings) -> GuardSettings:
    guard = GuardSettings(
        window_s=fields.duration("window", base.window_s, least=10, most=86_400),
        max_5xx_percent=fields.limit("max_5xx_percent", base.max_5xx_percent),
        max_4xx_percent=fields.limit("max_4xx_percent", base.max_4xx_percent),
        max_429_percent=fields.limit("max_429_percent", base.max_429_percent),
        max_bad_percent=fields.limit("max_bad_percent", base.max_bad_percent),
        max_failed_jobs_percent=fields.limit(
            "max_failed_jobs_percent", base.max_failed_jobs_percent
        ),
        max_asset_p95_s=fields.duration(
            "max_asset_p95", base.max_asset_p95_s, least=1, most=7 * 86_400
        ),
        max_p95_ms=fields.whole("max_p95_ms", base.max_p95_ms, least=1),
        max_ttft_p95_ms=fields.whole("max_ttft_p95_ms", base.max_ttft_p95_ms, least=1),
        min_balance_usd=fields.money("min_balance_usd", base.min_balance_usd),
        min_runway_s=fields.duration(
            "min_runway", base.min_runway_s, least=3600, most=1000 * 86_400
        ),
        mode=_mode(fields.choice("mode", GUARD_MODES, base.mode)),
        modes=_modes(fields.table("modes"), base.modes),
    )
    fields.warn_unknown()
    return guard


def _modes(fields: Fields, base: Mapping[str, GuardMode]) -> Mapping[str, GuardMode]:
    """Return the modes of single signals, those of ``base`` overridden one by one."""
    own = {name: fields.choice(name, GUARD_MODES, "") for name in SIGNALS}
    fields.warn_unknown()
    given = {name: _mode(mode) for name, mode in own.items() if mode}
    return {**base, **given} if given else base


def _mode(name: str) -> GuardMode:
    return "observe" if name == "observe" else "enforce" if name == "enforce" else "hold"


def _ramp(fields: Fields, base: RampSettings) -> RampSettings:
    ramp = RampSettings(
        steps=fields.steps("steps", base.steps),
        bake_s=fields.duration("bake", base.bake_s, least=1, most=30 * 86_400),
        freeze=fields.freezes("freeze", base.freeze),
    )
    fields.warn_unknown()
    return ramp
