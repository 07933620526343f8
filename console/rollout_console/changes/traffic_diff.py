"""Diff the effective shares of two versions of the file: which rise and which fall."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Literal

import msgspec

from rollout_gate.file.model import OrgShare, RolloutFile
from rollout_gate.file.percent import FULL, percent_text

Direction = Literal["up", "down", "none"]

Subject = Literal["org", "others", "alias", "flag"]

DEFAULT_SHARE = "(default)"
"""The name of a route's ``default_percent``, in tables, sentences and lines alike: no org's."""


class Move(msgspec.Struct, frozen=True):
    """One share before and after, in basis points, latches counted as 0.

    ``name`` is the org's, the API key's alias or the flag's; empty for orgs without a line.
    """

    route: str
    subject: Subject
    name: str
    before: int
    after: int

    @property
    def org(self) -> str | None:
        """The org whose own share this is; None where it is a share of several."""
        return self.name if self.subject == "org" else None

    @property
    def raises(self) -> bool:
        """Whether more goes to TokenLab."""
        return self.after > self.before

    @property
    def who(self) -> str:
        """The subject of the share, as people read it."""
        if self.subject == "others":
            return DEFAULT_SHARE
        return self.name if self.subject == "org" else f"{self.subject} {self.name}"

    def __str__(self) -> str:
        return (
            f"{self.route} / {self.who} {percent_text(self.before)}% to {percent_text(self.after)}%"
        )


def moves(before: RolloutFile, after: RolloutFile) -> list[Move]:
    """Return every share that differs, in the order of the file."""
    found: list[Move] = []
    for name in {**before.routes, **after.routes}:
        found += _route_moves(name, before, after)
    return found


def direction(found: list[Move]) -> Direction:
    """Return "up" if any share rises, else "down" if any falls, else "none"."""
    if any(move.raises for move in found):
        return "up"
    return "down" if found else "none"


def is_wide(found: list[Move]) -> bool:
    """Return whether a raise reaches more than one org, or takes one to 100%."""
    raised = [move for move in found if move.raises]
    return (
        len(raised) > 1
        or any(move.after == FULL for move in raised)
        or any(move.subject != "org" for move in raised)
    )


def _route_moves(name: str, before: RolloutFile, after: RolloutFile) -> Iterator[Move]:
    one, two = _Shares(before, name), _Shares(after, name)
    if one.same_as(two):
        return
    for org in one.orgs_apart(two):
        if one.org(org) != two.org(org):
            yield Move(name, "org", org, one.org(org), two.org(org))
    if one.share(one.default) != two.share(two.default):
        yield Move(name, "others", "", one.share(one.default), two.share(two.default))
    several: tuple[tuple[Subject, Mapping[str, int], Mapping[str, int]], ...] = (
        ("alias", one.keys, two.keys),
        ("flag", one.flags, two.flags),
    )
    for subject, first, second in several:
        for alias in {**first, **second}:
            was, now = one.share(first.get(alias, 0)), two.share(second.get(alias, 0))
            if was != now:
                yield Move(name, subject, alias, was, now)


class _Shares:
    """One route's shares in one version of the file; an unknown route has none."""

    def __init__(self, file: RolloutFile, name: str) -> None:
        route = file.routes.get(name)
        self.latched = file.is_latched(name)
        self.default = route.default_points if route else 0
        self.orgs: Mapping[str, OrgShare] = route.orgs if route else {}
        self.keys: Mapping[str, int] = route.keys if route else {}
        self.flags: Mapping[str, int] = route.flags if route else {}

    def same_as(self, other: "_Shares") -> bool:
        return (
            (self.latched, self.default) == (other.latched, other.default)
            and (self.orgs is other.orgs or self.orgs == other.orgs)
            and (self.keys, self.flags) == (other.keys, other.flags)
        )

    def orgs_apart(self, other: "_Shares") -> Iterable[str]:
        """Return the orgs whose shares may differ: all, or those whose own lines do."""
        orgs = {**self.orgs, **other.orgs}
        if (self.latched, self.default) != (other.latched, other.default):
            return orgs
        one, two = self.orgs.get, other.orgs.get
        return [org for org in orgs if one(org) != two(org)]

    def share(self, points: int) -> int:
        return 0 if self.latched else points

    def org(self, org: str) -> int:
        line = self.orgs.get(org, OrgShare(None))
        if line.rolled_back:
            return 0
        return self.share(self.default if line.points is None else line.points)
