"""A restarting mixture e-process over Bernoulli observations.

It may be looked at after every request without raising its false alarms. Source: e-detectors,
Shin, Ramdas and Rinaldo, 2023; the mixture and the threshold are those of the design.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

FACTORS = (1.5, 2.0, 3.0, 5.0, 10.0)
HIGH = (0.5, 0.9)
THRESHOLD = 1e4

_CEILING = 1e12
_ALTERNATIVES = len(FACTORS) + len(HIGH)


class _Table(NamedTuple):
    """What one observation multiplies the evidence by, for each alternative that p0 leaves."""

    floor: float
    on_error: tuple[tuple[int, float], ...]
    on_success: tuple[tuple[int, float], ...]
    resting: tuple[float, ...]
    """The evidence after a success, where nothing stood against the stream before."""


class EProcess:
    """Evidence that the error rate is above ``p0`` (above 0, below 1).

    ``p0`` may be another at each observation, as long as it is known before it: what the other
    side of a route does moves it.
    """

    def __init__(self, p0: float, threshold: float = THRESHOLD) -> None:
        self.p0 = p0
        self.threshold = threshold
        table = _table(p0)
        held = {index for index, _ in table.on_error}
        self._evidence: Sequence[float] = [
            table.floor if index in held else 0.0 for index in range(_ALTERNATIVES)
        ]
        self.value = sum(self._evidence)
        """The evidence now."""
        self.requests = 0
        """Requests since the evidence last stood at nothing: what the suspicion rests on."""
        self.errors = 0
        """Errors among them."""

    def observe(self, error: bool, p0: float | None = None) -> float:
        """Take one request into account; return the evidence."""
        if p0 is not None:
            self.p0 = p0
        table = _table(self.p0)
        if not error and not self.requests:
            # The usual request, on a healthy route: it costs a tenth of the others.
            if self._evidence is not table.resting:
                self._evidence, self.value = table.resting, sum(table.resting)
            return self.value
        floor, before, evidence = table.floor, self._evidence, [0.0] * _ALTERNATIVES
        highest = 0.0
        for index, factor in table.on_error if error else table.on_success:
            # The ceiling is far over the threshold; it only keeps a long storm finite.
            value = min(max(before[index], floor) * factor, _CEILING)
            evidence[index] = value
            highest = max(highest, value)
        self._evidence = evidence
        if highest <= floor:
            self.requests = self.errors = 0
        else:
            self.requests += 1
            self.errors += error
        self.value = sum(evidence)
        return self.value

    @property
    def tripped(self) -> bool:
        """Whether the evidence has reached the threshold."""
        return self.value >= self.threshold


@lru_cache(maxsize=4096)
def _table(p0: float) -> _Table:
    rates = [*(factor * p0 for factor in FACTORS), *HIGH]
    left = {index: q for index, q in enumerate(rates) if p0 < q < 1}
    floor = 1 / len(left) if left else 0.0  # above 0.9 nothing is worse
    on_success = {index: (1 - q) / (1 - p0) for index, q in left.items()}
    return _Table(
        floor,
        tuple((index, q / p0) for index, q in left.items()),
        tuple(on_success.items()),
        tuple(floor * on_success.get(index, 0.0) for index in range(_ALTERNATIVES)),
    )
