"""What was rolled back on this server alone: it wins over the mirrored file, being the safe side.

A rollback on the server sets a latch (file, route, org), or a share without a latch (alias, flag,
default) to 0. What the server's file has of that and the mirrored text has not is kept in each
later version, until it is resumed on the server. Nothing else that is edited there is kept.
"""

from collections.abc import Iterable, Iterator
from typing import Literal

import msgspec

from rollout_console.changes.edits import Edit, SetDefaultPercent, SetRolledBack, SetShare
from rollout_gate.file.model import RolloutFile, Route

Kind = Literal["latch", "keys", "flags", "default"]


class LocalLatch(msgspec.Struct, frozen=True):
    """One rollback: of everything (no route), a route (no name), an org, or a share at 0."""

    kind: Kind
    route: str | None = None
    name: str | None = None

    def __str__(self) -> str:
        if self.route is None:
            return "all"
        what = {"latch": self.name, "default": "(default)"}.get(
            self.kind, f"{'alias' if self.kind == 'keys' else 'flag'} {self.name}"
        )
        return self.route if what is None else f"{self.route}/{what}"

    def edit(self, stamp: str) -> Edit:
        """Return the edit that makes a file as safe; ``stamp`` is the comment on a latch's line."""
        if self.kind == "latch":
            return SetRolledBack(True, self.route, self.name, stamp)
        if self.kind == "default":
            return SetDefaultPercent(str(self.route), 0)
        return SetShare(str(self.route), self.kind, str(self.name), 0)


def safer(local: RolloutFile, mirrored: RolloutFile) -> list[LocalLatch]:
    """Return what is rolled back in ``local`` and not in ``mirrored``, in a stable order."""
    return [latch for latch in _all_of(local) if not holds(mirrored, latch)]


def holds(file: RolloutFile, latch: LocalLatch) -> bool:
    """Return whether a file has that rollback, or no such route.

    An alias or flag without a line is not at 0: it falls through to the share of its org.
    """
    if latch.route is None:
        return file.rolled_back
    route = file.routes.get(latch.route)
    if route is None:
        return True
    if latch.kind == "default":
        return route.default_points == 0
    if latch.kind == "latch":
        if latch.name is None:
            return route.rolled_back
        line = route.orgs.get(latch.name)
        return line is not None and line.rolled_back
    shares = route.keys if latch.kind == "keys" else route.flags
    return shares.get(str(latch.name)) == 0


def _all_of(file: RolloutFile) -> Iterator[LocalLatch]:
    if file.rolled_back:
        yield LocalLatch("latch")
    for name, route in file.routes.items():
        yield from _of_route(name, route)


def _of_route(name: str, route: Route) -> Iterator[LocalLatch]:
    if route.rolled_back:
        yield LocalLatch("latch", name)
    yield from (
        LocalLatch("latch", name, org) for org, one in route.orgs.items() if one.rolled_back
    )
    yield from _at_zero("keys", name, route.keys.items())
    yield from _at_zero("flags", name, route.flags.items())
    if route.default_points == 0:
        yield LocalLatch("default", name)


def _at_zero(kind: Kind, route: str, shares: Iterable[tuple[str, int]]) -> Iterator[LocalLatch]:
    yield from (LocalLatch(kind, route, name) for name, points in shares if points == 0)
