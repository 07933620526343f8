"""The rows of the home table: one for each route, then one for each org on it."""

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Literal, NamedTuple

import msgspec

from rollout_console.changes.plan import ALL_ORGS, Share, Table, named_share
from rollout_gate.file.model import RolloutFile, Route

RowKey = tuple[str, str | None, Table]
"""The identity of a row: route, org (or alias, or flag) and table."""
Order = Literal["file", "worst", "traffic", "percent", "name"]
ORDERS: tuple[Order, ...] = ("file", "worst", "traffic", "percent", "name")


class Row(msgspec.Struct, frozen=True):
    """A line of the table. ``org`` is None for a route's own line, ALL_ORGS for its default.

    ``points`` is the share in the file, in basis points; ``latched_by`` is "", "org", "route" or
    "file". Where ``table`` is set, ``org`` is no org but an API key's alias or a flag, which the
    log does not distinguish: such a share has no figures of its own. ``folded`` is the count of a
    route's lines that are hidden below its own.
    """

    route: str
    org: str | None
    points: int = 0
    latched_by: str = ""
    listed: bool = True
    table: Table = ""
    lines: int = 0
    folded: int = 0

    @property
    def is_route(self) -> bool:
        """Whether this is a route's own line."""
        return self.org is None

    @property
    def key(self) -> RowKey:
        """The identity by which the cursor and marks follow a row."""
        return self.route, self.org, self.table

    @property
    def label(self) -> str:
        """The org, alias or flag, as the table shows it."""
        if self.table:
            return named_share(self.table, str(self.org))
        return "" if self.org is None else named_share("", self.org)

    @property
    def share(self) -> Share | None:
        """The share of this row, where it is one that has no latch; None for routes and orgs."""
        has_none = bool(self.table) or self.org == ALL_ORGS
        return Share(self.route, self.table, str(self.org)) if has_none else None

    @property
    def filtered_as(self) -> str:
        """The name that the filter looks at."""
        return "default" if self.org == ALL_ORGS else self.org or ""


class Shown(NamedTuple):
    """Which rows are shown, and in which order.

    ``keep`` is the filter. A route in ``folded`` shows only the orgs of ``sick``
    (by route) and the rows of ``pinned``. ``weight`` orders routes and, within each, their orgs,
    the greatest first; without it they have the file's order.
    """

    keep: Callable[[Row], bool]
    folded: Collection[str] = ()
    sick: Mapping[str, Collection[str]] = {}
    pinned: Collection[RowKey] = ()
    weight: Callable[[Row], tuple[float, str]] | None = None


def build_rows(
    file: RolloutFile, seen: Mapping[str, Iterable[str]], shown: Shown
) -> tuple[list[Row], int, int]:
    """Return the rows of ``file``, how many orgs the filter keeps, and how many there are.

    ``seen`` names, by route, the orgs that the log has traffic of; one without a line of its own
    is shown with the route's default.
    """
    groups: list[tuple[Row, list[Row]]] = []
    kept = total = 0
    for name, route in file.routes.items():
        outer = "file" if file.rolled_back else "route" if route.rolled_back else ""
        every = _lines_of(route, outer, seen.get(name, ()))
        total += len(every)
        found = [row for row in every if shown.keep(row)]
        kept += len(found)
        if not found and not shown.keep(Row(name, None, 0, outer)):
            continue
        below = found
        if name in shown.folded:
            sick = shown.sick.get(name, ())
            below = [
                row
                for row in found
                if (not row.table and row.org in sick) or row.key in shown.pinned
            ]
        if shown.weight is not None:  # only what is shown: a figure of each of 10,000 orgs is slow
            below.sort(key=shown.weight)
        head = Row(name, None, 0, outer, lines=len(found), folded=len(found) - len(below))
        groups.append((head, below))
    if (weight := shown.weight) is not None:
        groups.sort(key=lambda group: weight(group[0]))
    return [row for head, below in groups for row in (head, *below)], kept, total


def _lines_of(route: Route, outer: str, seen: Iterable[str]) -> list[Row]:
    """Return a route's orgs, its default, aliases and flags, then orgs without a line."""
    name = route.name
    # Skip an org that is literally named ALL_ORGS: its row would pass for the default's.
    rows = [
        Row(name, org, route.org_points(org), outer or ("org" if share.rolled_back else ""))
        for org, share in route.orgs.items()
        if org != ALL_ORGS
    ]
    if route.default_points:
        rows.append(Row(name, ALL_ORGS, route.default_points, outer))
    tables: tuple[tuple[Table, Mapping[str, int]], ...]
    tables = ("keys", route.keys), ("flags", route.flags)
    for table, shares in tables:
        rows += [Row(name, alias, points, outer, table=table) for alias, points in shares.items()]
    rows += [
        Row(name, org, route.default_points, outer, listed=False)
        for org in seen
        if org not in route.orgs and org != ALL_ORGS
    ]
    return rows


def line_counts(file: RolloutFile, seen: Mapping[str, Iterable[str]]) -> dict[str, int]:
    """Return, by route, how many lines it has below its own when it is unfolded."""
    return {
        name: len(route.orgs.keys() | {*seen.get(name, ())})
        + (route.default_points > 0)
        + len(route.keys)
        + len(route.flags)
        for name, route in file.routes.items()
    }
