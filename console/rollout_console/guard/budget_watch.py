"""What budgets and the runway have against a raise, by what was counted and kept last.

It reads a small file now and then. What was spent only grows within a period, but for refunds:
a count that is stale still holds what it held, and holds nothing more (fail open); that it is
stale is told.
"""

import threading
import time
from collections.abc import Iterator, Sequence
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from rollout_console.changes.traffic_diff import Subject
from rollout_console.common.durations import seconds_text
from rollout_console.common.folders import state_folder
from rollout_console.guard.balance import BalanceWatch
from rollout_gate.file.model import RolloutFile

if TYPE_CHECKING:  # not at run time: a rollout without budgets need not load it
    from rollout_console.budgets.spending import Spending
    from rollout_console.budgets.standing import Standing

EVERY_S = 5.0
"""How often the kept file is looked at, in seconds."""
_FIRST_WAIT_S = 2.0
"""How long the first look waits for the disk, in seconds: a command looks once."""
_WAIT_S = 0.2
_GRACE_S = 300.0
_Stamp = tuple[int, int, int]


class _Known(msgspec.Struct, frozen=True):
    """The standings of one file and count, as long as no period ends; ``over`` are by org."""

    file: RolloutFile
    spending: "Spending | None"
    begins: float
    ends: float
    standings: "Sequence[Standing]"
    notable: "Sequence[Standing]"
    over: "dict[str, list[Standing]]"


