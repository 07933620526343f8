"""The workflow of a change, from key press to result: plan, confirm, apply, report."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from functools import partial
from time import time
from typing import Any, Protocol, TypeVar

import msgspec
from textual.app import App

from rollout_console.changes.effect_words import named_targets
from rollout_console.changes.errors import Conflict, NotReadable, Uncertain, rollback_words
from rollout_console.changes.open_conversations import cut_by
from rollout_console.changes.plan import Plan, Target
from rollout_console.changes.switch import Done, Switch
from rollout_console.changes.traffic_diff import Move
from rollout_console.changes.under_way import ROLLING_BACK, doing
from rollout_console.common.errors import Held, NothingToDo, OperationError, ReadOnly
from rollout_console.common.folders import state_folder
from rollout_console.guard.held_shares import held_shares, held_words
from rollout_console.history.errors import HistoryError
from rollout_console.ui.change_question import Hold, question
from rollout_console.ui.under_way import Progress
from rollout_gate.file.errors import RolloutError

Result = TypeVar("Result")
_MOST_TARGETS = 3
_JUDGED_AT_ONCE = 50
"""How many of a group's shares are judged before keys and figures have their turn."""


class Judge(Protocol):
    """What the guard says of a plan."""

    def stale(self, plan: Plan) -> str:
        """Return what becomes of a plan as its file is another by now; or an empty text."""

    def held_by_guard(self, plan: Plan) -> str:
        """Return the guard's reason against this raise, or an empty text."""

    def held_move(self, move: Move, now: float) -> str:
        """Return the first reason against the raise of one share, or an empty text."""

    def warning_of(self, plan: Plan) -> str:
        """Return a warning for the confirm dialog, or an empty text."""

    def figures_of(self, plan: Plan) -> tuple[str, ...]:
        """Return the figures of both sides for a rollback, a line each, from memory."""

    def verdict_now(self, plan: Plan) -> str:
        """Return the guard's verdict at this moment, for the history."""


Failed = Callable[[str, str], None]
"""Gets what became of a rollback, in capitals, and the error; two empty texts once it is made."""


class Listener(Protocol):
    """The screen that a change is made from."""

    def change_made(self, done: Done) -> None:
        """Show what was done."""

    def change_refused(self, sentence: str) -> None:
        """Show why nothing was done."""


class _Wider(msgspec.Struct, frozen=True):
    """The answer to be asked for all of what was asked for, also for what the guard holds."""


class OneAtATime:
    """A non-blocking mutex for changes: a second one is refused, not queued.

    But for one rollback, which is queued behind a change that is under way (``take_next``).
    """

    def __init__(self, progress: Progress) -> None:
        self._holder: asyncio.Task[Any] | None = None
        self._next: asyncio.Task[Any] | None = None
        self._progress = progress

    @property
    def refusal(self) -> str:
        """Why no other change can be made now; empty where one can."""
        if self._holder is None:
            return ""
        if self._progress.is_under_way:
            return f"{self._progress.words} is under way: wait for its outcome first"
        # Two key events were queued: the second confirm would open on top of the first.
        return "another confirm is open: answer it first"

    @property
    def may_be_next(self) -> bool:
        """Whether a rollback can be queued behind the change that is under way."""
        return self._progress.is_under_way and self._holder is not None and self._next is None

    async def take(self, change: Coroutine[Any, Any, Result]) -> Result:
        """Await a change in a task of its own, which goes on where whoever awaits it is cancelled.

        The workers of a screen are cancelled when it is left: another change could begin then, and
        nobody would be told the outcome of this one.
        """
        holder = self._holder = asyncio.create_task(change)
        holder.add_done_callback(self._end)
        return await asyncio.shield(holder)

    async def take_next(self, change: Coroutine[Any, Any, Result]) -> Result:
        """As ``take``, for a rollback that waits for the outcome of the change under way itself."""
        task = self._next = asyncio.create_task(change)
        task.add_done_callback(self._end)
        return await asyncio.shield(task)

    def _end(self, task: asyncio.Task[Any]) -> None:
        if task is not self._next:
            self._holder = self._next
        self._next = None
        if not task.cancelled():
            task.exception()  # retrieved: Progress has said it, where nobody awaits it any more


