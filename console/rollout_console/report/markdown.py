"""An incident as Markdown, ready to paste: no link, no secret, no markup from outside."""

from collections.abc import Iterator, Sequence

from rollout_console.changes.change_details import what_of
from rollout_console.common.durations import seconds_text
from rollout_console.common.listing import counted
from rollout_console.common.markdown import cell, code, escaped
from rollout_console.health.log.record import StatusClass
from rollout_console.health.windows.summary import Summary
from rollout_console.report.counting import SIDES, Error
from rollout_console.report.incident import Incident
from rollout_console.report.timeline import clock, said, timeline
from rollout_gate.secret import redacted

TITLE = "# Incident of "
SIDE_NAMES = {"tokenlab": "TokenLab", "previous": "previous"}
_ONSETS = {"bad": "the first bad request", "rollback": "the rollback", "asked": "as asked for"}
_MOST_ERRORS = 30
_MOST_ORGS = 20
_MOST_NAMED = 5
_MOST_CHANGES = 100
_REFUSED = (StatusClass.CONTRACT, StatusClass.AUTH, StatusClass.BALANCE)


def as_markdown(incident: Incident) -> str:
    """Return the report; the charts and the figures by minute are in files of the same name."""
    return "\n".join(_lines(incident)) + "\n"


def _lines(incident: Incident) -> Iterator[str]:
    yield f"{TITLE}{clock(incident.during.begin, day=True)}: {_text(incident.scope.words)}"
    yield ""
    yield summary_words(incident)
    yield ""
    yield "## Timeline"
    yield "| time (UTC) | | what |"
    yield "|---|---|---|"
    for moment in timeline(incident):
        yield f"| {clock(moment.at, day=True)} | {moment.mark} | {said(moment, _cell)} |"
    yield ""
    yield from _figures(incident)
    yield from _jobs(incident)
    yield from _errors(incident)
    yield from _orgs(incident)
    yield from _changes(incident)
    yield "## What this rests on"
    yield (
        f"The access log and the history of {_text(incident.file_name)}, read at "
        f"{clock(incident.made_at, day=True)}. Times are those of the log's lines, in UTC: when a "
        "request ended. Requests are generations; others, such as token counts, "
        "count only for draining."
    )
    for words in incident.log_words:
        yield f"- {escaped(redacted(words))}"
    yield ""
    yield (
        f"Charts: {code(f'{incident.name}.svg')}, with the letters of the timeline. "
        f"Figures by minute, side and route: {code(f'{incident.name}.csv')}."
    )


def summary_words(incident: Incident) -> str:
    """Return the incident in one paragraph."""
    scope, first, alert, during = (
        incident.scope,
        incident.first_bad,
        incident.alert,
        incident.during,
    )
    said = []
    if first is None:
        said.append(f"No bad request of {_text(scope.words)} is in the access log of that time.")
    else:
        error = f" {_text(first.error)}" if first.error else ""
        said.append(
            f"At {clock(first.at, day=True)} TokenLab gave the first bad answer ({first.status}"
            f"{error}) to a request of {_text(scope.words)}."
        )
    if alert is not None:
        took = seconds_text(max(alert.at - during.begin, 0.0))
        said.append(f"After {took} there was evidence enough for a rollback: {alert.words}.")
    elif scope.rollbacks:
        what = "in its requests " if incident.jobs.phases else ""
        said.append(f"There was too little evidence {what}for the guard to ask for a rollback.")
    said += _rollback_words(incident)
    now = incident.figures.summary(during, "tokenlab")
    bad = bad_in(now)
    orgs = len(incident.figures.orgs())
    said.append(
        f"In those {seconds_text(during.seconds)} TokenLab had"
        f" {counted(now.requests, 'request')} of it, of which {bad:,} were bad{_share(bad, now)}"
        + (f", of {orgs:,} org{'' if orgs == 1 else 's'}." if orgs else ".")
    )
    return " ".join(said)


