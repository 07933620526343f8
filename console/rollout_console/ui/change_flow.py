"""The workflow of a change, from key press to result: plan, confirm, apply, report."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import msgspec
from textual.app import App

from rollout_console.changes.effect_words import named_targets
from rollout_console.changes.errors import Conflict
from rollout_console.changes.open_conversations import cut_by
from rollout_console.changes.plan import Plan, Target
from rollout_console.changes.switch import Done, Switch
from rollout_console.common.errors import NothingToDo, OperationError, ReadOnly
from rollout_console.history.errors import HistoryError
from rollout_gate.file.errors import RolloutError

if TYPE_CHECKING:
    from rollout_console.ui.dialogs.confirm import Question

_MOST_MOVES = 4
_MOST_TARGETS = 3
_TITLES = {
    "rollback": "ROLL BACK", "undo": "Undo", "restore": "Restore", "resume": "Resume",
    "phase": "Change the phase", "model": "Change the model",
}  # fmt: skip


class Judge(Protocol):
    """What the guard says of a plan."""

    def held_by_guard(self, plan: Plan) -> str:
        """Return the guard's reason against this raise, or an empty text."""

    def warning_of(self, plan: Plan) -> str:
        """Return a warning for the confirm dialog, or an empty text."""

    def figures_of(self, plan: Plan) -> tuple[str, ...]:
        """Return the figures of both sides for a rollback, a line each, from memory."""

    def verdict_now(self, plan: Plan) -> str:
        """Return the guard's verdict at this moment, for the history."""


class Listener(Protocol):
    """The screen that a change is made from."""

    def change_made(self, done: Done) -> None:
        """Show what was done."""

    def change_refused(self, sentence: str) -> None:
        """Show why nothing was done."""


class Hold(msgspec.Struct, frozen=True):
    """An objection to a change: reason, who holds it, notes to read, prompt for the override."""

    reason: str
    by: str = "the guard holds"
    notes: tuple[str, ...] = ()
    asks: str = "type a reason to override the guard"


class OneAtATime:
    """A non-blocking mutex for changes: a second one is refused, not queued."""

    def __init__(self) -> None:
        self.taken = False

    def __enter__(self) -> None:
        self.taken = True

    def __exit__(self, *_: object) -> None:
        self.taken = False


