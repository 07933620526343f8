"""What the home table shows: its filter, its order, what is folded and what is marked."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import partial
from math import inf
from time import monotonic

from rollout_console.changes.plan import ALL_ORGS, Share, Target
from rollout_console.changes.share_group import share_points
from rollout_console.common.listing import counted
from rollout_console.common.safe_text import visible
from rollout_console.guard.monitor import Monitor
from rollout_console.ui.screens.home.row_filter import Judged, RowFilter, judged
from rollout_console.ui.screens.home.rows import (
    ORDERS,
    Order,
    Row,
    RowKey,
    Shown,
    build_rows,
    line_counts,
)
from rollout_console.ui.screens.home.spare_lines import SpareLines
from rollout_console.ui.screens.home.verdict_looks import VerdictLooks
from rollout_gate.file.percent import FULL

_MOST_OVER = 3
"""Lines that do not fit until a route is folded that was not: rows of new orgs."""
SORT_EVERY_S = 10.0
"""Seconds between two sorts by a figure: rows that move all the time cannot be read."""
_PAUSE_PER_SORT = 50
"""Seconds until the next sort for each second that one took: keys wait while thousands sort."""


class TableView:
    """Chooses the rows of the home table. Times are epoch seconds.

    A folded route shows its orgs that ask for a rollback, so the sick are never hidden, and in the
    lines that are left its busiest: 10,000 orgs that are well do not hide another route.
    """

    def __init__(self, monitor: Monitor) -> None:
        self._monitor = monitor
        self.filter = ""
        self.order: Order = "file"
        self.marked: set[RowKey] = set()
        self._had_line: set[RowKey] = set()
        """What of it had a line in the file when it was marked."""
        self.kept = self.total = 0
        self.selected: RowKey | None = None
        """The cursor's row, which no fold takes away under it."""
        self._folded: set[str] = set()
        self._by_hand = False
        self._lines = 0
        self.spare = SpareLines(monitor)
        self._fitted: tuple[int, Mapping[str, int]] | None = None
        self._sick: Mapping[str, Collection[str]] = {}
        self._weights: dict[RowKey, float] = {}
        self._sorted_at = self._pause_s = 0.0
        self._looks = VerdictLooks()
        self._now = 0.0
        self._asks_verdicts = False
        self._lines_shown = self._routes_alone = 0

    def fit_into(self, lines: int) -> None:
        """Take the height of the table: until somebody folds, what does not fit is folded."""
        if lines != self._lines:
            self._lines = lines
            self.spare.rank_again()

    def fold(self, route: str) -> None:
        """Fold a route, or unfold it."""
        self._by_hand = True
        self._folded ^= {route}

    def fold_all(self) -> None:
        """Unfold all routes, or fold them where none is folded."""
        self._by_hand = True
        routes = set(self._monitor.file.routes)
        self._folded = set() if self._folded & routes else routes

    def unfold(self, route: str) -> None:
        """Unfold a route."""
        self._by_hand = True
        self._folded.discard(route)

    def _fold_what_does_not_fit(self, lines_of: Mapping[str, int]) -> set[str]:
        """Return the routes to fold: each, in order, whose orgs do not fit with all the routes.

        A few orgs that are new in the log fold no route that is read: its rows would go from under
        the cursor. They are scrolled to.
        """
        in_file = line_counts(self._monitor.file, {})
        asked, self._fitted = self._fitted, (self._lines, in_file)
        if asked == self._fitted:
            used = sum(lines + 1 for name, lines in lines_of.items() if name not in self._folded)
            if used + len(self._folded) <= self._lines + _MOST_OVER:
                return self._folded
        left = self._lines - len(lines_of)
        folded = set()
        for route, lines in lines_of.items():
            if lines > left:
                folded.add(route)
            else:
                left -= lines
        return folded

    def next_order(self) -> Order:
        """Choose the next order, and return it."""
        self.order = ORDERS[(ORDERS.index(self.order) + 1) % len(ORDERS)]
        self._sorted_at = 0.0
        return self.order

    def mark(self, row: Row) -> None:
        """Mark a row, or unmark it."""
        self.marked ^= {row.key}
        self._note_lines([row])

    def unmark_all(self) -> None:
        """Unmark everything."""
        self.marked.clear()
        self._had_line.clear()

    def mark_all(self, rows: Iterable[Row]) -> int:
        """Mark the orgs among rows that are not rolled back by themselves; return how many.

        By the filter ``sick`` the routes that ask for a rollback of all of it are marked as well.
        """
        sick_alone = self.filter.strip().casefold() == "sick"
        found = [
            row
            for row in rows
            if (
                sick_alone and self._is_sick(row)
                if row.is_route
                else row.latched_by != "org" and row.share is None
            )
        ]
        self.marked.update(row.key for row in found)
        self._note_lines(found)
        return len(found)

    def _note_lines(self, rows: Iterable[Row]) -> None:
        for row in rows:
            (self._had_line.add if row.listed else self._had_line.discard)(row.key)

    def targets(self) -> list[tuple[str, str | None]]:
        """Return what is marked of routes and orgs, in the order of the file: a route, its orgs."""
        routes = self._monitor.file.routes
        places = {name: at for at, name in enumerate(routes)}
        marked = [(route, org) for route, org, _ in self.marked - {*self._without_latch()}]
        orgs = {route: list(routes[route].orgs) for route, org in marked if org is not None}
        in_file = {(name, org): at for name, some in orgs.items() for at, org in enumerate(some)}

        def place(target: tuple[str, str | None]) -> tuple[int, bool, float, str]:
            route, org = target
            return places[route], org is not None, in_file.get((route, org or ""), inf), org or ""

        return sorted(marked, key=place)

    def shares(self) -> list[Share]:
        """Return what is marked of the shares that have no latch, in the order of the file."""
        routes = list(self._monitor.file.routes)
        found = [Share(route, table, str(org)) for route, org, table in self._without_latch()]
        return sorted(found, key=lambda one: (routes.index(one.route), one.table, one.name))

    def _without_latch(self) -> list[RowKey]:
        return [key for key in self.marked if key[2] or key[1] == ALL_ORGS]

    def new_lines(self) -> set[Target]:
        """Return the marked orgs that have no line in the file as of now."""
        routes = self._monitor.file.routes
        return {
            (route, org)
            for route, org in self.targets()
            if org is not None and org not in routes[route].orgs
        }

    def marked_points(self) -> list[int]:
        """Return the shares, in basis points, that a change of what is marked would set."""
        return [points for points, _ in self._marked_shares()]

    def _marked_shares(self) -> Iterator[tuple[int, bool]]:
        """Yield each share that is marked, in basis points, and whether it is latched."""
        file = self._monitor.file
        for key in self.marked:
            route, org, table = file.routes[key[0]], key[1], key[2]
            if table or org == ALL_ORGS:
                points = share_points(route, Share(route.name, table, str(org))) or 0
                yield points, file.is_latched(route.name)
                continue
            for one in [org] if org is not None else route.orgs:
                yield route.org_points(one), file.is_latched(route.name, one)

    def why_no_step(self, key: str) -> str:
        """Return why what is marked cannot be raised, lowered or set; empty where some can."""
        latched = False
        for points, is_latched in self._marked_shares():
            if key == "exact" or (points > 0 if key == "lower" else points < FULL):
                if key != "raise" or not is_latched:
                    return ""
                latched = True
        if latched:
            return "what is marked is rolled back, or at 100%: o resumes one"
        at = {"raise": "at 100%", "lower": "at 0%"}.get(key)
        return f"what is marked is {at} already" if at else "no org is marked"

    @property
    def marked_words(self) -> str:
        """What is marked, in words; empty where nothing is."""
        count = len(self.marked)
        what = "it" if count == 1 else "them"
        words = f"{count} marked: r rolls {what} back, esc unmarks; + - e set {what}"
        if shares := len(self._without_latch()):
            rest = "" if shares == count else " or rolls back"
            words = f"{count} marked: r sets to 0%{rest}, esc unmarks; + - e set {what}"
        return words if count else ""

    def _forget_gone_marks(self, seen: Mapping[str, Iterable[str]]) -> None:
        """Unmark what is no longer in the table, so that a change is never of hidden rows.

        An org whose line was taken out of the file is unmarked as well: a raise would put it back.
        """
        routes = self._monitor.file.routes

        def stays(key: RowKey) -> bool:
            route, org, table = key
            if route in routes and (table or org == ALL_ORGS):
                points = share_points(routes[route], Share(route, table, str(org)))
                return bool(points) or (bool(table) and points is not None)
            if route not in routes or org is None or org in routes[route].orgs:
                return route in routes
            return key not in self._had_line and org in seen.get(route, ())

        self.marked = {key for key in self.marked if stays(key)}

    def note_sick(self, now: float) -> bool:
        """Look which orgs ask for a rollback; return whether others do than at the last look."""
        before = self._sick
        self._sick = {route: set(orgs) for route, orgs in self._monitor.condemned(now).items()}
        return self._sick != before

    def sick_on(self, route: str) -> int:
        """Return how many orgs of a route ask for a rollback of their own."""
        return len(self._sick.get(route, ()))

    @property
    def filter_words(self) -> str:
        """What the filter shows, in words; empty without one."""
        wanted = self.filter.strip()
        if not wanted:
            return ""
        if not self._lines_shown and not self._looks.unseen:
            return f"no route or org matches {visible(wanted)!r}: 0 of {self.total}; esc clears it"
        unseen = self._looks.unseen
        more = f", {unseen:,} still looked at" if unseen else ""
        below = f"{self.kept} of {self.total}"
        if self._routes_alone:
            below = f"{counted(self._routes_alone, 'route')}" + f", {below}" * (self.kept > 0)
        return f"filter {visible(wanted)!r}: {below}{more}; esc clears it"

    @property
    def unseen(self) -> int:
        """How many rows have no verdict yet for a filter that asks for it."""
        return self._looks.unseen

    def is_due(self, now: float) -> bool:
        """Whether rows in the order of a figure, or with a verdict, are to be chosen again."""
        if self.spare.is_due and not self._by_hand and self._folded:
            return True
        return self._is_sort_due(now) or (self._asks_verdicts and self._looks.is_due(now))

    def _is_sort_due(self, now: float) -> bool:
        by_figure = self.order in ("worst", "traffic")
        return by_figure and abs(now - self._sorted_at) >= max(SORT_EVERY_S, self._pause_s)

    def rows(self, now: float) -> list[Row]:
        """Return the rows, with what of them the filter keeps counted in ``kept`` and ``total``."""
        file = self._monitor.file
        if self._is_sort_due(now):
            self._weights.clear()
            self._sorted_at = now
        self._now = now
        self._looks.begin(now, self.total + len(file.routes))
        keep = RowFilter(self.filter, self._is_sick, self._look)
        self._asks_verdicts = keep.asks_verdicts
        seen = self._monitor.seen_orgs()
        self._forget_gone_marks(seen)
        if not self._by_hand:
            self._folded = self._fold_what_does_not_fit(line_counts(file, seen))
        shown = Shown(
            keep,
            () if self.filter.strip() else self._folded,
            self._sick,
            self._pinned(seen, now),
            None if self.order == "file" else partial(self._weight, now),
        )
        started = monotonic()
        rows, self.kept, self.total = build_rows(file, seen, shown)
        self._lines_shown = len(rows)
        self._routes_alone = sum(row.is_route and not row.lines for row in rows)
        if self._sorted_at == now:
            self._pause_s = _PAUSE_PER_SORT * (monotonic() - started)
        return rows

    def _pinned(self, seen: Mapping[str, Iterable[str]], now: float) -> set[RowKey]:
        """Return the rows that are shown though their route is folded.

        They are what is marked, the selected row, and the busiest orgs in the lines that are left
        where nobody has folded by hand: the sick come before them, and take their lines.
        """
        pinned = {*self.marked} if self.selected is None else {*self.marked, self.selected}
        if self._by_hand or not self._folded:
            return pinned
        sick: set[RowKey] = {
            (route, org, "") for route in self._folded for org in self._sick.get(route, ())
        }
        shown = {key for key in pinned | sick if key[0] in self._folded and key[1] is not None}
        counts = line_counts(self._monitor.file, seen)
        unfolded = sum(lines for route, lines in counts.items() if route not in self._folded)
        free = self._lines - len(counts) - unfolded - len(shown)
        return pinned.union(self.spare.busiest(self._folded, free, shown, now))

    def _is_sick(self, row: Row) -> bool:
        """Whether an org asks for a rollback of its own, or a route for one of all of it."""
        if row.is_route:
            return self._look(row).state == "rollback"
        return not row.table and row.org in self._sick.get(row.route, ())

    def _look(self, row: Row) -> Judged:
        return self._looks.look(row, self._judge)

    def _judge(self, row: Row) -> Judged:
        org = None if row.org == ALL_ORGS else row.org
        return judged(row, self._monitor.health(row.route, org, self._now))

    def _weight(self, now: float, row: Row) -> tuple[float, str]:
        """Return a sort key: the greatest figure first, then by name."""
        if self.order == "name":
            return 0.0, row.label or row.route
        if self.order == "percent":
            return -float(row.points), row.label or row.route
        weight = self._weights.get(row.key)
        if weight is None:
            weight = self._weights[row.key] = self._figure(row, now)
        return -weight, ""  # a stable sort keeps the file's order among equals

    def _figure(self, row: Row, now: float) -> float:
        if row.table:
            return -1.0
        org = None if row.org in (None, ALL_ORGS) else row.org
        summary = self._monitor.summary(row.route, org, "tokenlab", now)
        if self.order == "traffic":
            return summary.rate_per_s
        sick = org is not None and org in self._sick.get(row.route, ())
        # What asks for a rollback comes before all shares of errors.
        return summary.percent_errors + (1000.0 if sick else 0.0)
