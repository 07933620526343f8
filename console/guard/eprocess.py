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


class _Table(NamedTuple):
    """What one observation multiplies the evidence by, for each alternative.

    Those that p0 does not leave have nothing but noughts.
    """

    floor: float
    on_error: tuple[float, ...]
    on_success: tuple[float, ...]
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
        self._evidence: Sequence[float] = [table.floor * (factor > 0) for factor in table.on_error]
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
        floor = table.floor
        # The ceiling is far over the threshold; it only keeps a long storm finite.
        evidence = self._evidence = [
            value
            if (value := (before if before > floor else floor) * factor) < _CEILING
            else _CEILING
            for before, factor in zip(
                self._evidence, table.on_error if error else table.on_success, strict=True
            )
        ]
        if max(evidence) <= floor:
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
    left = [p0 < q < 1 for q in rates]
    floor = 1 / sum(left) if any(left) else 0.0  # above 0.9 nothing is worse
    both = list(zip(rates, left, strict=True))
    on_success = tuple((1 - q) / (1 - p0) if leaves else 0.0 for q, leaves in both)
    return _Table(
        floor,
        tuple(q / p0 if leaves else 0.0 for q, leaves in both),
        on_success,
        tuple(floor * factor for factor in on_success),
    )