class ChangeFlow:
    """Runs one change at a time; ``lock`` excludes ``follow_file`` during planning and applying."""

    def __init__(
        self,
        app: App[None],
        switch: Switch,
        lock: asyncio.Lock,
        turn: OneAtATime,
        progress: Progress,
        judge: Judge,
        listener: Listener,
    ) -> None:
        self._app = app
        self._switch = switch
        self._lock = lock
        self._turn = turn
        self._progress = progress
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
        self, target: str, make_plan: Callable[[], Plan], reason: str, failed: Failed
    ) -> None:
        """As ``run``, for a rollback of what ``target`` names: a failure opens a retry dialog.

        An operator who has confirmed a rollback takes the traffic for safe, so a failure must not
        be a notice that expires. ``failed`` is called with each error, and with an empty text once
        the rollback is made. While another change is under way, its confirm opens all the same, and
        it is made once the outcome of that is there, whatever it is.
        """
        if self._turn.may_be_next:
            change = self._roll_back(target, make_plan, reason, failed, is_next=True)
            await self._turn.take_next(change)
        else:
            await self._in_turn(self._roll_back(target, make_plan, reason, failed))

    async def roll_back_several(
        self,
        targets: Sequence[Target],
        make_plan: Callable[[], Plan],
        failed: Failed,
    ) -> None:
        """As ``roll_back``, for several targets: one confirm, one change, a history row for each.

        ``make_plan`` is ``Planner.plan_rollbacks`` of them, with a reason for each.
        """
        target = named_targets(targets, _MOST_TARGETS)
        await self.roll_back(target, make_plan, "by the operator", failed)

    async def set_several(
        self, make_plan: Callable[[Mapping[Target, str]], Plan], made: Callable[[], None]
    ) -> None:
        """As ``run``, for the shares of several targets: one confirm, one change, a row for each.

        ``make_plan`` is ``Planner.plan_sets`` without those that it is given, by the reason why.
        What the guard holds is left out and named; the operator may ask for all, with a typed
        reason. ``made`` is called once it is made.
        """
        await self._in_turn(self._set_several(make_plan, made))

    async def keep(self, words: str, make: Callable[[], Result]) -> Result:
        """Make a change of what is kept beside the file, which was confirmed, in a thread.

        It is said while it is under way, and excludes the other changes, as they do each other.
        Raises OperationError where another one is made, and what ``make`` raises.
        """
        if refusal := self._turn.refusal:
            raise OperationError(refusal)
        steps = partial(self._progress.outcome, make)
        return await self._turn.take(
            self._progress.make(self._app, words, steps, lambda _result: words)
        )

    async def _in_turn(self, change: Coroutine[Any, Any, None]) -> None:
        if refusal := self._turn.refusal:
            change.close()
            self._listener.change_refused(refusal)
            return
        await self._turn.take(change)

    async def _roll_back(
        self,
        target: str,
        make_plan: Callable[[], Plan],
        reason: str,
        failed: Failed,
        *,
        is_next: bool = False,
    ) -> None:
        try:
            done = await self._make(make_plan, reason, None, is_next=is_next)
            while isinstance(done, Exception):
                if isinstance(done, (NothingToDo, ReadOnly)):
                    self._listener.change_refused(str(done))
                    return
                failed(rollback_words(done), str(done))
                from rollout_console.ui.dialogs.confirm import ConfirmDialog, Question

                again = Question(
                    f"{rollback_words(done)}: {target}",
                    str(done),
                    notes=(
                        "y makes sure of it at once"
                        if isinstance(done, Uncertain)
                        else "its traffic has not moved; y tries again at once",
                    ),
                    rolls_back=True,
                )
                if await self._app.push_screen_wait(ConfirmDialog(again)) is None:
                    return
                done = await self._make(make_plan, reason, None, asks=False)
        except Exception:
            # The exception ends the worker. If the write was made, follow_file clears the notice.
            failed("NOT ROLLED BACK", "internal error")
            raise
        if isinstance(done, Done):
            failed("", "")
            self._listener.change_made(done)

    async def _set_several(
        self, make_plan: Callable[[Mapping[Target, str]], Plan], made: Callable[[], None]
    ) -> None:
        make_all = partial(make_plan, {})
        try:
            plan = await self._planned(make_all)
        except (OperationError, RolloutError, HistoryError) as error:
            self._listener.change_refused(str(error))
            return
        held = await self._held(plan)
        done: Done | Exception | _Wider | None = _Wider()
        if 0 < len(held) < len(plan.parts):
            wider = f"all {len(plan.parts)}, also what the guard holds, with a typed reason"
            done = await self._make(partial(make_plan, held), "", None, wider=wider)
        if isinstance(done, _Wider):
            done = await self._make(make_all, "", None)
        if isinstance(done, Done):
            made()
        self._report(done)

    async def _run(self, make_plan: Callable[[], Plan], reason: str, hold: Hold | None) -> None:
        self._report(await self._make(make_plan, reason, hold))

    def _report(self, done: Done | Exception | _Wider | None) -> None:
        if isinstance(done, Conflict):
            self._listener.change_refused(
                f"{done}; check the new version, then press the key again"
            )
        elif isinstance(done, Exception):
            self._listener.change_refused(str(done))
        elif isinstance(done, Done):
            self._listener.change_made(done)

    async def _planned(self, make_plan: Callable[[], Plan]) -> Plan:
        async with self._lock:
            plan = await asyncio.to_thread(make_plan)
            await asyncio.to_thread(lambda: plan.moves)  # memoized: slow with 10,000 orgs
            await asyncio.to_thread(self._switch.require_kept, plan)
        return plan

    async def _foreseen(self, make_plan: Callable[[], Plan]) -> Plan:
        """Plan a rollback from what is known while another change holds the lock.

        That it is rolled back is no reason against it, as the other may resume it. Raises
        NothingToDo where the other is the same rollback.
        """
        refusal, words = self._turn.refusal, self._progress.words
        with suppress(NothingToDo):
            plan = await asyncio.to_thread(make_plan)
            await asyncio.to_thread(lambda: plan.moves)
            is_done = plan.changes_nothing and words.startswith(ROLLING_BACK)
            if not is_done and doing(plan, self._switch.name) != words:
                return plan
        raise NothingToDo(refusal)

    async def _planned_next(self, asked: Plan, make_plan: Callable[[], Plan]) -> Plan:
        """Wait for the outcome of the change under way, and plan a confirmed rollback anew."""
        if not await self._progress.wait_for_outcome(doing(asked, self._switch.name)):
            raise asyncio.CancelledError  # the console was quit
        plan = await self._planned(make_plan)
        if plan.changes_nothing:
            raise NothingToDo(f"nothing to do: {plan.effect}")
        if plan.rescues and not asked.rescues:
            raise NotReadable(plan.rescues)  # which is not replaced without being asked
        return plan

    async def _held(self, plan: Plan) -> dict[Target, str]:
        """Return what the guard holds of a set of several, by the reason why."""
        found: dict[Target, str] = {}
        now = time()
        judged = held_shares(plan, lambda move: self._judge.held_move(move, now))
        for number, (target, why) in enumerate(judged, 1):
            if why:
                found[target] = why
            if number % _JUDGED_AT_ONCE == 0:
                await asyncio.sleep(0)
        return found

    async def _objection(self, plan: Plan) -> str:
        """Return why the guard holds a plan, empty where it does not."""
        if plan.direction != "up":
            return ""
        if plan.action == "set" and plan.parts:
            return held_words(plan, await self._held(plan))
        return self._judge.held_by_guard(plan)

    async def _check_again(self, plan: Plan, make_plan: Callable[[], Plan]) -> None:
        """Ask the guard once more: a confirm may have been open for long; raises Held."""
        if plan.regrets and not (await self._planned(make_plan)).regrets:
            raise Held("your rollback is not a recent one any more: press the key again")
        if held := await self._objection(plan):
            raise Held(f"the guard holds this raise by now: {held}; press the key again")

    async def _added(self, plan: Plan) -> str:
        """Return what a raise would add to the bill of a day; nothing of it delays a rollback."""
        if plan.direction != "up":
            return ""
        from rollout_console.cost.share_costs import added_by

        return await asyncio.to_thread(added_by, plan, self._switch.path, state_folder())

    def _facts_now(self, plan: Plan, *, is_fresh: bool) -> tuple[str, tuple[str, ...]]:
        """Return the warning and the figures that a change is decided by.

        A plan ``is_fresh`` where it was just made, or will be made anew before it is applied.
        """
        stale = "" if is_fresh else self._judge.stale(plan)
        return stale or self._judge.warning_of(plan), self._judge.figures_of(plan)

    async def _make(
        self,
        make_plan: Callable[[], Plan],
        reason: str,
        hold: Hold | None,
        *,
        asks: bool = True,
        wider: str = "",
        is_next: bool = False,
    ) -> Done | Exception | _Wider | None:
        """Plan, confirm and apply; return what was done, the error, or None if cancelled.

        With ``wider``, the answer may be to ask for more than this plan, which is then returned.
        One that ``is_next`` is applied after the change that is under way.
        """
        from rollout_console.ui.dialogs.confirm import Answer, ConfirmDialog

        try:
            plan = await (self._foreseen if is_next else self._planned)(make_plan)
            if plan.changes_nothing and not is_next:
                raise NothingToDo(f"nothing to do: {plan.effect}")
            against = hold or Hold(await self._objection(plan))
            answer: Answer | None = Answer()
            if asks:
                cuts, adds = await asyncio.gather(
                    asyncio.to_thread(cut_by, plan, self._switch.path), self._added(plan)
                )
                warning, figures = self._facts_now(plan, is_fresh=True)
                asked = question(plan, against, warning, cuts or adds, figures, wider)
                facts = partial(self._facts_now, plan, is_fresh=is_next)
                answer = await self._app.push_screen_wait(ConfirmDialog(asked, facts))
            if answer is None:
                # Enter alone cancels: an operator who took it for a yes must see that.
                self._listener.change_refused("cancelled: nothing was changed")
                return None
            if answer.widens:
                return _Wider()
            if is_next:
                plan = await self._planned_next(plan, make_plan)
            checks = asks and hold is None and not against.reason
            told = partial(
                self._switch.apply,
                plan,
                reason=answer.reason or reason,
                held=against.reason,
                override=bool(answer.reason),
            )

            async def steps() -> Done:
                if checks:
                    await self._check_again(plan, make_plan)
                verdict = hold.reason if hold else self._judge.verdict_now(plan)
                async with self._lock:
                    return await self._progress.outcome(partial(told, verdict=verdict))

            self._switch.made_as = plan.prepared.after.revision
            return await self._progress.make(
                self._app,
                doing(plan, self._switch.name),
                steps,
                lambda done: done.plan.effect,
                lambda: self._switch.made_as,
                follows=is_next,
            )
        except (OperationError, RolloutError, HistoryError) as error:
            return error
