"""One verdict from one log: whoever reads it has the same one, whenever it began to read."""

import json
from contextlib import ExitStack, closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rollout_console.changes.switch import Switch
from rollout_console.guard.balance import BalanceWatch
from rollout_console.guard.monitor import Monitor
from rollout_console.history.actor import Actor
from rollout_console.history.location import history_of

ROLLOUT = """schema = 1
algorithm = "fractional-v3"
[health]
access_log = "access.jsonl"
[guard]
window = "60s"
max_p95_ms = 1000
mode = "hold"
[ramp]
bake = "90s"
[routes.chat]
format = "openai_chat_completions"
model = "m"
phase = "rollout"
default_percent = 0
[routes.chat.orgs]
acme = 25
globex = 10
[routes.claude]
format = "anthropic_messages"
model = "m"
phase = "rollout"
default_percent = 5
[routes.claude.orgs]
acme = 50
"""
START = 1_800_000_000.0
END_S = 150.0
ROUTES = ("chat", "claude")


@dataclass(frozen=True)
class Phase:
    """A stretch of traffic on one route's side: how long, how much of it, and how it goes.

    With ``sick``, the requests of that org or host alone are bad.
    """

    seconds: int
    per_s: int
    status: int
    bad_of_10: int
    ms: float
    route: str
    side: str
    orgs: int
    sick: str = ""


PHASES = st.lists(
    st.builds(
        Phase,
        st.integers(1, 60),
        st.integers(0, 6),
        st.sampled_from([200, 400, 401, 402, 429, 500, 503, 0]),
        st.integers(0, 10),
        st.sampled_from([50.0, 990.0, 4000.0]),
        st.sampled_from(ROUTES),
        st.sampled_from(["tokenlab", "tokenlab", "previous"]),
        st.integers(1, 3),
        st.sampled_from(["", "", "acme", "globex", "gw-1"]),
    ),
    min_size=1,
    max_size=8,
)
WHAT = ["raise", "lower", "roll back", "resume", "roll back acme", "resume acme"]
CHANGES = st.lists(
    st.tuples(st.floats(1, END_S - 1), st.sampled_from(WHAT)),
    max_size=3,
)


def lines(phases: list[Phase]) -> list[tuple[float, str]]:
    """Return lines with the times at which they are written, each some time after its own."""
    found = []
    whole = {name: sum(one.seconds for one in phases if one.route == name) for name in ROUTES}
    begin = {name: END_S - whole[name] for name in ROUTES}
    for phase in phases:
        first = begin[phase.route]
        begin[phase.route] += phase.seconds
        for i in range(phase.seconds * phase.per_s):
            at = first + i / phase.per_s
            if at < 0:
                continue
            org = ("acme", "globex", "stark")[i % phase.orgs]
            host = f"gw-{i // 3 % 4}"
            bad = i % 10 < phase.bad_of_10 and phase.sick in ("", org, host)
            line = {
                "ts": datetime.fromtimestamp(START + at, UTC).isoformat(),
                "route": phase.route,
                "org": org,
                "side": phase.side,
                "model": "m",
                "status": phase.status if bad else 200,
                "latency_ms": phase.ms if bad else 50.0,
                "host": host,
                "key_alias": f"of-{org}",
            }
            written = min(at + phase.ms * (i % 3) / 1000, END_S)
            found.append((written, json.dumps(line) + "\n"))
    return sorted(found, key=lambda pair: pair[0])


def change(path: Path, what: str, at: float) -> None:
    """Change the file as a colleague's console does."""
    switch = switch_of(path, at)
    snapshot = switch.open()
    chat = snapshot.file.routes["chat"]
    if what == "raise":
        plan = switch.planner.plan_set("chat", "acme", min(chat.org_points("acme") + 500, 10_000))
    elif what == "lower":
        plan = switch.planner.plan_set("chat", "acme", max(chat.org_points("acme") - 500, 0))
    elif what == "roll back":
        plan = switch.planner.plan_rollback("chat", None, "drill")
    elif what == "roll back acme":
        plan = switch.planner.plan_rollback("chat", "acme", "drill")
    else:
        org = "acme" if what == "resume acme" else None
        if not (chat.rolled_back if org is None else chat.org_rolled_back(org)):
            return
        plan = switch.planner.plan_resume("chat", org)
    if not plan.changes_nothing:
        switch.apply(plan, reason="drill")


