"""An anytime-valid two-sample test: is a share higher on TokenLab than on the previous side?

Like the e-process it may be evaluated as often as one likes (optional stopping). Source: Turner, Ly
and Grünwald, "Generic E-variables for exact sequential k-sample tests that allow for optional
stopping", 2024, with plug-in estimates from the blocks before.
"""

from collections.abc import Sequence
from math import inf, log
from typing import NamedTuple

THRESHOLD = log(1e4)
"""The log evidence from which on the shares differ: one false alarm in 10,000 streams at most."""
MARGIN = 0.02
"""A share that is higher by less, or by less than a quarter of the previous one, is no trouble."""
_RELATIVE = 0.25

BLOCK_S = 10
"""Length of a block in seconds: both sides must have requests in it for it to say anything."""
_PRIOR = 0.18
"""Pseudo-counts of each outcome in an estimate (Turner's choice for two samples)."""


class Counted(NamedTuple):
    """Requests of one side in one second (``at``, epoch seconds), and how many have the trait."""

    at: int
    requests: int
    hits: int


class Difference(NamedTuple):
    """Shares of both sides (0 to 1) over the blocks compared, and the log evidence."""

    tokenlab: float
    previous: float
    evidence: float

    @property
    def is_higher(self) -> bool:
        """Whether TokenLab's share is higher, for certain and by as much as matters."""
        more = self.tokenlab - self.previous
        return self.evidence >= THRESHOLD and more >= max(MARGIN, _RELATIVE * self.previous)


def compared(
    tokenlab: Sequence[Counted], previous: Sequence[Counted], *, block_s: int = BLOCK_S
) -> Difference:
    """Return how TokenLab's share compares, of seconds in any order; a pure function of them."""
    ours, theirs = _blocks(tokenlab, block_s), _blocks(previous, block_s)
    evidence = 0.0
    sums = [0, 0, 0, 0]
    for block in sorted(ours.keys() | theirs.keys()):
        (n, k), (m, j) = ours.get(block, (0, 0)), theirs.get(block, (0, 0))
        if n and m:
            evidence += _step(n, k, m, j, sums)
        for place, count in enumerate((n, k, m, j)):
            sums[place] += count
    n, k, m, j = sums
    return Difference(k / n if n else 0.0, j / m if m else 0.0, evidence if n and m else -inf)


def _blocks(seconds: Sequence[Counted], block_s: int) -> dict[int, tuple[int, int]]:
    found: dict[int, tuple[int, int]] = {}
    for at, requests, hits in seconds:
        known = found.get(at // block_s, (0, 0))
        found[at // block_s] = known[0] + requests, known[1] + hits
    return found


def _step(n: int, k: int, m: int, j: int, before: Sequence[int]) -> float:
    """Return the log of one block's e-variable, with estimates from the blocks before it.

    It is 0, a bet of nothing, while TokenLab's estimate is not the higher one: one-sided.
    """
    ours, theirs = _estimate(before[1], before[0]), _estimate(before[3], before[2])
    if ours <= theirs:
        return 0.0
    null = (n * ours + m * theirs) / (n + m)
    return _likelihood(k, n, ours) + _likelihood(j, m, theirs) - _likelihood(k + j, n + m, null)


def _estimate(hits: int, requests: int) -> float:
    return (hits + _PRIOR) / (requests + 2 * _PRIOR)


def _likelihood(hits: int, requests: int, share: float) -> float:
    return hits * log(share) + (requests - hits) * log(1 - share)
