"""Telling a file that was cut off while it was written from one that means what it says.

A write in place is seen half done, and half a TOML file is often valid TOML: the end is missing,
and with it perhaps a latch. What is there is never the danger, as it was meant; what is not there
is, where its absence alone sends more to TokenLab.
"""

from console.rollout.layout import Layout, scan
from console.rollout.model import RolloutFile, Route


def missing(before: RolloutFile, after: RolloutFile, text: str) -> str:
    """Return the dotted path of what is gone so that more goes to TokenLab; empty if nothing is.

    ``text`` is that of ``after``. A latch that says false, or a share that was raised, is not
    gone. TokenLab's address counts too: without it requests, and its key, go to the usual one.
    """
    if not any(route.most_points for route in after.routes.values()):
        return ""
    layout = _Lazy(text)
    if before.rolled_back and not after.rolled_back and not layout.has(("rolled_back",)):
        return "rolled_back"
    if before.base_url != after.base_url and not layout.has(("tokenlab", "base_url")):
        return "tokenlab.base_url"
    for name, route in after.routes.items():
        old = before.routes.get(name)
        gone = _missing_of_route(before, old, after, route, layout) if old is not None else ""
        if gone:
            return f"routes.{name}.{gone}"
    return ""


class _Lazy:
    """Where the keys of a text are, found out only if somebody asks."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._layout: Layout | None = None

    def has(self, path: tuple[str, ...]) -> bool:
        if self._layout is None:
            self._layout = scan(self._text)
        return path in self._layout.entries


def _missing_of_route(
    before: RolloutFile, old: Route, after: RolloutFile, new: Route, layout: _Lazy
) -> str:
    if after.rolled_back or new.rolled_back:
        return ""
    wide = before.rolled_back or old.rolled_back
    here = ("routes", new.name)
    if old.rolled_back and new.most_points and not layout.has((*here, "rolled_back")):
        return "rolled_back"
    for org in old.orgs:
        was = 0 if wide or old.org_rolled_back(org) else old.org_points(org)
        line = new.orgs.get(org)
        if line is None and new.default_points > was:
            return f"orgs.{org}"
        unlatched = old.org_rolled_back(org) and not new.org_rolled_back(org)
        if line is not None and unlatched and new.org_points(org):
            at = (*here, "orgs", org)  # a line of its own says all of it; a table may be cut
            if not layout.has(at) and not layout.has((*at, "rolled_back")):
                return f"orgs.{org}.rolled_back"
    for kind, lines, there in (("keys", old.keys, new.keys), ("flags", old.flags, new.flags)):
        for name, points in lines.items():
            if name not in there and new.most_points > (0 if wide else points):
                return f"{kind}.{name}"
    return ""
