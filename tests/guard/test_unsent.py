"""Requests that a host could not send: an alarm that names it, and no evidence against a side."""

import time
from datetime import UTC, datetime
from pathlib import Path

from rollout_console.guard.alerts import alerts_now
from rollout_console.guard.balance import BalanceWatch
from rollout_console.guard.monitor import Monitor
from rollout_console.guard.unsent import SHOWN_FOR_S
from rollout_gate import AccessLine, AccessLog, timestamp
from rollout_gate.file.parse import parse


def log(file: Path, lines: int, age_s: float, **fields: object) -> None:
    at = timestamp(datetime.fromtimestamp(time.time() - age_s, UTC))
    found = AccessLog(file.parent / "access.jsonl")
    for number in range(lines):
        found.append(AccessLine(ts=at, route="chat", org=("acme", "globex")[number % 2],
                                    side="tokenlab", model="m", latency_ms=1.0, **fields))  # type: ignore[arg-type]  # fmt: skip


def alarms(monitor: Monitor, now: float) -> list[str]:
    found = alerts_now(monitor, BalanceWatch(), {}, "", now)
    return [one.sentence for one in found if one.key == ("unsent",)]


def test_they_are_an_alarm_and_not_the_sides_fault(file: Path) -> None:
    log(file, 30, 90.0, status=200, outcome="ok")
    unsent = {"status": 0, "error": "unsent", "outcome": "abandoned"}
    log(file, 40, 2.0, host="gw-01", **unsent)
    log(file, 1, 3.0, host="gw-02", **unsent)
    monitor = Monitor(file, parse(file.read_bytes()))
    now = time.time()
    monitor.catch_up(now)
    (said,) = alarms(monitor, now)
    assert said.startswith("41 requests of gw-01, gw-02 could not be sent, the last ")
    assert (
        "out of open files, ports, memory or pooled connections there; a rollback does not help"
        in said
    )
    assert {one.kind for one in monitor.verdicts(now).values()} & {"rollback"} == set()
    (top,) = monitor.top_errors(None, None, now, 3600.0)
    assert (top.error, top.count, top.orgs) == ("unsent", 41, ("acme", "globex"))
    assert alarms(monitor, now + SHOWN_FOR_S + 3) == []


def test_the_same_lines_as_refused_connections_condemn_the_route(file: Path) -> None:
    log(file, 30, 90.0, status=200, outcome="ok")
    log(file, 41, 2.0, host="gw-01", status=0, error="connect", outcome="error")
    monitor = Monitor(file, parse(file.read_bytes()))
    now = time.time()
    monitor.catch_up(now)
    assert monitor.verdicts(now)["chat"].kind == "rollback"
    assert alarms(monitor, now) == []


def test_those_of_the_past_are_none(file: Path) -> None:
    log(file, 5, 2 * SHOWN_FOR_S, status=0, error="unsent", outcome="abandoned")
    monitor = Monitor(file, parse(file.read_bytes()))
    now = time.time()
    monitor.catch_up(now)
    assert alarms(monitor, now) == []
