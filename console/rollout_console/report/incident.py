"""Find an incident in history and log: its onset, its alert, its rollback, and when it drained."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from math import inf, nextafter
from pathlib import Path
from typing import Literal

import msgspec
from msgspec.structs import replace

from rollout_console.common.errors import Misused, OperationError
from rollout_console.common.folders import folder_of
from rollout_console.common.listing import counted
from rollout_console.guard.evidence.blame import FLOOR_ERRORS
from rollout_console.guard.evidence.e_process import episodes
from rollout_console.guard.evidence.previous import allowed_rate
from rollout_console.guard.evidence.verdict import (
    HOLDING,
    SIGNALS,
    WORDS,
    limit_of,
    mode_of,
    percent_words,
)
from rollout_console.guard.proof import QUIET_S
from rollout_console.health.log.record import AccessRecord
from rollout_console.health.log.time_range import LogReader
from rollout_console.health.windows.bins import NO_LIMIT_MS, Bin, Limits
from rollout_console.history.history import History
from rollout_console.history.rows import Change
from rollout_console.report.counting import Figures, FirstBad, Phase, Seconds
from rollout_console.report.job_ends import NO_JOB_ENDS, JobEnds, job_ends
from rollout_console.report.scope import (
    Scope,
    latest_rollback,
    rollback_named,
    rollback_near,
    scope_of,
)
from rollout_gate.file.model import ALWAYS_ASYNC, GuardSettings, RolloutFile

LOOK_BACK_S = 6 * 3600.0
"""How far before a rollback its first bad request is looked for."""
DRAINS_WITHIN_S = 3600.0
"""How long after a rollback the last TokenLab request is looked for."""
AROUND_S = 3600.0
MOST_S = 7 * 86_400.0
_LEAST_MARGIN_S = 300.0
_MOST_MARGIN_S = 3600.0
_STEPS_S = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600, 7200)
_MOST_STEPS = 90
_LEAST_CHARTED_S = 60.0
_BELONGS_S = 5.0
_BELONGS_SHARE = 2.0
_FINE_UP_TO_S = 8 * 3600.0
_COARSE_S = 10


Onset = Literal["bad", "rollback", "asked"]


class Asked(msgspec.Struct, frozen=True):
    """Which incident is meant: that of a rollback's revision, around a time, or since a time.

    Without any of them it is that of the latest rollback. Times are in epoch seconds; ``row`` is
    the id of a rollback's row.
    """

    revision: str = ""
    row: int = 0
    around: float | None = None
    since: float | None = None


class Tripped(msgspec.Struct, frozen=True):
    """When the lines of the log were evidence enough for a rollback, of which route and signal."""

    began_at: float
    at: float
    ended_at: float
    route: str
    signal: str
    words: str


class Incident(msgspec.Struct, frozen=True):
    """Everything that a report says; times are in epoch seconds.

    ``first_bad`` is None where no request of it was bad, ``alert`` where the guard's test had too
    little evidence. ``drained`` is proven where ``drained_at`` was followed by quiet; ``after`` are
    the requests that TokenLab still had. ``log_words`` say what is wrong with the log.
    ``begins_with`` is what it begins with: its first bad request, its first rollback, or what was
    asked for.
    """

    scope: Scope
    first_bad: FirstBad | None
    alert: Tripped | None
    signals: Sequence[str]
    after: int
    drained_at: float
    drained: bool
    figures: Figures
    changes: Sequence[Change]
    limits: GuardSettings
    file_name: str
    made_at: float
    log_words: Sequence[str]
    begins_with: Onset = "bad"
    jobs: JobEnds = NO_JOB_ENDS

    @property
    def phases(self) -> Sequence[Phase]:
        """Before, during and after."""
        return self.figures.phases

    @property
    def during(self) -> Phase:
        """From the first bad request to the last on TokenLab; see ``begins_with``."""
        return self.phases[1]

    @property
    def charted(self) -> Phase:
        """The stretch that the charts show: the incident, with a margin before and after it."""
        return charted(self.phases)

    @property
    def name(self) -> str:
        """A name for its files, which is the same each time it is reported."""
        at = self.during.begin if not self.scope.rollbacks else self.scope.last_at
        return f"incident-{datetime.fromtimestamp(at, UTC):%Y%m%dT%H%M%SZ}"


def charted(phases: Sequence[Phase]) -> Phase:
    """Return the stretch that charts of these phases show, no longer than all of them."""
    before, during, after = phases
    margin = max(2 * during.seconds, _LEAST_CHARTED_S)
    return Phase(
        "charted",
        max(before.begin, during.begin - margin),
        max(min(after.end, during.end + margin), during.begin + 1),
    )


class _Range(msgspec.Struct, frozen=True):
    """Where to look: from ``since`` to ``until``; ``fixed`` where it begins at ``since`` anyway."""

    since: float
    until: float
    fixed: bool = False


def find_incident(
    file: RolloutFile,
    path: Path,
    history: History,
    changes: Sequence[Change],
    asked: Asked,
    now: float,
    name: str = "",
) -> Incident:
    """Find the incident that is asked for; raises OperationError where there is none.

    ``name`` is how the file is called, where that is not the name at its path.

    ``changes`` are newest first. The log is read twice, in chunks: for the evidence, second by
    second, and for the figures of the stretch that it shows.
    """
    scope, looked = _where(history, path, changes, asked, now, name or path.name)
    if looked.until - looked.since > MOST_S:
        raise Misused("a report is of at most 7 days: give a later time")
    log = LogReader((folder_of(path) / file.access_log).absolute(), AccessRecord)
    limits = {name: _limits(_settings(file, name)) for name in file.routes}
    width = 1 if looked.until - looked.since <= _FINE_UP_TO_S else _COARSE_S
    seconds = Seconds(scope, limits, width)
    for records in log.between(looked.since, looked.until):
        seconds.add(records)
    tripped = _active(list(_tripped(file, seconds, width)), scope, file.guard.window_s)
    begin, begins_with = _begin(seconds, scope, tripped, looked)
    drained_at, drained = _drained(seconds, scope, log.last_at, looked.until)
    # The last request on TokenLab is of the incident, and the end of a phase is exclusive.
    end = nextafter(max(drained_at, begin), inf) if scope.rollbacks else looked.until
    margin = min(max(end - begin, _LEAST_MARGIN_S), _MOST_MARGIN_S)
    after = max(min(end + margin, scope.given_back_at, now), end)
    phases = (
        Phase("before", begin - margin, begin),
        Phase("during", begin, end),
        Phase("after", end, after),
    )
    signals = tuple(dict.fromkeys(one.signal for one in tripped))
    slow = limits if {"latency", "first_token"} & {*signals} else None
    figures = Figures(scope, phases, _step(charted(phases).seconds), slow)
    again = LogReader((folder_of(path) / file.access_log).absolute(), AccessRecord)
    for records in again.between(begin - margin, after):
        figures.add(records)
    jobs = job_ends(file, path, scope, phases[1], after)
    return Incident(
        scope=scope,
        first_bad=figures.first_bad,
        alert=min(tripped, key=lambda one: one.at, default=None),
        signals=signals,
        after=seconds.after,
        drained_at=drained_at,
        drained=drained,
        figures=figures,
        changes=_within(changes, begin - margin, after),
        limits=_limits_of(file, scope),
        file_name=name or path.name,
        made_at=now,
        log_words=_log_words(log, again, begin - margin) + ([jobs.trouble] if jobs.trouble else []),
        begins_with=begins_with,
        jobs=jobs,
    )


def _where(
    history: History, path: Path, changes: Sequence[Change], asked: Asked, now: float, name: str
) -> tuple[Scope, _Range]:
    """Return the scope, and the stretch of the log in which its incident is."""
    rollback: Change | None
    if asked.revision:
        rollback = rollback_named(changes, asked.revision)
    elif asked.row:
        rollback = next((one for one in changes if one.id == asked.row), None)
    elif asked.around is not None:
        rollback = rollback_near(changes, asked.around, AROUND_S)
        if rollback is None:
            half = AROUND_S / 2
            return Scope(), _Range(asked.around - half, min(asked.around + half, now))
    else:
        rollback = latest_rollback(changes)
        if rollback is not None and asked.since is not None:
            rollback = rollback if rollback.at.timestamp() >= asked.since else None
        if rollback is None and asked.since is not None:
            return Scope(), _Range(asked.since, now, fixed=True)
    if rollback is None:
        raise OperationError(
            f"no rollback is in the history of {name}: give --since or --around a time"
        )
    scope = scope_of(history, path, changes, rollback)
    since = scope.began_at - LOOK_BACK_S if asked.since is None else asked.since
    until = min(scope.last_at + DRAINS_WITHIN_S, scope.given_back_at, now)
    return scope, _Range(since, max(until, since), fixed=asked.since is not None)


def _tripped(file: RolloutFile, seconds: Seconds, width: int) -> Iterator[Tripped]:
    """Yield each episode in which the guard's test asked for a rollback, by route and signal."""
    previous = dict(seconds.of("previous"))
    for route, bins in seconds.of("tokenlab"):
        limits = _settings(file, route)
        for signal in SIGNALS:
            if signal in HOLDING or mode_of(limits, signal) == "observe" != limits.mode:
                continue
            limit = limit_of(limits, signal)
            for some in _stretches(bins, signal, limits.window_s):
                # As the guard saw it: what the traffic does there that was rolled back is later.
                begin, end = some[0].at - limits.window_s, some[-1].at
                theirs = _between(previous.get(route, ()), begin, end)
                p0 = max(limit, _allowed(theirs, signal, limit))
                yield from _episodes(route, signal, some, p0, width)


