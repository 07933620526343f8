"""Whether the previous provider is failing as well: the limit it raises, the warning at a rollback.

An outage on both sides is not to be blamed on TokenLab. The limit is raised by what the previous
side does over the window, and where that is another rate by what it does in the very stretch that
evidence against TokenLab rests on: of an outage that has just begun the window is mostly the time
before it, and one that is over is in the window yet.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from rollout_console.guard.evidence.e_process import Evidence, evidence, stretches
from rollout_console.guard.evidence.verdict import percent_words
from rollout_console.guard.evidence.wilson import (
    clean_requests_needed,
    wilson_lower,
    wilson_upper,
)
from rollout_console.health.windows.bins import Bin
from rollout_console.health.windows.summary import Summary
from rollout_gate.file.model import GuardSettings

LIVE_FROM = 10
"""With fewer requests in the window, the previous side's error rate is not used."""
MARGIN = 0.01
"""One percentage point on top of the upper bound, as the design has it."""
MOST = 0.99
"""The highest rate that is allowed."""
ERRORS = 3
"""Errors in a stretch from which on it may be worse than the window; fewer, if all of it failed."""
_MOST_TIMES = 4
"""Limit of how often a limit is raised by a stretch of the evidence that the last one left."""


def allowed_rate(requests: int, errors: int, limit: float) -> float:
    """Return the error rate, 0 to 0.99, that the previous side's own counts allow TokenLab.

    It is the one-sided 95% upper Wilson bound of the previous side's rate plus MARGIN, where that
    rate is known: proven to be over ``limit`` (0 to 1, not included), or of so many requests that
    without an error the bound would be at the limit. Of fewer the bound is high by itself (12% for
    20 without an error), and it would hide what fails on TokenLab alone: then it is 0.
    """
    if requests < LIVE_FROM:
        return 0.0
    if not is_over(requests, errors, limit) and requests < clean_requests_needed(limit):
        return 0.0
    return _bound(requests, errors)


def _bound(requests: int, errors: int) -> float:
    return min(wilson_upper(errors, requests) + MARGIN, MOST)


def is_worse(some: tuple[int, int], other: tuple[int, int]) -> bool:
    """Return whether the error rate of ``some`` is proven to be higher: the intervals are disjoint.

    Both are requests and errors among them.
    """
    return wilson_lower(some[1], some[0]) > wilson_upper(other[1], other[0])


def fails_too(requests: int, errors: int) -> bool:
    """Return whether errors of few requests may say something: they are several, or all of these.

    One among others is chance. One that is alone says that the side fails, until the next is well.
    """
    return errors >= ERRORS or 0 < errors == requests


def is_over(requests: int, errors: int, limit: float) -> bool:
    """Return whether an error rate is proven to be over a limit: by its lower bound."""
    return wilson_lower(errors, requests) > limit


class Previous(NamedTuple):
    """The previous side of a route, or of one org there, over a window and in stretches of it.

    ``every`` are its counts of the window, None without any, and ``bins`` returns the same by time;
    where it returns none, the window alone counts. With ``if_over`` a rate of the window counts
    only where it is proven to be over the limit: that of an org, which is one of many.
    """

    every: Bin | None
    bins: Callable[[], Sequence[Bin]] = tuple
    if_over: bool = False

    def allowed(self, signal: str, limit: float) -> float:
        """Return the error rate that the window allows TokenLab; 0 where it says nothing."""
        if self.every is None:
            return 0.0
        counts = self.every.errors(signal)
        if self.if_over and not is_over(*counts, limit):
            return 0.0
        return allowed_rate(*counts, limit)

    def since(self, at: float, signal: str) -> tuple[int, int]:
        """Return the requests and the errors since a time (epoch seconds)."""
        counts = [one.errors(signal) for one in self.bins() if one.at >= at]
        return sum(count for count, _ in counts), sum(bad for _, bad in counts)

    def allowed_if_worse(self, at: float, signal: str) -> float:
        """Return the rate that the stretch since a time allows, if it is proven worse; else 0.

        Few requests raise nothing by their wide interval: they must have failed.
        """
        if self.every is None:
            return 0.0
        some = self.since(at, signal)
        is_higher = fails_too(*some) and is_worse(some, self.every.errors(signal))
        return _bound(*some) if is_higher else 0.0

    def allowed_if_better(self, at: float, signal: str, limit: float) -> float:
        """Return the rate that the stretch since a time allows, if it is proven better.

        Otherwise it is that of the window.
        """
        if self.every is None:
            return 0.0
        some = self.since(at, signal)
        is_lower = is_worse(self.every.errors(signal), some)
        return _bound(*some) if is_lower else self.allowed(signal, limit)

    def well_since(self, signal: str) -> list[int]:
        """Return the start of the bin after the last one with an error, as a list; or nothing."""
        bins = self.bins()
        last = next((i for i in reversed(range(len(bins))) if bins[i].errors(signal)[1]), None)
        return [] if last is None or last + 1 == len(bins) else [bins[last + 1].at]