def _rollback_words(incident: Incident) -> Iterator[str]:
    scope = incident.scope
    if not scope.rollbacks:
        yield "Nothing was rolled back."
        return
    last = scope.rollbacks[-1]
    several = len(scope.rollbacks)
    why = f" ({_text(last.reason)})" if last.reason else ""
    at, first = last.at.timestamp(), incident.first_bad
    more = f", the last of {several} rollbacks," if several > 1 else ""
    when = f"at {clock(at, day=True)}"
    if first is not None and first.at <= at:
        begin = incident.during.begin if incident.begins_with == "bad" else first.at
        when = f"{seconds_text(max(at - begin, 0.0))} after the first bad request"
    yield f"{_text(last.author)} rolled back{more} {when}{why}."
    took = seconds_text(max(incident.drained_at - scope.last_at, 0.0))
    if not incident.after:
        yield "No request of it came to TokenLab after that."
    elif incident.drained:
        yield f"It had drained {took} later."
    else:
        yield f"The last TokenLab request known came {took} later; the log does not prove drained."


def _figures(incident: Incident) -> Iterator[str]:
    figures = incident.figures
    yield "## Figures"
    p95 = "p95 of creates" if incident.jobs.is_all else "p95"
    yield f"| when | side | requests | 4xx | 429 | 5xx | cut or empty | {p95} | first token p95 |"
    yield "|---|---|---:|---:|---:|---:|---:|---:|---:|"
    for phase in incident.phases:
        for side in SIDES:
            one = figures.summary(phase, side)
            cells = (
                f"{phase.name}, {seconds_text(phase.seconds)}", SIDE_NAMES[side],
                f"{one.requests:,}", *(_counted(count, one) for count in counts_of(one)),
                _ms(one.p95), _ms(one.ttft_p95),
            )  # fmt: skip
            yield f"| {' | '.join(cells)} |"
    yield ""
    begins = [clock(one.begin, day=True) for one in incident.phases]
    until = "the last" if incident.begins_with == "bad" else "the last request"
    until = f"{until} on TokenLab" if incident.scope.rollbacks else "the end of the time asked for"
    yield (
        f"Before: from {begins[0]}. During: from {begins[1]}, {_ONSETS[incident.begins_with]}, to "
        f"{until}. After: from {begins[2]}. An answer that was cut counts as 5xx too."
        " A request that the application left, or that was never sent, counts for neither side."
    )
    yield ""


def _jobs(incident: Incident) -> Iterator[str]:
    """Say how async jobs ended: a failure after a 200 is in none of the other figures."""
    jobs = incident.jobs
    if not jobs.ended:
        return
    yield "## Async jobs"
    yield "| when | side | ended | failed | late | refused | p50 to the asset | p95 to the asset |"
    yield "|---|---|---:|---:|---:|---:|---:|---:|"
    for phase in jobs.phases:
        for side in SIDES:
            one = jobs.ended[phase.name, side]
            times = (
                (seconds_text(one.p50_s), seconds_text(one.p95_s)) if one.completed else ("", "")
            )
            cells = (
                f"{phase.name}, {seconds_text(phase.seconds)}", SIDE_NAMES[side], f"{one.count:,}",
                *(
                    f"{count:,} ({_percent(count, one.count)})" if count else "0"
                    for count in (one.failed, one.late, one.refused)
                ),
                *times,
            )  # fmt: skip
            yield f"| {' | '.join(cells)} |"
    yield ""
    yield (
        f"From {clock(jobs.phases[0].begin, day=True)}, by the ledger of jobs, when an answer told "
        "how a job ended. A late one is still open; a refused one failed by what it asked for."
    )
    yield ""


