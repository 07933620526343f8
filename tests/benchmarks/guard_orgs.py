"""Whom the guard blames, by simulation: healthy orgs, one sick org of many, and whole routes.

Requests come at a steady rate, each of a random org, with errors that are independent; the seeds
are fixed. The guard's own functions judge each second, as a turn does. ``guard_rules`` runs it.
"""

import random
import statistics
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from rollout_console.guard.evidence.blame import (
    FLOOR_ERRORS,
    FLOOR_REQUESTS,
    Tier,
    Traffic,
    judge,
    less,
)
from rollout_console.guard.evidence.e_process import evidence
from rollout_console.health.windows.bins import Bin
from rollout_gate.file.model import GuardSettings

LIMITS = GuardSettings()
HEALTHY = 0.01
WINDOW_S, SLOT_S = 300, 5
WARM_S, AFTER_S, MOST_S = 60, 60, 600
RUNS = 60
HEALTHY_STREAMS, HEALTHY_ORGS, HEALTHY_LENGTH = 300, 200, 1_000


def healthy_streams(streams: int = HEALTHY_STREAMS) -> int:
    """Return in how many streams of 200 healthy orgs, a request a second each, one is condemned.

    Evidence rises at an error alone, so an org is judged in the seconds in which it has one.
    """
    found = 0
    for seed in range(streams):
        rng = random.Random(f"healthy {seed}")
        found += any(_is_condemned(rng) for _ in range(HEALTHY_ORGS))
    return found


