"""Counts of one process in memory: snapshots of them become the families of prometheus-client.

They are no metrics of prometheus-client, which keeps a lock and a float object for each bucket: of
1,000 orgs that is fifteen times the memory, and a scrape would hold up requests.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from itertools import accumulate
from typing import TYPE_CHECKING

from rollout_gate.metrics.counted import BUCKETS_S, Counted
from rollout_gate.metrics.families import Family, Operation, State
from rollout_gate.metrics.watching import FORK_SAFE, Whose

if TYPE_CHECKING:  # not at run time: it is an extra, and imported once metrics are made
    from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
    from prometheus_client.metrics_core import Metric

_LE = (*(str(one) for one in BUCKETS_S), "+Inf")


class _Distribution:
    """A histogram: how many values are in each bucket, and their sum."""

    __slots__ = ("counts", "sum_s")

    def __init__(self) -> None:
        self.counts = [0] * len(_LE)
        self.sum_s = 0.0

    def observe(self, seconds: float) -> None:
        """Count a value; one on a bound is in the bucket below it."""
        self.counts[bisect_left(BUCKETS_S, seconds)] += 1
        self.sum_s += seconds


class _Sums:
    """What is counted of one route, org and side."""

    __slots__ = ("duration", "first_token", "kinds", "repeated")

    def __init__(self) -> None:
        self.kinds: dict[tuple[str, str], int] = {}
        self.repeated = 0
        self.duration: dict[str, _Distribution] = {}
        self.first_token: _Distribution | None = None


class MemoryCounts:
    """Counts in memory; ``state`` is asked at each scrape for what the gates decide by."""

    def __init__(self, state: Callable[[], State]) -> None:
        self._state = state
        self._sums: dict[Whose, _Sums] = {}
        self._operations: Counter[Operation] = Counter()

    def add(self, whose: Whose, facts: Counted) -> None:
        """Count a generation; the caller holds the lock."""
        sums = self._sums.get(whose)
        if sums is None:
            sums = self._sums[whose] = _Sums()
        kind = (facts.status_class, facts.outcome)
        sums.kinds[kind] = sums.kinds.get(kind, 0) + 1
        sums.repeated += facts.is_repeated
        if facts.duration_s is not None:
            duration = sums.duration.get(facts.status_class)
            if duration is None:
                duration = sums.duration[facts.status_class] = _Distribution()
            duration.observe(facts.duration_s)
        if facts.first_token_s is not None:
            if sums.first_token is None:
                sums.first_token = _Distribution()
            sums.first_token.observe(facts.first_token_s)

    def add_operation(self, operation: Operation) -> None:
        """Count an operation; the caller holds the lock."""
        self._operations[operation] += 1

    def changed(self) -> None:
        """Do nothing: the state is asked for at each scrape."""

    def families(self) -> "Iterator[Metric]":
        """Return the families; the lock is held for the moment that each series takes."""
        requests, repeated = Family.REQUESTS.counter(), Family.REPEATED.counter()
        durations, first_tokens = Family.DURATION.histogram(), Family.FIRST_TOKEN.histogram()
        for whose in list(self._sums):
            with FORK_SAFE.lock:
                sums = self._sums[whose]
                kinds, again = list(sums.kinds.items()), sums.repeated
                timed = [(name, _copied(one)) for name, one in sums.duration.items()]
                first_token = _copied(sums.first_token)
            for kind, count in kinds:
                requests.add_metric((*whose, *kind), count)
            if again:
                repeated.add_metric(whose, again)
            for status_class, duration in timed:
                _add(durations, (*whose, status_class), duration)
            _add(first_tokens, whose, first_token)
        yield from (requests, repeated, durations, first_tokens, self._operation_family())
        revisions, trouble = self._state()
        yield Family.REVISION.gauge(revisions)
        yield Family.TROUBLE.gauge({(): float(trouble)})

    def _operation_family(self) -> "CounterMetricFamily":
        found = Family.OPERATIONS.counter()
        with FORK_SAFE.lock:
            counts = list(self._operations.items())
        for operation, count in counts:
            found.add_metric(operation, count)
        return found


def _copied(one: _Distribution | None) -> tuple[list[int], float] | None:
    return None if one is None else (one.counts.copy(), one.sum_s)


def _add(
    family: "HistogramMetricFamily", labels: Iterable[str], found: tuple[list[int], float] | None
) -> None:
    if found is not None:
        counts, total = found
        family.add_metric(list(labels), list(zip(_LE, accumulate(counts), strict=True)), total)
