"""The figures that a rollback is decided by: TokenLab now, and the side that it leads back to."""

from collections.abc import Sequence

from rollout_console.changes.plan import ALL_ORGS, Target
from rollout_console.common.durations import brief_seconds, seconds_text, target_text
from rollout_console.common.safe_text import visible
from rollout_console.guard.evidence.verdict import percent_words
from rollout_console.guard.monitor import Monitor
from rollout_console.health.log.record import StatusClass
from rollout_console.health.windows.summary import Summary
from rollout_gate.file.model import Side

MOST_COMPARED = 200
"""Limit of the targets of one rollback that are compared; a confirm must not wait for more."""


def rollback_figures(monitor: Monitor, targets: Sequence[Target], now: float) -> tuple[str, str]:
    """Return a line on TokenLab and a line on the previous side; of several targets, the worst.

    Computed from what is in memory, over the guard's window of each route. ``now`` is in epoch
    seconds.
    """
    some = [(route, None if org == ALL_ORGS else org) for route, org in targets[:MOST_COMPARED]]
    ours = [(one, monitor.summary(*one, "tokenlab", now)) for one in some]
    theirs = [(one, monitor.summary(*one, "previous", now)) for one in some]
    return _tokenlab(monitor, ours, now), _previous(monitor, theirs, now)


def _tokenlab(monitor: Monitor, found: Sequence[tuple[Target, Summary]], now: float) -> str:
    seen = [one for one in found if one[1].requests]
    if not seen:
        return f"now on TokenLab: no requests in {_window(monitor, found)}"
    target, worst = max(seen, key=_badness)
    errors = worst.by_class[StatusClass.GATEWAY]
    window = seconds_text(monitor.window_s(target[0]))
    more = ""
    if worst.percent_4xx > worst.percent_5xx:
        more = f", 4xx {percent_words(worst.percent_4xx)}"
    return (
        f"now on TokenLab{_of(target, found)}: {worst.rate_per_s:.1f} req/s,"
        f" 5xx {percent_words(worst.percent_5xx)} ({errors:,} of {worst.judged:,} in {window})"
        f"{more}{_time(monitor, target, 'tokenlab', worst, now)}"
    )


def _previous(monitor: Monitor, found: Sequence[tuple[Target, Summary]], now: float) -> str:
    seen = [one for one in found if one[1].requests]
    if not seen:
        window = _window(monitor, found)
        return f"previous side: no requests seen in {window}: nothing is known of it"
    target, worst = max(seen, key=_badness)
    unknown = len(found) - len(seen)
    return (
        f"previous side{_of(target, found)}: {worst.rate_per_s:.1f} req/s,"
        f" 5xx {percent_words(worst.percent_5xx)}{_time(monitor, target, 'previous', worst, now)}"
        + (f"; nothing is known of {unknown}" if unknown else "")
    )


def _badness(one: tuple[Target, Summary]) -> tuple[float, int]:
    _, summary = one
    return summary.percent_errors, summary.requests


def _of(target: Target, found: Sequence[tuple[Target, Summary]]) -> str:
    """Name the target that the figures are of, where there are several."""
    return "" if len(found) == 1 else f", worst of {len(found)}: {visible(target_text(*target))}"


def _window(monitor: Monitor, found: Sequence[tuple[Target, Summary]]) -> str:
    """Return the shortest window in words: each target was without requests for so long."""
    return seconds_text(min(monitor.window_s(route) for (route, _), _ in found))


def _time(monitor: Monitor, target: Target, side: Side, summary: Summary, now: float) -> str:
    """Return the p95 of the answers; of async jobs, how they end, and the p95 to the asset."""
    route, org = target
    if route is None or not monitor.is_async(route):
        return "" if summary.p95 is None else f", p95 {summary.p95:.0f} ms"
    ended = monitor.job_verdicts.ended(route, org, side, now)
    if ended is None or not ended.count:
        return ", no job ended in an hour"
    p95 = f", asset p95 {brief_seconds(ended.p95_s)}" if ended.completed else ""
    return f", jobs failed {percent_words(ended.failed_percent)} of {ended.count:,} in an hour{p95}"