def _between(bins: Sequence[Bin], begin: float, end: float) -> Sequence[Bin]:
    """Return the bins from ``begin`` to ``end``, both included, of some in order of time."""
    first = bisect_left(bins, begin, key=lambda one: one.at)
    return bins[first : bisect_right(bins, end, key=lambda one: one.at)]


def _stretches(bins: Sequence[Bin], signal: str, quiet_s: float) -> Iterator[list[Bin]]:
    """Yield stretches from an error to the next quiet time: evidence is of one guard's window."""
    found: list[Bin] = []
    last = -inf
    for one in bins:
        if found and one.at - last > quiet_s:
            yield found
            found = []
        if one.errors(signal)[1]:
            last = one.at
        if found or last == one.at:
            found.append(one)
    if found:
        yield found


def _episodes(
    route: str, signal: str, bins: Sequence[Bin], p0: float, width: int
) -> Iterator[Tripped]:
    counts = [one.errors(signal) for one in bins]
    for one in episodes(counts, p0, FLOOR_ERRORS):
        some = counts[one.began : one.tripped + 1]
        requests, errors = sum(count for count, _ in some), sum(bad for _, bad in some)
        share = percent_words(100 * errors / max(requests, 1))
        yield Tripped(
            bins[_first_of(bins, counts, one.began, p0)].at,
            bins[one.tripped].at + width,
            bins[one.ended].at + width,
            route,
            signal,
            f"{WORDS[signal]} {share}, {errors} of {requests}, limit {100 * p0:.2g}%",
        )


