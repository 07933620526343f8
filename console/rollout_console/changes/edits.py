"""The edits that can be made to a rollout file, and the expected result of each.

The store makes an edit in the text; ``applied`` returns the file that the text must then parse to.
A text that parses to anything else is never put in place.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import Literal

import msgspec
from msgspec.structs import replace

from rollout_gate.file.errors import UnknownRoute
from rollout_gate.file.model import OrgShare, RolloutFile, Route


class SetPercent(msgspec.Struct, frozen=True):
    """Set an org's share on a route, in basis points; a latch on the org stays as it is."""

    route: str
    org: str
    points: int


class SetShare(msgspec.Struct, frozen=True):
    """Set the share, in basis points, of an API key alias (``keys``) or a feature flag.

    With None its line is removed.
    """

    route: str
    table: Literal["keys", "flags"]
    name: str
    points: int | None


class SetDefaultPercent(msgspec.Struct, frozen=True):
    """Set the share, in basis points, of a route's orgs without a line of their own."""

    route: str
    points: int


class SetRolledBack(msgspec.Struct, frozen=True):
    """Latch or resume the entire file (no route), a route (no org), or one org on a route.

    ``stamp`` is written as a comment on the line that is set: when, who, and why.
    """

    rolled_back: bool
    route: str | None = None
    org: str | None = None
    stamp: str = ""


class SetText(msgspec.Struct, frozen=True):
    """Set a route's ``model`` or ``phase``."""

    route: str
    field: Literal["model", "phase"]
    text: str


Edit = SetPercent | SetShare | SetDefaultPercent | SetRolledBack | SetText


def stamp_of(at: datetime, who: str) -> str:
    """Return the head of a stamp, which its reason follows."""
    return f"{at:%Y-%m-%dT%H:%M:%SZ} {who}: "


def stamped_at(edit: Edit, at: datetime) -> Edit:
    """Return an edit with another time in its stamp, where it has one."""
    if not isinstance(edit, SetRolledBack) or not edit.stamp:
        return edit
    who, _, reason = edit.stamp.partition(" ")[2].partition(": ")
    return replace(edit, stamp=stamp_of(at, who) + reason)


def applied(file: RolloutFile, edits: Iterable[Edit]) -> RolloutFile:
    """Return ``file`` as it must be after ``edits``; raises UnknownRoute.

    The revision and the warnings are unchanged: they belong to the text.
    """
    orgs: dict[str, dict[str, OrgShare]] = {}
    for edit in edits:
        if not isinstance(edit, SetPercent | SetRolledBack) or edit.org is None:
            file = _applied(file, edit)
            continue
        name = str(edit.route)
        if name not in file.routes:
            raise UnknownRoute(name, list(file.routes))
        if name not in orgs:  # copied once: a copy for each edit is slow with 10,000 orgs
            orgs[name] = dict(file.routes[name].orgs)
        _set_org(orgs[name], edit)
    if not orgs:
        return file
    changed = {name: replace(file.routes[name], orgs=found) for name, found in orgs.items()}
    return replace(file, routes={**file.routes, **changed})


def same_meaning(one: RolloutFile, other: RolloutFile) -> bool:
    """Return whether two files are semantically equal, whatever their formatting."""
    return replace(one, revision="", warnings=()) == replace(other, revision="", warnings=())


def _applied(file: RolloutFile, edit: Edit) -> RolloutFile:
    if isinstance(edit, SetRolledBack) and edit.route is None:
        return replace(file, rolled_back=edit.rolled_back)
    name = edit.route
    if name is None or name not in file.routes:
        raise UnknownRoute(str(name), list(file.routes))
    route = _applied_to_route(file.routes[name], edit)
    return replace(file, routes={**file.routes, name: route})


def _applied_to_route(route: Route, edit: Edit) -> Route:
    if isinstance(edit, SetText):
        if edit.field == "model":
            return replace(route, model=edit.text)
        return replace(route, phase=edit.text)
    if isinstance(edit, SetDefaultPercent):
        return replace(route, default_points=edit.points)
    if isinstance(edit, SetShare):
        shares = dict(route.keys if edit.table == "keys" else route.flags)
        if edit.points is None:
            shares.pop(edit.name, None)
        else:
            shares[edit.name] = edit.points
        return replace(route, **{edit.table: shares})
    assert isinstance(edit, SetRolledBack)
    return replace(route, rolled_back=edit.rolled_back)


def _set_org(orgs: dict[str, OrgShare], edit: SetPercent | SetRolledBack) -> None:
    before = orgs.get(str(edit.org), OrgShare(None))
    if isinstance(edit, SetPercent):
        after = replace(before, points=edit.points)
    else:
        after = replace(before, rolled_back=edit.rolled_back)
    if after == OrgShare(None):
        orgs.pop(str(edit.org), None)
    else:
        orgs[str(edit.org)] = after
