"""What the previous side's own errors change in the rollback tier, by simulation.

Requests come at a steady rate, a share of them on TokenLab, with errors that are independent; the
seeds are fixed. Both sides are healthy for a window, then one or both are not. The route is looked
at once a second, with the limit alone, with a limit that the previous side's upper bound raises
however few its requests are, and as the guard does. ``guard_rules`` runs it.
"""

import random
import statistics
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from rollout_console.guard.evidence.blame import FLOOR_ERRORS, FLOOR_REQUESTS
from rollout_console.guard.evidence.e_process import evidence
from rollout_console.guard.evidence.previous import LIVE_FROM, MARGIN, allowed_rate
from rollout_console.guard.evidence.wilson import wilson_upper

LIMIT, HEALTHY = 0.02, 0.005
WINDOW_S, LENGTH_S = 300, 600
STREAMS = 40

Allowed = Callable[[int, int], float]
"""The error rate that requests and errors of the previous side allow."""


class Case(NamedTuple):
    """A route: requests a second, TokenLab's share of them, and the error rates from a time on."""

    per_s: int
    share: float
    tokenlab: float
    previous: float = HEALTHY

    def __str__(self) -> str:
        sides = f"TokenLab {self.tokenlab:.0%}, previous {self.previous:.1%}"
        return f"{sides}; {self.share:.0%} of {self.per_s} requests/s"


CASES = (
    Case(1, 0.90, 0.20),
    Case(3, 0.90, 0.20),
    Case(3, 0.99, 0.20),
    Case(3, 0.90, 0.05),
    Case(3, 0.50, 0.20),
    Case(3, 0.90, 0.20, 0.20),
    Case(3, 0.50, 0.20, 0.20),
    Case(3, 0.50, 0.05, 0.05),
)


def however_few(requests: int, errors: int) -> float:
    """Return the upper bound and a point, from LIVE_FROM requests on."""
    return min(wilson_upper(errors, requests) + MARGIN, 0.99) if requests >= LIVE_FROM else 0.0


RULES: dict[str, Allowed] = {
    "limit alone": lambda requests, errors: 0.0,
    "bound, however few": however_few,
    "bound, where known (ours)": lambda requests, errors: allowed_rate(requests, errors, LIMIT),
}


def requests_until(case: Case, allowed: Allowed, seed: int) -> int | None:
    """Return how many requests of TokenLab's it took from the first bad second; None if never."""
    rng = random.Random(f"{seed} {case}")
    ours, theirs = deque[tuple[int, int]](maxlen=WINDOW_S), deque[tuple[int, int]](maxlen=WINDOW_S)
    since = 0
    for second in range(WINDOW_S + LENGTH_S):
        is_bad = second >= WINDOW_S
        counts = {True: [0, 0], False: [0, 0]}
        for _ in range(case.per_s):
            on_tokenlab = rng.random() < case.share
            rate = (case.tokenlab if on_tokenlab else case.previous) if is_bad else HEALTHY
            counts[on_tokenlab][0] += 1
            counts[on_tokenlab][1] += rng.random() < rate
        ours.append((counts[True][0], counts[True][1]))
        theirs.append((counts[False][0], counts[False][1]))
        since += counts[True][0] * is_bad
        before = allowed(sum(n for n, _ in theirs), sum(bad for _, bad in theirs))
        found = evidence(ours, max(LIMIT, before))
        enough = sum(n for n, _ in ours) >= FLOOR_REQUESTS and found.errors >= FLOOR_ERRORS
        if is_bad and found.tripped and enough:
            return since
    return None


def main() -> None:
    """Print the table."""
    print(f"guard and error rate of the previous side, limit {LIMIT:.0%}, {STREAMS} streams each")
    for case in CASES:
        print(f"  {case}")
        for name, allowed in RULES.items():
            found = [requests_until(case, allowed, seed) for seed in range(STREAMS)]
            tripped = [one for one in found if one is not None]
            after = f", median after {statistics.median(tripped):.0f} requests" if tripped else ""
            print(f"    {name:<30} {len(tripped) / STREAMS:6.1%} rolled back{after}", flush=True)


if __name__ == "__main__":
    main()
