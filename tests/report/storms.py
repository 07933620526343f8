"""Incidents written by hand: log lines and a rollback, whose figures are known."""

import json
import random
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rollout_console.changes.switch import Switch
from rollout_console.history.actor import Actor
from rollout_console.history.history import History

NOON = datetime(2026, 10, 1, 12, tzinfo=UTC).timestamp()


def line(at: float, **fields: Any) -> dict[str, Any]:
    """Return one line of the access log."""
    ts = datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")
    return {
        "ts": ts.replace("+00:00", "Z"), "route": "chat", "org": "acme", "side": "tokenlab",
        "model": "m", "status": 200, "latency_ms": 120.0, **fields,
    }  # fmt: skip


def storm(
    *, begin: float = NOON, rolled_back: float = NOON + 40, seconds: int = 600, share: float = 0.4,
    **fields: Any,
) -> Iterator[dict[str, Any]]:  # fmt: skip
    """Yield five requests a second and side around a storm of 503, which ends with the rollback."""
    drawn = random.Random(7)
    first = True
    for second in range(-seconds, seconds):
        for part in range(5):
            at = begin + second + part / 5
            yield line(at, side="previous", org=f"org-{part}", latency_ms=300.0, **fields)
            if at >= rolled_back + 1:
                continue
            bad = at >= begin and (first or drawn.random() < share)
            first = first and not bad
            more = {"status": 503, "error": "overloaded", "request_id": f"req-{at:.1f}"}
            yield line(at, org=f"org-{part}", **{**(more if bad else {}), **fields})


def written(log: Path, lines: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Append lines to a log; return them."""
    found = list(lines)
    with log.open("a") as stream:
        for one in found:
            stream.write(json.dumps(one) + "\n")
    return found


def switch_at(file: Path, at: float, user: str = "jo") -> Switch:
    """Return an opened switch whose clock stands still."""
    switch = Switch(
        file, History(file.parent / "rollout.history.sqlite3", like=file), Actor(user, "gw-01"),
        clock=lambda: datetime.fromtimestamp(at, UTC),
    )  # fmt: skip
    switch.open()
    return switch


def roll_back(
    file: Path, at: float, route: str | None = "chat", org: str | None = None, why: str = "5xx"
) -> str:
    """Roll back as somebody did at a time; return the revision."""
    switch = switch_at(file, at)
    done = switch.apply(switch.planner.plan_rollback(route, org, why), reason=why)
    return done.snapshot.revision


def resume(file: Path, at: float, route: str | None = "chat", org: str | None = None) -> str:
    """Resume as somebody did at a time; return the revision."""
    switch = switch_at(file, at)
    return switch.apply(switch.planner.plan_resume(route, org)).snapshot.revision
