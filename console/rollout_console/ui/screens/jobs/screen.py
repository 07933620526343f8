"""The jobs screen: async media tasks, those in trouble first, polled, cancelled and forgotten."""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from functools import partial
from time import monotonic, time
from typing import Any, ClassVar, cast

from textual import on, work
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.content import Content
from textual.widgets import Input, Static
from textual.worker import Worker

from rollout_console.common.errors import OperationError
from rollout_console.common.listing import counted
from rollout_console.common.safe_text import visible
from rollout_console.common.write_access import WriteAccess
from rollout_console.credentials.vault.errors import VaultError
from rollout_console.jobs.job_book import STANDINGS, JobRow, Look
from rollout_console.jobs.job_facts import why_not_cancel, why_not_forget
from rollout_console.jobs.poller import Polled, TaskPoller
from rollout_console.tokenlab.errors import ApiError
from rollout_console.ui.keymap import CONTEXTS, JOB_KEYS, Key
from rollout_console.ui.reading import Reading
from rollout_console.ui.screens.base import BesideScreen
from rollout_console.ui.screens.home.status import StatusFacts
from rollout_console.ui.screens.jobs.actions import JobFlows
from rollout_console.ui.screens.jobs.cells import JobCells, about_lines, count_pieces, ids_of
from rollout_console.ui.screens.jobs.state import JobsView
from rollout_console.ui.widgets.key_bar import KeyBar
from rollout_console.ui.widgets.line import TextLine
from rollout_console.ui.widgets.line_table import Cells, LineTable

EVERY_S = 3.0
_REST = 5.0
"""A read that took long is repeated after so many times its duration: a duty cycle of a sixth."""
LOG_EVERY_S = 60.0
_TYPED_S = 0.15
"""Debounce: the ledger is read for a filter once nothing was typed for so long."""
_LEAST_WAIT_S = 0.2
_SHORT = 18
"""The terminal height in lines below which the selected job's ids are left out."""
_NO_JOBS = (
    "A job is a create that makes an async task: a video, music, 3d, an image as a task. The "
    "gate's clients account for each of them in this ledger, with or without a job id."
)


