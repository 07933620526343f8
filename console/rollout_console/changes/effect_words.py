"""Describe changes in words: their targets, what an undo brings back, what stays rolled back."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches

from rollout_console.changes.plan import LeftOut, Target, named_share
from rollout_console.common.durations import target_text
from rollout_console.common.listing import first_of
from rollout_console.history.rows import Change
from rollout_gate.file.model import RolloutFile

STATES = ("in force", "rolled back")
"""The values that the history records for a rollback, before and after."""
MOST_NAMED = 5
"""Limit of the targets that are named; the rest is counted."""
_MOST_INSIDE = 3
_MOST_LEFT_OUT = 50
_SLIP = 2
_MOST_COMPARED = 1_000


def not_latched(file: RolloutFile, route: str | None, org: str | None = None) -> str:
    """Return why there is nothing to resume: a latch is released only at the level that set it."""
    inside = [] if org is not None else list(_latches_inside(file, route))
    named = first_of(inside, _MOST_INSIDE)
    more = f"; rolled back within it: {named}, each to be resumed by itself" if inside else ""
    return f"nothing to do: {spoken_target(route, org)} is not rolled back{more}"


def _latches_inside(file: RolloutFile, route: str | None) -> Iterator[str]:
    routes = file.routes.values() if route is None else [file.routes[route]]
    for one in routes:
        if route is None and one.rolled_back:
            yield spoken_target(one.name, None)
        for org, share in one.orgs.items():
            if share.rolled_back:
                yield target_text(one.name, org)


def named_targets(targets: Sequence[Target], most: int = MOST_NAMED) -> str:
    """Name the first of several targets, and say how many more there are."""
    return first_of([spoken_target(*one) for one in targets], most)


def left_out_words(left_out: Mapping[Target, str]) -> str:
    """Name the targets that were left out, by the reason why."""
    by_reason: dict[str, list[Target]] = {}
    for target, reason in left_out.items():
        by_reason.setdefault(reason, []).append(target)
    return ", ".join(f"{named_targets(some)} ({reason})" for reason, some in by_reason.items())


def by_reason(reasons: Iterable[tuple[Target, str]], most: int = MOST_NAMED) -> list[str]:
    """Name targets once for each reason: ``chat / acme, globex.eu: no data``."""
    grouped: dict[str, list[Target]] = {}
    for target, reason in reasons:
        grouped.setdefault(reason, []).append(target)
    return [f"{first_of(_short_names(some), most)}: {why}" for why, some in grouped.items()]


def left_out_by_reason(left_out: Iterable[LeftOut]) -> list[str]:
    """Name what a change of several leaves as it is, a line for each reason."""
    return by_reason((((one.route, one.org), one.reason) for one in left_out), _MOST_LEFT_OUT)


def _short_names(targets: Sequence[Target]) -> list[str]:
    """Return names of targets, with the route where it is another than the one's before."""
    names: list[str] = []
    before: str | None = None
    for route, org in targets:
        name = None if org is None else named_share("", org)
        names.append(name if name and route == before else target_text(route, name))
        before = route
    return names


def left_out_suffix(left_out: Mapping[Target, str]) -> str:
    """Return the same as an addition to an effect; empty where nothing was left out."""
    return f"; left out: {left_out_words(left_out)}" if left_out else ""


def way_back(change: Change) -> str:
    """Describe the effect of an undo in words."""
    if (change.before, change.after) == STATES:
        return "back in force"
    if (change.after, change.before) == STATES:
        return "rolled back again"
    return f"{spoken_value(change, change.after)} to {spoken_value(change, change.before)}"


def spoken_value(change: Change, value: str) -> str:
    """Return a value of a change, before or after it, in words: ``25%``, ``no line``."""
    is_percent = change.action not in ("model", "phase")
    if is_percent and value.replace(".", "", 1).isdecimal():
        return f"{value}%"
    return value or "no line"


def still_latched(change: Change, after: RolloutFile) -> str:
    """Name the latches that still hold what the undo of a rollback puts back in force."""
    if (change.before, change.after) != STATES:
        return ""
    if after.rolled_back:
        return " (still rolled back by the file)"
    if change.org is not None and after.is_latched(change.route):
        return f" (still rolled back by route {change.route})"
    known = change.org is None and change.route in (None, *after.routes)
    return latched_inside(after, change.route) if known else ""


def latched_inside(file: RolloutFile, route: str | None) -> str:
    """Name what is rolled back by itself within a route, or the file, that is resumed."""
    inside = list(_latches_inside(file, route))
    return f" (still rolled back: {first_of(inside, _MOST_INSIDE)})" if inside else ""


def alike(org: str, known: Sequence[str]) -> str:
    """Return a hint at a similar known name: a typing error would add a line without requests."""
    # Prefilter 10,000 ids by length and first letter: the fuzzy comparison is slow.
    near = [one for one in known if abs(len(one) - len(org)) <= _SLIP and one[:1] == org[:1]]
    close = get_close_matches(org, near[:_MOST_COMPARED], 1, 0.75)
    return f"; there is {close[0]!r} already" if close else ""


def spoken_target(route: str | None, org: str | None) -> str:
    """Return a target in words: ``route chat`` is told from an org of it."""
    if route is None:
        return "everything"
    return f"route {route}" if org is None else target_text(route, org)
