"""Traffic that is billed in the simulator and logged, with prices and tokens of its own."""

import itertools
from decimal import Decimal
from typing import Any

from rollout_console.cost.costs import CostAsked, Costs, costs
from rollout_console.sim.state import Usage
from rollout_gate.file.parse import parse
from tests.reconcile.world import NOON, NOW, World, line, time_of

DAY = 86_400
PRICES = {"gpt-5.4": ("2.5", "15"), "gpt-5.4-mini": ("0.25", "2")}
"""US dollars per million tokens in and out."""


_numbers = itertools.count(1)
"""Tests share a simulator, whose index of records tells lists by length and ends."""


class Traffic:
    """Sends requests: each is a usage record in the simulator and a line of the access log."""

    def __init__(self, world: World) -> None:
        self.world = world

    def send(
        self, at: float, *, org: str = "acme", route: str = "chat", model: str = "gpt-5.4",
        tokens: tuple[int, int] = (1000, 200), prices: tuple[str, str] | None = None,
        key: str = "key_demo", logged: bool = True, times: int = 1, **fields: Any,
    ) -> Decimal:  # fmt: skip
        """Bill and log a request, ``times`` over with one line; return what it cost."""
        number = next(_numbers)
        first, second = map(Decimal, prices or PRICES[model])
        cost = (first * tokens[0] + second * tokens[1]) / 1_000_000
        request = f"req-{number}"
        found = self.world.sim.state.catalogue[model]
        for charge in range(times):
            self.world.sim.state.usage.append(
                Usage(key, request, f"btx-{number}-{charge}", found, *tokens, cost, time_of(at))
            )
        if logged:
            said = {"input_tokens": tokens[0], "output_tokens": tokens[1], **fields}
            made = line(at, org=org, route=route, model=model, request=request, **said)
            self.world.write(made)
        return cost * times


def costs_of(
    world: World, since: float = NOON, until: float = NOON + 3600, now: float = NOW, **more: Any
) -> Costs:
    """Return the costs of a period."""
    asked = CostAsked(since, until, **more)
    file = parse(world.path.read_bytes())
    return costs(asked, world.room, file, world.path, world.state, clock=lambda: now)