class JobsScreen(BesideScreen):
    """Lists the jobs of the ledger. It is read in a thread; the API is asked in a worker."""

    BINDINGS: ClassVar[list[BindingType]] = [key.binding() for key in JOB_KEYS]
    CONTEXT = "jobs"
    KEYS = JOB_KEYS
    NOTICE = "#jobs-notice"

    DEFAULT_CSS = """
    JobsScreen { layout: vertical; background: $background; }
    JobsScreen #jobs-status { background: $panel; }
    JobsScreen LineTable { height: 1fr; }
    JobsScreen #job { height: 4; border-top: solid $panel; padding: 0 1; }
    JobsScreen #job.-empty { border-top: none; }
    JobsScreen.-short #job { display: none; }
    JobsScreen.-bare #job, JobsScreen.-short.-bare #job { display: block; height: auto; }
    JobsScreen #jobs-filter { display: none; height: 1; border: none; padding: 0 1; }
    JobsScreen.-filtering #jobs-filter { display: block; }
    """

    def __init__(self, view: JobsView, access: WriteAccess, facts: StatusFacts) -> None:
        super().__init__()
        self._view = view
        self._access = access
        self._facts = facts
        self._look: Look | None = None
        self._read_at: float | None = None
        self._rests_until = 0.0
        self._unread = ""
        self._cells = JobCells(80)
        self._cells_of = 80
        self._reading = Reading("the ledger", EVERY_S)
        self._poller: TaskPoller | None = None
        self._polls: Worker[None] | None = None
        self._polls_as: tuple[str, str] = ("", "")
        self._asked: int | None = None
        self._poll_problem = ""
        self._no_key = ""
        self._job_lines: list[tuple[str, str]] = []
        view.text = ""

    # -- layout ----------------------------------------------------------------------------------

    def compose(self) -> ComposeResult:
        """Lay the screen out from the top down."""
        yield TextLine(id="jobs-status")
        yield self.alarm_line()
        yield TextLine(id="jobs-counts")
        yield LineTable[JobRow](self._draw_row, self._draw_header, lambda row: row.create.create_id)
        yield Static("", id="job", markup=False)
        yield TextLine(id="jobs-notice")
        yield Input(
            placeholder="filter: trouble, lost, open …, words of route, org, id, error; ! inverts",
            id="jobs-filter",
        )
        yield KeyBar(CONTEXTS[self.CONTEXT], self.why_not, self._facts.keymap)

    def opened(self) -> None:
        """Read the ledger, and poll the open tasks where there is a key for it."""
        self._flows = JobFlows(self.app, self._view, self._access, self)
        self.on_resize()
        self._table.focus()
        self.reload()
        self.set_interval(1.0, self._each_second)
        if not self._facts.read_only:
            if self._view.polls:
                self._begin_polling()
            self._follow_log()

    async def on_unmount(self) -> None:
        """Close the ledger; the workers have ended with the screen."""
        await asyncio.to_thread(self._view.close)

    def on_resize(self) -> None:
        """Leave out what does not fit a small terminal."""
        self.set_class(self.app.size.height < _SHORT, "-short")
        self.draw_lines()

    def _each_second(self) -> None:
        """Read again when it is time to, and redraw what depends on the time."""
        if self._reading.is_due(time()) and monotonic() >= self._rests_until:
            self.reload()
        if self._is_polling and self._polls_as != self._profile:
            self._begin_polling()  # the rollout file names another profile or address now
        self._table.refresh_numbers()
        self.draw_lines()
        self._draw_job()

    @property
    def _table(self) -> LineTable[JobRow]:
        return cast("LineTable[JobRow]", self.query_one(LineTable))

    # -- reading ---------------------------------------------------------------------------------

    def reload(self) -> None:
        """Read the ledger again."""
        self._reading.begin(time())
        self._read()

    def action_reload(self) -> None:
        """Read the ledger before the timer does."""
        self.reload()

    @work(group="jobs-read", exclusive=True, exit_on_error=False)
    async def _read(self, after_s: float = 0.0) -> None:
        """Read the ledger in a thread, which is told to stop where this is cancelled."""
        await asyncio.sleep(after_s)
        read, stop, began = self._view.reader(), threading.Event(), monotonic()
        try:
            self._look = await asyncio.to_thread(read, stop)
        except OperationError as error:
            self._trouble = self._unread = str(error)
            self._reading.end(time(), error)
            self.draw_lines()
            return
        finally:
            stop.set()
        self._rests_until = monotonic() + _REST * (monotonic() - began)
        if self._trouble == self._unread:  # else keep it: an action's error
            self._trouble = ""
        self._unread, self._read_at = "", time()
        self._reading.end(time())
        self._table.set_rows([] if self._look is None else self._look.rows)
        self.draw_lines()
        self._draw_job()

    @work(group="jobs-log", exclusive=True, exit_on_error=False)
    async def _follow_log(self) -> None:
        """Add other hosts' jobs from the access log to the ledger, now and then."""
        while True:
            read, stop = self._view.log_reader(), threading.Event()
            try:
                await asyncio.to_thread(read, stop)
            finally:
                stop.set()
            await asyncio.sleep(LOG_EVERY_S)

    # -- polling ---------------------------------------------------------------------------------

    @property
    def _profile(self) -> tuple[str, str]:
        return self._view.file.profile, self._view.file.base_url

    @property
    def _is_polling(self) -> bool:
        return self._polls is not None and self._polls.is_running

    def _begin_polling(self) -> None:
        self._polls_as, self._no_key, self._poll_problem = self._profile, "", ""
        self._polls = self._poll()

    @work(group="jobs-poll", exclusive=True, exit_on_error=False)
    async def _poll(self) -> None:
        """Ask about the open tasks until this is cancelled, also in the middle of a request."""
        self._poller = self._asked = None
        try:
            # In a thread: a keyring lookup may block until its timeout.
            client = await asyncio.to_thread(self._view.room.tasks)
        except (OperationError, ApiError, VaultError) as error:
            self._lacks_key(str(error))
            return
        async with client:
            self._poller = poller = self._view.poller(client)
            while True:
                self._asked, self._poll_problem = 0, self._poll_problem if poller.waits_s else ""
                await poller.turn(self._polled)
                self._asked = None
                await asyncio.sleep(max(poller.next_in_s(), _LEAST_WAIT_S))

    def _polled(self, polled: Polled) -> None:
        self._asked = (self._asked or 0) + 1
        if polled.answer is None:
            self._poll_problem = f"{polled.create.task_id}: {polled.problem}"

    def _lacks_key(self, problem: str) -> None:
        """Say how to give a key: once in a run, as what is known is shown without one."""
        self._no_key = problem
        if not self._view.nagged:
            self._view.nagged = True
            self.say(f"not polled; a on the keys screen (2) gives a key: {problem}", bad=True)
        self.draw_lines()

    def _poll_pieces(self) -> list[tuple[str, str]]:
        """Return how polling is, the first matter first: a narrow line is cut at its end."""
        quiet, key = "$foreground 70%", self._shown("jobs.poll")
        if self._facts.read_only:
            return [(" not polled: read-only", quiet)]
        if self._no_key:
            return [(f" not polled: no API key; {key} looks for one again", quiet)]
        if not self._is_polling:
            return [(f" not polled; {key} polls the open tasks", quiet)]
        poller, problem = self._poller, visible(self._poll_problem)
        if poller is None:
            return [(" looking for the API key …", quiet)]
        if poller.waits_s > 0:
            words = f" polling waits {poller.waits_s:.0f} s more"
            return [(words, "$warning bold"), (f": {problem}" if problem else "", "$warning")]
        if self._asked is not None:
            pieces = [(f" polling: {self._asked} answers …", quiet)]
        else:
            pieces = [(f" polling: next in {poller.next_in_s():.0f} s, {key} stops", quiet)]
        return [*pieces, (f"   {problem}", "$warning")] if problem else pieces

    # -- drawing ---------------------------------------------------------------------------------

    def _draw_header(self, width: int) -> Cells:
        return self._cells_for(width - 1).header()  # without the cursor's column

    def _draw_row(self, row: JobRow, width: int) -> Cells:
        return self._cells_for(width).row(row, time())

    def _cells_for(self, width: int) -> JobCells:
        if self._cells_of != width:
            self._cells_of, self._cells = width, JobCells(width)
        return self._cells

    def draw_lines(self) -> None:
        """Redraw status, counts, notice and key hints."""
        facts, look, now = self._facts, self._look, time()
        age = "" if self._read_at is None else f"  read {max(now - self._read_at, 0):.0f} s ago"
        words = self._reading.words(now)
        count = f"by {self._view.order}"
        if look is not None:
            total = sum(look.counts.values())
            filtered = f"{look.matched:,} of " if self._view.text.strip() else ""
            jobs = counted(total, "job")
            count = f"{filtered}{jobs} {count}"
        self.query_one("#jobs-status", TextLine).say(
            (" jobs", "bold"), (" ▸ ", "$accent"), (count, "bold"),
            facts.writes,
            (f"  {words}" if words else age, "$warning" if words else ""),
            (f"  {self._view.shown_path}", "$foreground 70%"),
        )  # fmt: skip
        self.query_one("#jobs-counts", TextLine).say(*self._counts())
        pieces = self._poll_pieces()
        if self._view.text.strip():
            pieces.insert(0, (f" filter: {self._view.text}   esc clears it ", "$foreground 70%"))
        self.show_notice(*pieces)
        self.query_one(KeyBar).update_keys()

    def _counts(self) -> list[tuple[str, str]]:
        look = self._look
        if look is None:
            return [(" no ledger yet", "$foreground 70%")] if self._reading.done else []
        counts = {one: look.counts[one] for one in STANDINGS if one in look.counts}
        pieces = list(count_pieces(counts, self.app.size.width)) or [(" no job", "$foreground 70%")]
        if look.matched > len(look.rows):
            pieces.append((f"  the first {len(look.rows):,} are listed", "$foreground 70%"))
        if look.is_cut:
            pieces.append(("  older ones that have ended are left out", "$foreground 70%"))
        return pieces

    def _draw_job(self) -> None:
        """Redraw what is below the table: the selected job, or why there is none."""
        row = self._table.selected
        pieces = [] if row is None else list(about_lines(row, time()))
        if row is None and self._reading.done:
            pieces = [(one, "$foreground 70%") for one in self._no_rows()]
        lines = [(f"{text}\n" if i + 1 < len(pieces) else text, style)
                 for i, (text, style) in enumerate(pieces)]  # fmt: skip
        if lines == self._job_lines:
            return
        self._job_lines = lines
        job = self.query_one("#job", Static)
        job.update(Content.assemble(*lines))
        job.set_class(not pieces, "-empty")
        self.set_class(row is None, "-bare")

    def _no_rows(self) -> list[str]:
        if self._look is None:
            path = visible(str(self._view.shown_path))
            return [
                f"There is no ledger of jobs at {path}: the gate's client makes it with the first "
                "async create that an application sends through it.",
                _NO_JOBS,
            ]
        if self._view.text.strip():
            return ["No job has these words."]
        more = "rollout-console jobs list --since 7d has older ones."
        return [f"No job is open, and none was sent within a day. {more}", _NO_JOBS]

    @on(LineTable.Moved)
    def _row_changed(self) -> None:
        self._draw_job()
        self.query_one(KeyBar).update_keys()

    # -- what can be done now --------------------------------------------------------------------

    def why_not(self, key: Key) -> str:
        """Return why a key is disabled now; empty where it is enabled."""
        nothing = "nothing is polled or changed; start without --read-only"
        if reason := self._facts.why_read_only(key, nothing):
            return reason
        row = self._table.selected if self.is_mounted else None
        name = key.id.removeprefix("jobs.")
        if name not in ("open", "cancel", "forget", "copy", "copy.all"):
            return ""
        if row is None:
            return "no job is selected"
        if name == "cancel" and (why := why_not_cancel(row)):
            return f"it cannot be cancelled: {why}"
        if name == "forget" and (why := why_not_forget(row)):
            return f"it is not to be forgotten: {why}"
        return "" if not name.startswith("copy") or ids_of(row) else "it has no id"

    def _shown(self, key_id: str) -> str:
        key = next(key for key in JOB_KEYS if key.id == key_id)
        return self._facts.keymap.get(key_id, key.shown)

    # -- actions ---------------------------------------------------------------------------------

    def action_row(self, by: int) -> None:
        """Move the cursor."""
        self._table.move(by)

    def action_page(self, by: int) -> None:
        """Move half a page."""
        self._table.move_page(by)

    def action_end(self, last: bool) -> None:
        """Go to the first or the last job."""
        self._table.move_end(last)

    def _of_job(self, name: str, flow: Callable[[JobRow], Coroutine[Any, Any, None]]) -> None:
        row = self._table.selected
        if self.may(f"jobs.{name}") and row is not None:
            self.start(partial(flow, row))

    def action_open(self) -> None:
        """Show everything that is known of the job."""
        self._of_job("open", self._flows.details)

    def action_cancel(self) -> None:
        """Cancel the job's task at TokenLab."""
        self._of_job("cancel", self._flows.cancel)

    def action_forget(self) -> None:
        """Forget a job whose create's outcome is unknown."""
        self._of_job("forget", self._flows.forget)

    def action_duplicates(self) -> None:
        """Show the jobs that were perhaps made twice."""
        if self.may("jobs.duplicates"):
            self.start(self._flows.duplicates)

    def action_poll(self) -> None:
        """Poll the open tasks, or stop."""
        if not self.may("jobs.poll"):
            return
        if self._polls is not None and self._polls.is_running:
            self._view.polls = False
            self._polls.cancel()
            self._polls = None
        else:
            self._view.polls, self._view.nagged = True, False
            self._begin_polling()
        self.draw_lines()

    def action_sort(self) -> None:
        """Sort by the next order."""
        self._view.next_order()
        self.reload()
        self.draw_lines()

    def action_copy(self) -> None:
        """Copy the task id, or the job id where no task is known."""
        self._copy("copy", 1)

    def action_copy_all(self) -> None:
        """Copy all ids of the job."""
        self._copy("copy.all", None)

    def _copy(self, name: str, most: int | None) -> None:
        row = self._table.selected
        self.copy_ids(f"jobs.{name}", ids_of(row)[:most] if row is not None else ())

    def action_filter(self) -> None:
        """Open the filter line."""
        self.add_class("-filtering")
        self.set_focus(self.query_one("#jobs-filter", Input))  # synchronously, as at home

    @on(Input.Changed, "#jobs-filter")
    def _filter_typed(self, event: Input.Changed) -> None:
        self._filter_by(event.value)

    def _filter_by(self, text: str) -> None:
        if text != self._view.text:
            self._view.text = text
            self._reading.begin(time())
            self._read(_TYPED_S)
            self.draw_lines()

    @on(Input.Submitted, "#jobs-filter")
    def _filter_done(self) -> None:
        self.remove_class("-filtering")
        self._table.focus()

    def go_back(self) -> bool:
        """Clear filter and notice; return whether there was either."""
        filtering = self.has_class("-filtering") or bool(self._view.text)
        self.remove_class("-filtering")
        self._filter_by("")
        self.query_one("#jobs-filter", Input).value = ""
        self._table.focus()
        said = bool(self._told) or self._trouble != self._unread
        self._told, self._trouble = "", self._unread
        self.draw_lines()
        return filtering or said
