"""Several shares that are set in one change: which, to what, and which are left out and why."""

from collections.abc import Callable, Collection, Mapping, Sequence

import msgspec

from rollout_console.changes.edits import Edit, SetDefaultPercent, SetPercent
from rollout_console.changes.plan import ALL_ORGS, LeftOut, Part, Target
from rollout_console.common.listing import first_of
from rollout_gate.file.errors import UnknownOrg, UnknownRoute
from rollout_gate.file.model import RolloutFile, Route
from rollout_gate.file.percent import percent_text

_GONE = "no longer in the file"
MOST_NAMED = 3
"""Limit of the shares that an effect names; the list of a confirm has them all."""

To = Callable[[Route, str], int]
"""Returns the share in basis points that an org of a route is to have; or ALL_ORGS, its default."""


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
) -> ShareGroup:
    """Return the shares to set: of orgs, and of all orgs with a line on a route (org None).

    An org without a line gets one only if it is in ``new``: another may have been taken out of the
    file since it was chosen. Left out is what is rolled back and would be raised, what has that
    share already, and what is in ``held``, with the reason there. Raises UnknownRoute, UnknownOrg.
    """
    chosen: dict[Target, tuple[Part, Edit]] = {}
    left_out: dict[Target, LeftOut] = {}
    for route, named in targets:
        found = file.routes.get(route)
        if found is None and (route, named) in new:
            raise UnknownRoute(route, list(file.routes))
        if found is None:
            left_out[route, named] = LeftOut(route, named, _GONE)
            continue
        for org in _orgs_of(found, named):
            if (route, org) in chosen or (route, org) in left_out:
                continue
            if not org:
                raise UnknownOrg(route, org, list(found.orgs))
            before, after = points_of(found, org), to(found, org)
            part = Part(route, org, percent_text(before), percent_text(after))
            if org != ALL_ORGS and org not in found.orgs and (route, org) not in new:
                left_out[route, org] = LeftOut(route, org, _GONE)
            elif after == before:
                left_out[route, org] = LeftOut(route, org, f"at {part.after}% already", False)
            elif after > before and file.is_latched(route, None if org == ALL_ORGS else org):
                left_out[route, org] = LeftOut(route, org, "rolled back, to be resumed first")
            elif held and (route, org) in held:
                left_out[route, org] = LeftOut(route, org, f"held: {held[route, org]}")
            else:
                chosen[route, org] = part, _edit(route, org, after)
    parts = tuple(part for part, _ in chosen.values())
    edits = tuple(edit for _, edit in chosen.values())
    return ShareGroup(parts, edits, tuple(left_out.values()))


def group_words(group: ShareGroup, file: RolloutFile, name: str) -> str:
    """Return the effect of a group in one line; ``name`` is that of the rollout file."""
    effect = f"{len(group.parts)} lines in {name}: "
    effect += first_of([share_words(part) for part in group.parts], MOST_NAMED)
    parts = [(part, file.routes[str(part.route)]) for part in group.parts]
    new = sum(part.org != ALL_ORGS and part.org not in route.orgs for part, route in parts)
    if new:
        effect += f" ({new} new {'line' if new == 1 else 'lines'})"
    latched = sum(
        file.is_latched(part.route, None if part.org == ALL_ORGS else part.org) for part, _ in parts
    )
    if latched:
        effect += f" ({latched} {'stays' if latched == 1 else 'stay'} rolled back until resumed)"
    return effect


def share_words(part: Part) -> str:
    """Return a share before and after: ``chat / acme 25% to 50%``."""
    org = "(orgs without a line)" if part.org == ALL_ORGS else part.org
    return f"{part.route} / {org} {part.before}% to {part.after}%"


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