class Weighed(NamedTuple):
    """The evidence against TokenLab, the error rate that it is allowed, and the counts by bin.

    Bins that do not count, as they are from before the stretch that is judged, are (0, 0).
    """

    found: Evidence
    p0: float
    counts: Sequence[tuple[int, int]]


def weighed(
    bins: Sequence[Bin],
    signal: str,
    limit: float,
    previous: Sequence[Previous],
    threshold: float,
    width_s: int = 1,
) -> Weighed:
    """Return the evidence that TokenLab's errors are over a limit, and over what the others allow.

    What trips by the window's limit has to do so by that of its own stretches, too, where
    ``previous`` is proven worse in one of them. What does not trip, as the window raised the limit,
    does so by a stretch in which ``previous`` is proven better: TokenLab's requests of that one
    alone. ``width_s`` is the width of the source's counts: of one onset those of two sides may be
    as far apart.
    """
    counts = [one.errors(signal) for one in bins]
    allowed = max([limit, *(one.allowed(signal, limit) for one in previous)])

    def raised(counts: Sequence[tuple[int, int]], p0: float) -> Weighed:
        found = evidence(counts, p0, threshold)
        for _ in range(_MOST_TIMES):
            if not found.tripped:
                break
            # The bin of the onset has what came before it, too: the next one is looked at as well.
            first = stretches(counts, p0, threshold)
            begin = {one.at - width_s + 1 for at in first for one in bins[at : at + 2]}
            worse = [one.allowed_if_worse(at, signal) for one in previous for at in begin]
            if max(worse, default=0.0) <= p0:
                break
            p0 = max(worse)
            found = evidence(counts, p0, threshold)
        return Weighed(found, p0, counts)

    found = raised(counts, allowed)
    if found.found.tripped or allowed <= limit or not evidence(counts, limit, threshold).tripped:
        return found
    begin = {bins[at].at for at in stretches(counts, limit, threshold)}
    for at in sorted(begin.union(*(one.well_since(signal) for one in previous))):
        p0 = max([limit, *(one.allowed_if_better(at, signal, limit) for one in previous)])
        if p0 < allowed:
            since = [n if one.at >= at else (0, 0) for one, n in zip(bins, counts, strict=True)]
            anew = raised(since, p0)
            if anew.found.tripped:
                return anew
    return found


def failing_words(summary: Summary, limits: GuardSettings, *, as_well: bool = True) -> str:
    """Return how the previous provider is failing, by its figures of a window; empty if it is not.

    An error rate counts only where its lower Wilson bound is over the limit; p95 from 20 requests
    on. ``as_well`` is whether TokenLab fails, too.
    """
    requests, too = summary.judged, " as well" if as_well else ""
    for word, percent, limit in (
        ("5xx", summary.percent_5xx, limits.max_5xx_percent),
        ("4xx", summary.percent_4xx, limits.max_4xx_percent),
        ("429", summary.percent_429, limits.max_429_percent),
        ("bad answers", summary.percent_bad, limits.max_bad_percent),
    ):
        errors = round(percent * requests / 100)
        if is_over(requests, errors, limit / 100):
            figures = f"{word} {percent_words(percent)} of {requests}"
            return f"the previous provider is failing{too}: {figures}"
    for word, value, limit_ms in (
        ("p95", summary.p95, limits.max_p95_ms),
        ("first token p95", summary.ttft_p95, limits.max_ttft_p95_ms),
    ):
        if value is not None and value > limit_ms and requests >= 20:
            return f"the previous provider is slow{too}: {word} {value:.0f} ms of {requests}"
    return ""
