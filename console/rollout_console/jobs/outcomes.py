"""How async jobs turn out: the input of the guard's job signals, and the time to the asset.

A job is judged by the time of its create, and counts as well while it is open: failures come sooner
than assets, so that by the times of their ends the first minutes of any traffic would look sick.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from math import inf, isfinite
from typing import Any, Literal

import msgspec

from rollout_gate.answers.error_codes import class_of
from rollout_gate.file.model import OPEN_LIMITS_S

Fate = Literal["completed", "failed", "refused", "late", "open"]
"""``refused``: it failed by what was asked for. ``late``: an answer told that it was still open
after its limit; a job that nobody asks about any more is no evidence, and so is left out."""

_OWN_WORDS = (
    "invalid", "policy", "moderation", "safety", "sensitive", "nsfw", "prohibited", "flagged",
    "copyright", "too_large", "too_long", "unsupported", "bad_request", "unprocessable",
    "missing_required", "out_of_range", "context_length",
)  # fmt: skip
"""Words in the code of a failure that is of the request itself: it would fail anywhere."""
_NOT_OWN = ("not_found", "mapping", "response", "timeout", "shape_channel", "contract_compatible")
"""Words of TokenLab's own failures that have such a word as well: ``async_task_mapping_invalid``"""


_AHEAD_S = 3_600.0
"""How far in the future a fate may be told, in seconds: clocks differ; what is later is none."""


class Outcome(msgspec.Struct, frozen=True, gc=False):
    """One job with a task that was not cancelled. Times are epoch seconds.

    ``at`` is when its fate was told: of a late job when it became late, of an open one when it was
    last asked about.
    """

    route: str
    side: str
    org: str
    sent_at: float
    fate: Fate
    at: float

    @property
    def seconds(self) -> float:
        """How long it took until its fate was told, in seconds; 0 where clocks disagree."""
        return max(self.at - self.sent_at, 0.0)

    @property
    def is_bad(self) -> bool:
        """Whether it counts against its side: it failed for no fault of the request, or is late."""
        return self.fate in ("failed", "late")


class Ended(msgspec.Struct, frozen=True):
    """How the jobs of one route and side have ended: those that were not cancelled.

    ``refused`` failed by what was asked for, ``failed`` for any other reason; ``late`` are still
    open, and counted until they end. ``p50_s`` and ``p95_s`` are of the seconds from the create
    until an answer told that the asset is there (so they end with a poll); 0 without a completed
    one.
    """

    completed: int = 0
    failed: int = 0
    p50_s: float = 0.0
    p95_s: float = 0.0
    refused: int = 0
    late: int = 0

    @property
    def count(self) -> int:
        """How many have ended, or are late."""
        return self.completed + self.bad + self.refused

    @property
    def bad(self) -> int:
        """How many of them count against their side."""
        return self.failed + self.late

    @property
    def failed_percent(self) -> float:
        """The share of them that failed or are late, in percent."""
        return 100 * self.bad / self.count if self.count else 0.0


class SideJobs:
    """The jobs of one side of a route, the earliest sent first; nothing of it changes.

    ``judged_since`` is from when on the guard judges them; older ones are for charts. ``since`` is
    from when on all are known. Both are epoch seconds.
    """

    def __init__(
        self, sent: Sequence[Outcome] = (), judged_since: float = inf, since: float = inf
    ) -> None:
        self.sent = sent
        self.judged_since = judged_since
        self.since = since
        self._by_org: dict[str, list[Outcome]] = defaultdict(list)
        for one in sent:
            self._by_org[one.org].append(one)

    @property
    def is_judged(self) -> bool:
        """Whether the guard judges any of them: not all are for charts alone."""
        return bool(self.sent) and self.sent[-1].sent_at >= self.judged_since

    def of(self, org: str | None) -> Sequence[Outcome]:
        """Return the jobs of one org, or (None) of all."""
        return self.sent if org is None else self._by_org.get(org, ())

    def ended(self, since: float, org: str | None = None) -> Ended:
        """Return how those have ended whose fate was told since a time (epoch seconds)."""
        return ended_of(one for one in self.of(org) if one.at >= since)


NO_JOBS = SideJobs()

Jobs = Mapping[tuple[str, str], SideJobs]
"""The jobs of a rollout by route and side."""


def is_of_the_request(code: str | None) -> bool:
    """Return whether a job failed by what was asked for, as far as the code of its error tells."""
    if not code or class_of(code) in ("auth", "balance", "rate_limit"):
        return False
    lowered = code.lower().replace("-", "_").replace(".", "_").replace(" ", "_")
    if any(word in lowered for word in _NOT_OWN):
        return False
    return any(word in lowered for word in _OWN_WORDS)


_Row = tuple[str, str, str, float, str, float | None, float | None, str | None]
"""Route, org, side, time of the create, state, times of the end and of the last answer, error."""


