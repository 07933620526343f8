"""The rows of the home table: one for each route, then one for each org on it."""

from collections.abc import Callable, Iterable, Mapping
from typing import Literal

import msgspec

from rollout_console.changes.plan import ALL_ORGS
from rollout_gate.file.model import RolloutFile


class Row(msgspec.Struct, frozen=True):
    """A line of the table. ``org`` is None for a route's own line, ALL_ORGS for its default.

    ``points`` is the share in the file, in basis points; ``latched_by`` is "", "org", "route" or
    "file". Where ``table`` is set, ``org`` is no org but an API key's alias or a flag, which the
    log does not distinguish: such a share has no figures of its own.
    """

    route: str
    org: str | None
    points: int = 0
    latched_by: str = ""
    listed: bool = True
    table: Literal["", "keys", "flags"] = ""

    @property
    def is_route(self) -> bool:
        """Whether this is a route's own line."""
        return self.org is None

    @property
    def label(self) -> str:
        """The org, alias or flag, as the table shows it."""
        if self.table:
            return f"{'alias' if self.table == 'keys' else 'flag'} {self.org}"
        return "(others)" if self.org == ALL_ORGS else self.org or ""


def build_rows(
    file: RolloutFile, seen: Mapping[str, Iterable[str]], keep: Callable[[str, str], bool]
) -> list[Row]:
    """Return the rows of ``file`` in its order.

    ``seen`` names, by route, the orgs that the log has traffic of; one without a line of its own
    is shown with the route's default. ``keep`` is the filter, on route and org.
    """
    rows: list[Row] = []
    for name, route in file.routes.items():
        outer = "file" if file.rolled_back else "route" if route.rolled_back else ""
        orgs = []
        for org, share in route.orgs.items():
            # Skip an org that is literally named ALL_ORGS: its row would pass for the default's.
            if org != ALL_ORGS and keep(name, org):
                latch = outer or ("org" if share.rolled_back else "")
                orgs.append(Row(name, org, route.org_points(org), latch))
        if route.default_points and keep(name, "others"):
            orgs.append(Row(name, ALL_ORGS, route.default_points, outer))
        tables: tuple[tuple[Literal["keys", "flags"], Mapping[str, int]], ...]
        tables = ("keys", route.keys), ("flags", route.flags)
        for table, shares in tables:
            for alias, points in shares.items():
                if keep(name, alias):
                    orgs.append(Row(name, alias, points, outer, table=table))
        for org in seen.get(name, ()):
            if org not in route.orgs and org != ALL_ORGS and keep(name, org):
                orgs.append(Row(name, org, route.default_points, outer, listed=False))
        if orgs or keep(name, ""):
            rows.append(Row(name, None, 0, outer))
            rows += orgs
    return rows


def make_filter(text: str) -> Callable[[str, str], bool]:
    """Return a predicate on route and org for a typed filter; a leading ``!`` inverts it.

    It matches a substring of either name, ignoring case; an empty filter keeps every row.
    """
    wanted = text.strip()
    inverted = wanted.startswith("!")
    needle = wanted.lstrip("!").strip().casefold()
    if not needle:
        return lambda _route, _org: True

    def keep(route: str, org: str) -> bool:
        found = needle in route.casefold() or needle in org.casefold()
        return found != inverted

    return keep
