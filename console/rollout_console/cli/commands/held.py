"""What the guard holds of a raise from a shell, with a balance that is requested once at most."""

from argparse import Namespace
from datetime import UTC, datetime
from functools import cached_property, partial

from rollout_console.changes.plan import Plan, Target
from rollout_console.guard.balance import BalanceSources, BalanceWatch, ask_balance
from rollout_console.guard.held_shares import held_shares, held_words
from rollout_console.guard.monitor import Monitor
from rollout_console.guard.objections import Models, held_move, held_plan

_MODELS_KEEP_S = 86_400.0


class Objections:
    """The guard's objections as of ``now`` (epoch seconds).

    The balance is requested over the network, and so only where nothing else holds all. Models are
    judged by a catalogue that was kept within a day; nothing is fetched for them.
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
        ask = partial(held_plan, self._monitor, self._models, plan)
        return ask(BalanceWatch(), self._now) or ask(self._balance, self._now)

    def held_of(self, plan: Plan) -> dict[Target, str]:
        """Return what the guard holds of a set of several, by the reason why."""
        found = self._held_of(plan, BalanceWatch())
        return found if len(found) == len(plan.parts) else self._held_of(plan, self._balance)

    def _held_of(self, plan: Plan, balance: BalanceWatch) -> dict[Target, str]:
        held = partial(held_move, self._monitor, self._models)
        judged = held_shares(plan, lambda move: held(move, balance, self._now))
        return {target: why for target, why in judged if why}

    @cached_property
    def _models(self) -> Models:
        """The problems of models, by the catalogue that console, guard or command kept lately."""
        from rollout_console.common.folders import state_folder
        from rollout_console.guard.model_watch import model_troubles
        from rollout_console.models.catalogue import Catalogue
        from rollout_gate.file.formats import root_of

        room = Catalogue(root_of(self._monitor.file.base_url), state_folder())
        age = room.age_s()
        if age is None or age > _MODELS_KEEP_S:
            return {}
        return model_troubles(room, self._monitor.file, datetime.fromtimestamp(self._now, UTC))

    @cached_property
    def _balance(self) -> BalanceWatch:
        import asyncio

        from rollout_console.cli.credentials import given_on, make_vault

        balance, vault = BalanceWatch(), make_vault(given_on(Namespace()), asks=False)
        sources = BalanceSources(vault)
        asyncio.run(ask_balance(sources, self._monitor.file, balance, self._now))
        return balance
