"""Events of the time axis: changes of the file and alerts, each with its marker."""

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from rollout_console.changes.change_details import Way, target_of, way_of, what_of
from rollout_console.changes.effect_words import spoken_value
from rollout_console.changes.plan import ALL_ORGS
from rollout_console.guard.alerts import Alert
from rollout_console.history.rows import Change
from rollout_console.ui.screens.live.figures import Grid, Subject

RAISE, LOWER, ROLLBACK, RESUME, ALERT, OTHER = "↑", "↓", "↩", "↻", "!", "~"
SIGNS = {
    ROLLBACK: "rollback", ALERT: "alert", RESUME: "resume", LOWER: "lower", RAISE: "raise",
    OTHER: "other change",
}  # fmt: skip
"""Markers and their meaning, by falling severity: of several in one place the first is shown."""
_GRAVITY = tuple(SIGNS)
_SIGN: Mapping[Way, str] = {
    "rollback": ROLLBACK, "resume": RESUME, "raise": RAISE, "lower": LOWER, "note": OTHER,
    "other": OTHER,
}  # fmt: skip


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
    return ALERT if change.action == "undelivered" else _SIGN[way_of(change)]


def _words(change: Change) -> str:
    """Return what stands after the meaning of the marker, which has said rollback or raise."""
    who = f" by {change.user}" if change.user else ""
    reason = f": {change.reason}" if change.reason else ""
    if change.action in ("rollback", "resume", "set"):
        what = target_of(change)
        if change.action == "set":
            before, after = (spoken_value(change, one) for one in (change.before, change.after))
            what = f"{what} {before} to {after}"
    else:
        what = what_of(change, to="to")
    if change.action == "put_back":
        reason = f"; it was out{reason}"
    return f"{what}{who}{reason}"
