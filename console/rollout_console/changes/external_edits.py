"""Describe an external edit of the file in words, with its author if the text names one."""

import re
from collections.abc import Iterator
from itertools import islice

from rollout_console.changes.effect_words import spoken_value
from rollout_console.changes.recorded import to_json
from rollout_console.changes.settings_diff import guard_differences, other_differences
from rollout_console.changes.traffic_diff import DEFAULT_SHARE, moves
from rollout_console.common.durations import spoken_change, target_text
from rollout_console.history.actor import Actor
from rollout_console.history.rows import Change, Edited
from rollout_gate.file.errors import FileError
from rollout_gate.file.model import OrgShare, RolloutFile, Route
from rollout_gate.file.parse import parse
from rollout_gate.file.percent import percent_text

MOST_SAID = 5
"""Limit of the differences that are named; the rest is counted."""
_MOST_COUNTED = 1_000

_STAMP = r"# \d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ ([^\s@]{1,64})@([^\s:]{1,64}): "
_ROLLED_BACK = "rolled back"
_NO_LINE = OrgShare(None)


def described(before: bytes, after: bytes) -> Edited:
    """Describe an edit; without words where one of the texts is invalid."""
    try:
        one, two = parse(before), parse(after)
    except FileError:
        return Edited("")
    said = _said(one, two)
    found = moves(one, two)
    only = found[0] if len(found) == 1 else None
    return Edited(
        said or "no share, latch, model or phase differs",
        _who(before, after),
        to_json(found, one),
        only.route if only is not None else None,
        only.org if only is not None else None,
    )


def _said(one: RolloutFile, two: RolloutFile) -> str:
    """Name the first differences, and count the rest: traffic, then the guard, then all others.

    A guard that is disarmed is one of those that are named, however many shares differ.
    """
    traffic = list(islice(_differences(one, two), _MOST_COUNTED))
    guard = list(islice(guard_differences(one, two), _MOST_COUNTED))
    words = [*traffic, *guard, *other_differences(one, two)]
    if guard and len(traffic) >= MOST_SAID:
        words.insert(MOST_SAID - 1, words.pop(len(traffic)))
    more = f"; and {len(words) - MOST_SAID:,} more" if len(words) > MOST_SAID else ""
    return "; ".join(words[:MOST_SAID]) + more


def gives_back(before: RolloutFile, after: RolloutFile) -> bool:
    """Return whether a latch was removed, so that traffic may go to TokenLab again."""
    return next(_latches(before, after), None) is not None


def rolled_back(before: RolloutFile, after: RolloutFile) -> Iterator[tuple[str | None, str | None]]:
    """Return the latches that an edit set: route and org, None for all."""
    return _latches(after, before)


def _latches(one: RolloutFile, two: RolloutFile) -> Iterator[tuple[str | None, str | None]]:
    """Return the latches of ``one`` that ``two`` does not have, on the routes of both."""
    if one.rolled_back and not two.rolled_back:
        yield None, None
    for name in one.routes.keys() & two.routes.keys():
        route, other = one.routes[name], two.routes[name]
        if route is other:
            continue
        if route.rolled_back and not other.rolled_back:
            yield name, None
        for org, share in route.orgs.items():
            if share.rolled_back and not other.orgs.get(org, _NO_LINE).rolled_back:
                yield name, org


def words_of(change: Change, *others: Change) -> str:
    """Return the author and the effect of a change, in one line; ``others`` are of its group."""
    what = change.after if change.action == "external" else _what(change)
    if others:
        action, target = spoken_change(change.action, change.route, change.org)
        values = _values(change)
        if all((one.before, one.after) == (change.before, change.after) for one in others):
            what = f"{action} {target} and {len(others)} more: {values}"
        else:
            what = f"{action} {target} {values} and {len(others)} more"
    return f"{change.author}: {what}"


def _what(change: Change) -> str:
    action, target = spoken_change(change.action, change.route, change.org)
    return f"{action} {target}: {_values(change)}"


def _values(change: Change) -> str:
    return f"{spoken_value(change, change.before)} to {spoken_value(change, change.after)}"


def _differences(one: RolloutFile, two: RolloutFile) -> Iterator[str]:
    if one.rolled_back != two.rolled_back:
        yield f"everything {_latch(two.rolled_back)}"
    for name in {**one.routes, **two.routes}:
        old, new = one.routes.get(name), two.routes.get(name)
        if old is None or new is None:
            yield f"route {name} {'added' if old is None else 'taken out'}"
        elif old is not new:
            yield from _of_route(name, old, new)


def _of_route(name: str, old: Route, new: Route) -> Iterator[str]:
    if old.rolled_back != new.rolled_back:
        yield f"{name} {_latch(new.rolled_back)}"
    for org in {**old.orgs, **new.orgs}:
        was, now = _line(old, org), _line(new, org)
        if was == _ROLLED_BACK and now != was:
            yield f"{target_text(name, org)} resumed, {now}"
        elif was != now:
            yield f"{target_text(name, org)} {was} to {now}"
    if old.default_points != new.default_points:
        before, after = (
            percent_text(points) for points in (old.default_points, new.default_points)
        )
        yield f"{target_text(name, DEFAULT_SHARE)} {before}% to {after}%"
    for kind, first, second in (("alias", old.keys, new.keys), ("flag", old.flags, new.flags)):
        for alias in {**first, **second}:
            was, now = (
                f"{percent_text(shares[alias])}%" if alias in shares else "no line"
                for shares in (first, second)
            )
            if was != now:
                yield f"{name} / {kind} {alias} {was} to {now}"


def _line(route: Route, org: str) -> str:
    share = route.orgs.get(org)
    if share is None:
        return "no line"
    if share.rolled_back:
        return _ROLLED_BACK
    return f"{percent_text(route.org_points(org))}%"


def _latch(rolled_back: bool) -> str:
    return f"in force to {_ROLLED_BACK}" if rolled_back else "resumed"


def _who(before: bytes, after: bytes) -> Actor | None:
    """Return the author of a rollback's stamp that is new in the text."""
    old, new = (text.decode("utf-8", "replace").split("\n") for text in (before, after))
    known = set(old)
    for line in new:
        if line not in known and (found := re.search(_STAMP, line)) is not None:
            return Actor(found[1], found[2])
    return None
