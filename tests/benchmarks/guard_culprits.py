"""Whom the guard names beside orgs, by simulation: hosts and key aliases, sick and well.

Requests come as in ``guard_orgs``, each of a random host and a random alias as well, with errors
that are independent; the seeds are fixed.
"""

import statistics
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from msgspec.structs import replace

from rollout_console.guard.evidence.blame import Tier, Traffic, judge
from rollout_console.guard.evidence.culprits import Labelled
from rollout_console.health.windows.bins import Bin
from tests.benchmarks.guard_orgs import LIMITS, SLOT_S, WARM_S, Route

PER_S = 20
HOSTS, ALIASES = 12, 40
RUNS = 60
STREAMS = 300
MOST_S = 180
AFTER_S = 60
TURN_S = 2


class LabelledRoute(Route):
    """A route of 12 orgs whose lines name a host and a key alias."""

    def __init__(self, seed: str) -> None:
        super().__init__(12, PER_S, seed)
        self.hosts = [f"gw-{i:02}" for i in range(HOSTS)]
        self.aliases = [f"key-{i}" for i in range(ALIASES)]
        self.asked: dict[str, int] = defaultdict(int)
        self._by_label: dict[str, dict[str, dict[int, list[int]]]] = {
            "host": defaultdict(dict),
            "key_alias": defaultdict(dict),
        }

    def is_error(self, org: str, rates: Mapping[str, float]) -> bool:
        """Draw host, alias and outcome of a request; its rate is the highest of the three."""
        names = {"host": self.rng.choice(self.hosts), "key_alias": self.rng.choice(self.aliases)}
        error = self.rng.random() < self.rate((org, *names.values()), rates)
        slot = self.now // SLOT_S * SLOT_S
        for label, name in names.items():
            self.asked[name] += 1
            counts = self._by_label[label][name].setdefault(slot, [0, 0])
            counts[0] += 1
            counts[1] += error
        return error

    def traffic(self) -> Traffic:
        """Return what the guard reads of the window."""
        found = super().traffic()
        begin = found.begin
        labels = {}
        for label, names in self._by_label.items():
            for slots in names.values():
                while slots and next(iter(slots)) < begin:
                    del slots[next(iter(slots))]
            bins = {
                name: [Bin(at, n, gateway=bad, timed=n - bad) for at, (n, bad) in slots.items()]
                for name, slots in names.items()
                if any(bad for _, bad in slots.values())
            }
            labels[label] = Labelled(bins, sum(map(bool, names.values())))
        whole: dict[int, list[int]] = {}
        for slots in self._by_label["host"].values():
            for at, counts in slots.items():
                of_slot = whole.setdefault(at, [0, 0])
                of_slot[0] += counts[0]
                of_slot[1] += counts[1]
        every = [Bin(at, n, gateway=bad, timed=n - bad) for at, (n, bad) in sorted(whole.items())]
        return replace(found, labels=labels, whole=every)

    def judge(self) -> Tier:
        """Return the guard's verdicts."""
        return judge(LIMITS, self.traffic(), self.now)


class Named(NamedTuple):
    """One run: requests of each sick name until it was named; were others; was the route sick.

    ``route_after`` are the requests until the route was condemned, None where it was not within a
    minute of the name; ``known`` is set where the sick were named by then.
    """

    delays: Mapping[str, int]
    healthy: int
    route_after: int | None
    known: bool


def play(rates: Mapping[str, float], seed: str) -> Named:
    """Play sick names after a healthy minute; an org that is condemned is rolled back."""
    route = LabelledRoute(seed)
    for _ in range(WARM_S):
        route.second({})
    before = dict(route.asked)
    delays: dict[str, int] = {}
    wrong: set[str] = set()
    labelled = {name for name in rates if not name.startswith("org-")}
    route_after, known, end = None, False, WARM_S + MOST_S
    while route.now < end:
        route.second(rates)
        if route.now % TURN_S:
            continue
        tier = route.judge()
        for org in tier.orgs:
            route.roll_back(org)
        for one in tier.culprits:
            if one.name in rates:
                delays.setdefault(one.name, route.asked[one.name] - before.get(one.name, 0))
            else:
                wrong.add(one.name)
        if tier.route.kind == "rollback" and route_after is None:
            route_after = sum(route.sent.values())
            known = labelled <= {one.name for one in tier.culprits}
            end = min(end, route.now + AFTER_S)
        if labelled and labelled <= delays.keys():
            end = min(end, route.now + AFTER_S)
    return Named(delays, len(wrong), route_after, known)


CASES: tuple[tuple[str, Mapping[str, float]], ...] = (
    *((f"1 of 12 hosts at {rate:.0%}", {"gw-03": rate}) for rate in (0.2, 0.5, 1.0)),
    *((f"1 of 40 aliases at {rate:.0%}", {"key-7": rate}) for rate in (0.2, 0.5, 1.0)),
    ("2 of 12 hosts at 50%", {"gw-03": 0.5, "gw-08": 0.5}),
    ("1 of 12 hosts at 100%, 1 of 12 orgs at 50%", {"gw-03": 1.0, "org-2": 0.5}),
    ("1 of 12 hosts and 1 of 40 aliases at 100%", {"gw-03": 1.0, "key-7": 1.0}),
)
NOBODY: tuple[tuple[str, Mapping[str, float]], ...] = (
    *((f"the whole route at {r:.0%}", {f"org-{i}": r for i in range(12)}) for r in (0.05, 0.2, 1)),
    *((f"1 of 12 orgs at {rate:.0%}", {"org-2": rate}) for rate in (0.2, 1.0)),
)


def lines(runs: int = RUNS, streams: int = STREAMS) -> Iterator[str]:
    """Yield the lines of the table."""
    for words, rates, count in (("all well at 1%", {}, streams), *((*one, runs) for one in NOBODY)):
        found = [play(rates, f"{words} {seed}") for seed in range(count)]
        bad = sum(one.healthy > 0 for one in found)
        yield f"{words}, {count} streams: {bad / count:.1%} name a healthy host or alias"
    for words, rates in CASES:
        found = [play(rates, f"{words} {seed}") for seed in range(runs)]
        names = [name for name in rates if not name.startswith("org-")]
        delays = sorted(one.delays[name] for one in found for name in names if name in one.delays)
        asked = [one for one in found if one.route_after is not None]
        after = ""
        if delays:
            after = f", after {statistics.median(delays):.0f} of its requests (p95 {_p95(delays)})"
        yield (
            f"{words}: {len(delays) / (runs * len(names)):.0%} named{after}; others in "
            f"{sum(one.healthy > 0 for one in found) / runs:.1%}; the route asks for a rollback in "
            f"{len(asked) / runs:.0%}, all named by then in {sum(one.known for one in asked)}"
        )


def _p95(values: list[int]) -> int:
    return sorted(values)[int(0.95 * (len(values) - 1))]


def main() -> None:
    """Print the table."""
    print(f"guard, hosts and key aliases, limit {LIMITS.max_5xx_percent:g}%, {RUNS} runs each")
    for line in lines():
        print(f"  {line}", flush=True)


if __name__ == "__main__":
    main()
