"""Reject unknown names, so that a typing error is not rolled back in place of an org."""

from collections.abc import Iterable

from rollout_console.changes.plan import ALL_ORGS
from rollout_gate.file.errors import UnknownName, UnknownRoute
from rollout_gate.file.model import RolloutFile


def check_org(file: RolloutFile, seen: Iterable[str], route: str | None, org: str | None) -> None:
    """Raise UnknownRoute or UnknownName for a name that is neither in the file nor in ``seen``,
    the orgs of the access log."""
    if route is None:
        return
    found = file.routes.get(route)
    if found is None:
        raise UnknownRoute(route, list(file.routes))
    if org is None or org == ALL_ORGS or org in found.orgs:
        return
    names = list(seen)
    if org not in names:
        raise UnknownName(route, "org", org, [*found.orgs, *names])


def check_share(file: RolloutFile, route: str, kind: str, name: str) -> None:
    """Raise UnknownRoute or UnknownName where the file has no line of an alias or a flag."""
    found = file.routes.get(route)
    if found is None:
        raise UnknownRoute(route, list(file.routes))
    known = found.keys if kind == "alias" else found.flags
    if name not in known:
        raise UnknownName(route, kind, name, list(known))
