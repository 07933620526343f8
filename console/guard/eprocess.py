"""A restarting mixture e-process over Bernoulli observations.

It may be looked at after every request without raising its false alarms. Source: e-detectors,
Shin, Ramdas and Rinaldo, 2023; the mixture and the threshold are those of the design.
"""

FACTORS = (1.5, 2.0, 3.0, 5.0, 10.0)
HIGH = (0.5, 0.9)
THRESHOLD = 1e4

_CEILING = 1e12


class EProcess:
    """Evidence that the error rate is above ``p0`` (above 0, below 1)."""

    def __init__(self, p0: float, threshold: float = THRESHOLD) -> None:
        rates = [q for q in (*(f * p0 for f in FACTORS), *HIGH) if p0 < q < 1]
        self.p0 = p0
        self.threshold = threshold
        self._floor = 1 / len(rates)
        self._on_error = [q / p0 for q in rates]
        self._on_success = [(1 - q) / (1 - p0) for q in rates]
        self._evidence = [self._floor] * len(rates)
        self.requests = 0
        """Requests since the evidence last stood at nothing: what the suspicion rests on."""
        self.errors = 0
        """Errors among them."""

    def observe(self, error: bool) -> float:
        """Take one request into account; return the evidence."""
        factors = self._on_error if error else self._on_success
        floor = self._floor
        # The ceiling is far over the threshold; it only keeps a long storm finite.
        self._evidence = [
            min(max(value, floor) * factor, _CEILING)
            for value, factor in zip(self._evidence, factors, strict=True)
        ]
        if max(self._evidence) <= floor:
            self.requests = self.errors = 0
        else:
            self.requests += 1
            self.errors += error
        return sum(self._evidence)

    @property
    def value(self) -> float:
        """The evidence now."""
        return sum(self._evidence)

    @property
    def tripped(self) -> bool:
        """Whether the evidence has reached the threshold."""
        return self.value >= self.threshold
