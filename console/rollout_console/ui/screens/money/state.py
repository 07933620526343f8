"""State of the money screen, which outlives it: period, place, what was listed; no Textual."""

import os
from collections.abc import Callable, Hashable, Sequence
from pathlib import Path
from typing import Literal

import msgspec

from rollout_console.changes.switch import Switch
from rollout_console.common.folders import state_folder
from rollout_console.cost.bill import VIEWS, Figures, View
from rollout_console.cost.difference import Cause, Item
from rollout_console.cost.worker_protocol import (
    CauseSum,
    CostOrder,
    CostPage,
    CostRow,
    CostRows,
    Explain,
    Explained,
    Loaded,
    Money,
    Order,
    Parts,
    PartsPage,
    PilePage,
    PileRows,
    PileSum,
    Preview,
    Request,
)
from rollout_console.credentials.api_keys import ApiKeys
from rollout_console.reconcile.piles import ORDERS, Name, Row
from rollout_console.reconcile.piles import Order as RowOrder
from rollout_gate.file.model import RolloutFile
from rollout_gate.secret import Secret

Section = Literal["cost", "piles", "why"]
MoneyRow = CostRow | PileSum | Row | CauseSum | Item

PAGE = 200
"""Rows asked for at once; the next ones are asked for when the cursor comes near the last."""
NEAR = 50
MOST_ROWS = 10_000
"""Rows of one list that are kept; an export has all."""
_DAY_S = 86_400.0
_COST_ORDERS: tuple[CostOrder, ...] = ("cost", "requests", "per 1,000", "name")


class Period(msgspec.Struct, frozen=True):
    """A period that can be looked at, and how far back the one is that it is compared with."""

    name: str
    span_s: float
    shift_s: float


PERIODS = (
    Period("24 h", _DAY_S, 7 * _DAY_S),
    Period("7 d", 7 * _DAY_S, 7 * _DAY_S),
    Period("30 d", 30 * _DAY_S, 30 * _DAY_S),
)
"""A day is compared with the same day a week before: a Monday with a Monday."""


class Level(msgspec.Struct):
    """One list of the screen, and the place in it.

    In the section ``cost`` it is a ``view`` within the names that are ``fixed``, which ``path``
    says; in ``piles`` the piles, or the rows of a ``pile`` (with a ``reason``); in ``why`` the
    causes, or the parts of a ``cause``. ``at`` is the cursor's index. ``total`` is None where it is
    not known; ``of`` is the load that the rows are of.
    """

    section: Section
    view: View = "route"
    fixed: dict[View, str | None] = {}
    path: tuple[str, ...] = ()
    pile: Name | None = None
    reason: str = ""
    cause: Cause | None = None
    order: int = 0
    text: str = ""
    rows: list[MoneyRow] = []
    at: int = 0
    total: int | None = None
    sums: Figures | None = None
    scanned: int = 0
    is_end: bool = False
    of: int = -1

    @property
    def orders(self) -> Sequence[str]:
        """The orders that there are, the natural one first."""
        if self.section == "cost":
            first = "name" if self.view == "day" else "cost"
            return (first, *(one for one in _COST_ORDERS if one != first))
        return ORDERS if self.pile is not None else ("largest",)

    @property
    def order_name(self) -> str:
        """The order of its rows."""
        return self.orders[self.order % len(self.orders)]

    @property
    def is_listed(self) -> bool:
        """Whether its rows are asked for, and not sums that are known."""
        return self.section == "cost" or self.pile is not None or self.cause is not None

    def request(self, serial: int, skip: int, limit: int) -> Request:
        """Return the request for its rows; for the causes it is that they are found."""
        if self.section == "cost":
            order: CostOrder = next(one for one in _COST_ORDERS if one == self.order_name)
            return CostRows(serial, self.view, self.fixed, self.text, order, skip, limit)
        if self.pile is not None:
            by: RowOrder = next(one for one in ORDERS if one == self.order_name)
            return PileRows(serial, self.pile, self.reason, self.text, by, skip, limit)
        assert self.cause is not None
        return Parts(serial, self.cause, self.text, skip, limit)

    def take(self, page: CostPage | PilePage | PartsPage, load: int, *, begins: bool) -> None:
        """Add a page; the first one of a load replaces the rows of the load before."""
        rows: list[MoneyRow] = [*page.rows]
        self.rows = rows if begins else [*self.rows, *rows]
        self.of = load
        if isinstance(page, PilePage):
            self.scanned, self.is_end = page.scanned, page.is_end
            self.total = len(self.rows) if page.is_end else None
        else:
            self.total, self.is_end = page.total, len(self.rows) >= page.total
            self.sums = page.sums if isinstance(page, CostPage) else None

    @property
    def has_room(self) -> bool:
        """Whether more rows may be asked for."""
        return self.is_listed and not self.is_end and len(self.rows) < MOST_ROWS


def identity(row: MoneyRow) -> Hashable:
    """Return what a row is known by: rows of a pile may be alike in everything."""
    match row:
        case CostRow():
            return row.name, row.label
        case PileSum():
            return row.pile, row.reason
        case CauseSum():
            return row.cause
        case _:
            return id(row)