class BudgetWatch:
    """Follows the kept spending of one rollout file; threads may read ``spending``."""

    def __init__(self, path: Path) -> None:
        """``path`` is the rollout file's."""
        self._path = path
        self._next_at = 0.0
        self._stamps: list[tuple[Path, _Stamp | None]] = []
        self._profile = ""
        self._reader: threading.Thread | None = None
        self._known: _Known | None = None
        self._since: float | None = None
        self.grace_s = _GRACE_S
        """For how long after the first look nothing is said of what was never counted, seconds."""
        self.spending: Spending | None = None
        """What was counted last; None where nothing was, or the file asks for nothing."""

    def refresh(self, file: RolloutFile, now: float) -> None:
        """Look at the kept file if it is time to; it never raises.

        It blocks for the disk, but not for one that hangs: a rollback may be waiting.
        """
        if not file.asks_for_counts:
            self.spending, self._stamps = None, []
            return
        wait_s = _FIRST_WAIT_S if self._since is None else _WAIT_S
        self._since = now if self._since is None else self._since
        began = time.monotonic()
        if began < self._next_at and self._profile == file.profile:
            return
        self._next_at, self._profile = began + EVERY_S, file.profile
        if self._reader is None or not self._reader.is_alive():
            self._reader = threading.Thread(
                target=self._read, args=(file.profile, now), name="budgets", daemon=True
            )
            self._reader.start()
            self._reader.join(wait_s)

    def _read(self, profile: str, now: float) -> None:
        from rollout_console.budgets.spending import known_spending, shared_path, spending_path

        folder = state_folder()
        places = spending_path(folder, self._path, profile), shared_path(self._path)
        stamps = [(place, _stamp_of(place)) for place in places]
        if stamps != self._stamps:
            self.spending = known_spending(folder, self._path, profile, now)
            self._stamps = stamps

    def standings(self, file: RolloutFile, now: float) -> "Sequence[Standing]":
        """Return how each budget of a file stands at a time (epoch seconds)."""
        return self._at(file, now).standings

    def notable(self, file: RolloutFile, now: float) -> "Sequence[Standing]":
        """Return the budgets that are near their limit or over it, or that nothing counts for."""
        return self._at(file, now).notable

    def over(
        self, file: RolloutFile, route: str, org: str | None, now: float, subject: Subject = "org"
    ) -> "Iterator[Standing]":
        """Yield the budgets that are spent and cover a share; ``org`` None is a share of several.

        ``subject`` is whose that share is: the default is not of orgs with a percent of their own,
        an alias or a flag is of any org.
        """
        over = self._at(file, now).over
        names = over if org is None else dict.fromkeys(("", org))
        for name in names:
            for one in over.get(name, ()):
                if covers(file, one, route, org, subject):
                    yield one

    def held(
        self, file: RolloutFile, route: str, org: str | None, now: float, subject: Subject = "org"
    ) -> str:
        """Return the first budget that holds the raise of a share, empty without one."""
        found = next(self.over(file, route, org, now, subject), None)
        return "" if found is None else found.held_words

    def short_runway(self, least_s: float, balance: BalanceWatch, now: float) -> str:
        """Return that the balance lasts for less than ``least_s`` seconds, empty where it does not.

        An unknown runway is none that is short: an unknown balance holds by itself. The burn is
        that of the usage records of 24 hours where these were counted lately, else that of the
        balance's own samples, which are of minutes.
        """
        latest = balance.latest
        if not least_s or latest is None:
            return ""
        burn = self.a_day(now)
        if burn is not None:
            left = max(latest[1].balance, Decimal(0))
            runway, of = float(left / burn) * 86_400 if burn > 0 else None, "of the last 24 h"
        else:
            runway, of = balance.runway_s(), f"of the last {seconds_text(balance.span_s)}"
        if runway is None or runway >= least_s:
            return ""
        return (
            f"the balance lasts for {seconds_text(runway)} at the burn {of}, and min_runway is"
            f" {seconds_text(least_s)}"
        )

    def a_day(self, now: float) -> Decimal | None:
        """Return the burn of a day by usage records; None where it is not known, or stale."""
        known = self.spending
        if known is None or self._is_stale(known, now):
            return None
        return known.a_day

    def trouble(self, file: RolloutFile, now: float) -> str:
        """Return that nothing was counted, or not lately, and why; empty where it was."""
        if not file.asks_for_counts:
            return ""
        known = self.spending
        if known is None or not known.until:
            why = "" if known is None else known.problem
            waits = self._since is None or abs(now - self._since) < self.grace_s
            if not why and waits:
                return ""
            return f"budgets were never counted: {why or 'run rollout-console budgets'}"
        if not self._is_stale(known, now):
            return ""
        from rollout_console.budgets.periods import time_words

        age = seconds_text(abs(now - known.until))
        why = f": {known.problem}" if known.problem else ""
        return f"budgets are stale: counted up to {time_words(known.until)}, {age} ago{why}"

    @staticmethod
    def _is_stale(known: "Spending", now: float) -> bool:
        from rollout_console.budgets.standing import STALE_S

        return abs(now - known.until) > STALE_S

    def _at(self, file: RolloutFile, now: float) -> _Known:
        """Return the standings, memoized: thousands of shares ask in a turn."""
        known, spending = self._known, self.spending
        if (
            known is None or known.file is not file or known.spending is not spending
            or not known.begins <= now < known.ends
        ):  # fmt: skip
            standings: Sequence[Standing] = ()
            if file.budgets:
                from rollout_console.budgets.standing import standings_of

                standings = standings_of(file, spending, now)
            over: dict[str, list[Standing]] = {}
            for one in standings:
                if one.is_over:
                    over.setdefault(one.budget.org, []).append(one)
            ends = min((one.period.ends for one in standings), default=float("inf"))
            begins = max((one.period.begins for one in standings), default=float("-inf"))
            notable = [
                one
                for one in standings
                if one.is_over or one.is_near or (one.spend is not None and one.spend.problem)
            ]
            known = self._known = _Known(file, spending, begins, ends, standings, notable, over)
        return known


def covers(
    file: RolloutFile, standing: "Standing", route: str, org: str | None, subject: Subject = "org"
) -> bool:
    """Return whether a budget covers a share, or may where it is of several orgs (``org`` None).

    One with a key covers the orgs that used it in the period, by the log: nothing else says who
    uses a key.
    """
    budget = standing.budget
    if budget.route not in ("", route):
        return False
    listed = file.routes.get(route)
    own = listed.orgs.get(budget.org) if listed is not None else None
    has_own = own is not None and own.points is not None
    if budget.org and (budget.org != org if org is not None else subject == "others" and has_own):
        return False
    if not budget.key:
        return True
    places = standing.spend.places if standing.spend is not None else {}
    orgs = places.get(route, ())
    return bool(orgs) if org is None else org in orgs


def _stamp_of(path: Path) -> _Stamp | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino
