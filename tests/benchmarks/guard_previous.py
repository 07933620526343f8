"""What the previous side's own errors change in the rollback tier, by simulation.

Requests come at a steady rate, a share of them on TokenLab, with errors that are independent; the
seeds are fixed. Both sides are healthy for a window, then one or both are not. The route is looked
at once a second, with the limit alone, with a limit that the previous side's upper bound raises
however few its requests are, with one that it raises where its rate is known, and as the guard
does, which looks at the stretch of the errors as well. ``guard_rules`` runs it.
"""

import random
import statistics
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import NamedTuple

from rollout_console.guard.evidence.blame import FLOOR_ERRORS, FLOOR_REQUESTS
from rollout_console.guard.evidence.e_process import THRESHOLD, Evidence, evidence
from rollout_console.guard.evidence.previous import (
    LIVE_FROM,
    MARGIN,
    Previous,
    allowed_rate,
    weighed,
)
from rollout_console.guard.evidence.wilson import wilson_upper
from rollout_console.health.windows.bins import Bin

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
    Case(3, 0.50, 1.00, 1.00),
    Case(3, 0.90, 1.00, 1.00),
    Case(3, 0.90, 1.00),
)


def however_few(requests: int, errors: int) -> float:
    """Return the upper bound and a point, from LIVE_FROM requests on."""
    return min(wilson_upper(errors, requests) + MARGIN, 0.99) if requests >= LIVE_FROM else 0.0


RULES: dict[str, Allowed] = {
    "limit alone": lambda requests, errors: 0.0,
    "bound, however few": however_few,
    "bound, where known": lambda requests, errors: allowed_rate(requests, errors, LIMIT),
}


class Counted(NamedTuple):
    """Requests and errors of one second on both sides."""

    ours: tuple[int, int]
    theirs: tuple[int, int]
    is_bad: bool


def _seconds(case: Case, seed: int) -> Iterator[Counted]:
    rng = random.Random(f"{seed} {case}")
    for second in range(WINDOW_S + LENGTH_S):
        is_bad = second >= WINDOW_S
        counts = {True: [0, 0], False: [0, 0]}
        for _ in range(case.per_s):
            on_tokenlab = rng.random() < case.share
            rate = (case.tokenlab if on_tokenlab else case.previous) if is_bad else HEALTHY
            counts[on_tokenlab][0] += 1
            counts[on_tokenlab][1] += rng.random() < rate
        yield Counted(
            (counts[True][0], counts[True][1]), (counts[False][0], counts[False][1]), is_bad
        )


Asks = Callable[[Sequence[Bin], Sequence[Bin]], Evidence]
"""The evidence of a window, by the bins of a second of TokenLab and of the previous side."""


def until(case: Case, asks: Asks, seed: int) -> int | None:
    """Return how many requests of TokenLab's it took from the first bad second; None if never."""
    ours, theirs = deque[Bin](maxlen=WINDOW_S), deque[Bin](maxlen=WINDOW_S)
    since = 0
    for at, one in enumerate(_seconds(case, seed)):
        ours.append(Bin(at, one.ours[0], gateway=one.ours[1]))
        theirs.append(Bin(at, one.theirs[0], gateway=one.theirs[1]))
        since += one.ours[0] * one.is_bad
        if not one.is_bad:
            continue
        found = asks([*ours], [*theirs])
        enough = sum(one.requests for one in ours) >= FLOOR_REQUESTS
        if found.tripped and enough and found.errors >= FLOOR_ERRORS:
            return since
    return None


def requests_until(case: Case, allowed: Allowed, seed: int) -> int | None:
    """Return the same with the limit that the counts of the previous side's window allow."""

    def asks(ours: Sequence[Bin], theirs: Sequence[Bin]) -> Evidence:
        before = allowed(sum(one.requests for one in theirs), sum(one.gateway for one in theirs))
        return evidence([one.errors("gateway") for one in ours], max(LIMIT, before))

    return until(case, asks, seed)


def guard_until(case: Case, seed: int) -> int | None:
    """Return the same as the guard judges it."""

    def asks(ours: Sequence[Bin], theirs: Sequence[Bin]) -> Evidence:
        requests, errors = sum(one.requests for one in theirs), sum(one.gateway for one in theirs)
        side = Previous(Bin(0, requests, gateway=errors) if requests else None, lambda: theirs)
        return weighed(ours, "gateway", LIMIT, [side], THRESHOLD).found

    return until(case, asks, seed)


def main() -> None:
    """Print the table."""
    print(f"guard and error rate of the previous side, limit {LIMIT:.0%}, {STREAMS} streams each")
    for case in CASES:
        print(f"  {case}")
        rules = {
            name: partial(requests_until, case, allowed) for name, allowed in RULES.items()
        } | {"window and stretch (ours)": partial(guard_until, case)}
        for name, judged in rules.items():
            found = [judged(seed) for seed in range(STREAMS)]
            tripped = [one for one in found if one is not None]
            after = f", median after {statistics.median(tripped):.0f} requests" if tripped else ""
            print(f"    {name:<30} {len(tripped) / STREAMS:6.1%} rolled back{after}", flush=True)


if __name__ == "__main__":
    main()