def _first_of(bins: Sequence[Bin], counts: Sequence[tuple[int, int]], began: int, p0: float) -> int:
    """Return the bin of the first error of an episode: a few good answers may follow it.

    They reset the test's strongest alternative. An error shortly before belongs to the episode if
    the share of errors since is well over the limit; the usual errors of a busy route are not.
    """
    first, at, requests, errors = began, began - 1, 0, 0
    while at >= 0 and bins[first].at - bins[at].at <= _BELONGS_S:
        requests, errors = requests + counts[at][0], errors + counts[at][1]
        if counts[at][1] and errors >= _BELONGS_SHARE * p0 * requests:
            first = at
        at -= 1
    return first


def _allowed(previous: Sequence[Bin], signal: str, limit: float) -> float:
    """Return the error rate that the previous side's own rate allows, as the guard's test does."""
    counts = [one.errors(signal) for one in previous]
    requests, errors = sum(one for one, _ in counts), sum(bad for _, bad in counts)
    return allowed_rate(requests, errors, limit)


def _active(found: Sequence[Tripped], scope: Scope, window_s: float) -> list[Tripped]:
    """Return the episodes that a rollback ended, or that were over a window before at most."""
    if not scope.rollbacks:
        return list(found)
    return [
        one
        for one in found
        if one.began_at <= scope.last_at and one.ended_at >= scope.began_at - window_s
    ]