class MoneyView:
    """What the screen shows; it stays when the screen is closed, and its worker does not.

    ``load`` counts what was loaded. ``loaded`` and ``period_of`` are of what is shown, while
    ``period`` is what was asked for last.
    """

    def __init__(
        self, switch: Switch, file: Callable[[], RolloutFile], room: Callable[[], ApiKeys],
        *, keeps: bool,
    ) -> None:  # fmt: skip
        self._switch = switch
        self._file = file
        self._room = room
        self._keeps = keeps
        self._of: tuple[str, str] = ("", "")
        self.period = self.period_of = PERIODS[0]
        self.section: Section = "cost"
        self.load = 0
        self.loaded: Loaded | None = None
        self.preview: Preview | None = None
        self.money: Money | None = None
        self.explained: Explained | None = None
        self._levels: dict[Section, list[Level]] = {}
        self.clear()

    @property
    def path(self) -> Path:
        """The rollout file."""
        return self._switch.path

    @property
    def room(self) -> ApiKeys:
        """The credentials of the profile that the rollout file names now."""
        return self._room()

    @property
    def whose(self) -> tuple[str, str]:
        """The profile and the address whose usage is meant now."""
        file = self._file()
        return file.profile, file.base_url

    def clear(self) -> None:
        """Forget what was listed: it is another organisation's."""
        self._of, self.loaded, self.preview = self.whose, None, None
        self.money = self.explained = None
        names: tuple[Section, ...] = ("cost", "piles", "why")
        self._levels = {name: [Level(name)] for name in names}

    @property
    def is_of_now(self) -> bool:
        """Whether what is shown is of the profile and the address that are meant now."""
        return self._of == self.whose

    # -- the place -------------------------------------------------------------------------------

    @property
    def level(self) -> Level:
        """The list that is shown."""
        return self._levels[self.section][-1]

    def open(self, level: Level) -> None:
        """Go one level down."""
        self._levels[self.section].append(level)

    def back(self) -> bool:
        """Go one level up, or to the section of costs; return whether there was either."""
        levels = self._levels[self.section]
        if len(levels) > 1:
            levels.pop()
        elif self.section != "cost":
            self.section = "cost"
        else:
            return False
        return True

    def below(self, row: MoneyRow) -> Level | None:
        """Return the list that a row opens, None where there is none.

        Of costs it is the next view that nothing has fixed yet.
        """
        level = self.level
        match row:
            case PileSum():
                return Level("piles", pile=row.pile, reason=row.reason)
            case CauseSum():
                return Level("why", cause=row.cause)
            case CostRow():
                fixed = {**level.fixed, level.view: row.name}
                at = VIEWS.index(level.view)
                # What no line explains has neither route nor org: both are fixed by one.
                told = (*fixed, "route", "org") if None in fixed.values() else (*fixed,)
                free = [one for one in (*VIEWS[at:], *VIEWS[:at]) if one not in told]
                path = (*level.path, row.label)
                return Level("cost", view=free[0], fixed=fixed, path=path) if free else None
        return None

    @property
    def free_views(self) -> list[View]:
        """The views that the costs can be shown by here: those that no level above has fixed."""
        fixed = self.level.fixed
        told = (*fixed, "route", "org") if None in fixed.values() else (*fixed,)
        return [view for view in VIEWS if view not in told]

    def next_view(self, by: int) -> None:
        """Show the same costs by another view that no level above has fixed."""
        level = self.level
        free = self.free_views
        at = free.index(level.view)
        level.view = free[(at + by) % len(free)]
        self.forget_rows(level)
        level.order = 0

    def forget_rows(self, level: Level) -> None:
        """Forget the rows of a list that is to be another one."""
        level.rows, level.at, level.of = [], 0, -1
        level.total, level.sums, level.is_end, level.scanned = None, None, False, 0

    def next_period(self) -> None:
        """Ask for the next period."""
        self.period = PERIODS[(PERIODS.index(self.period) + 1) % len(PERIODS)]

    def take_load(self, loaded: Loaded, period: Period) -> None:
        """Show what was loaded; the lists of the load before are to be asked for again."""
        self.loaded, self.preview, self.period_of = loaded, None, period
        self.load += 1
        self.money = self.explained = None
        self.fill()

    def fill(self) -> None:
        """Give the lists of sums their rows: the piles, and the causes once they are found."""
        if self.loaded is not None:
            sums = [one for one in self.loaded.piles if one.figures.records or one.figures.lines
                    or not one.reason]  # fmt: skip
            self._fill(self._levels["piles"][0], sums)
        self._fill(
            self._levels["why"][0], [] if self.explained is None else [*self.explained.causes]
        )

    def _fill(self, level: Level, rows: Sequence[MoneyRow]) -> None:
        level.rows, level.total, level.is_end, level.of = [*rows], len(rows), True, self.load

    # -- what the worker is asked ----------------------------------------------------------------

    def token(self) -> tuple[Secret | None, str]:
        """Return the management token, or why there is none; it may block for seconds."""
        room = self.room
        found = room.vault.resolve(room.profile, "management_token")
        return found.secret, "" if found.secret is not None else found.problem

    def order(self, period: Period, token: Secret | None, *, pulls: bool, why: bool) -> Order:
        """Return the order for a worker; ``why`` pulls the earlier period, too. It may block."""
        room, snapshot = self.room, self._switch.store.snapshot
        data = (self._switch.open() if snapshot is None else snapshot).data
        return Order(
            os.fsencode(self.path.absolute()), data, os.fsencode(state_folder().absolute()),
            room.profile, room.base_url, period.span_s,
            token="" if token is None else token.reveal(),
            pulls=pulls, before_s=period.span_s + period.shift_s if why else period.span_s,
            recorded=self._switch.recorded(), keeps=self._keeps,
        )  # fmt: skip

    def explain(self, serial: int) -> Explain:
        """Return the request that finds the causes of a difference."""
        return Explain(serial, self.period_of.shift_s)
