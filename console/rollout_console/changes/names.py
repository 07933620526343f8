"""Reject unknown names, so that a typing error is not rolled back in place of an org."""

from collections.abc import Iterable

from rollout_console.changes.plan import ALL_ORGS
from rollout_console.common.errors import Misused
from rollout_gate.file.errors import UnknownName, UnknownRoute
from rollout_gate.file.model import RolloutFile

_MOST_COMPARED = 1_000


def check_org(
    file: RolloutFile,
    seen: Iterable[str],
    route: str | None,
    org: str | None,
    *,
    makes_new: bool = True,
) -> None:
    """Raise UnknownRoute or UnknownName for a name that is neither in the file nor in ``seen``,
    the orgs of the access log. ``makes_new`` is whether --new could make a line for it."""
    if route is None:
        return
    found = file.routes.get(route)
    if found is None:
        raise UnknownRoute(route, list(file.routes))
    if org is None or org == ALL_ORGS or org in found.orgs:
        return
    names = list(seen)
    if org not in names:
        raise UnknownName(route, "org", org, [*found.orgs, *names], makes_new=makes_new)


def check_share(file: RolloutFile, route: str, kind: str, name: str) -> None:
    """Raise UnknownRoute or UnknownName where the file has no line of an alias or a flag."""
    found = file.routes.get(route)
    if found is None:
        raise UnknownRoute(route, list(file.routes))
    known = found.keys if kind == "alias" else found.flags
    if name not in known:
        raise UnknownName(route, kind, name, list(known))


def expect_names_of_period(
    file: RolloutFile, route: str, org: str, *, is_seen: bool, known: Iterable[str] = ()
) -> None:
    """Raise UnknownRoute or Misused for a name that the file lacks and a period has nothing of.

    Nothing was billed or logged of a typing error either, which would look as if all were well.
    Empty names stand for all; ``is_seen`` is whether the period has anything of them, ``known`` are
    orgs that it has.
    """
    if is_seen:
        return
    if route and route not in file.routes:
        raise UnknownRoute(route, list(file.routes))
    routes = [file.routes[route]] if route else list(file.routes.values())
    names = [*dict.fromkeys([*known, *(name for one in routes for name in one.orgs)])]
    if org and org not in names:
        from difflib import get_close_matches  # lazy import: a change does not need it

        of = f"route {route!r} has" if route else "there is"
        close = get_close_matches(org, names[:_MOST_COMPARED], 3, 0.6)
        near = f"; did you mean {' or '.join(map(repr, close))}?" if close else ""
        raise Misused(f"{of} no org {org!r}, in the file or in this period{near}")