def _begin(
    seconds: Seconds, scope: Scope, tripped: Sequence[Tripped], looked: _Range
) -> tuple[float, Onset]:
    """Return the second of the first bad request: the onset, or one shortly before the rollback.

    Without one it is that of the rollback, or of what was asked for.
    """
    if tripped:
        onset = min(one.began_at for one in tripped)
        return (onset, "bad") if onset >= looked.since else (looked.since, "asked")
    if looked.fixed or not scope.rollbacks:
        return looked.since, "asked"
    first = scope.began_at - _LEAST_MARGIN_S
    bad = [
        one.at
        for _, bins in seconds.of("tokenlab")
        for one in bins
        if first <= one.at <= scope.began_at and _errors(one)
    ]
    return (min(bad), "bad") if bad else (scope.began_at, "rollback")


def _errors(one: Bin) -> int:
    return one.contract + one.auth + one.balance + one.rate_limit + one.gateway + one.bad


def _drained(seconds: Seconds, scope: Scope, last_at: float, until: float) -> tuple[float, bool]:
    """Return when the last TokenLab request came, and whether the log proves it was the last."""
    if not scope.rollbacks:
        return until, False
    at = seconds.last_after if seconds.after else scope.last_at
    quiet = min(last_at, until) - at
    longest = max(QUIET_S, seconds.slowest_s)  # a line is written at the end of a request
    return at, quiet >= longest and seconds.previous_after > scope.began_at


def _within(changes: Sequence[Change], begin: float, end: float) -> list[Change]:
    return [one for one in reversed(changes) if begin <= one.at.timestamp() <= end]


def _step(span_s: float) -> int:
    return next((one for one in _STEPS_S if span_s / one <= _MOST_STEPS), _STEPS_S[-1])


def _settings(file: RolloutFile, route: str) -> GuardSettings:
    """Return the limits of a route; of one of async jobs how long a create takes has none."""
    found = file.routes.get(route)
    if found is None:
        return file.guard
    is_async = found.format in ALWAYS_ASYNC
    return replace(found.guard, max_p95_ms=NO_LIMIT_MS) if is_async else found.guard


def _limits(settings: GuardSettings) -> Limits:
    return Limits(settings.max_p95_ms, settings.max_ttft_p95_ms)


def _limits_of(file: RolloutFile, scope: Scope) -> GuardSettings:
    routes = {cut.route for cut in scope.cuts}
    return _settings(file, str(routes.pop())) if len(routes) == 1 else file.guard


def _log_words(
    log: LogReader[AccessRecord], again: LogReader[AccessRecord], wanted: float
) -> list[str]:
    """Return what limits the figures: an error, unusable lines, or a log that begins later."""
    words = list(dict.fromkeys(one.trouble for one in (log, again) if one.trouble))
    if again.begins_at > wanted + _LEAST_MARGIN_S / 5:
        at = datetime.fromtimestamp(again.begins_at, UTC)
        words.append(f"the log has no line from before {at:%Y-%m-%d %H:%M:%S}Z")
    unusable = again.unusable
    if unusable.lines:
        words.append(f"{counted(unusable.lines, 'line')} of the log cannot be used: {unusable.why}")
    return words
