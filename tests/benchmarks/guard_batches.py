"""The guard's e-process over counts that arrive in batches, as Prometheus has them, by simulation.

Every stream has the same errors for each width: one at a time, in one-second bins as of the access
log, and in one bin for each scrape interval. A batch is looked at when it is complete. Delays are
from the change to the alarm, in seconds: half of a batch passes before it is complete at all.
"""

import random
import statistics
import sys
from collections.abc import Iterator, Sequence
from math import floor, log
from typing import NamedTuple

from rollout_console.guard.evidence.blame import FLOOR_ERRORS, FLOOR_REQUESTS
from rollout_console.guard.evidence.e_process import episodes, evidence

LIMIT = 0.02
HEALTHY = 0.01
WINDOW_S = 300
WIDTHS_S = (1, 5, 15, 30)
RATES_PER_S = (1, 10, 100)
ERROR_RATES = (0.2, 0.5, 1.0)
HEALTHY_S = {1: 3600, 10: 3600, 100: 1200}
"""How long a healthy stream is, by its requests a second."""
WARM_S = 300
AFTER_S = 240
STREAMS = 100


class Stream(NamedTuple):
    """Requests at a constant rate; ``errors`` are the numbers of those that fail, rising."""

    per_s: int
    seconds: int
    errors: Sequence[int]

    def bins(self, width_s: int) -> list[tuple[int, int]]:
        """Return requests and errors by bin."""
        found = [0] * (self.seconds // width_s)
        for number in self.errors:
            at = number // (self.per_s * width_s)
            if at < len(found):
                found[at] += 1
        return [(self.per_s * width_s, count) for count in found]


def stream(seed: str, per_s: int, seconds: int, changes_at: float, rate: float) -> Stream:
    """Return a stream with HEALTHY errors, and those of ``rate`` from ``changes_at`` seconds on."""
    rng = random.Random(seed)
    change, end = floor(changes_at * per_s), per_s * seconds
    errors = [*_errors(rng, 0, change, HEALTHY), *_errors(rng, change, end, rate)]
    return Stream(per_s, seconds, errors)


def _errors(rng: random.Random, first: int, end: int, rate: float) -> Iterator[int]:
    """Yield the numbers that fail, by the gaps between them: geometric, of independent errors."""
    if rate >= 1 or first >= end:
        yield from range(first, end)
        return
    at = first - 1
    while True:
        at += 1 + floor(log(1 - rng.random()) / log(1 - rate))
        if at >= end:
            return
        yield at


def alarm_s(found: Stream, width_s: int) -> float | None:
    """Return when the guard alarms, in seconds since the stream began; None where it does not."""
    bins = found.bins(width_s)
    kept = max(WINDOW_S // width_s, 1)
    for end in range(1, len(bins) + 1):
        if not bins[end - 1][1]:
            continue  # without a new error there is no new evidence
        window = bins[max(end - kept, 0) : end]
        seen = evidence(window, LIMIT)
        requests = sum(count for count, _ in window)
        if seen.tripped and seen.errors >= FLOOR_ERRORS and requests >= FLOOR_REQUESTS:
            return float(end * width_s)
    return None


def alarm_by_request_s(found: Stream) -> float | None:
    """Return when a process that sees each request alone alarms; None where it does not."""
    bad = set(found.errors)
    count = found.per_s * found.seconds
    single = [(1, int(number in bad)) for number in range(count)]
    some = episodes(single, LIMIT, FLOOR_ERRORS)
    return None if not some else (max(some[0].tripped, FLOOR_REQUESTS - 1) + 1) / found.per_s


def false_alarms(per_s: int, width_s: int, streams: int = STREAMS) -> int:
    """Return how many healthy streams alarm."""
    seconds = HEALTHY_S[per_s]
    healthy = (
        stream(f"healthy {per_s} {seed}", per_s, seconds, seconds, 0.0) for seed in range(streams)
    )
    return sum(alarm_s(one, width_s) is not None for one in healthy)


class Delays(NamedTuple):
    """The delays after a change, in seconds, rising; the streams that alarmed before it; and those
    that did not alarm at all."""

    found: Sequence[float]
    early: int
    missed: int

    @property
    def words(self) -> str:
        """The median and the p95, and what was early or missed."""
        found, shown = self.found, "-"
        if found:
            p95 = found[min(int(0.95 * len(found)), len(found) - 1)]
            shown = f"{statistics.median(found):.1f} ({p95:.1f})"
        shown += f" {self.early} early" if self.early else ""
        return shown + (f" {self.missed} missed" if self.missed else "")


def delays(per_s: int, rate: float, width_s: int | None, streams: int = STREAMS) -> Delays:
    """Return the delays of streams by the width of a bin, None for single requests.

    The change is at any time of a batch.
    """
    found, early, missed = list[float](), 0, 0
    for seed in range(streams):
        change = WARM_S + 30 * seed / streams
        one = stream(f"{seed} {per_s} {rate}", per_s, WARM_S + AFTER_S, change, rate)
        at = alarm_by_request_s(one) if width_s is None else alarm_s(one, width_s)
        if at is None:
            missed += 1
        elif at <= change:
            early += 1
        else:
            found.append(at - change)
    return Delays(sorted(found), early, missed)


def main() -> None:
    """Print the tables."""
    print(f"guard batches, limit {LIMIT:.0%}, {STREAMS} streams each, window {WINDOW_S} s")
    print(f"  healthy, {HEALTHY:.0%} errors: streams that alarm, of {STREAMS}")
    for per_s in RATES_PER_S:
        said = [f"{width} s: {false_alarms(per_s, width)}" for width in WIDTHS_S]
        print(f"    {per_s:>3}/s for {HEALTHY_S[per_s]} s  {'   '.join(said)}")
        sys.stdout.flush()
    print("  after a change: median (p95) of the delay in seconds, by the width of a bin")
    for rate in ERROR_RATES:
        for per_s in RATES_PER_S:
            words = []
            for width in (None, *WIDTHS_S):
                name = "single" if width is None else f"{width} s"
                words.append(f"{name}: {delays(per_s, rate, width).words}")
            print(f"    {rate:>4.0%} at {per_s:>3}/s  {'   '.join(words)}")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
