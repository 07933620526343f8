"""The figures of an incident for machines: CSV by minute, and a JSON object."""

import csv
import io
from datetime import UTC, datetime
from typing import Any

from rollout_console.common.csv_cells import plain_cell
from rollout_console.health.windows.summary import Summary
from rollout_console.jobs.outcomes import ended_json
from rollout_console.report.counting import SIDES
from rollout_console.report.incident import Incident
from rollout_console.report.markdown import bad_in, counts_of, summary_words
from rollout_console.report.timeline import said, timeline
from rollout_gate.secret import redacted

COLUMNS = (
    "minute", "route", "side", "requests", "4xx", "429", "5xx", "cut_or_empty", "bad",
    "p50_ms", "p95_ms", "ttft_p95_ms",
)  # fmt: skip


def as_csv(incident: Incident) -> str:
    """Return one line for each minute, route and side that has a request."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    for at, route, side, one in incident.figures.minutes():
        times = (_rounded(one.p50), _rounded(one.p95), _rounded(one.ttft_p95))
        writer.writerow(
            (iso(at), plain_cell(route), side, one.requests, *counts_of(one), bad_in(one), *times)
        )
    return out.getvalue()


def as_json(incident: Incident) -> dict[str, Any]:
    """Return the JSON object that ``report --json`` prints."""
    scope, first = incident.scope, incident.first_bad
    return {
        "name": incident.name,
        "summary": summary_words(incident),
        "scope": [{"route": _safe(one.route), "org": _safe(one.org)} for one in scope.cuts],
        "rollbacks": [_redacted(one.as_json()) for one in scope.rollbacks],
        "first_bad": None if first is None else {
            "at": iso(first.at), "route": _safe(first.route), "org": _safe(first.org),
            "status": first.status, "error": _safe(first.error),
            "request_id": _safe(first.request_id),
        },
        "alert_at": None if incident.alert is None else iso(incident.alert.at),
        "alert": None if incident.alert is None else incident.alert.words,
        "drained_at": iso(incident.drained_at) if scope.rollbacks else None,
        "drained": incident.drained,
        "after_rollback": incident.after,
        "timeline": [
            {"at": iso(one.at), "what": said(one, redacted)} for one in timeline(incident)
        ],
        "phases": {
            phase.name: {
                "from": iso(phase.begin),
                "to": iso(phase.end),
                **{side: _figures(incident.figures.summary(phase, side)) for side in SIDES},
            }
            for phase in incident.phases
        },
        "jobs": {
            phase.name: {
                "from": iso(phase.begin),
                "to": iso(phase.end),
                **{side: ended_json(incident.jobs.ended[phase.name, side]) for side in SIDES},
            }
            for phase in incident.jobs.phases
            if incident.jobs.ended
        },
        "errors": {
            side: [
                {
                    "count": one.count, "route": _safe(one.route), "status": one.status,
                    "error": _safe(one.error), "first_at": iso(one.first_at),
                    "last_at": iso(one.last_at), "orgs": [_safe(org) for org in one.orgs[:20]],
                    "request_ids": [_safe(name) for name in one.request_ids],
                }
                for one in incident.figures.errors(side)
            ]
            for side in SIDES
        },
        "orgs": [
            {"org": _safe(org), "requests": requests, "bad": bad}
            for org, requests, bad in incident.figures.orgs()
        ],
        "changes": [_redacted(one.as_json()) for one in incident.changes],
        "log": list(map(_safe, incident.log_words)),
    }  # fmt: skip


def iso(at: float) -> str:
    """Return a time as RFC 3339 in UTC, with milliseconds."""
    text = datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")


def _figures(one: Summary) -> dict[str, float | int | None]:
    refused, limited, gateway, cut = counts_of(one)
    return {
        "requests": one.requests, "4xx": refused, "429": limited, "5xx": gateway,
        "cut_or_empty": cut, "bad": bad_in(one), "p50_ms": _rounded(one.p50),
        "p95_ms": _rounded(one.p95), "ttft_p95_ms": _rounded(one.ttft_p95),
    }  # fmt: skip


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 1)


def _redacted(row: dict[str, str | None]) -> dict[str, str | None]:
    return {name: _safe(value) for name, value in row.items()}


def _safe(text: str | None) -> str | None:
    return None if text is None else redacted(text)
