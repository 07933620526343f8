"""What the guard holds of a raise from a shell, with a balance that is requested once at most."""

from argparse import Namespace
from functools import cached_property

from rollout_console.changes.plan import Plan, Target
from rollout_console.guard.balance import BalanceSources, BalanceWatch, ask_balance
from rollout_console.guard.held_shares import held_shares, held_words
from rollout_console.guard.monitor import Monitor


class Objections:
    """The guard's objections as of ``now`` (epoch seconds).

    The balance is requested over the network, and so only where nothing else holds all.
    """

    def __init__(self, monitor: Monitor, now: float) -> None:
        self._monitor = monitor
        self._now = now

    def held(self, plan: Plan) -> str:
        """Return why the guard holds a plan, empty where it does not."""
        if plan.direction != "up":
            return ""
        if plan.action == "set" and plan.parts:
            return held_words(plan, self.held_of(plan))
        found = self._monitor.held_plan(plan, BalanceWatch(), self._now)
        return found or self._monitor.held_plan(plan, self._balance, self._now)

    def held_of(self, plan: Plan) -> dict[Target, str]:
        """Return what the guard holds of a set of several, by the reason why."""
        found = self._held_of(plan, BalanceWatch())
        return found if len(found) == len(plan.parts) else self._held_of(plan, self._balance)

    def _held_of(self, plan: Plan, balance: BalanceWatch) -> dict[Target, str]:
        held = self._monitor.held_move
        judged = held_shares(plan, lambda move: held(move, balance, self._now))
        return {target: why for target, why in judged if why}

    @cached_property
    def _balance(self) -> BalanceWatch:
        import asyncio

        from rollout_console.cli.credentials import given_on, make_vault

        balance, vault = BalanceWatch(), make_vault(given_on(Namespace()), asks=False)
        sources = BalanceSources(vault)
        asyncio.run(ask_balance(sources, self._monitor.file, balance, self._now))
        return balance
