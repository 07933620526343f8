"""The data model of a rollout file. Shares are in basis points, durations in seconds."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Literal

import msgspec

from rollout_gate.file.errors import Problem
from rollout_gate.file.freeze_windows import Freeze

Side = Literal["tokenlab", "previous"]
GuardMode = Literal["observe", "hold", "enforce"]
BudgetPeriod = Literal["day", "week", "month"]
AtLimit = Literal["hold", "lower"]

TEXT_FORMATS = (
    "openai_chat_completions",
    "openai_responses",
    "anthropic_messages",
    "gemini_generate_content",
)
MEDIA_FORMATS = ("image", "video", "music", "3d")
FORMATS = TEXT_FORMATS + MEDIA_FORMATS
ALWAYS_ASYNC = ("video", "music", "3d")
"""Formats of which every create makes an async task; an image may be made at once."""
OPEN_LIMITS_S = {"image": 300, "music": 900, "video": 1800, "3d": 1800}
"""How long an async job of a format may be open before it is late, in seconds."""
PHASES = ("inventory", "pilot", "shadow", "rollout", "cleanup")
GUARD_MODES = ("observe", "hold", "enforce")
BUDGET_PERIODS = ("day", "week", "month")
AT_LIMIT = ("hold", "lower")
SIGNALS = (
    "gateway", "contract", "rate_limit", "auth", "balance", "latency", "bad", "first_token",
    "repeated", "filtered", "length", "jobs", "asset", "refused",
)  # fmt: skip
"""What the guard judges, by the names that ``[guard.modes]`` and the verdicts have for it."""

DEFAULT_BASE_URL = "https://api.tokenlab.sh"

MAX_BYTES = 32 * 1024 * 1024
"""A larger rollout file is refused: 100,000 orgs on four routes take about 10 MB."""


class OrgShare(msgspec.Struct, frozen=True):
    """One org's line on a route. ``points`` is None where the route's default applies."""

    points: int | None
    rolled_back: bool = False


class GuardSettings(msgspec.Struct, frozen=True):
    """Limits of the guard: error rates in percent, latency in ms, the sliding window in seconds.

    ``modes`` are those of single signals, where it is not ``mode``.
    """

    window_s: int = 300
    max_5xx_percent: float = 2.0
    max_4xx_percent: float = 5.0
    max_429_percent: float = 5.0
    max_bad_percent: float = 2.0
    max_p95_ms: int = 8000
    max_ttft_p95_ms: int = 8000
    min_balance_usd: Decimal = Decimal(50)
    mode: GuardMode = "hold"
    modes: Mapping[str, GuardMode] = {}
    max_failed_jobs_percent: float = 5.0
    max_asset_p95_s: int = 0
    """The limit of the p95 of the time from the create of an async job to its asset, in seconds;
    0 is none."""
    min_runway_s: int = 0
    """For how long the balance must last to raise, in seconds; 0 is no such limit."""

    def mode_of(self, signal: str) -> GuardMode:
        """Return the mode of a signal: its own, or that of all."""
        return self.modes.get(signal, self.mode)


class RampSettings(msgspec.Struct, frozen=True):
    """The ladder of shares (basis points, strictly rising), the bake time of a step in seconds,
    and the freeze windows, in which nothing is raised."""

    steps: tuple[int, ...] = (100, 500, 1000, 2500, 5000, 10_000)
    bake_s: int = 900
    freeze: tuple[Freeze, ...] = ()


class PreviousPrice(msgspec.Struct, frozen=True):
    """What a route's previous provider charges, in US dollars: per million tokens, per request."""

    input_per_1m: Decimal = Decimal(0)
    output_per_1m: Decimal = Decimal(0)
    per_request: Decimal = Decimal(0)


class Budget(msgspec.Struct, frozen=True):
    """What may be spent on TokenLab in a calendar period in UTC; a week begins on Monday.

    It is of one route, org or API key (its name or id), or of several of these at once; empty ones
    are not asked for. ``at_limit`` is what the guard does where it is spent: ``hold`` raises, or
    ``lower`` shares as well.
    """

    name: str
    limit_usd: Decimal
    per: BudgetPeriod = "month"
    route: str = ""
    org: str = ""
    key: str = ""
    at_limit: AtLimit = "hold"


