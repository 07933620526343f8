"""The timeline of an incident: what happened when, in words."""

from collections.abc import Callable
from datetime import UTC, datetime

import msgspec

from rollout_console.changes.change_details import way_of, what_of
from rollout_console.common.durations import seconds_text
from rollout_console.history.rows import Change
from rollout_console.report.incident import Incident


class Moment(msgspec.Struct, frozen=True):
    """One line of the timeline: ``words`` are ours, ``quoted`` are texts from outside, in order.

    ``mark`` is the letter of a mark on the charts, empty for none.
    """

    at: float
    words: str
    quoted: tuple[str, ...] = ()
    mark: str = ""


def clock(at: float, *, day: bool = False) -> str:
    """Return a time in UTC."""
    form = "%Y-%m-%d %H:%M:%S" if day else "%H:%M:%S"
    return f"{datetime.fromtimestamp(at, UTC):{form}}Z"


def timeline(incident: Incident) -> list[Moment]:
    """Return what happened, oldest first; words have ``{}`` where a quoted text belongs."""
    found: list[Moment] = []
    first, alert = incident.first_bad, incident.alert
    if first is not None:
        quoted = [f"{first.route} / {first.org}"]
        words = f"first bad request on TokenLab, status {first.status}, of {{}}"
        for name, text in (("error", first.error), ("request id", first.request_id)):
            if text:
                words += f", {name} {{}}"
                quoted.append(text)
        found.append(Moment(first.at, words, tuple(quoted), "A"))
    if alert is not None:
        words = f"evidence for a rollback complete, the guard alerts: {alert.words}, of {{}}"
        found.append(Moment(alert.at, words, (alert.route,), "B"))
    ours = {one.id for one in incident.scope.rollbacks}
    for change in incident.changes:
        found.append(_of_change(change, is_rollback=change.id in ours))
    if incident.scope.rollbacks:
        found.append(_drained(incident))
    return sorted(found, key=lambda one: one.at)


def said(moment: Moment, quote: Callable[[str], str]) -> str:
    """Return the words with the quoted texts in them, each as ``quote`` shows it."""
    parts = moment.words.split("{}")
    return "".join(
        part + (quote(moment.quoted[at]) if at < len(moment.quoted) else "")
        for at, part in enumerate(parts)
    )


def _of_change(change: Change, *, is_rollback: bool) -> Moment:
    words, quoted = "{} by {}", [what_of(change), change.author]
    if change.reason:
        words += ": {}"
        quoted.append(change.reason)
    mark = "C" if is_rollback else "~" if way_of(change) != "note" else ""
    return Moment(change.at.timestamp(), words, tuple(quoted), mark)


def _drained(incident: Incident) -> Moment:
    took = seconds_text(max(incident.drained_at - incident.scope.last_at, 0.0))
    after = f"{incident.after:,} request{'' if incident.after == 1 else 's'}"
    if not incident.after:
        words = "no request of it came to TokenLab after the rollback"
    elif incident.drained:
        words = f"drained: the last of {after} on TokenLab, {took} after the rollback"
    else:
        words = f"the last TokenLab request known, one of {after}, {took} after the rollback"
    if not incident.drained:
        words += "; that it has drained is not proven by the log"
    return Moment(incident.drained_at, words, (), "D")
