"""Count what was spent by calendar period: match what is recent, and take final days as kept."""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from msgspec.structs import replace

from rollout_console.budgets.periods import DAY_S
from rollout_console.budgets.spending import (
    Spending,
    keep_spending,
    note_failure,
    scopes_at,
    share_spending,
    spending_path,
)
from rollout_console.common.errors import OperationError
from rollout_console.cost.burn import burn_of
from rollout_console.cost.day_cells import Cell, DayCells, cells_path
from rollout_console.cost.spend_tally import SpendTally
from rollout_console.reconcile.log_lines import BEGINS_LATER
from rollout_console.reconcile.money import EXACT, ZERO
from rollout_console.reconcile.pull import OVERLAP_S
from rollout_console.reconcile.pull_lock import pull_lock
from rollout_console.reconcile.reconciliation import (
    SETTLE_ASYNC_S,
    Asked,
    Outcome,
    Watcher,
    reconcile,
)
from rollout_console.reconcile.store import UsageStore, store_path
from rollout_console.tokenlab.errors import ApiError
from rollout_gate.file.formats import root_of
from rollout_gate.file.model import RolloutFile

if TYPE_CHECKING:
    from decimal import Decimal

    from rollout_console.credentials.api_keys import ApiKeys

FINAL_AFTER_S = OVERLAP_S + SETTLE_ASYNC_S
"""How long after its end a day is final: its records were read once more, and have settled."""
MOST_DAYS = 7
"""Days that are matched at once: each part is kept, so that a long first count can be ended."""
_KEPT_DAYS = 100


class Counted(msgspec.Struct, frozen=True):
    """What was spent; ``words`` say what limits it."""

    spending: Spending
    words: Sequence[str]


def count_spending(
    room: "ApiKeys", file: RolloutFile, path: Path, folder: Path, *, offline: bool = False,
    shares: bool = True, watcher: Watcher | None = None, clock: Callable[[], float] = time.time,
) -> Counted:  # fmt: skip
    """Count what the budgets of the rollout file at ``path`` are of, and keep it for all to read.

    ``offline`` it asks no network, and keeps nothing older than what is kept. With ``shares`` it
    is kept beside the rollout file as well. ``folder`` is the state's. Raises OperationError, and
    ApiError unless ``offline``; why it failed is kept beside what was counted before.
    """
    began, kept_at = clock(), spending_path(folder, path, file.profile)
    start = time.monotonic()
    try:
        counted = _counted(room, file, path, folder, offline, watcher, clock)
    except (OperationError, ApiError) as error:
        note_failure(kept_at, str(error), began)
        raise
    took_s = time.monotonic() - start
    spending = replace(counted.spending, profile=file.profile, counted_at=began, took_s=took_s)
    # Without the network it may know less than what was counted with it.
    if keep_spending(spending, kept_at, only_newer=offline) and shares:
        share_spending(spending, path)
    return Counted(spending, counted.words)


@contextmanager
def counting(path: Path, watcher: Watcher, *, waits: bool = True) -> Iterator[bool]:
    """Let one process of a host count at a time; yield False where another counts right now.

    ``path`` is that of the spending. With ``waits`` the other is waited for. Where the file system
    has no locks, several may count.
    """
    blocked: list[bool] = []

    def told() -> None:
        blocked.append(True)
        watcher.locked()

    with pull_lock(path, waits=told, **({} if waits else {"wait_s": 0.0})) as taken:
        yield taken or not blocked