class ChangeFlow:
    """Runs one change at a time; ``lock`` excludes ``follow_file`` during planning and applying."""

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
        """Plan, confirm and apply a change; an expected error is reported in one sentence.

        Without a ``hold`` of its own, a raise is held by the guard's objection, if it has one.
        """
        await self._in_turn(self._run(make_plan, reason, hold))

    async def roll_back(
        self, target: str, make_plan: Callable[[], Plan], reason: str, failed: Callable[[str], None]
    ) -> None:
        """As ``run``, for a rollback of what ``target`` names: a failure opens a retry dialog.

        An operator who has confirmed a rollback takes the traffic for safe, so a failure must not
        be a notice that expires. ``failed`` is called with each error, and with an empty text once
        the rollback is made.
        """
        await self._in_turn(self._roll_back(target, make_plan, reason, failed))

    async def roll_back_several(
        self,
        targets: Sequence[Target],
        make_plan: Callable[[], Plan],
        failed: Callable[[str], None],
    ) -> None:
        """As ``roll_back``, for several targets: one confirm, one change, a history row for each.

        ``make_plan`` is ``Planner.plan_rollbacks`` of them, with a reason for each.
        """
        target = named_targets(targets, _MOST_TARGETS)
        await self._in_turn(self._roll_back(target, make_plan, "by the operator", failed))

    async def _in_turn(self, change: Coroutine[Any, Any, None]) -> None:
        if self._turn.taken:
            # Two key events were queued: the second confirm would open on top of the first.
            change.close()
            self._listener.change_refused("another confirm is open: answer it first")
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
                from rollout_console.ui.dialogs.confirm import ConfirmDialog, Question

                again = Question(
                    f"NOT ROLLED BACK: {target}",
                    str(done),
                    notes=("its traffic has not moved; y tries again at once",),
                    rolls_back=True,
                )
                if await self._app.push_screen_wait(ConfirmDialog(again)) is None:
                    return
                done = await self._make(make_plan, reason, None, asks=False)
        except Exception:
            # The exception ends the worker. If the write was made, follow_file clears the notice.
            failed("internal error")
            raise
        if done is not None:
            failed("")
            self._listener.change_made(done)

    async def _run(self, make_plan: Callable[[], Plan], reason: str, hold: Hold | None) -> None:
        done = await self._make(make_plan, reason, hold)
        if isinstance(done, Conflict):
            self._listener.change_refused(
                f"{done}; check the new version, then press the key again"
            )
        elif isinstance(done, Exception):
            self._listener.change_refused(str(done))
        elif done is not None:
            self._listener.change_made(done)

    async def _make(
        self, make_plan: Callable[[], Plan], reason: str, hold: Hold | None, *, asks: bool = True
    ) -> Done | Exception | None:
        """Plan, confirm and apply; return what was done, the error, or None if cancelled."""
        from rollout_console.ui.dialogs.confirm import Answer, ConfirmDialog

        try:
            async with self._lock:
                plan = await asyncio.to_thread(make_plan)
                await asyncio.to_thread(lambda: plan.moves)  # memoized: slow with 10,000 orgs
            if plan.changes_nothing:
                raise NothingToDo(f"nothing to do: {plan.effect}")
            against = hold or Hold(
                self._judge.held_by_guard(plan) if plan.direction == "up" else ""
            )
            answer: Answer | None = Answer()
            if asks:
                cuts = await asyncio.to_thread(cut_by, plan, self._switch.path)
                warning, figures = self._judge.warning_of(plan), self._judge.figures_of(plan)
                asked = question(plan, against, warning, cuts, figures)
                answer = await self._app.push_screen_wait(ConfirmDialog(asked))
            if answer is None:
                # Enter alone cancels: an operator who took it for a yes must see that.
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


def question(
    plan: Plan,
    hold: Hold,
    warning: str = "",
    cuts: str = "",
    figures: Sequence[str] = (),
) -> "Question":
    """Return the confirm dialog's question for ``plan``, with the objection ``hold``.

    ``cuts`` says what the change would cut, empty where nothing. ``figures`` are the lines that a
    rollback is decided by, and come first.
    """
    from rollout_console.ui.dialogs.confirm import Question

    raises = plan.direction == "up"
    notes = [*figures, *([plan.rescues] if plan.rescues else []), *hold.notes]
    notes += [cuts] if cuts else []
    moves = plan.moves
    if len(moves) > 1:
        notes += [f"  {move}" for move in moves[:_MOST_MOVES]]
        if len(moves) > _MOST_MOVES:
            notes.append(f"  … and {len(moves) - _MOST_MOVES} more")
    # No typed name to undo one's own recent rollback: it is undone as fast as it was made.
    asks_name = raises and plan.wide and not (plan.regrets and not hold.reason)
    titles = {"up": "Raise", "down": "Lower", "none": "Change"}
    title = _TITLES.get(plan.action, titles[plan.direction])
    if plan.parts and plan.action == "rollback":
        title += f": {len(plan.parts)} lines"
    return Question(
        title=f"{title}, on the last good version" if plan.rescues else title,
        effect=plan.effect,
        # A rollback shows no diff: its effect must be readable at a glance.
        diff=plan.prepared.diff if raises or plan.action != "rollback" else (),
        notes=tuple(notes),
        type_name=plan.asked_name if asks_name else "",
        held=hold.reason,
        held_by=hold.by,
        why=hold.asks,
        warning=warning,
        rolls_back=plan.action == "rollback",
    )