def counts_of(one: Summary) -> tuple[int, int, int, int]:
    """Return how many requests were 4xx, 429, 5xx, and cut or empty; 4xx is without 429."""
    return (
        sum(one.by_class[of] for of in _REFUSED),
        one.by_class[StatusClass.RATE_LIMIT],
        one.by_class[StatusClass.GATEWAY],
        one.bad,
    )


def bad_in(one: Summary) -> int:
    """Return how many requests were bad, each once."""
    good = (StatusClass.OK, StatusClass.ABANDONED)
    return sum(count for of, count in one.by_class.items() if of not in good)


def _errors(incident: Incident) -> Iterator[str]:
    for side in SIDES:
        found = incident.figures.errors(side)
        if not found and side == "previous":
            continue
        yield f"## Errors on {SIDE_NAMES[side]}, for support"
        if not found:
            yield "None."
            yield ""
            continue
        yield "| count | status | error | route | first, last (UTC) | orgs | request ids |"
        yield "|---:|---:|---|---|---|---|---|"
        for one in found[:_MOST_ERRORS]:
            yield _error(one)
        if len(found) > _MOST_ERRORS:
            rest = sum(one.count for one in found[_MOST_ERRORS:])
            yield f"| {rest:,} | | {len(found) - _MOST_ERRORS:,} other errors | | | | |"
        yield ""


def _error(one: Error) -> str:
    times = f"{clock(one.first_at, day=True)}, {clock(one.last_at)}"
    ids = " ".join(map(_cell, one.request_ids))
    what = f"{one.count:,} | {one.status or ''} | {_cell(one.error)} | {_cell(one.route)}"
    return f"| {what} | {times} | {_named(one.orgs)} | {ids} |"


def _orgs(incident: Incident) -> Iterator[str]:
    found = incident.figures.orgs()
    yield "## Orgs affected"
    if not found:
        yield "None: no request on TokenLab was bad."
        yield ""
        return
    yield "| org | requests on TokenLab that count | bad |"
    yield "|---|---:|---:|"
    for org, requests, bad in found[:_MOST_ORGS]:
        yield f"| {_cell(org) or '(others)'} | {requests:,} | {bad:,} ({_percent(bad, requests)}) |"
    if len(found) > _MOST_ORGS:
        yield f"| and {len(found) - _MOST_ORGS:,} more | | |"
    yield ""


def _changes(incident: Incident) -> Iterator[str]:
    yield "## Changes of the file in that time"
    if not incident.changes:
        yield "None is recorded."
        yield ""
        return
    yield "| time (UTC) | who | what | why | guard said | revision |"
    yield "|---|---|---|---|---|---|"
    for one in incident.changes[:_MOST_CHANGES]:
        cells = (one.author, what_of(one), one.reason, one.verdict, one.revision[:12])
        yield f"| {clock(one.at.timestamp(), day=True)} | {' | '.join(map(_cell, cells))} |"
    if len(incident.changes) > _MOST_CHANGES:
        yield f"| and {len(incident.changes) - _MOST_CHANGES:,} more | | | | | |"
    yield ""


def _text(text: str) -> str:
    """Quote a text from outside: a code span has neither links nor mentions."""
    return code(redacted(text))


def _cell(text: str) -> str:
    return cell(redacted(text))


def _named(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MOST_NAMED:,} more" if len(names) > _MOST_NAMED else ""
    return " ".join(map(_cell, names[:_MOST_NAMED])) + more


def _counted(count: int, one: Summary) -> str:
    return f"{count:,}{_share(count, one)}" if count else "0"


def _share(count: int, one: Summary) -> str:
    """Return a share of the requests that count, of how many where these are not all."""
    of = f" of {one.judged:,}" if one.judged != one.requests else ""
    return f" ({_percent(count, one.judged)}{of})" if one.judged else ""


def _percent(count: int, of: int) -> str:
    share = 100 * count / of if of else 0.0
    return f"{share:.1f}%"


def _ms(value: float | None) -> str:
    return "" if value is None else f"{value:,.0f} ms"
