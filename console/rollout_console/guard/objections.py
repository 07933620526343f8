"""What is against a raise: the guard's figures, and a model that is retired or gone.

Screen, commands and guard ask here, so that none of them makes a raise that another one holds.
"""

from collections.abc import Mapping

from rollout_console.changes.plan import Plan
from rollout_console.changes.traffic_diff import Move
from rollout_console.guard.alerts import ModelTrouble
from rollout_console.guard.balance import BalanceWatch
from rollout_console.guard.monitor import Monitor

Models = Mapping[str, ModelTrouble]
"""What is wrong with a route's model, by route."""


def held_by_model(models: Models, route: str) -> str:
    """Return why a route's model holds its raises, empty where it does not."""
    trouble = models.get(route)
    return trouble.sentence if trouble is not None and trouble.holds else ""


def held_move(
    monitor: Monitor, models: Models, move: Move, balance: BalanceWatch, now: float
) -> str:
    """Return the first reason against the raise of one share, empty without one."""
    return held_by_model(models, move.route) or monitor.held_move(move, balance, now)


def held_plan(
    monitor: Monitor, models: Models, plan: Plan, balance: BalanceWatch, now: float
) -> str:
    """Return the first reason against what a plan raises, empty without one.

    A missing model does not keep an operator from taking back their own recent rollback.
    """
    for move in () if plan.regrets else plan.moves:
        if move.raises and (held := held_by_model(models, move.route)):
            return f"{move.route}: {held}"
    return monitor.held_plan(plan, balance, now)