def _is_condemned(rng: random.Random) -> bool:
    seconds = [at for at in range(HEALTHY_LENGTH) if rng.random() < HEALTHY]
    for i, now in enumerate(seconds):
        window = [at for at in seconds[: i + 1] if at > now - WINDOW_S]
        if len(window) < FLOOR_ERRORS:
            continue
        begin = -(-max(now - WINDOW_S, 0) // SLOT_S) * SLOT_S
        bins = []
        for at in range(begin, now + 1, SLOT_S):
            errors = sum(at <= one < at + SLOT_S for one in window)
            bins.append(_bin(at, min(SLOT_S, now + 1 - at), errors))
        traffic = Traffic([], {"one": bins}, HEALTHY_ORGS, SLOT_S, begin)
        if judge(LIMITS, traffic, now).orgs:
            return True
    return False


class Route:
    """A route's traffic, second by second, as the windows would have it."""

    def __init__(self, orgs: int, per_s: int, seed: str) -> None:
        self.rng = random.Random(seed)
        self.names = [f"org-{i}" for i in range(orgs)]
        self.now = 0
        self.sent: dict[str, int] = defaultdict(int)
        self._per_s = per_s
        self._gone: set[str] = set()
        self._seconds: dict[int, list[int]] = {}
        self._slots: dict[str, dict[int, list[int]]] = defaultdict(dict)

    def second(self, rates: Mapping[str, float]) -> None:
        """Play one second; ``rates`` has the error rates of those that are sick."""
        self.now += 1
        of_route = self._seconds[self.now] = [0, 0]
        slot = self.now // SLOT_S * SLOT_S
        for _ in range(self._per_s):
            org = self.rng.choice(self.names)
            if org in self._gone:
                self.rng.random()
                continue  # it goes to the previous side
            error = self.is_error(org, rates)
            self.sent[org] += 1
            of_org = self._slots[org].setdefault(slot, [0, 0])
            for counts in (of_route, of_org):
                counts[0] += 1
                counts[1] += error
        for slots in (self._seconds, *self._slots.values()):
            while slots and next(iter(slots)) <= self.now - WINDOW_S:
                del slots[next(iter(slots))]

    def is_error(self, org: str, rates: Mapping[str, float]) -> bool:
        """Draw whether a request of an org fails."""
        return self.rng.random() < self.rate((org,), rates)

    def rate(self, names: tuple[str, ...], rates: Mapping[str, float]) -> float:
        """Return the error rate of a request that is of all these names."""
        return max((rates[name] for name in names if name in rates), default=HEALTHY)

    def roll_back(self, org: str) -> None:
        """Let an org go: what it sent is left out of the route's evidence from now on."""
        self._gone.add(org)

    def traffic(self) -> Traffic:
        """Return what the guard reads of the window."""
        bins = [_bin(at, *counts) for at, counts in self._seconds.items() if counts[0]]
        begin = -(-max(self.now - WINDOW_S, 0) // SLOT_S) * SLOT_S
        orgs = {
            org: [_bin(at, *counts) for at, counts in slots.items()]
            for org, slots in self._slots.items()
            if any(counts[1] for counts in slots.values())
        }
        if self._gone:
            bins = less(bins, [orgs.pop(org) for org in self._gone if org in orgs], begin, SLOT_S)
        return Traffic(bins, orgs, len(self.names) - len(self._gone), SLOT_S, begin)

    def judge(self) -> Tier:
        """Return the guard's verdicts."""
        return judge(LIMITS, self.traffic(), self.now)

    def old_rule(self) -> bool:
        """Return whether the rule before this one rolls the route back."""
        bins = [(requests, errors) for requests, errors in self._seconds.values()]
        found = evidence(bins, LIMITS.max_5xx_percent / 100)
        if not found.tripped or sum(n for n, _ in bins) < FLOOR_REQUESTS:
            return False
        since = list(self._seconds)[found.since] // SLOT_S * SLOT_S
        with_errors = (
            any(at >= since and errors for at, (_, errors) in slots.items())
            for slots in self._slots.values()
        )
        return found.errors >= FLOOR_ERRORS and sum(with_errors) > 1


class Outcome(NamedTuple):
    """One run with sick orgs: requests of each until it was rolled back; was the route; others."""

    delays: list[int]
    route: bool
    healthy: int


def sick_orgs(orgs: int, per_s: int, sick: int, rate: float, seed: int) -> Outcome:
    """Play sick orgs after a healthy minute; each is rolled back alone where it is condemned."""
    route = Route(orgs, per_s, f"{orgs} {sick} {rate} {seed}")
    for _ in range(WARM_S):
        route.second({})
    rates = {f"org-{i}": rate for i in range(sick)}
    before = dict(route.sent)
    delays: dict[str, int] = {}
    healthy = 0
    end = MOST_S
    while route.now < end:
        route.second(rates)
        found = route.judge()
        if found.route.kind == "rollback":
            return Outcome(list(delays.values()), True, healthy)
        for org in found.orgs:
            route.roll_back(org)
            if org in rates:
                delays[org] = route.sent[org] - before.get(org, 0)
            else:
                healthy += 1
        if len(delays) == sick:
            end = min(end, route.now + AFTER_S)
            rates = {}
    return Outcome(list(delays.values()), False, healthy)


def sick_route(orgs: int, per_s: int, rate: float, seed: int) -> tuple[int | None, int | None]:
    """Return the requests until the route is condemned: by this rule, and by the one before."""
    route = Route(orgs, per_s, f"all {orgs} {rate} {seed}")
    for _ in range(WARM_S):
        route.second({})
    before = sum(route.sent.values())
    rates = dict.fromkeys(route.names, rate)
    new = old = None
    while route.now < MOST_S and (new is None or old is None):
        route.second(rates)
        seen = sum(route.sent.values()) - before
        if old is None and route.old_rule():
            old = seen
        if new is None and route.judge().route.kind == "rollback":
            new = seen
    return new, old


SICK = (  # orgs, requests a second, of them sick, their error rate
    *((12, 20, 1, rate) for rate in (0.2, 0.5, 1.0)),
    *((200, 100, 1, rate) for rate in (0.2, 0.5, 1.0)),
    (12, 20, 3, 0.5),
)
WHOLE = tuple((n, per_s, rate) for n, per_s in ((12, 20), (200, 100)) for rate in (0.05, 0.2, 1.0))


def lines(runs: int = RUNS, streams: int = HEALTHY_STREAMS) -> Iterator[str]:
    """Yield the lines of the table."""
    bad = healthy_streams(streams)
    yield (
        f"{HEALTHY_ORGS} healthy orgs at 1%, {HEALTHY_LENGTH} requests each, {streams} streams: "
        f"{bad / streams:.1%} condemn any"
    )
    for orgs, per_s, sick, rate in SICK:
        found = [sick_orgs(orgs, per_s, sick, rate, seed) for seed in range(runs)]
        delays = sorted(delay for one in found for delay in one.delays)
        p95 = delays[int(0.95 * (len(delays) - 1))]
        yield (
            f"{sick} of {orgs} orgs at {rate:.0%}: {len(delays) / (sick * runs):.0%} rolled back, "
            f"after {statistics.median(delays):.0f} of their requests (p95 {p95}); route "
            f"{sum(one.route for one in found) / runs:.1%}, healthy orgs "
            f"{sum(one.healthy for one in found)}"
        )
    for orgs, per_s, rate in WHOLE:
        both = [sick_route(orgs, per_s, rate, seed) for seed in range(runs)]
        new, old = (
            [one for one in column if one is not None] for column in zip(*both, strict=True)
        )
        yield (
            f"all of {orgs} orgs at {rate:.0%}, {per_s} a second: route {len(new) / runs:.0%}, "
            f"after {statistics.median(new):.0f} requests (p95 {_p95(new)}); by the rule before "
            f"{len(old) / runs:.0%}, {statistics.median(old):.0f} (p95 {_p95(old)})"
        )


def _p95(values: list[int]) -> int:
    return sorted(values)[int(0.95 * (len(values) - 1))]


def _bin(at: int, requests: int, errors: int) -> Bin:
    return Bin(at, requests, gateway=errors, timed=requests - errors)


def main() -> None:
    """Print the table."""
    print(f"guard and orgs, limit {LIMITS.max_5xx_percent:g}%, {RUNS} runs each")
    for line in lines():
        print(f"  {line}", flush=True)


if __name__ == "__main__":
    main()
