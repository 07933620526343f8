"""The guard's rollback tier beside the rules in common use: false alarms and delays, by simulation.

Streams of independent Bernoulli errors with fixed seeds; every rule is looked at after each
request, ours after each second. A figure is the share of streams that alarmed, then the median
number of requests from the first bad one to the alarm. Whom the guard blames is ``guard_orgs``.
"""

import random
import statistics
import sys
from collections import deque
from collections.abc import Callable, Iterator
from itertools import islice

from rollout_console.guard.evidence.blame import FLOOR_ERRORS, FLOOR_REQUESTS
from rollout_console.guard.evidence.e_process import evidence
from rollout_console.guard.evidence.wilson import wilson_lower
from tests.benchmarks import guard_orgs, guard_previous

LIMIT = 0.02
WINDOW = 200
WINDOW_S = 300
STREAMS = 120
LENGTH = 4_000

Rule = Callable[[Iterator[bool]], Iterator[bool]]


def naive(least: int) -> Rule:
    """Alarm where the rate of the last 200 is over the limit, from ``least`` requests on."""

    def run(stream: Iterator[bool]) -> Iterator[bool]:
        window: deque[bool] = deque(maxlen=WINDOW)
        for error in stream:
            window.append(error)
            yield len(window) >= least and sum(window) / len(window) > LIMIT

    return run


def wilson(z: float) -> Rule:
    """Alarm where the lower bound of the last 200 is over the limit."""

    def run(stream: Iterator[bool]) -> Iterator[bool]:
        window: deque[bool] = deque(maxlen=WINDOW)
        for error in stream:
            window.append(error)
            yield wilson_lower(sum(window), len(window), z) > LIMIT

    return run


def ours(per_s: int) -> Rule:
    """Alarm where the evidence of the window's one-second bins has tripped, over the floor.

    It is looked at once a second, as the guard does; ``per_s`` requests come in each.
    """

    def run(stream: Iterator[bool]) -> Iterator[bool]:
        bins: deque[tuple[int, int]] = deque(maxlen=WINDOW_S)
        while second := list(islice(stream, per_s)):
            bins.append((len(second), sum(second)))
            found = evidence(bins, LIMIT)
            seen = sum(count for count, _ in bins)
            yield from (False for _ in second[1:])
            yield found.tripped and seen >= FLOOR_REQUESTS and found.errors >= FLOOR_ERRORS

    return run


RULES: dict[str, Rule] = {
    "rate > limit, min 20": naive(20),
    "rate > limit, min 50": naive(50),
    "Wilson 95%, last 200": wilson(1.6449),
    "Wilson 99.9%, last 200": wilson(3.0902),
    "e-process, 1 a second (ours)": ours(1),
    "e-process, 10 a second (ours)": ours(10),
    "e-process, 100 a second (ours)": ours(100),
}
# (name, healthy requests before, error rate then, how many of those)
STREAM_KINDS = (
    ("healthy 1%", 0, 0.01, LENGTH),
    ("at the limit 2%", 0, 0.02, LENGTH),
    ("bad 5%", 0, 0.05, LENGTH),
    ("bad 20%", 0, 0.20, LENGTH),
    ("dead 100%", 0, 1.0, LENGTH),
    ("3000 at 0.5%, then 20%", 3_000, 0.20, 1_000),
)


def measure(
    rule: Rule, before: int, rate: float, count: int, streams: int = STREAMS
) -> tuple[float, float, float | None]:
    """Return the share that alarmed too early, the share in time, and the median delay."""
    early, delays = 0, []
    for seed in range(streams):
        rng = random.Random(f"{seed} {before} {rate}")
        errors = (rng.random() < (0.005 if i < before else rate) for i in range(before + count))
        at = next((i for i, alarm in enumerate(rule(errors)) if alarm), None)
        if at is None:
            continue
        if at < before:
            early += 1
        else:
            delays.append(at - before + 1)
    middle = statistics.median(delays) if delays else None
    return early / streams, len(delays) / streams, middle


def main() -> None:
    """Print the table."""
    print(f"guard rules, limit {LIMIT:.0%}, {STREAMS} streams each")
    for kind, before, rate, count in STREAM_KINDS:
        print(f"  {kind}")
        for name, rule in RULES.items():
            early, found, delay = measure(rule, before, rate, count)
            said = f"{found:6.1%} alarmed" + (f", {early:.1%} too early" if before else "")
            after = "" if delay is None else f", median after {delay:.0f} requests"
            print(f"    {name:<30} {said}{after}")
        sys.stdout.flush()
    guard_orgs.main()
    guard_previous.main()


if __name__ == "__main__":
    main()
