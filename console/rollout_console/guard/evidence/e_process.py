"""A restarting mixture e-process over error counts: the evidence of a sequence of time bins.

It is an anytime-valid sequential test: evaluating it repeatedly (optional stopping) does not raise
the rate of false alarms. Source: e-detectors, Shin, Ramdas and Rinaldo, 2023; the mixture and the
threshold are those of the design.
"""

from collections.abc import Iterable
from functools import lru_cache
from math import exp, inf, log
from typing import NamedTuple

FACTORS = (1.5, 2.0, 3.0, 5.0, 10.0)
HIGH = (0.5, 0.9)
THRESHOLD = 1e4

_CEILING = log(10 * THRESHOLD)
"""Cap on one alternative's log evidence, so that it decays soon after a long incident ends."""


class Evidence(NamedTuple):
    """The evidence after the last bin (``value``), and the counts that it rests on.

    ``requests`` and ``errors`` are counted since the last restart, and ``since`` is the index of
    the bin in which the e-process left its floor; -1 where it is at the floor.
    """

    value: float
    requests: int
    errors: int
    since: int

    @property
    def tripped(self) -> bool:
        """Whether the evidence has reached the threshold."""
        return self.value >= THRESHOLD


class _Table(NamedTuple):
    """For each alternative, the log likelihood ratios of one error and of one success."""

    floor: float
    steps: tuple[tuple[float, float], ...]


def evidence(bins: Iterable[tuple[int, int]], p0: float) -> Evidence:
    """Return the evidence that the error rate is above ``p0`` (above 0, below 1).

    ``bins`` are pairs of requests and errors among them, of consecutive bins, oldest first. It is
    a pure function of these, so every process with the same bins has the same evidence.
    """
    floor, steps = _table(p0)
    if not steps:
        return Evidence(0.0, 0, 0, -1)  # from a p0 of 0.9 on there is no alternative to test
    at_rest = [floor] * len(steps)
    state = at_rest
    requests = errors = 0
    since = -1
    for index, (count, bad) in enumerate(bins):
        if since < 0 and not bad:
            continue  # fast path: the usual bin of a healthy route
        good = count - bad
        state = [
            min((before if before > floor else floor) + bad * up + good * down, _CEILING)
            for before, (up, down) in zip(state, steps, strict=True)
        ]
        if max(state) <= floor:
            state, since, requests, errors = at_rest, -1, 0, 0
            continue
        if since < 0:
            since = index
        requests += count
        errors += bad
    return Evidence(sum(map(exp, state)), requests, errors, since)


@lru_cache(maxsize=4096)
def _table(p0: float) -> _Table:
    rates = [q for q in (*(factor * p0 for factor in FACTORS), *HIGH) if p0 < q < 1]
    steps = tuple((log(q / p0), log((1 - q) / (1 - p0))) for q in rates)
    return _Table(-log(len(steps)) if steps else inf, steps)
