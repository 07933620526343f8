"""From a key to a made change: plan, ask, make, say how it went."""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Protocol

from textual.app import App

from rollout_console.changes.errors import Conflict
from rollout_console.changes.plan import Plan
from rollout_console.changes.switch import Done, Switch
from rollout_console.common.errors import NothingToDo, OperationError, ReadOnly
from rollout_console.history.errors import HistoryError
from rollout_console.ui.dialogs.confirm import Answer, ConfirmDialog, Question
from rollout_gate.file.errors import RolloutError

_MOST_MOVES = 4
_TITLES = {
    "rollback": "Roll back", "undo": "Undo", "restore": "Restore", "resume": "Resume",
    "phase": "Change the phase", "model": "Change the model",
}  # fmt: skip


class Judge(Protocol):
    """What the guard says of a plan."""

    def held_by_guard(self, plan: Plan) -> str:
        """Return the guard's reason against this raise, or an empty text."""

    def warning_of(self, plan: Plan) -> str:
        """Return what is to be known before this is confirmed, or an empty text."""

    def verdict_now(self, plan: Plan) -> str:
        """Return the guard's verdict at this moment, for the history."""


class Listener(Protocol):
    """The screen that a change is made from."""

    def change_made(self, done: Done) -> None:
        """Show what was done."""

    def change_refused(self, sentence: str) -> None:
        """Show why nothing was done."""


@dataclass(frozen=True, slots=True)
class Hold:
    """What stands against a change: who holds it, why, what there is to read, what to type."""

    reason: str
    by: str = "the guard holds"
    notes: tuple[str, ...] = ()
    asks: str = "type a reason to override the guard"


class OneAtATime:
    """Whose turn it is to change something: nobody waits for it, the second is refused."""

    def __init__(self) -> None:
        self.taken = False

    def __enter__(self) -> None:
        self.taken = True

    def __exit__(self, *_: object) -> None:
        self.taken = False


class ChangeFlow:
    """Runs one change at a time; the lock keeps the file's follower away meanwhile."""

    def __init__(
        self,
        app: App[None],
        switch: Switch,
        lock: asyncio.Lock,
        turn: OneAtATime,
        judge: Judge,
        listener: Listener,
    ) -> None:
        self._app = app
        self._switch = switch
        self._lock = lock
        self._turn = turn
        self._judge = judge
        self._listener = listener

    async def run(
        self, make_plan: Callable[[], Plan], reason: str = "", hold: Hold | None = None
    ) -> None:
        """Plan, ask, and make the change; whatever goes wrong becomes one sentence.

        Without a ``hold`` of its own, a raise is held by what the guard has against it.
        """
        await self._in_turn(self._run(make_plan, reason, hold))

    async def roll_back(
        self, target: str, make_plan: Callable[[], Plan], reason: str, failed: Callable[[str], None]
    ) -> None:
        """As ``run``, for a rollback of what ``target`` names: a failure is asked about.

        Who has pressed the key and the confirm takes the traffic for safe, so that it is not is no
        sentence that goes away by itself. ``failed`` is told why, and an empty text in the end
        where it was made at last.
        """
        await self._in_turn(self._roll_back(target, make_plan, reason, failed))

    async def _in_turn(self, change: Coroutine[Any, Any, None]) -> None:
        if self._turn.taken:
            # Two keys in one breath: the second would be asked on top of the first.
            change.close()
            self._listener.change_refused("answer the confirm that is open first")
            return
        with self._turn:
            await change

    async def _roll_back(
        self, target: str, make_plan: Callable[[], Plan], reason: str, failed: Callable[[str], None]
    ) -> None:
        try:
            done = await self._make(make_plan, reason, None)
            while isinstance(done, Exception):
                if isinstance(done, (NothingToDo, ReadOnly)):
                    self._listener.change_refused(str(done))
                    return
                failed(str(done))
                again = Question(
                    f"NOT ROLLED BACK: {target}",
                    str(done),
                    notes=("its traffic has not moved; y tries again at once",),
                )
                if await self._app.push_screen_wait(ConfirmDialog(again)) is None:
                    return
                done = await self._make(make_plan, reason, None, asks=False)
        except Exception:
            # The worker dies of it. If the write was made, the file's follower ends this notice.
            failed("internal fault")
            raise
        if done is not None:
            failed("")
            self._listener.change_made(done)

    async def _run(self, make_plan: Callable[[], Plan], reason: str, hold: Hold | None) -> None:
        done = await self._make(make_plan, reason, hold)
        if isinstance(done, Conflict):
            self._listener.change_refused(f"{done}; look at it again, then press the key again")
        elif isinstance(done, Exception):
            self._listener.change_refused(str(done))
        elif done is not None:
            self._listener.change_made(done)

    async def _make(
        self, make_plan: Callable[[], Plan], reason: str, hold: Hold | None, *, asks: bool = True
    ) -> Done | Exception | None:
        """Plan, ask and make; return what was done, why it was not, or None where it was left."""
        try:
            async with self._lock:
                plan = await asyncio.to_thread(make_plan)
                await asyncio.to_thread(lambda: plan.moves)  # 10,000 orgs take their time
            if plan.changes_nothing:
                raise NothingToDo(f"nothing to do: {plan.effect}")
            against = hold or Hold(
                self._judge.held_by_guard(plan) if plan.direction == "up" else ""
            )
            answer: Answer | None = Answer()
            if asks:
                answer = await self._app.push_screen_wait(
                    ConfirmDialog(question(plan, against, self._judge.warning_of(plan)))
                )
            if answer is None:
                # Enter alone cancels: who took it for a yes must see that it was none.
                self._listener.change_refused("cancelled: nothing was changed")
                return None
            verdict = hold.reason if hold else self._judge.verdict_now(plan)
            async with self._lock:
                return await asyncio.to_thread(
                    self._switch.apply,
                    plan,
                    reason=answer.reason or reason,
                    verdict=verdict,
                    held=against.reason,
                    override=bool(answer.reason),
                )
        except (OperationError, RolloutError, HistoryError) as error:
            return error


def question(plan: Plan, hold: Hold, warning: str = "") -> Question:
    """Return what the confirm asks for ``plan``."""
    raises = plan.direction == "up"
    notes = [plan.rescues, *hold.notes] if plan.rescues else [*hold.notes]
    moves = plan.moves
    if len(moves) > 1:
        notes += [f"  {move}" for move in moves[:_MOST_MOVES]]
        if len(moves) > _MOST_MOVES:
            notes.append(f"  … and {len(moves) - _MOST_MOVES} more")
    # What was rolled back by mistake a moment ago comes back as fast as it went.
    asks_name = raises and plan.wide and not (plan.regrets and not hold.reason)
    titles = {"up": "Raise", "down": "Lower", "none": "Change"}
    title = _TITLES.get(plan.action, titles[plan.direction])
    return Question(
        title=f"{title}, on the last good version" if plan.rescues else title,
        effect=plan.effect,
        # A rollback must be readable at once; what it does to the text matters less.
        diff=plan.prepared.diff if raises or plan.action != "rollback" else (),
        notes=tuple(notes),
        type_name=(plan.route or "all") if asks_name else "",
        held=hold.reason,
        held_by=hold.by,
        why=hold.asks,
        warning=warning,
    )
