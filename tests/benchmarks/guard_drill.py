"""The guard against incidents of the simulator, and against an hour in which there is none.

``python -m tests.benchmarks guard_drill`` plays each of DRILLED on the demo's traffic with a guard
in mode enforce beside it, and prints how long it took from the first bad response to the verdict,
and to the last request that still began on TokenLab. ``healthy_hour`` plays an hour of healthy
traffic at five times the demo's rate, compressed: every look is made, only nobody waits for it.
"""

import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import tomlkit

from rollout_console.changes.switch import Switch
from rollout_console.cli.commands.demo import let_it_be_old
from rollout_console.guard.balance import BalanceWatch
from rollout_console.guard.loop import GuardLoop
from rollout_console.guard.monitor import Monitor
from rollout_console.history.actor import Actor
from rollout_console.history.history import History
from rollout_console.history.location import history_of
from rollout_console.history.rows import Change
from rollout_console.sim.demo import RATE_PER_S, Demo
from rollout_console.sim.incidents import SICK_ORG, add_incident, clear_incidents, start_incident
from rollout_console.sim.traffic import ORGS, ROUTES
from rollout_gate import AccessLine, AccessLog, timestamp
from rollout_gate.decision.decision import decide
from rollout_gate.file.parse import parse

ROUTE = "chat"
DRILLED = {
    "5xx storm": "5xx",
    "slow": "slow|late first tokens",
    "rate limit": "429",
    "wrong key": "401/403",
    "garbage": "5xx",
    "error inside 200": "5xx",
    "cut streams": "5xx|bad answers",
    "empty answers": "bad answers",
    "slow first token": "late first tokens",
}
"""The incidents that roll the whole route back, and a pattern of the reason's words."""
ONE_ORG = "one sick org"
"""The incident for which that org alone is rolled back."""
WARM_S = 6.0
PATIENCE_S = 120.0
MAX_P95_MS = 4_000
"""The demo's limit."""


@dataclass(frozen=True, slots=True)
class Drill:
    """One incident: ``requests`` on TokenLab, and seconds, from its first bad response on."""

    incident: str
    requests: int
    verdict_s: float
    drained_s: float
    reason: str


@contextmanager
def guarded_demo(*routes: str, rate: float = RATE_PER_S) -> Iterator[tuple[Demo, Switch]]:
    """Run the demo's traffic on routes, with a guard in mode enforce as a service runs it.

    Without names it is ROUTE as the demo has it; others are like it, with 90% on TokenLab.
    """
    with Demo(rate=rate) as demo:
        text = demo.file.read_text().replace('mode = "hold"', 'mode = "enforce"')
        document = tomlkit.parse(text)
        route = document["routes"][ROUTE]  # the others of the demo would only cost time
        like = {**route, "default_percent": 90, "orgs": {SICK_ORG: 90}}
        document["routes"] = dict.fromkeys(routes, like) or {ROUTE: route}
        whole = demo.file.with_suffix(".new")
        whole.write_text(tomlkit.dumps(document))
        time.sleep(0.05)  # a rename in the clock tick of the write looks like a write in place,
        whole.replace(demo.file)  # which, as routes are missing, may be half a file
        command = [
            sys.executable,
            "-m",
            "rollout_console",
            "-f",
            str(demo.file),
            "guard",
            "--every",
            "1",
        ]
        with subprocess.Popen(
            command, env={**os.environ, **demo.environment}, stdout=subprocess.DEVNULL
        ) as guard:
            try:
                time.sleep(WARM_S)
                yield demo, Switch(demo.file, history_of(demo.file), Actor("jo", "drill"))
            finally:
                guard.terminate()


def drill(demo: Demo, switch: Switch, incident: str, org: str | None = None) -> Drill:
    """Play one incident until the guard has rolled the route back and it has drained.

    With ``org`` that org alone is to be rolled back: RuntimeError where it is the route.
    """
    begun = time.time()
    start_incident(demo.base_url, incident, route=ROUTE)
    _wait_for_rollbacks(demo, switch, begun, {ROUTE: org})
    clear_incidents(demo.base_url)
    return _figures(demo, switch, begun, ROUTE, incident, org)


def drills_at_once() -> dict[str, Drill]:
    """Play every incident at the same time, each on a route of its own."""
    orgs = {_slug(incident): None for incident in DRILLED} | {_slug(ONE_ORG): SICK_ORG}
    with guarded_demo(*orgs, rate=2 * RATE_PER_S) as (demo, switch):
        begun = time.time()
        for incident in (*DRILLED, ONE_ORG):
            add_incident(demo.base_url, incident, route=_slug(incident))
        _wait_for_rollbacks(demo, switch, begun, orgs)
        return {
            incident: _figures(
                demo, switch, begun, _slug(incident), incident, orgs[_slug(incident)]
            )
            for incident in (*DRILLED, ONE_ORG)
        }


def _slug(incident: str) -> str:
    return incident.replace(" ", "-")


def _wait_for_rollbacks(
    demo: Demo, switch: Switch, begun: float, orgs: Mapping[str, str | None]
) -> None:
    """Wait until the routes, or that one org of theirs, are rolled back, and for 3 s more."""
    end, waiting = time.monotonic() + PATIENCE_S, dict(orgs)
    while waiting:
        if time.monotonic() > end:
            raise TimeoutError(f"{', '.join(waiting)}: not rolled back within {PATIENCE_S:.0f} s")
        file = parse(demo.file.read_bytes())
        for route, org in orgs.items():
            if org is not None and file.is_latched(route):
                raise RuntimeError(f"{route}: the route was rolled back for {org}")
        # The row is settled a moment after the file.
        settled = {row.route for row in _rollbacks(demo, switch, begun)}
        waiting = {
            route: org
            for route, org in waiting.items()
            if not file.is_latched(route, org) or route not in settled
        }
        time.sleep(0.2)
    time.sleep(3.0)


