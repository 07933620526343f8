"""Truncation detection: tell a rollout file truncated by a write in progress from a complete one.

A write in place is not atomic, so it is read half done, and a truncated TOML file is often valid
TOML: the end is missing, and with it perhaps a latch. A key that is there was meant and is never
the danger; a key that is missing is, where its absence alone sends more to TokenLab.
"""

from collections.abc import Callable

import msgspec

from rollout_gate.file.model import RolloutFile, Route
from rollout_gate.file.positions import Layout, scan


class Version(msgspec.Struct, frozen=True, eq=False):
    """A parsed text, with the positions of its keys, which are computed lazily."""

    file: RolloutFile
    text: str
    _layout: list[Layout] = msgspec.field(default_factory=list)

    def has(self, path: tuple[str, ...]) -> bool:
        """Whether the text has a key at this path."""
        if not self._layout:
            self._layout.append(scan(self.text))
        return path in self._layout[0].entries

    @property
    def last(self) -> tuple[str, ...]:
        """The path of the last key in the text."""
        self.has(())
        entries = self._layout[0].entries
        return max(entries, key=lambda path: (entries[path].line, -len(path)), default=())


def missing(before: Version, after: Version) -> str:
    """Return the dotted path of a missing key whose absence may send more to TokenLab, or empty.

    A latch set to false, or a share that was raised, is not missing. TokenLab's base URL counts
    too, without which requests, and its key, go to the default one; and so do a route and its
    previous base URL, without which requests go where the application's SDK sends them. A text
    that is rolled back at the top level lacks nothing. One that still has the last key of the
    version before was not truncated: what it lacks was deleted on purpose.
    """
    if after.file.rolled_back:
        return ""  # the widest latch is present, and overrides whatever is missing
    gone = _missing(before.file, after, lambda more: more)
    return "" if gone and before.last and after.has(before.last) else gone


def absent(before: Version, after: Version) -> bool:
    """Whether a key is missing whose absence would send more to TokenLab if shares were higher."""
    gone = _missing(before.file, after, lambda _more: True)
    return bool(gone) and not (before.last and after.has(before.last))


def _missing(before: RolloutFile, version: Version, counts: Callable[[bool], bool]) -> str:
    """Return the first missing key that matters; ``counts`` decides, given its effect now."""
    after = version.file
    effect = any(route.most_points for route in after.routes.values())
    if before.rolled_back and not version.has(("rolled_back",)) and counts(effect):
        return "rolled_back"
    moved = before.base_url != after.base_url and not version.has(("tokenlab", "base_url"))
    if moved and counts(effect):
        return "tokenlab.base_url"
    for name, route in after.routes.items():
        old = before.routes.get(name)
        if old is not None and (gone := _missing_of_route(before, old, version, route, counts)):
            return f"routes.{name}.{gone}"
    return next((f"routes.{name}" for name in before.routes if name not in after.routes), "")


def _missing_of_route(
    before: RolloutFile, old: Route, version: Version, new: Route, counts: Callable[[bool], bool]
) -> str:
    here = ("routes", new.name)
    if old.previous_base_url and not version.has((*here, "previous_base_url")):
        return "previous_base_url"
    if version.file.rolled_back or new.rolled_back:
        return ""
    wide = before.rolled_back or old.rolled_back
    effect = bool(new.most_points)
    if old.rolled_back and not version.has((*here, "rolled_back")) and counts(effect):
        return "rolled_back"
    for org in old.orgs:
        was = 0 if wide or old.org_rolled_back(org) else old.org_points(org)
        line = new.orgs.get(org)
        if line is None and counts(new.default_points > was):
            return f"orgs.{org}"
        unlatched = old.org_rolled_back(org) and not new.org_rolled_back(org)
        if line is not None and unlatched and counts(bool(new.org_points(org))):
            at = (*here, "orgs", org)  # an inline entry is complete; a [table] may be truncated
            if not version.has(at) and not version.has((*at, "rolled_back")):
                return f"orgs.{org}.rolled_back"
    for kind, lines, there in (("keys", old.keys, new.keys), ("flags", old.flags, new.flags)):
        for name, points in lines.items():
            if name not in there and counts(new.most_points > (0 if wide else points)):
                return f"{kind}.{name}"
    return ""
