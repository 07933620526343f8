"""Count the requests of an incident: by second for its evidence, by phase for its figures."""

from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import inf

import msgspec

from rollout_console.guard.proof import SLOWEST_OF_S
from rollout_console.health.log.record import AccessRecord, StatusClass
from rollout_console.health.windows.bins import Bin, Limits, bin_of, buckets_of
from rollout_console.health.windows.codes import BUCKET, CODES, code_of, measurements, repetition
from rollout_console.health.windows.summary import Summary, summarize
from rollout_console.health.windows.top_errors import MOST_ERROR, MOST_ID
from rollout_console.report.scope import Scope

SIDES = ("tokenlab", "previous")
IDS = 5
"""Request ids that are kept of an error: its first and its last ones, so many of each."""
OTHER = "(other errors)"
SLOW = "(slow)"
_MOST_KEYS = 2_000
_MOST_ORGS = 20_000
_FIRST = (None, 0, 1)

Codes = Counter[int]
ErrorKey = tuple[str, str, int, str]
"""Side, route, status and error."""


def is_bad(record: AccessRecord) -> bool:
    """Return whether a request failed: answered by an error, cut, or empty; slow ones did not."""
    return record.status_class not in (StatusClass.OK, StatusClass.ABANDONED)


class Seconds:
    """Counts bins of ``width_s`` seconds by route and side, of one scope, in bounded memory.

    ``after`` counts the requests on TokenLab since what they are of was rolled back, operations
    that are no generation among them: traffic has drained when none of them come any more.
    ``slowest_s`` is the longest that one took, also shortly before, in seconds.
    """

    def __init__(self, scope: Scope, limits: Mapping[str, Limits], width_s: int) -> None:
        self._scope = scope
        self._limits = limits
        self._width_s = width_s
        self._bins: dict[tuple[str, str], dict[int, Bin]] = {}
        self.after = 0
        self.last_after = -inf
        self.previous_after = -inf
        self.slowest_s = 0.0
        self._cuts: dict[tuple[str, str], float | None] = {}

    def add(self, records: Iterable[AccessRecord]) -> None:
        """Count records: by code first, as most of a chunk's have the same few."""
        found: dict[tuple[str, str, int], list[int]] = {}
        cut_at, width = self._cut_at, self._width_s
        for record in records:
            cut = cut_at(record.route, record.org)
            if cut is None:
                continue
            at, side = record.ts.timestamp(), record.side
            if at > cut:
                self._follow(side, at)
            if at > cut - SLOWEST_OF_S and side == "tokenlab":
                self.slowest_s = max(self.slowest_s, record.latency_ms / 1000)
            if record.operation is None:
                codes = found.setdefault((record.route, side, int(at // width) * width), [])
                codes += codes_of(record)
        for (route, of_side, at_s), codes in found.items():
            limits = buckets_of(self._limits.get(route, _NO_LIMITS))
            one = bin_of(at_s, Counter(codes), limits)
            if one is not None:
                bins = self._bins.setdefault((route, of_side), {})
                bins[at_s] = one if at_s not in bins else _plus(bins[at_s], one)

    def _follow(self, side: str, at: float) -> None:
        if side == "previous":
            self.previous_after = max(self.previous_after, at)
        else:
            self.after += 1
            self.last_after = max(self.last_after, at)

    def _cut_at(self, route: str, org: str) -> float | None:
        """Return when an org's requests were cut off, inf where they were not; None: not of it."""
        key = route, org
        if key not in self._cuts:
            if len(self._cuts) >= _MOST_ORGS:
                self._cuts.clear()
            scope = self._scope
            self._cuts[key] = scope.cut_at(route, org) if scope.covers(route, org) else None
        return self._cuts[key]

    def of(self, side: str) -> Iterator[tuple[str, list[Bin]]]:
        """Yield each route with its bins on a side, oldest first."""
        for (route, of_side), bins in self._bins.items():
            if of_side == side:
                yield route, [bins[at] for at in sorted(bins)]


class FirstBad(msgspec.Struct, frozen=True):
    """The first bad request of an incident; ``at`` is in epoch seconds."""

    at: float
    route: str
    org: str
    status: int
    error: str
    request_id: str


class _Error(msgspec.Struct):
    count: int = 0
    first_at: float = inf
    last_at: float = -inf
    orgs: Counter[str] = msgspec.field(default_factory=Counter)
    first_ids: list[str] = msgspec.field(default_factory=list)
    last_ids: deque[str] = msgspec.field(default_factory=lambda: deque(maxlen=IDS))


class Error(msgspec.Struct, frozen=True):
    """One error of the incident: how often, when, whose, and request ids to give to support."""

    side: str
    route: str
    status: int
    error: str
    count: int
    first_at: float
    last_at: float
    orgs: Sequence[str]
    request_ids: Sequence[str]


class Phase(msgspec.Struct, frozen=True):
    """A stretch of the incident: before, during or after; times in epoch seconds."""

    name: str
    begin: float
    end: float

    @property
    def seconds(self) -> float:
        """How long it is."""
        return max(self.end - self.begin, 0.0)


class Figures:
    """Counts the requests of the scope by phase, minute and chart step, and the errors during it.

    Memory is bounded by the length of the incident and the routes in it; of errors and orgs the
    first so many different ones have an entry of their own. With ``slow``, limits by route, an
    answer that was slower counts as bad: for an incident of latency.
    """

    def __init__(
        self,
        scope: Scope,
        phases: Sequence[Phase],
        step_s: int,
        slow: Mapping[str, Limits] | None = None,
    ) -> None:
        self._scope = scope
        self._slow = slow
        self.phases = phases
        self.step_s = step_s
        self._during = next(one for one in phases if one.name == "during")
        self._by_phase: dict[tuple[str, str], Codes] = {}
        self._by_minute: dict[tuple[int, str, str], Codes] = {}
        self._by_step: dict[tuple[int, str], Codes] = {}
        self._errors: dict[ErrorKey, _Error] = {}
        self._orgs: dict[str, list[int]] = {}
        self.first_bad: FirstBad | None = None

    def add(self, records: Iterable[AccessRecord]) -> None:
        """Count records of any order."""
        during, steps = self._during, self.step_s
        for record in records:
            if record.operation is not None or not self._scope.covers(record.route, record.org):
                continue
            at, side = record.at, record.side
            phase = next((one.name for one in self.phases if one.begin <= at < one.end), None)
            if phase is None:
                continue
            minute, step, codes = int(at // 60) * 60, int(at // steps) * steps, codes_of(record)
            self._by_phase.setdefault((phase, side), Counter()).update(codes)
            self._by_minute.setdefault((minute, record.route, side), Counter()).update(codes)
            self._by_step.setdefault((step, side), Counter()).update(codes)
            if during.begin <= at < during.end:
                self._note(record, at)

    def _note(self, record: AccessRecord, at: float) -> None:
        slow = not is_bad(record) and self._is_slow(record)
        bad = slow or is_bad(record)
        if record.side == "tokenlab":
            org = record.org if record.org in self._orgs or len(self._orgs) < _MOST_ORGS else ""
            counts = self._orgs.setdefault(org, [0, 0])
            counts[0] += record.status_class is not StatusClass.ABANDONED
            counts[1] += bad
        if not bad:
            return
        error = SLOW if slow else (record.error or "")[:MOST_ERROR]
        request_id = (record.request_id or "")[:MOST_ID]
        key = record.side, record.route, record.status, error
        if key not in self._errors and len(self._errors) >= _MOST_KEYS:
            key = record.side, "", 0, OTHER
        one = self._errors.setdefault(key, _Error())
        one.count += 1
        one.first_at, one.last_at = min(one.first_at, at), max(one.last_at, at)
        if record.org in one.orgs or len(one.orgs) < _MOST_ORGS:
            one.orgs[record.org] += 1
        if request_id:
            if len(one.first_ids) < IDS:
                one.first_ids.append(request_id)
            else:
                one.last_ids.append(request_id)
        if record.side == "tokenlab" and (self.first_bad is None or at < self.first_bad.at):
            self.first_bad = FirstBad(
                at, record.route, record.org, record.status, error, request_id
            )

    def _is_slow(self, record: AccessRecord) -> bool:
        if self._slow is None or record.status_class is not StatusClass.OK:
            return False
        limits = self._slow.get(record.route, _NO_LIMITS)
        return record.latency_ms > limits.slow_ms or (record.ttft_ms or 0.0) > limits.late_ms

    def summary(self, phase: Phase, side: str) -> Summary:
        """Return the figures of a phase on a side."""
        codes = self._by_phase.get((phase.name, side), Counter())
        return summarize(codes, max(phase.seconds, 1.0), None)

    def steps(self, side: str) -> Iterator[tuple[int, Summary]]:
        """Yield the figures of each step of the charts that has a request, oldest first."""
        for (at, of_side), codes in sorted(self._by_step.items(), key=lambda one: one[0]):
            if of_side == side:
                yield at, summarize(codes, self.step_s, None)

    def minutes(self) -> Iterator[tuple[int, str, str, Summary]]:
        """Yield the figures of each minute, route and side that has a request, oldest first."""
        for (at, route, side), codes in sorted(self._by_minute.items(), key=lambda one: one[0]):
            yield at, route, side, summarize(codes, 60, None)

    def errors(self, side: str) -> list[Error]:
        """Return the errors of a side during the incident, the most frequent first."""
        found = [
            Error(
                *key, one.count, one.first_at, one.last_at,
                [org for org, _ in one.orgs.most_common()], [*one.first_ids, *one.last_ids],
            )
            for key, one in self._errors.items()
            if key[0] == side
        ]  # fmt: skip
        return sorted(found, key=lambda one: (-one.count, one.route, one.status, one.error))

    def orgs(self) -> list[tuple[str, int, int]]:
        """Return the orgs with a bad request on TokenLab: requests and bad ones, most first.

        Those that the application left, or never sent, do not count.
        """
        found = [(org, count, bad) for org, (count, bad) in self._orgs.items() if bad]
        return sorted(found, key=lambda one: (-one[2], one[0]))


_NO_LIMITS = Limits(inf, inf)


def codes_of(record: AccessRecord) -> list[int]:
    """Return a record's codes as the windows count it: a report has the figures of the screens."""
    outcome = record.outcome
    # Fast path: nearly always the status alone decides on the code.
    if outcome == "ok":
        plain = record.finish_reason != "length" and not record.cached
    else:
        plain = outcome is None and record.error is None
    found = [CODES[record.status][BUCKET[record.latency_ms]] if plain else code_of(record)]
    if record.ttft_ms is not None or outcome == "abandoned":
        found += measurements(record)
    if record.attempt not in _FIRST:
        found.append(repetition(record))
    return found


def _plus(one: Bin, other: Bin) -> Bin:
    return Bin(one.at, *(a + b for a, b in zip(one[1:], other[1:], strict=True)))
