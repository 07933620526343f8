"""A restarting mixture e-process over counts, and the evidence that a stretch of bins leaves.

It may be looked at again and again without raising its false alarms. Source: e-detectors, Shin,
Ramdas and Rinaldo, 2023; the mixture and the threshold are those of the design.
"""

from collections.abc import Iterable
from functools import lru_cache
from math import exp, inf, log
from typing import NamedTuple

FACTORS = (1.5, 2.0, 3.0, 5.0, 10.0)
HIGH = (0.5, 0.9)
THRESHOLD = 1e4

_CEILING = log(10 * THRESHOLD)
"""Of one alternative, in logarithms: a long storm is not believed in for long after its end."""


class Evidence(NamedTuple):
    """What the bins leave: the evidence at their end, and the suspicion that it rests on.

    ``requests`` and ``errors`` are those since the evidence last stood at nothing, and ``since``
    the index of the bin where it left that; -1 where it stands at nothing.
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
    """Logarithms of what an error and a success multiply the evidence by, for each alternative."""

    floor: float
    steps: tuple[tuple[float, float], ...]


def evidence(bins: Iterable[tuple[int, int]], p0: float) -> Evidence:
    """Return the evidence that the error rate is above ``p0`` (above 0, below 1).

    ``bins`` are requests and errors among them, of one short time after the other, oldest first.
    Nothing but these has a part in it, so that whoever has the same bins has the same evidence.
    """
    floor, steps = _table(p0)
    if not steps:
        return Evidence(0.0, 0, 0, -1)  # above 0.9 nothing is worse
    at_rest = [floor] * len(steps)
    state = at_rest
    requests = errors = 0
    since = -1
    for index, (count, bad) in enumerate(bins):
        if since < 0 and not bad:
            continue  # the usual bin, on a healthy route
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
