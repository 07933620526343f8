"""Several rollbacks in one change: what is latched, what is set to 0, and what is left out and why.

Orgs and routes have a latch. Shares by alias and by flag, and a route's default, have none: they
are set to 0, and the history has what they were.
"""

from collections.abc import Collection, Sequence

from rollout_console.changes.edits import Edit, SetRolledBack
from rollout_console.changes.effect_words import STATES, named_targets, spoken_target
from rollout_console.changes.plan import Part, Share, Target
from rollout_console.changes.share_group import MOST_NAMED, set_share, share_points, share_words
from rollout_console.common.listing import first_of
from rollout_gate.file.model import RolloutFile, Route


def to_latch(
    file: RolloutFile, targets: Sequence[tuple[str, str | None]], seen: Collection[Target]
) -> tuple[list[tuple[str, str | None]], dict[Target, str]]:
    """Return the targets that a rollback of all has to latch, and the others with the reason.

    A route and an org that are unknown are kept: they are refused by name.
    """
    routes = {route for route, org in targets if org is None}
    kept: dict[tuple[str, str | None], None] = {}
    left_out: dict[Target, str] = {}
    for route, org in targets:
        if (route, org) in kept:
            left_out[route, org] = "named twice"
        elif is_latched_itself(file, route, org):
            left_out[route, org] = "rolled back already"
        elif org is not None and route in routes:
            left_out[route, org] = "its route is in the list"
        elif (route, org) in seen and not _may_have_traffic(file, route, str(org)):
            left_out[route, org] = "nothing of it goes to TokenLab"
        else:
            kept[route, org] = None
    return list(kept), left_out


def to_zero(
    file: RolloutFile, shares: Sequence[Share], latched: Collection[Target]
) -> tuple[list[tuple[Part, Edit]], dict[Target, str]]:
    """Return the shares that a rollback sets to 0, with their edits, and the others."""
    found: list[tuple[Part, Edit]] = []
    left_out: dict[Target, str] = {}
    for share in dict.fromkeys(shares):
        route = file.routes.get(share.route)
        points = None if route is None else share_points(route, share)
        if points is None:
            left_out[share.route, share.label] = "no longer in the file"
        elif (share.route, None) in latched:
            left_out[share.route, share.label] = "its route is in the list"
        elif not points:
            left_out[share.route, share.label] = "at 0% already"
        else:
            found.append(set_share(share, points, 0))
    return found, left_out


def rollback_words(file: RolloutFile, parts: Sequence[Part], name: str) -> str:
    """Return the effect of a rollback of several in one line; ``name`` is that of the file."""
    targets = [part.target for part in parts if (part.before, part.after) == STATES]
    if len(targets) == 1:
        effect = f"{spoken_target(*targets[0])} to 0% in {name}, rolled back until resumed"
    else:
        effect = f"{len(targets)} lines to 0% in {name}, rolled back until resumed: "
        effect += named_targets(targets)
    new = sum(org is not None and org not in file.routes[str(r)].orgs for r, org in targets)
    if new:
        effect += f" ({new} new {'line' if new == 1 else 'lines'})"
    held = sum(bool(outer_latch(file, str(route), org)) for route, org in targets)
    if held:
        effect += f" ({held} rolled back already, by the route or the file)"
    if zeroed := [share_words(part) for part in parts if part.target not in targets]:
        effect += f"; without a latch: {first_of(zeroed, MOST_NAMED)}"
    return effect


def outer_latch(file: RolloutFile, route: str, org: str | None) -> str:
    """Return what rolls a target back from outside of it, empty where nothing does."""
    if file.rolled_back:
        return "the file"
    return f"route {route}" if org is not None and file.routes[route].rolled_back else ""


def is_latched_itself(file: RolloutFile, route: str | None, org: str | None) -> bool:
    """Return whether a route or org has a latch of its own; False where it is not there."""
    found = file.routes.get(route or "")
    if found is None:
        return False
    return found.rolled_back if org is None else found.org_rolled_back(org)


def is_down(file: RolloutFile, part: Part, edit: Edit) -> bool:
    """Return whether a part of a rollback is so already: latched, or a share that is 0 or gone."""
    if isinstance(edit, SetRolledBack):
        return is_latched_itself(file, *part.target)
    share = Share(str(part.route), part.table, str(part.org))
    return not share_points(file.routes[share.route], share)


def _may_have_traffic(file: RolloutFile, route: str, org: str) -> bool:
    """Whether an org of a known route can have traffic; an unknown route is refused by name."""
    return route not in file.routes or can_have_traffic(file.routes[route], org)


def can_have_traffic(route: Route, org: str) -> bool:
    """Return whether an org has a line in the file, or may get a share without one."""
    return org in route.orgs or bool(route.default_points or route.keys or route.flags)
