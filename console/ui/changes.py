"""From a key to a made change: plan, ask, make, say how it went."""

import asyncio
from collections.abc import Callable
from typing import Protocol

from textual.app import App

from console.history.errors import HistoryError
from console.operations.errors import NothingToDo, OperationError
from console.operations.plan import Plan
from console.operations.switch import Done, Switch
from console.rollout.errors import RolloutError
from console.store.errors import Conflict
from console.ui.dialogs.confirm import Answer, ConfirmDialog, Question

_MOST_MOVES = 4


class Listener(Protocol):
    """The screen that a change is made from."""

    def held_by_guard(self, plan: Plan) -> str:
        """Return the guard's reason against this raise, or an empty text."""

    def verdict_now(self, plan: Plan) -> str:
        """Return the guard's verdict at this moment, for the history."""

    def change_made(self, done: Done) -> None:
        """Show what was done."""

    def change_refused(self, sentence: str) -> None:
        """Show why nothing was done."""


class ChangeFlow:
    """Runs one change at a time; the lock keeps the file's follower away meanwhile."""

    def __init__(
        self, app: App[None], switch: Switch, lock: asyncio.Lock, listener: Listener
    ) -> None:
        self._app = app
        self._switch = switch
        self._lock = lock
        self._listener = listener

    async def run(self, make_plan: Callable[[], Plan], reason: str = "") -> None:
        """Plan, ask, and make the change; whatever goes wrong becomes one sentence."""
        try:
            async with self._lock:
                plan = await asyncio.to_thread(make_plan)
            if plan.changes_nothing:
                raise NothingToDo(f"nothing to do: {plan.effect}")
            held = self._listener.held_by_guard(plan) if plan.direction == "up" else ""
            answer: Answer | None = await self._app.push_screen_wait(
                ConfirmDialog(question(plan, held))
            )
            if answer is None:
                return
            verdict = self._listener.verdict_now(plan)
            async with self._lock:
                done = await asyncio.to_thread(
                    self._switch.apply,
                    plan,
                    reason=answer.reason or reason,
                    verdict=verdict,
                    held=held,
                    override=bool(answer.reason),
                )
        except Conflict as error:
            self._listener.change_refused(f"{error}; look at it again, then press the key again")
        except (OperationError, RolloutError, HistoryError) as error:
            self._listener.change_refused(str(error))
        else:
            self._listener.change_made(done)


def question(plan: Plan, held: str) -> Question:
    """Return what the confirm asks for ``plan``."""
    raises = plan.direction == "up"
    notes = [plan.rescues] if plan.rescues else []
    moves = plan.moves
    if len(moves) > 1:
        notes += [f"  {move}" for move in moves[:_MOST_MOVES]]
        if len(moves) > _MOST_MOVES:
            notes.append(f"  … and {len(moves) - _MOST_MOVES} more")
    titles = {"up": "Raise", "down": "Lower", "none": "Change"}
    title = {"rollback": "Roll back", "undo": "Undo", "restore": "Restore", "resume": "Resume"}.get(
        plan.action, titles[plan.direction]
    )
    return Question(
        title=f"{title}, on the last good version" if plan.rescues else title,
        effect=plan.effect,
        # A rollback must be readable at once; what it does to the text matters less.
        diff=plan.prepared.diff if raises or plan.action != "rollback" else (),
        notes=tuple(notes),
        type_name=(plan.route or "all") if raises and plan.wide else "",
        held=held,
    )
