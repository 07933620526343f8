"""The JSON Schema of the rollout file, for editors: completion, hovers and red underlines.

It is recorded, not written: the parser reads from a recorder in place of a table, which answers
each read with the default and keeps what was asked for. So a key cannot be in the parser and
missing here. Draft 7 is what TOML editors (Taplo, Even Better TOML) understand.

Two things the schema leaves to the parser: decimals past the second, since ``multipleOf`` 0.01 is
wrong for binary floats, and the ranges of durations. It is stricter for unknown keys, which the
parser warns of.
"""

from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any

from rollout_gate.file.freeze_windows import FORMS, Freeze
from rollout_gate.file.health_queries import MOST_QUERY
from rollout_gate.file.parse import rollout_from
from rollout_gate.file.percent import percent_text
from rollout_gate.file.positions import Path
from rollout_gate.file.validation import HEADER_PATTERN, Fields, Problems

Schema = dict[str, Any]

_NAMED = (("routes",), ("budgets",))
"""Tables whose own tables need a name."""

_ANY = "\0any"
"""The name that stands for every route, budget, org, key alias or flag."""

_DURATION = {"type": "string", "pattern": "^[1-9][0-9]{0,6}(s|m|h|d)$"}
_PERCENT = {"type": "number", "minimum": 0, "maximum": 100}

_ABOUT = {
    "schema": "The version of this format.",
    "algorithm": "Pins who is in a share; never change it during a rollout.",
    "rolled_back": "true: everything goes to the previous providers, whatever stands below.",
    "tokenlab.base_url": "The gateway's base URL.",
    "tokenlab.profile": "Names the credentials, which are never in this file.",
    "health.access_log": "The access log, or a pattern of several; relative to this file.",
    "health.prometheus": "The address of a Prometheus that has the figures, in place of the access "
    "log; without a password, which is never in this file.",
    "health.prometheus_step": "Counts are asked for by such steps; not under the scrape interval.",
    "health.prometheus_token_file": "A file with a bearer token; relative to this file.",
    "health.prometheus_ca_file": "The certificates to trust, PEM; relative to this file.",
    "health.queries": "PromQL by signal in place of the console's own; $step, $window and "
    "$increase(SELECTOR) are filled in.",
    "health.queries.requests": "How many requests: by route, org, side, class and outcome.",
    "health.queries.repeated": "How many second and later attempts: by route, org and side.",
    "health.queries.duration": "How many requests by latency: a histogram by route, org and side.",
    "health.queries.duration_ms": "The same, of a histogram whose bounds are in milliseconds.",
    "health.queries.first_token": "How many streams by time to first token: a histogram as well.",
    "health.queries.newest": "When the newest sample is from, in epoch seconds.",
    "health.queries.down": "How many targets that have requests cannot be scraped.",
    "history.path": "The history of changes; relative to this file.",
    "guard.window": "How far back the guard's figures look.",
    "guard.max_5xx_percent": "More 5xx than this, in percent of requests, is too much.",
    "guard.max_4xx_percent": "More 4xx than this (429 apart), in percent, is too much.",
    "guard.max_429_percent": "More 429 than this, in percent of requests, is too much.",
    "guard.max_bad_percent": "More cut or empty answers than this, in percent, is too much.",
    "guard.max_failed_jobs_percent": "More async jobs failed or late than this, in percent.",
    "guard.max_asset_p95": "The limit of an async job's p95 time to its asset; none without it.",
    "guard.max_ttft_p95_ms": "The limit of a stream's p95 time to first token, in milliseconds.",
    "guard.modes": "Signals with a mode of their own.",
    "guard.modes.gateway": "5xx, no response, and failures inside a 200.",
    "guard.modes.contract": "4xx but 401, 402, 403 and 429.",
    "guard.modes.rate_limit": "429.",
    "guard.modes.auth": "401 and 403.",
    "guard.modes.balance": "402.",
    "guard.modes.latency": "Slow requests.",
    "guard.modes.bad": "Answers that are cut or empty.",
    "guard.modes.first_token": "Streams whose first token is late.",
    "guard.modes.repeated": "Second and later attempts of a request.",
    "guard.modes.filtered": "Refused or blocked answers, against the previous side.",
    "guard.modes.length": "Answers stopped by length, against the previous side.",
    "guard.modes.jobs": "Async jobs that fail, or are late.",
    "guard.modes.asset": "Async jobs whose asset comes later than max_asset_p95.",
    "guard.modes.refused": "Async jobs refused for what they ask, against the previous side.",
    "guard.max_p95_ms": "The limit of the 95th percentile of latency, in milliseconds.",
    "guard.min_balance_usd": "Under this balance, in US dollars, nothing is raised.",
    "guard.min_runway": "Where the balance lasts for less than this, nothing is raised.",
    "guard.mode": 'What the guard does: "observe", "hold" (no raise), "enforce" (rolls back too).',
    "ramp.steps": "The ladder of percents, rising.",
    "ramp.bake": "How long a step must stay healthy before the next.",
    "ramp.freeze": f"Times in which nothing is raised: {FORMS}.",
    "budgets": "What may be spent on TokenLab, by a name of one's own; without route, org and key "
    "it is of everything.",
    "budgets.*.route": "Only this route.",
    "budgets.*.org": "Only this org.",
    "budgets.*.key": "Only this API key, by its name or id at TokenLab.",
    "budgets.*.per": "The calendar period, in UTC; a week begins on Monday.",
    "budgets.*.limit_usd": 'What may be spent in a period, in US dollars; 2500 or "2500".',
    "budgets.*.at_limit": 'What the guard does once it is spent: "hold" raises, or "lower" shares '
    "as well, step by step, in mode enforce.",
    "serve": "For `rollout-gate serve`: headers in which applications already say who asks.",
    "serve.org_header": "The org, such as X-Org-Id.",
    "serve.key_header": "The targeting key: a user, session or conversation.",
    "serve.key_alias_header": "The alias of the customer's API key.",
    "serve.flags_header": "The feature flags that are on, separated by commas.",
    "serve.job_id_header": "The application's own id of an async job.",
    "routes": "One table for each workload: a request format and a model.",
    "routes.*.format": "The format of the requests.",
    "routes.*.model": "The model on TokenLab.",
    "routes.*.phase": "How far the route is.",
    "routes.*.rolled_back": "true: the whole route goes to the previous provider.",
    "routes.*.default_percent": "The share of orgs without a line of their own.",
    "routes.*.previous_base_url": "The previous provider's base URL.",
    "routes.*.previous_price": "What the previous provider charges, in US dollars; cost compares.",
    "routes.*.previous_price.input_per_1m": 'A million input tokens; 2.5 or "2.50".',
    "routes.*.previous_price.output_per_1m": "A million output tokens.",
    "routes.*.previous_price.per_request": "Each request, beside its tokens.",
    "routes.*.dedupe": "For how long the same create of an async job is the same job.",
    "routes.*.max_open": "How long an async job may be open before it is late.",
    "routes.*.orgs": "An org's share in percent, or { percent = 10, rolled_back = true }.",
    "routes.*.orgs.*.percent": "The org's share in percent; the default where it is missing.",
    "routes.*.orgs.*.rolled_back": "true: the org goes to the previous provider.",
    "routes.*.keys": "Shares by API key alias, in percent; they win over the org's.",
    "routes.*.flags": "Shares by feature flag, in percent; they win over the org's.",
}
for _part in ("guard", "ramp"):
    _ABOUT |= {f"routes.*.{k}": v for k, v in _ABOUT.items() if k.startswith(f"{_part}.")}