def _figures(
    demo: Demo, switch: Switch, begun: float, route: str, incident: str, org: str | None
) -> Drill:
    (row, *_) = (row for row in _rollbacks(demo, switch, begun) if row.route == route)
    back = row.at.timestamp()
    lines = [line for line in _log(demo.access_log, route) if line["at"] > begun]
    lines = [line for line in lines if org in (None, line["org"])]
    bad = [line for line in lines if _is_bad(line)]
    first = min((line["at"] for line in bad), default=back)
    seen = sum(first <= line["at"] <= back and line["side"] == "tokenlab" for line in lines)
    served = httpx.get(f"{demo.base_url}/_sim/requests?limit=20000", trust_env=False).json()
    began = [
        one["started"]
        for one in served["requests"]
        if one["route"] == route
        and one["side"] == "tokenlab"
        and one["started"] > begun
        and org in (None, one["org"])
    ]
    drained = max([first, *began]) - first
    return Drill(incident, seen, back - first, drained, row.reason)


def resume(demo: Demo, switch: Switch, org: str | None = None) -> None:
    """Put the route back, as an operator would, once what was slow has come to its end."""
    time.sleep(12.0)
    switch.open()
    switch.apply(
        switch.planner.plan_resume(ROUTE, org), reason="drill", held="drill", override=True
    )
    time.sleep(8.0)


def drills() -> Iterator[Drill]:
    """Play the incidents, one after the other."""
    with guarded_demo() as (demo, switch):
        for incident in DRILLED:
            yield drill(demo, switch, incident)
            resume(demo, switch)
        yield drill(demo, switch, ONE_ORG, SICK_ORG)


def healthy(minutes: float, rate: float, seed: int = 7) -> dict[str, Any]:
    """Play healthy traffic in a time of its own; return what the guard did."""
    rng, now = random.Random(seed), time.time()
    done: dict[str, Any] = {"requests": 0, "raises": 0, "rollbacks": 0, "alerts": []}
    with tempfile.TemporaryDirectory() as name:
        file = Path(name) / "rollout.toml"
        text = (Path(__file__).parents[2] / "sample_configs" / "demo.toml").read_text()
        text = text.replace("BASE_URL", "http://127.0.0.1:1")
        file.write_text(text.replace('mode = "hold"', 'mode = "enforce"'))
        clock = [now]
        switch = Switch(
            file, History(Path(name) / "h.sqlite3"), Actor("guard", "drill"),
            clock=lambda: datetime.fromtimestamp(clock[0], UTC),
        )  # fmt: skip
        let_it_be_old(switch.history, file)
        monitor = Monitor(file, switch.open().file)
        guarding, log = GuardLoop(switch, monitor), AccessLog(file.parent / "access.jsonl")
        guarding.start(now)
        for _ in range(int(minutes * 30)):
            for i in range(int(rate * 2)):
                _healthy_line(log, monitor, rng, clock[0] + i / rate)
                done["requests"] += 1
            clock[0] += 2.0
            for event in guarding.turn(BalanceWatch(), {}, clock[0]).events:
                done["raises"] += event.kind == "raise"
                done["rollbacks"] += event.kind == "rollback"
                if event.kind == "alert":
                    done["alerts"].append(event.text)
        guarding.end()
    return done


def _healthy_line(log: AccessLog, monitor: Monitor, rng: random.Random, at: float) -> None:
    weights = [1 / (i + 1.5) for i in range(len(ORGS))]
    org = rng.choices(ORGS, weights)[0]
    route = rng.choices(ROUTES, (5, 2, 3, 2))[0]
    decision = decide(monitor.file, route, org, key=f"user-{rng.randrange(4000)}")
    dice = rng.random()
    status = 503 if dice < 0.005 else 400 if dice < 0.015 else 429 if dice < 0.02 else 200
    log.append(
        AccessLine(
            ts=timestamp(datetime.fromtimestamp(at, UTC)), route=route, org=org,
            side=decision.side, model=decision.model, status=status,
            latency_ms=round(min(350 * rng.lognormvariate(0, 0.45), 7000), 1),
        )
    )  # fmt: skip


def _rollbacks(demo: Demo, switch: Switch, since: float) -> list[Change]:
    rows = switch.history.rows(demo.file, 50)
    return [row for row in rows if row.action == "rollback" and row.at.timestamp() > since]


def _is_bad(line: dict[str, Any]) -> bool:
    bad = line["status"] != 200 or line.get("outcome") != "ok" or line["latency_ms"] > MAX_P95_MS
    return bool(bad and line["side"] == "tokenlab")


def _log(path: Path, route: str) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    for line in found:
        line["at"] = datetime.fromisoformat(line["ts"]).timestamp()
    return [line for line in found if line["route"] == route]


def main() -> None:
    """Print the table of the drills."""
    print("guard drill: from the first bad response on route chat, requests on TokenLab")
    print(f"  {'incident':<16} {'requests':>8} {'verdict':>9} {'drained':>9}  reason")
    for one in drills():
        times = f"{one.verdict_s:>7.1f} s {one.drained_s:>7.1f} s"
        print(f"  {one.incident:<16} {one.requests:>8} {times}  {one.reason}", flush=True)


def healthy_hour() -> None:
    """Print what the guard did in an hour without an incident."""
    done = healthy(60, 5 * RATE_PER_S)
    print(
        f"healthy hour: {done['requests']:,} requests, {done['rollbacks']} rollbacks, "
        f"{len(done['alerts'])} alerts, {done['raises']} raises"
    )


if __name__ == "__main__":
    main()
