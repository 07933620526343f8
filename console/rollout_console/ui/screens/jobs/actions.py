"""Flows of the jobs screen's actions: details, cancel, forget, duplicates."""

import asyncio
import threading
from time import time
from typing import Any, ClassVar, Protocol

from textual.app import App
from textual.binding import BindingType

from rollout_console.common.durations import target_text
from rollout_console.common.write_access import WriteAccess
from rollout_console.jobs.cancelling import cancel_task
from rollout_console.jobs.job_book import REPEATED_WITHIN_S, JobBook, JobRow
from rollout_console.ui.dialogs.confirm import ConfirmDialog, Question
from rollout_console.ui.dialogs.ids import IdsDialog
from rollout_console.ui.keymap import JOB_KEYS
from rollout_console.ui.off_loop import off_loop
from rollout_console.ui.screens.jobs.cells import detail_lines, ids_of, pair_lines
from rollout_console.ui.screens.jobs.state import SINCE_S, JobsView
from rollout_console.ui.text import shown
from rollout_gate.http.task_answers import TaskAnswer

_MOST_WIDE = 120


class Listener(Protocol):
    """The screen that starts the flows."""

    def say(self, sentence: str, *, bad: bool = False) -> None:
        """Show a message; ``bad`` marks a problem."""

    def reload(self) -> None:
        """Read the ledger again."""


class JobDialog(IdsDialog):
    """Text about jobs, whose ids can be copied by the keys of the screen."""

    BINDINGS: ClassVar[list[BindingType]] = [
        key.binding() for key in JOB_KEYS if key.id in ("jobs.copy", "jobs.copy.all")
    ]


class JobFlows:
    """One method for each key; each runs in a worker of the screen, one at a time."""

    def __init__(
        self, app: App[Any], view: JobsView, access: WriteAccess, listener: Listener
    ) -> None:
        self._app = app
        self._view = view
        self._access = access
        self._listener = listener

    @property
    def _width(self) -> int:
        return min(max(self._app.size.width - 4, 40), _MOST_WIDE)

    async def details(self, row: JobRow) -> None:
        """Show everything that is known of a job."""
        title = shown(f"{row.standing}: {target_text(row.create.route, row.create.org)}")
        lines = detail_lines(row, time())
        await self._app.push_screen_wait(JobDialog(title, lines, ids_of(row), width=self._width))

    async def cancel(self, row: JobRow) -> None:
        """Cancel a job's task at TokenLab, after a confirm."""
        create = row.create
        where = target_text(create.route, create.org)
        question = Question(
            "Cancel the task",
            f"cancel {create.task_id} of {where} at TokenLab",
            notes=(
                "the application gets no asset: for it the task has ended as cancelled",
                "TokenLab cancels what is queued yet, and refuses most others",
            ),
            keeps="Keep it",
        )
        if not await self._sure(question):
            self._listener.say("nothing was cancelled")
            return
        self._access.require()
        book, room = self._view.book, self._view.room
        self._listener.say(f"cancelling {create.task_id} …")

        async def cancel() -> TaskAnswer:
            async with room.tasks() as client:
                return await cancel_task(book, client, create)

        try:
            answer = await off_loop(cancel)
        finally:
            self._listener.reload()
        if answer.state == "cancelled":
            self._listener.say(f"done: {create.task_id} is cancelled")
        else:
            self._listener.say(f"{create.task_id} is {answer.state}, not cancelled", bad=True)

    async def forget(self, row: JobRow) -> None:
        """Delete a job of which nobody knows whether it made a task, after a confirm."""
        create = row.create
        where = target_text(create.route, create.org)
        book = self._view.book
        if create.job_id:
            effect = f"job {create.job_id} of {where} may be created again"
            allows = "the next create with this job id is sent: if there is a task after all, twice"
        else:
            effect = f"the create of {where} is not listed any more"
            allows = "it has no job id, so nothing prevents that it is created again, now or before"
        question = Question(
            "Forget the job", effect,
            notes=(allows,), warning=f"look for its task at {create.side} first",
        )  # fmt: skip
        if not await self._sure(question):
            self._listener.say("nothing was forgotten")
            return
        self._access.require()
        await off_loop(lambda: _forget(book, row))
        self._listener.say(f"done: {effect}")
        self._listener.reload()

    async def duplicates(self) -> None:
        """Show the jobs that were perhaps made twice."""
        book, stop = self._view.book, threading.Event()
        self._listener.say("looking for jobs that were made twice …")
        try:
            pairs = await asyncio.to_thread(
                book.repeated, since=time() - SINCE_S, window_s=REPEATED_WITHIN_S, stop=stop
            )
        finally:
            stop.set()
        self._listener.say("" if pairs else "no job of the last day was made twice")
        if pairs:
            count = "one job was" if len(pairs) == 1 else f"{len(pairs):,} jobs were"
            found = (one.task_id for pair in pairs for one in (pair.first, pair.second))
            ids = [*dict.fromkeys(one for one in found if one)]
            dialog = JobDialog(
                f"{count} perhaps made twice", pair_lines(pairs), ids, width=self._width
            )
            await self._app.push_screen_wait(dialog)

    async def _sure(self, question: Question) -> bool:
        return await self._app.push_screen_wait(ConfirmDialog(question)) is not None


async def _forget(book: JobBook, row: JobRow) -> None:
    book.forget_create(row.create)