def switch_of(path: Path, at: float) -> Switch:
    """Return a switch whose clock says a time."""
    now = datetime.fromtimestamp(START + at, UTC)
    return Switch(path, history_of(path), Actor("jo", "gw-01"), clock=lambda: now)


def judged(monitor: Monitor, now: float) -> object:
    """Return all that is said and decided of the routes and their orgs."""
    names = [(route, org) for route in ROUTES for org in (None, "acme", "globex")]
    nothing = BalanceWatch()
    named = monitor.culprits(now), monitor.unnamed(now)
    return (
        monitor.condemned(now),
        named,
        [
            (
                monitor.health(route, org, now).verdict,
                monitor.held(route, org, 1000, 2500, nothing, now),
                monitor.rollback_reason(route, org, now),
            )
            for route, org in names
        ],
    )


@pytest.mark.slow
@settings(max_examples=100)
@given(
    PHASES,
    CHANGES,
    st.lists(st.floats(0, END_S), min_size=1, max_size=12),
    st.floats(0, END_S, exclude_max=True),  # at the end it would not have read the log
)
@example(  # lowered and raised again between two looks: the text is as before, the org bakes
    phases=[Phase(1, 1, 200, 0, 50.0, "chat", "tokenlab", 1)],
    changes=[(1.0, "lower"), (146.0, "raise")],
    looks=[0.0],
    late=0.0,
)
@example(  # a host is named, by whoever has read its first lines or not
    phases=[
        Phase(60, 6, 200, 0, 50.0, "chat", "tokenlab", 3),
        Phase(60, 6, 503, 10, 50.0, "chat", "tokenlab", 3, "gw-1"),
    ],
    changes=[(40.0, "raise"), (120.0, "roll back acme")],
    looks=[60.0, 100.0],
    late=110.0,
)
def test_whoever_reads_a_log_has_the_same_verdicts(
    phases: list[Phase], changes: list[tuple[float, str]], looks: list[float], late: float
) -> None:
    with ExitStack() as cleanup:
        folder = cleanup.enter_context(TemporaryDirectory())

        def monitor_of(switch: Switch) -> Monitor:
            return cleanup.enter_context(closing(Monitor(path, switch.open().file)))

        path = Path(folder) / "rollout.toml"
        path.write_text(ROLLOUT)
        log = Path(folder) / "access.jsonl"
        log.touch()
        first = switch_of(path, 0.0)
        monitors = [(first, monitor_of(first))]
        monitors[0][1].remember(first.recorded(), START)
        written = lines(phases)
        events: list[tuple[float, int, str]] = [
            *((at, 0, line) for at, line in written),
            *((at, 1, what) for at, what in changes),
            *((at, 2, "") for at in looks),
            (late, 3, ""),
            (END_S, 2, ""),
        ]
        for at, kind, what in sorted(events, key=lambda event: event[:2]):
            if kind == 0:
                with log.open("a", encoding="utf-8") as stream:
                    stream.write(what)
            elif kind == 1:
                change(path, what, at)
            elif kind == 2:
                for switch, monitor in monitors:
                    look(switch, monitor, START + at)
            else:
                another = switch_of(path, at)
                monitors.append((another, monitor_of(another)))
                monitors[-1][1].remember(another.recorded(), START + at)
        fresh = switch_of(path, END_S)
        newest = monitor_of(fresh)
        newest.remember(fresh.recorded(), START + END_S)
        newest.catch_up(START + END_S)
        wanted = judged(newest, START + END_S)
        for _, monitor in monitors:
            assert judged(monitor, START + END_S) == wanted


def look(switch: Switch, monitor: Monitor, now: float) -> None:
    """Look as the console and the guard do: at the file, at its history, at the log."""
    found = switch.refresh()
    if found is not None:
        monitor.configure(found[0].file, now)
    if switch.history_changed():
        monitor.remember(switch.recorded(monitor.known_to), now)
    monitor.go_on(now)
    monitor.verdicts(now)
