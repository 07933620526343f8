"""Several shares that are set in one change: which, to what, and which are left out and why."""

from collections.abc import Callable, Collection, Mapping, Sequence

import msgspec

from rollout_console.changes.edits import Edit, SetDefaultPercent, SetPercent, SetShare
from rollout_console.changes.plan import (
    ALL_ORGS,
    KINDS,
    LeftOut,
    Part,
    Share,
    Target,
    named_share,
)
from rollout_console.common.listing import first_of
from rollout_gate.file.errors import UnknownOrg, UnknownRoute
from rollout_gate.file.model import RolloutFile, Route
from rollout_gate.file.percent import percent_text

_GONE = "no longer in the file"
_BY_THEMSELVES = "its default, aliases and flags are set by themselves"
MOST_NAMED = 3
"""Limit of the shares that an effect names; the list of a confirm has them all."""

To = Callable[[Route, str], int]
"""Returns the share in basis points that an org of a route is to have; or ALL_ORGS, its default."""


Step = Callable[[Route, int], int]
"""Returns the share that one of a route is to have, from the share that it has; basis points."""


def unchanged(_route: Route, points: int) -> int:
    """Return the same share: a step that takes none."""
    return points


class ShareGroup(msgspec.Struct, frozen=True):
    """The shares to set, with an edit for each, and what is left out."""

    parts: tuple[Part, ...]
    edits: tuple[Edit, ...]
    left_out: tuple[LeftOut, ...]


def share_group(
    file: RolloutFile,
    targets: Sequence[tuple[str, str | None]],
    to: To,
    *,
    new: Collection[Target] = (),
    held: Mapping[Target, str] | None = None,
    shares: Sequence[Share] = (),
    step: Step = unchanged,
) -> ShareGroup:
    """Return the shares to set: of orgs, and of all orgs with a line on a route (org None).

    ``shares`` are those of aliases and flags, each set to what ``step`` returns of it.

    An org without a line gets one only if it is in ``new``: another may have been taken out of the
    file since it was chosen. Left out is what is rolled back and would be raised, what has that
    share already, what is in ``held``, with the reason there, and of a route all but its orgs.
    Raises UnknownRoute and UnknownOrg.
    """
    chosen: dict[Target, tuple[Part, Edit]] = {}
    left_out: dict[Target, LeftOut] = {}
    rest: list[LeftOut] = []
    for route, named in targets:
        found = file.routes.get(route)
        if found is None:
            if (route, named) in new:
                raise UnknownRoute(route, list(file.routes))
            left_out[route, named] = LeftOut(route, named, _GONE)
            continue
        if named is None and (found.default_points or found.keys or found.flags):
            rest.append(LeftOut(route, None, _BY_THEMSELVES, missed=False))
        for org in _orgs_of(found, named):
            if (route, org) in chosen or (route, org) in left_out:
                continue
            if not org and org not in found.orgs:
                raise UnknownOrg(route, org, list(found.orgs))
            points = points_of(found, org), to(found, org)
            reason, missed = _why_not(file, found, org, points, new, held or {})
            if reason:
                left_out[route, org] = LeftOut(route, org, reason, missed)
                continue
            before, after = points
            part = Part(route, org, percent_text(before), percent_text(after))
            chosen[route, org] = part, _edit(route, org, after)
    for share in shares:
        target, found = (share.route, share.label), file.routes.get(share.route)
        now = None if found is None else share_points(found, share)
        if found is None or now is None:
            left_out[target] = LeftOut(*target, _GONE)
            continue
        points = now, step(found, now)
        reason, missed = _why_not_points(file, found, None, points, (held or {}).get(target, ""))
        if reason:
            left_out[target] = LeftOut(*target, reason, missed)
        else:
            chosen[target] = set_share(share, *points)
    parts = tuple(part for part, _ in chosen.values())
    edits = tuple(edit for _, edit in chosen.values())
    return ShareGroup(parts, edits, (*left_out.values(), *rest))


def _why_not(
    file: RolloutFile,
    route: Route,
    org: str,
    points: tuple[int, int],
    new: Collection[Target],
    held: Mapping[Target, str],
) -> tuple[str, bool]:
    """Return why a share is left out, empty where it is not, and whether that is missed."""
    target = route.name, org
    if org != ALL_ORGS and org not in route.orgs and target not in new:
        return _GONE, True
    latched = None if org == ALL_ORGS else org
    return _why_not_points(file, route, latched, points, held.get(target, ""))


def _why_not_points(
    file: RolloutFile, route: Route, org: str | None, points: tuple[int, int], held: str
) -> tuple[str, bool]:
    before, after = points
    if after == before:
        return f"at {percent_text(after)}% already", False
    if after > before and file.is_latched(route.name, org):
        return "rolled back, to be resumed first", True
    return (f"held: {held}", True) if held else ("", False)


def share_points(route: Route, share: Share) -> int | None:
    """Return what a share is in a route, in basis points; None where it has no line."""
    if share.table:
        return (route.keys if share.table == "keys" else route.flags).get(share.name)
    return route.default_points


def set_share(share: Share, before: int, after: int) -> tuple[Part, Edit]:
    """Return the part of a plan that sets a share, with its edit."""
    kind = KINDS[share.table]
    action = f"set_{kind}" if kind else "set"
    part = Part(
        share.route, share.name, percent_text(before), percent_text(after),
        table=share.table, action=action,
    )  # fmt: skip
    if share.table:
        return part, SetShare(share.route, share.table, share.name, after)
    return part, SetDefaultPercent(share.route, after)


def group_words(group: ShareGroup, file: RolloutFile, name: str) -> str:
    """Return the effect of a group in one line; ``name`` is that of the rollout file."""
    effect = f"{len(group.parts)} lines in {name}: "
    effect += first_of([share_words(part) for part in group.parts], MOST_NAMED)
    parts = [(part, file.routes[str(part.route)]) for part in group.parts]
    new = sum(
        not part.table and part.org != ALL_ORGS and part.org not in route.orgs
        for part, route in parts
    )
    if new:
        effect += f" ({new} new {'line' if new == 1 else 'lines'})"
    latched = sum(
        file.is_latched(part.route, None if part.table or part.org == ALL_ORGS else part.org)
        for part, _ in parts
    )
    if latched:
        effect += f" ({latched} {'stays' if latched == 1 else 'stay'} rolled back until resumed)"
    return effect


def share_words(part: Part) -> str:
    """Return a share before and after: ``chat / acme 25% to 50%``."""
    name = named_share(part.table, str(part.org))
    return f"{part.route} / {name} {part.before}% to {part.after}%"


def points_of(route: Route, org: str) -> int:
    """Return the share of an org, or of ALL_ORGS the default, latches ignored, in basis points."""
    return route.default_points if org == ALL_ORGS else route.org_points(org)


def _orgs_of(route: Route, org: str | None) -> Sequence[str]:
    """Return an org by itself, and for None every org with a line on the route."""
    # Skip an org that is literally named ALL_ORGS: it would pass for the default.
    return [one for one in route.orgs if one != ALL_ORGS] if org is None else [org]


def _edit(route: str, org: str, points: int) -> Edit:
    if org == ALL_ORGS:
        return SetDefaultPercent(route, points)
    return SetPercent(route, org, points)