class Route(msgspec.Struct, frozen=True):
    """One workload: a request format, a model, and the shares of it that go to TokenLab."""

    name: str
    format: str
    model: str = ""
    phase: str = "inventory"
    rolled_back: bool = False
    default_points: int = 0
    previous_base_url: str = ""
    orgs: Mapping[str, OrgShare] = msgspec.field(default_factory=dict)
    keys: Mapping[str, int] = msgspec.field(default_factory=dict)
    flags: Mapping[str, int] = msgspec.field(default_factory=dict)
    guard: GuardSettings = GuardSettings()
    ramp: RampSettings = RampSettings()
    hash_prefix: bytes = b""
    dedupe_s: int = 0
    """For how long the same create of an async job is the same job, in seconds; 0 is never."""
    max_open_s: int = 0
    """How long an async job may be open before it is late, in seconds; 0: as its format has it."""
    previous_price: PreviousPrice | None = None

    @property
    def open_limit_s(self) -> int:
        """How long an async job of this route may be open before it is late, in seconds."""
        return self.max_open_s or OPEN_LIMITS_S.get(self.format, max(OPEN_LIMITS_S.values()))

    @property
    def most_points(self) -> int:
        """The largest share on this route, latches ignored, in basis points."""
        shares = [self.default_points, *self.keys.values(), *self.flags.values()]
        return max([*shares, *(self.org_points(org) for org in self.orgs)])

    def org_points(self, org: str) -> int:
        """Return the share configured for ``org``, latches ignored, in basis points."""
        share = self.orgs.get(org)
        return self.default_points if share is None or share.points is None else share.points

    def org_rolled_back(self, org: str) -> bool:
        """Return whether this org is latched to the previous side on this route."""
        share = self.orgs.get(org)
        return share is not None and share.rolled_back


class SubjectHeaders(msgspec.Struct, frozen=True):
    """Request headers, lower-case, in which an application already says who asks; empty for none.

    They are read by ``rollout-gate serve``, where a request has no X-Rollout- header for the same.
    """

    org: str = ""
    key: str = ""
    key_alias: str = ""
    flags: str = ""
    job_id: str = ""


class PrometheusSource(msgspec.Struct, frozen=True):
    """A Prometheus that has the figures in place of the access log, for the console and the guard.

    Counts are asked for by steps of ``step_s`` seconds. ``queries`` are those that the file has in
    place of the console's own, by name. ``token_file`` holds a bearer token, ``ca_file`` the
    certificates to trust; both are empty where there is none.
    """

    url: str
    step_s: int = 15
    token_file: str = ""
    ca_file: str = ""
    queries: Mapping[str, str] = {}


class RolloutFile(msgspec.Struct, frozen=True):
    """A complete, valid rollout file."""

    revision: str
    rolled_back: bool = False
    base_url: str = DEFAULT_BASE_URL
    profile: str = "default"
    access_log: str = "access.jsonl"
    prometheus: PrometheusSource | None = None
    guard: GuardSettings = GuardSettings()
    ramp: RampSettings = RampSettings()
    routes: Mapping[str, Route] = msgspec.field(default_factory=dict)
    budgets: Mapping[str, Budget] = {}
    subject_headers: SubjectHeaders = SubjectHeaders()
    warnings: tuple[Problem, ...] = ()

    @property
    def least_runways_s(self) -> tuple[int, ...]:
        """The limits of the runway, in seconds: the file's and those of its routes, without 0."""
        found = (self.guard.min_runway_s, *(r.guard.min_runway_s for r in self.routes.values()))
        return tuple(one for one in dict.fromkeys(found) if one)

    @property
    def asks_for_counts(self) -> bool:
        """Whether anything depends on what was spent: a budget, or a limit of the runway."""
        return bool(self.budgets or self.least_runways_s)

    def is_latched(self, route: str | None = None, org: str | None = None) -> bool:
        """Return whether a latch sends all of this to the previous side, its own or a wider one.

        Without arguments, everything; with a route, the route or an org of it. A route that the
        file does not have counts as latched: nothing of it goes to TokenLab.
        """
        if self.rolled_back or route is None:
            return self.rolled_back
        found = self.routes.get(route)
        if found is None or found.rolled_back:
            return True
        return org is not None and found.org_rolled_back(org)