def outcomes(
    rows: Sequence[tuple[Any, ...]], limits: Mapping[str, int], now: float
) -> list[Outcome]:
    """Return the outcomes of rows of the ledger, which are those of ``_Row``, in their order.

    ``limits`` are how long a job of a route may be open, in seconds. A row that is none is left
    out, and so is a job whose fate nobody knows.
    """
    found = []
    for row in _rows(rows):
        fate, at = _fate(row, limits, now)
        if fate is not None and isfinite(at) and at <= now + _AHEAD_S:
            route, side, org, sent_at, *_ = row
            found.append(Outcome(route, side, org, sent_at, fate, at))
    return found


def _rows(rows: Sequence[tuple[Any, ...]]) -> Iterable[_Row]:
    try:
        return msgspec.convert(rows, list[_Row])
    except ValueError:  # bytes of others in some of them
        return [good for row in rows for good in _row(row)]


def _row(row: tuple[Any, ...]) -> list[_Row]:
    try:
        return [msgspec.convert(row, _Row)]
    except ValueError:
        return []


def _fate(row: _Row, limits: Mapping[str, int], now: float) -> tuple[Fate | None, float]:
    route, _, _, sent_at, state, ended_at, seen_at, error = row
    if state == "completed":
        return (None, 0.0) if ended_at is None else ("completed", ended_at)
    if state == "failed":
        own: Fate = "refused" if is_of_the_request(error) else "failed"
        return own, sent_at if ended_at is None else ended_at
    if state != "open":
        return None, 0.0
    due = sent_at + limits.get(route, max(OPEN_LIMITS_S.values()))
    seen = sent_at if seen_at is None else seen_at
    if seen >= due:
        return "late", due
    return ("open", seen) if now < due else (None, 0.0)


def by_side(
    found: Iterable[Outcome], judged_since: float = -inf, since: float = -inf
) -> dict[tuple[str, str], SideJobs]:
    """Return outcomes, the earliest sent first, by route and side."""
    sides: dict[tuple[str, str], list[Outcome]] = {}
    for one in found:
        sides.setdefault((one.route, one.side), []).append(one)
    return {place: SideJobs(some, judged_since, since) for place, some in sides.items()}


def ended_of(found: Iterable[Outcome]) -> Ended:
    """Return how jobs have ended; those that are open are left out."""
    counts: dict[Fate, int] = defaultdict(int)
    times = []
    for one in found:
        counts[one.fate] += 1
        if one.fate == "completed":
            times.append(one.seconds)
    times.sort()
    return Ended(
        counts["completed"], counts["failed"], quantile(times, 0.5), quantile(times, 0.95),
        counts["refused"], counts["late"],
    )  # fmt: skip


def ended_json(ended: Ended) -> dict[str, object]:
    """Return how jobs have ended as JSON; times are in seconds, None without a completed one."""
    return {
        "completed": ended.completed, "failed": ended.failed, "refused": ended.refused,
        "late": ended.late, "failed_percent": round(ended.failed_percent, 2),
        "p50_s": round(ended.p50_s, 1) if ended.completed else None,
        "p95_s": round(ended.p95_s, 1) if ended.completed else None,
    }  # fmt: skip


def quantile(ordered: Sequence[float], share: float) -> float:
    """Return a quantile (nearest rank) of ordered values; 0 without any."""
    return ordered[min(int(share * len(ordered)), len(ordered) - 1)] if ordered else 0.0


def series_of(
    found: Iterable[Outcome], first: int, step: int, points: int
) -> dict[str, list[float | None]]:
    """Return series over points of ``step`` seconds, from number ``first`` on, by the time told.

    ``failed``, ``late`` and ``refused`` are in percent of the jobs that have ended or become late
    in a point, ``p50`` and ``p95`` in seconds to the asset; None where there were none.
    """
    each: list[list[Outcome]] = [[] for _ in range(points)]
    for one in found:
        place = int(one.at // step) - first
        if one.fate != "open" and 0 <= place < points:
            each[place].append(one)
    ends = [ended_of(some) for some in each]
    return {name: [of(end) for end in ends] for name, of in FIGURES.items()}


def _percent(count: int, end: Ended) -> float | None:
    return 100 * count / end.count if end.count else None


FIGURES: Mapping[str, Callable[[Ended], float | None]] = {
    "completed": lambda end: _percent(end.completed, end),
    "failed": lambda end: _percent(end.failed, end),
    "late": lambda end: _percent(end.late, end),
    "refused": lambda end: _percent(end.refused, end),
    "asset_p50": lambda end: end.p50_s if end.completed else None,
    "asset_p95": lambda end: end.p95_s if end.completed else None,
}
"""The figures of jobs: shares in percent, and seconds to the asset; None without a job."""