def _counted(
    room: "ApiKeys", file: RolloutFile, path: Path, folder: Path, offline: bool,
    watcher: Watcher | None, clock: Callable[[], float],
) -> Counted:  # fmt: skip
    now = clock()
    scopes = scopes_at(file, now)
    today = math.floor(now / DAY_S)
    first = min([math.floor(now - DAY_S) // DAY_S, *(p.begins // DAY_S for p in scopes.values())])
    where = cells_path(folder, path, file.access_log, room.profile, root_of(room.base_url))
    words: dict[str, None] = {}
    with DayCells(where) as cells:
        kept = cells.days(first, today)
        missing = [day for day in range(first, today + 1) if day not in kept]
        tally, newest = None, 0.0
        until = now
        for days in _runs(missing):
            part = _Part(days, first=missing[0], now=now, offline=offline or tally is not None)
            outcome = part.match(room, file, path, folder, watcher, clock)
            if tally is None:
                tally, newest = SpendTally(scopes, outcome.keys), outcome.horizon
            until = min(until, outcome.horizon) if part.is_short(outcome) else until
            # That the log begins later is said of each budget that something is missing of.
            words |= dict.fromkeys(one for one in outcome.words if not one.startswith(BEGINS_LATER))
            part.tell(tally)
            final = part.final(newest if part.is_whole(outcome, now) else outcome.horizon)
            cells.keep({day: part.days[day] for day in final}, part.since)
        assert tally is not None  # today is never final
        for day, since in kept.items():
            costs = cells.day(day)
            if costs is None:  # damaged, and put aside: now no day is kept
                again = _counted(room, file, path, folder, True, watcher, clock)
                return replace(again, words=[*again.words, cells.trouble])
            tally.add_day(day, costs, since)
        cells.drop_before(first - _KEPT_DAYS)
    until = min(until, newest)
    words |= dict.fromkeys(filter(None, (cells.trouble,)))
    with UsageStore(store_path(folder, room.profile, root_of(room.base_url))) as store:
        burn, began = burn_of(store, until), store.first_at()
    burn_s = 0.0 if began is None else min(max(until - began / 1e6, 0.0), float(DAY_S))
    found = Spending(until, spends=tally.found(), burn=burn.cost, burn_s=burn_s)
    return Counted(found, [*words])


class _Part:
    """Some days that follow one another, matched at once."""

    def __init__(self, days: Sequence[int], *, first: int, now: float, offline: bool) -> None:
        """``first`` is the first day of all parts, from which on records are pulled."""
        self._first, self._last = days[0], days[-1]
        until = min(float((self._last + 1) * DAY_S), max(now, self._first * DAY_S + 1.0))
        self._asked = Asked(
            float(self._first * DAY_S), until, offline=offline, pull_since=float(first * DAY_S)
        )
        self.days: dict[int, dict[Cell, Decimal]] = {day: {} for day in days}
        self.since: dict[int, float] = {}
        self._settling: dict[int, dict[Cell, Decimal]] = {}
        self._newest: dict[Cell, Decimal] = {}
        self._has_log = True

    def match(
        self, room: "ApiKeys", file: RolloutFile, path: Path, folder: Path,
        watcher: Watcher | None, clock: Callable[[], float],
    ) -> Outcome:  # fmt: skip
        """Match the days' records with lines, and sum them by day and cell."""
        with reconcile(self._asked, room, file, path, folder, watcher, clock) as outcome:
            log = outcome.piles.log
            away = log.missing and file.prometheus is None  # else there may be none at all
            self._has_log = not (away or log.unreadable)
            newest = round((outcome.horizon - DAY_S) * 1e6)
            for row in outcome.piles.rows("matched", "billed-only", "settling"):
                if row.cost is None or row.at is None:
                    continue
                is_matched = row.pile == "matched"
                cell = Cell(row.route, row.org, row.key_id) if is_matched else _loose(row.key_id)
                day = row.at // (DAY_S * 1_000_000)
                whole = self._settling.setdefault(day, {}) if row.pile == "settling" else None
                _add(self.days[day] if whole is None else whole, cell, row.cost)
                if row.at >= newest:
                    _add(self._newest, cell, row.cost)
                if row.reason == "before the log":
                    self.since[day] = outcome.piles.log.begins_at
        return outcome

    def is_short(self, outcome: Outcome) -> bool:
        """Whether records of these days were not all read."""
        return outcome.horizon < self._asked.until

    def is_whole(self, outcome: Outcome, now: float) -> bool:
        """Whether all was read that these days' records may be of."""
        return outcome.horizon >= min(self._asked.record_range[1], math.floor(now))

    def tell(self, tally: SpendTally) -> None:
        """Add the days to a tally; the last 24 hours are all of the newest part."""
        for day, costs in self.days.items():
            tally.add_day(day, costs.items(), self.since.get(day))
            tally.add_settling(day, self._settling.get(day, {}).items())
        tally.add_last_day(self._newest.items())

    def final(self, horizon: float) -> list[int]:
        """Return the days that are final, where records were read up to ``horizon``.

        None is where the log could not be read: its lines are what says whose a cost is.
        """
        return [
            day
            for day in self.days
            if self._has_log
            and (day + 1) * DAY_S + FINAL_AFTER_S <= horizon
            and not self._settling.get(day)
        ]


def _runs(days: Sequence[int]) -> Iterator[Sequence[int]]:
    """Yield days that follow one another, at most MOST_DAYS at once; the newest first."""
    run: list[int] = []
    for day in reversed(days):
        if run and (run[0] - 1 != day or len(run) == MOST_DAYS):
            yield run
            run = []
        run.insert(0, day)
    if run:
        yield run


def _add(costs: "dict[Cell, Decimal]", cell: Cell, cost: "Decimal") -> None:
    costs[cell] = EXACT.add(costs.get(cell, ZERO), cost)


def _loose(key_id: str) -> Cell:
    return Cell(None, None, key_id)