def json_schema() -> Schema:
    """Return the schema of a rollout file."""
    top = _Recorder(())
    rollout_from(top, "")
    head = {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "Rollout file of rollout-console",
    }
    return head | top.schema()


class _Recorder(Fields):
    """Records every read of one table as a property, and answers it with the default."""

    def __init__(self, path: Path) -> None:
        super().__init__({}, path, Problems())
        self._at = path
        self._properties: dict[str, list[Schema | _Recorder]] = {}
        self._required: list[str] = []
        self._closed = False

    def schema(self) -> Schema:
        """Return what was recorded."""
        properties = {name: self._property(name) for name in self._properties}
        found: Schema = {"type": "object"}
        if _ANY in properties:
            found |= {
                "propertyNames": {"minLength": 1} if self._at in _NAMED else {},
                "additionalProperties": properties.pop(_ANY),
            }
            found = {name: value for name, value in found.items() if value != {}}
        elif self._closed:
            found["additionalProperties"] = False
        if properties:
            found["properties"] = properties
        if self._required:
            found["required"] = self._required
        return found

    def _property(self, name: str) -> Schema:
        kinds = [
            one.schema() if isinstance(one, _Recorder) else one for one in self._properties[name]
        ]
        found: Schema = kinds[0] if len(kinds) == 1 else {"anyOf": kinds}
        path = ".".join("*" if part == _ANY else part for part in (*self._at, name))
        return {"description": _ABOUT[path], **found} if path in _ABOUT else found

    def _keep(self, name: str, schema: "Schema | _Recorder") -> None:
        self._properties.setdefault(name, []).append(schema)

    def has(self, name: str) -> bool:
        """The parser asks this of what a file must have."""
        self._required.append(name)
        return True

    def names(self) -> list[str]:
        """Any name may be here."""
        return [_ANY]

    def items(self) -> Iterable[tuple[str, Any]]:
        """Any name may be here, with a table or a value."""
        return [(_ANY, 0), (_ANY, {})]

    def table(self, name: str) -> Fields:
        """Record a table, and return its recorder."""
        inner = _Recorder((*self._at, name))
        self._keep(name, inner)
        return inner

    def text(self, name: str, default: str) -> str:
        """Record a string."""
        self._keep(name, {"type": "string", "default": default})
        return default

    def name(self, name: str) -> str:
        """Record a name, which is not empty."""
        self._keep(name, {"type": "string", "minLength": 1})
        return ""

    def header(self, name: str) -> str:
        """Record the name of a header."""
        self._keep(name, {"type": "string", "pattern": HEADER_PATTERN})
        return ""

    def promql(self, name: str, *, may_be_empty: bool) -> str | None:
        """Record a query, of which the parser looks at the form."""
        least = {} if may_be_empty else {"minLength": 1}
        self._keep(name, {"type": "string", **least, "maxLength": MOST_QUERY})
        return None

    def path(self, name: str, default: str) -> str:
        """Record a path."""
        self._keep(name, {"type": "string", "minLength": 1, "default": default})
        return default

    def base_url(self, name: str, default: str) -> str:
        """Record a base URL."""
        pattern = r"^[hH][tT][tT][pP][sS]?://[^\s/]+"
        pattern = pattern if default else f"^$|{pattern}"
        self._keep(name, {"type": "string", "pattern": pattern, "default": default})
        return default

    def choice(self, name: str, allowed: Sequence[str], default: str | None) -> str:
        """Record a choice."""
        if default is None:
            self._required.append(name)
        self._keep(name, {"enum": list(allowed)} | ({"default": default} if default else {}))
        return default or allowed[0]

    def flag(self, name: str) -> bool:
        """Record a bool."""
        self._keep(name, {"type": "boolean", "default": False})
        return False

    def percent(self, name: str, default: int) -> int:
        """Record a percent."""
        known = {"default": _json(percent_text(default))} if default > 0 else {}
        self._keep(name, _PERCENT | known)
        return default

    def limit(self, name: str, default: float) -> float:
        """Record a limit in percent."""
        bounds = {"exclusiveMinimum": 0, "exclusiveMaximum": 100}
        self._keep(name, {"type": "number", **bounds, "default": default})
        return default

    def whole(self, name: str, default: int, *, least: int) -> int:
        """Record a whole number."""
        bounds = {"minimum": least, "maximum": 10**9}
        self._keep(name, {"type": "integer", **bounds, "default": default})
        return default

    def money(self, name: str, default: Decimal) -> Decimal:
        """Record an amount."""
        bounds = {"minimum": 0, "maximum": 10**9}
        self._keep(name, {"type": "number", **bounds, "default": _json(str(default))})
        return default

    def price(self, name: str) -> Decimal | None:
        """Record a price, a number or a decimal string."""
        number = {"type": "number", "minimum": 0, "exclusiveMaximum": 10**6}
        text = {"type": "string", "pattern": r"^[0-9]{1,6}(\.[0-9]{1,18})?$"}
        self._keep(name, {"anyOf": [number, text]})
        return None

    def amount(self, name: str) -> Decimal | None:
        """Record an amount, which must be there: a number or a decimal string."""
        self._required.append(name)
        number = {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 10**9}
        text = {"type": "string", "pattern": r"^[0-9]{1,9}(\.[0-9]{1,18})?$"}
        self._keep(name, {"anyOf": [number, text]})
        return None

    def duration(self, name: str, default: int, *, least: int, most: int) -> int:
        """Record a duration; a pattern cannot say its range. 0 is none, which has no text."""
        text = f"{default // 60}m" if default % 60 == 0 else f"{default}s"
        self._keep(name, {**_DURATION, **({"default": text} if default else {})})
        return default

    def steps(self, name: str, default: tuple[int, ...]) -> tuple[int, ...]:
        """Record a ladder of percents."""
        step = {"type": "number", "exclusiveMinimum": 0, "maximum": 100}
        ladder = [_json(percent_text(one)) for one in default]
        rules = {"minItems": 1, "uniqueItems": True, "items": step}
        self._keep(name, {"type": "array", **rules, "default": ladder})
        return default

    def freezes(self, name: str, default: tuple[Freeze, ...]) -> tuple[Freeze, ...]:
        """Record a list of freeze windows."""
        self._keep(name, {"type": "array", "items": {"type": "string"}, "default": []})
        return default

    def pinned(self, name: str, only: int | str) -> None:
        """Record the one value that is possible."""
        self._keep(name, {"const": only})

    def warn_unknown(self) -> None:
        """Record that there are no other keys."""
        self._closed = True


def _json(number: str) -> int | float:
    return float(number) if "." in number else int(number)
