"""Events of the time axis: changes of the file and alerts, each with its marker."""

from collections.abc import Iterable, Sequence

import msgspec

from rollout_console.changes.plan import ALL_ORGS
from rollout_console.changes.traffic_diff import DEFAULT_SHARE
from rollout_console.common.durations import spoken_change
from rollout_console.guard.alerts import Alert
from rollout_console.history.rows import Change
from rollout_console.ui.screens.live.figures import Grid, Subject
from rollout_gate.file.errors import PercentError
from rollout_gate.file.percent import parse_percent

RAISE, LOWER, ROLLBACK, RESUME, ALERT, OTHER = "↑", "↓", "↩", "↻", "!", "~"
SIGNS = {
    ROLLBACK: "rollback", ALERT: "alert", RESUME: "resume", LOWER: "lower", RAISE: "raise",
    OTHER: "other change",
}  # fmt: skip
"""Markers and their meaning, by falling severity: of several in one place the first is shown."""
_GRAVITY = tuple(SIGNS)


class Event(msgspec.Struct, frozen=True):
    """One event, with its marker; ``at`` is in epoch seconds."""

    at: float
    sign: str
    words: str


def events_of(changes: Iterable[Change], alerts: Iterable[Alert], subject: Subject) -> list[Event]:
    """Return the events of a subject, oldest first, with those of a wider scope that covers it."""
    found = [
        Event(change.at.timestamp(), _sign(change), _words(change))
        for change in changes
        if _concerns(subject, change.route, change.org)
    ]
    found += [
        Event(alert.since, ALERT, alert.sentence)
        for alert in alerts
        if _concerns(subject, alert.route, alert.org)
    ]
    return sorted(found, key=lambda event: event.at)


def placed(events: Iterable[Event], grid: Grid) -> dict[int, list[Event]]:
    """Group events by grid point, the most severe first; drop those outside the grid."""
    found: dict[int, list[Event]] = {}
    for event in events:
        index = grid.index(event.at)
        if index is not None:
            found.setdefault(index, []).append(event)
    for some in found.values():
        some.sort(key=lambda event: _GRAVITY.index(event.sign))
    return found


def gravest(events: Sequence[Event]) -> str:
    """Return the marker of the most severe event; there must be at least one."""
    return min((event.sign for event in events), key=_GRAVITY.index)


def _concerns(subject: Subject, route: str | None, org: str | None) -> bool:
    if route is None or subject.route is None:
        return True
    return route == subject.route and (subject.org is None or org in (None, ALL_ORGS, subject.org))


def _sign(change: Change) -> str:
    if change.action == "undelivered":
        return ALERT
    if change.after == "rolled back":
        return ROLLBACK
    if change.before == "rolled back":
        return RESUME
    if change.action in ("set", "undo"):
        try:
            before, after = parse_percent(change.before), parse_percent(change.after)
        except PercentError:
            return OTHER
        return RAISE if after > before else LOWER
    return OTHER


def _words(change: Change) -> str:
    if change.action == "undelivered":
        return f"not delivered: {change.after}: {change.reason}"
    who = f" by {change.user}" if change.user else ""
    if change.action == "external":
        return f"the file was changed by somebody else: now {change.after}"
    org = DEFAULT_SHARE if change.org == ALL_ORGS else change.org
    action, target = spoken_change(change.action, change.route, org)
    unit = "%" if _sign(change) in (RAISE, LOWER) else ""
    before, after = (f"{one}{unit}" if one else "no line" for one in (change.before, change.after))
    what = f" {before} to {after}"
    if change.action == "acknowledge":
        return f"alert acknowledged{who}: {change.after}"
    if change.action == "put_back":
        return f"{target} put back into its ramp{who}; it was out: {change.reason}"
    if change.action in ("rollback", "resume"):
        what = ""
    kind = "" if action in ("rollback", "resume", "set") else f"{action} of "
    reason = f": {change.reason}" if change.reason else ""
    return f"{kind}{target}{what}{who}{reason}"
