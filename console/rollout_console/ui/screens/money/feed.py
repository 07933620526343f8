"""What the money screen asks its worker for, and the answers that it is still waiting for."""

import asyncio
from collections.abc import Callable
from typing import Protocol

from textual.screen import Screen

from rollout_console.common.errors import OperationError
from rollout_console.common.listing import counted
from rollout_console.cost.worker_protocol import (
    Answer,
    CostPage,
    Explained,
    Export,
    Failed,
    Loaded,
    Money,
    Order,
    PartsPage,
    PilePage,
    Preview,
)
from rollout_console.ui.screens.money.head import clock
from rollout_console.ui.screens.money.link import Link
from rollout_console.ui.screens.money.state import NEAR, PAGE, Level, MoneyView, Period

_MOST_AGAIN = 5 * PAGE
"""Rows that are asked for at once where a list is asked for again."""


class Listener(Protocol):
    """The screen that shows what comes."""

    def say(self, sentence: str, *, bad: bool = False) -> None:
        """Show a message; ``bad`` marks a problem."""

    def recovered(self, sentence: str) -> None:
        """Take a message about a problem back, if it is still shown: it is over."""

    def show(self) -> None:
        """Redraw: there are other rows."""

    def draw_lines(self) -> None:
        """Redraw everything but the table."""


class RowFeed:
    """Loads, and asks for the rows of the list that is shown.

    Each request has a serial; an answer to one that was given up is dropped.
    """

    def __init__(self, screen: Screen[None], view: MoneyView, listener: Listener) -> None:
        self._view = view
        self._listener = listener
        self._link = Link(screen, self)
        self._serial = 0
        self._pages: dict[int, tuple[Level, bool]] = {}
        self._explains = 0
        self._exports: dict[int, asyncio.Future[Answer]] = {}
        self._problem = ""

    @property
    def link(self) -> Link:
        """The workers, and how far one is that loads."""
        return self._link

    @property
    def is_waiting(self) -> bool:
        """Whether rows, or the causes of a difference, are being looked for."""
        return bool(self._pages or self._explains)

    def load(self, *, pulls: bool) -> None:
        """Load the period that is wanted from what was pulled, or pull first."""
        view, period, is_why = self._view, self._view.period, self._view.section == "why"

        def make() -> Order:
            token, problem = view.token()
            if pulls and token is None:
                raise OperationError(
                    f"not pulled; a on the keys screen (2) gives a management token: {problem}"
                )
            return view.order(period, token, pulls=pulls, why=is_why)

        self._link.load(make, period, pulls=pulls)
        self._listener.draw_lines()

    def ask_rows(self, cursor: int) -> None:
        """Ask for the rows of the list that is shown, where they are of another load, or too few.

        More are asked for where the cursor's index is near the last.
        """
        view, level = self._view, self._view.level
        if view.loaded is None or view.loaded.horizon is None:
            return
        if level.is_listed:
            if level.of != view.load:
                self._ask_page(level, begins=True)
            elif level.has_room and cursor + NEAR >= len(level.rows):
                self._ask_page(level, begins=False)
        elif view.section == "why" and view.explained is None and not self._explains:
            serial = self._next()
            if self._link.ask(view.explain(serial)):
                self._explains = serial

    def _ask_page(self, level: Level, *, begins: bool) -> None:
        if any(one is level and begin is begins for one, begin in self._pages.values()):
            return
        serial, limit = self._next(), PAGE
        if begins:
            limit = max(PAGE, min(len(level.rows), _MOST_AGAIN))
        if self._link.ask(level.request(serial, 0 if begins else len(level.rows), limit)):
            self._pages = {serial: (level, begins)}

    def forget(self) -> None:
        """Give up the pages that are waited for: the list is to be another one."""
        self._pages.clear()

    async def export(self, make: Callable[[int], Export]) -> None:
        """Send the request that ``make`` makes with a serial; raises OperationError."""
        serial = self._next()
        if not self._link.ask(make(serial)):
            raise OperationError("what was pulled is still being read: export again then")
        future = self._exports[serial] = asyncio.get_running_loop().create_future()
        answer = await future
        if isinstance(answer, Failed):
            raise OperationError(answer.sentence)

    def _next(self) -> int:
        self._serial += 1
        return self._serial

    # -- what the workers say --------------------------------------------------------------------

    def loaded(self, loaded: Loaded, period: Period, *, pulled: bool) -> None:
        """Show another load; what was asked of the worker before will not be answered."""
        self._give_up("another pull or period was loaded meanwhile: export again")
        self._view.take_load(loaded, period)
        self._listener.recovered(self._problem)
        if pulled:
            count = counted(loaded.pulled, "record")
            self._listener.say(f"pulled {count}: {period.name} up to {clock(loaded.until)}")
        self._listener.show()

    def failed(self, sentence: str, *, pulls: bool) -> None:
        """Report that a worker came to nothing; what is shown stays."""
        if not self._link.is_ready:
            self._give_up(sentence)
        self._problem = f"{sentence}; what was pulled is kept" if pulls else sentence
        self._listener.say(self._problem, bad=True)

    def previewed(self, preview: Preview) -> None:
        """Show what is known of the first load before it is matched."""
        if self._view.loaded is None:
            self._view.preview = preview
            self._listener.draw_lines()

    def progressed(self) -> None:
        """Redraw how far a pull is."""
        self._listener.draw_lines()

    def answered(self, answer: Answer) -> None:
        """Take what the worker has answered."""
        match answer:
            case Money():
                self._view.money = answer
                self._listener.draw_lines()
            case CostPage() | PilePage() | PartsPage():
                if (asked := self._pages.pop(answer.serial, None)) is not None:
                    level, begins = asked
                    level.take(answer, self._view.load, begins=begins)
                    self._listener.show()
            case Explained():
                self._explains = 0
                self._view.explained = answer
                self._view.fill()
                self._listener.show()
            case _:
                self._settle(answer)

    def _settle(self, answer: Answer) -> None:
        serial = getattr(answer, "serial", 0)
        future = self._exports.pop(serial, None)
        if future is not None and not future.done():
            future.set_result(answer)
        elif isinstance(answer, Failed) and (serial in self._pages or serial == self._explains):
            level, _ = self._pages.pop(serial, (self._view.level, False))
            level.of, level.is_end = self._view.load, True  # it is not asked for over and over
            self._explains = 0
            self._listener.say(answer.sentence, bad=True)

    def _give_up(self, sentence: str) -> None:
        self._pages.clear()
        self._explains = 0
        exports, self._exports = self._exports, {}
        for serial, future in exports.items():
            if not future.done():
                future.set_result(Failed(serial, sentence))
