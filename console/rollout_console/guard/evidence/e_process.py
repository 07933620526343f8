"""A restarting mixture e-process over error counts: the evidence of a sequence of time bins.

It is an anytime-valid sequential test: evaluating it repeatedly (optional stopping) does not raise
the rate of false alarms. Source: e-detectors, Shin, Ramdas and Rinaldo, 2023; the mixture and the
threshold are those of the design.
"""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from math import ceil, exp, inf, log
from sys import maxsize
from typing import NamedTuple

FACTORS = (1.5, 2.0, 3.0, 5.0, 10.0)
HIGH = (0.5, 0.9)
THRESHOLD = 1e4

_CEILING = 10
"""Cap on one alternative's evidence, in thresholds, so that it decays soon after a long incident
ends."""


class Evidence(NamedTuple):
    """The evidence after the last bin (``value``), and the counts that it rests on.

    ``requests`` and ``errors`` are counted since the last restart, and ``since`` is the index of
    the bin in which the e-process left its floor; -1 where it is at the floor.
    """

    value: float
    requests: int
    errors: int
    since: int
    threshold: float = THRESHOLD

    @property
    def tripped(self) -> bool:
        """Whether the evidence has reached the threshold."""
        return self.value >= self.threshold


class Episode(NamedTuple):
    """A stretch of bins whose evidence reached the threshold, by the indices of its bins.

    ``began`` is the change point: where the alternative that was strongest when the threshold was
    reached, at ``tripped``, had left its floor. ``ended`` is the last bin with an error off the
    floor.
    """

    began: int
    tripped: int
    ended: int


class _Table(NamedTuple):
    """For each alternative, the log likelihood ratios of one error and of one success."""

    floor: float
    steps: tuple[tuple[float, float], ...]


def evidence(bins: Iterable[tuple[int, int]], p0: float, threshold: float = THRESHOLD) -> Evidence:
    """Return the evidence that the error rate is above ``p0`` (above 0, below 1).

    ``bins`` are pairs of requests and errors among them, of consecutive bins, oldest first. It is
    a pure function of these, so every process with the same bins has the same evidence. Where one
    of many streams is to be found, ``threshold`` (1 or more) is THRESHOLD times their number.
    """
    floor, steps = _table(p0)
    if not steps:  # from a p0 of 0.9 on there is no alternative to test
        return Evidence(0.0, 0, 0, -1, threshold)
    ceiling = log(_CEILING * threshold)
    at_rest = [floor] * len(steps)
    state = at_rest
    downs = [down for _, down in steps]
    requests = errors = 0
    since = -1
    # The inner loop of every verdict, so without calls: min and max would double its time.
    for index, (count, bad) in enumerate(bins):
        if bad:
            good = count - bad
            since = index if since < 0 else since
            raised = [
                (before if before > floor else floor) + bad * up + good * down
                for before, (up, down) in zip(state, steps, strict=True)
            ]
            state = [value if value < ceiling else ceiling for value in raised]
        elif since < 0:
            continue  # fast path: the usual bin of a healthy route
        else:  # successes alone only lower it
            state = [
                (before if before > floor else floor) + count * down
                for before, down in zip(state, downs, strict=True)
            ]
        if max(state) <= floor:
            state, since, requests, errors = at_rest, -1, 0, 0
            continue
        requests += count
        errors += bad
    return Evidence(sum(map(exp, state)), requests, errors, since, threshold)


def strongest_since(bins: Sequence[tuple[int, int]], p0: float) -> int:
    """Return the index of the bin in which the strongest alternative last left its floor.

    It is the change point as the test sees it: where the error rate began to be what it is now.
    -1 where every alternative is at the floor.
    """
    best, found = _table(p0).floor, -1
    for state, since in _alternatives(bins, p0, THRESHOLD):
        if state > best:
            best, found = state, since
    return found


def stretches(bins: Sequence[tuple[int, int]], p0: float, threshold: float) -> list[int]:
    """Return the indices of the bins in which the stretches begin that the evidence rests on.

    Each alternative that has reached the threshold by itself has one, which goes on to the end;
    where none has, it is that of the strongest.
    """
    each = _alternatives(bins, p0, threshold)
    enough = min(log(threshold), max((state for state, _ in each), default=inf))
    return sorted({since for state, since in each if since >= 0 and state >= enough})


def _alternatives(
    bins: Sequence[tuple[int, int]], p0: float, threshold: float
) -> list[tuple[float, int]]:
    """Return the log evidence of each alternative, and the bin in which it last left its floor."""
    floor, steps = _table(p0)
    ceiling, found = log(_CEILING * threshold), []
    for up, down in steps:
        state, since = floor, -1
        for index, (count, bad) in enumerate(bins):
            if state <= floor:
                if not bad:
                    continue
                state, since = floor, index
            state = min(state + bad * up + (count - bad) * down, ceiling)
        found.append((state, since))
    return found


def episodes(bins: Iterable[tuple[int, int]], p0: float, least_errors: int = 1) -> list[Episode]:
    """Return every episode of a sequence of bins, oldest first, in one pass over it.

    Before ``least_errors`` errors the threshold does not count as reached. Each alternative is
    restarted by itself, as in ``evidence``; an episode ends where all of them are at the floor.
    """
    floor, steps = _table(p0)
    ceiling = log(_CEILING * THRESHOLD)
    state, since = [floor] * len(steps), [-1] * len(steps)
    errors = 0
    began = tripped = last = -1
    found = []
    for index, (count, bad) in enumerate(bins):
        if errors == 0 and not bad:
            continue  # fast path: the usual bin of a healthy route
        errors += bad
        for at, (up, down) in enumerate(steps):
            if state[at] <= floor:
                since[at] = index
            raised = min(max(state[at], floor) + bad * up + (count - bad) * down, ceiling)
            state[at] = max(raised, floor)
        if max(state, default=floor) <= floor:
            if tripped >= 0:
                found.append(Episode(began, tripped, last))
            errors, tripped = 0, -1
            continue
        last = index if bad else last
        if tripped < 0 and errors >= least_errors and sum(map(exp, state)) >= THRESHOLD:
            began, tripped = since[state.index(max(state))], index
    if tripped >= 0:
        found.append(Episode(began, tripped, last))
    return found


@lru_cache(maxsize=4096)
def log_ratio(errors: float, good: float, p0: float) -> float:
    """Return the log likelihood ratio of the mixture to ``p0`` for counts of one stretch of time.

    There is no restart in it: what is compared are two explanations of the same requests.
    """
    floor, steps = _table(p0)
    if not steps:
        return 0.0
    each = [errors * up + good * down for up, down in steps]
    most = max(each)
    return floor + most + log(sum(exp(one - most) for one in each))


def errors_needed(p0: float, threshold: float = THRESHOLD) -> int:
    """Return how many errors in a row reach a threshold: with fewer no stream can."""
    _, steps = _table(p0)
    return ceil(log(threshold) / max(up for up, _ in steps)) if steps else maxsize


@lru_cache(maxsize=4096)
def _table(p0: float) -> _Table:
    rates = [q for q in (*(factor * p0 for factor in FACTORS), *HIGH) if p0 < q < 1]
    steps = tuple((log(q / p0), log((1 - q) / (1 - p0))) for q in rates)
    return _Table(-log(len(steps)) if steps else inf, steps)
