"""The guard and a sick org: it is named, held, and in mode enforce rolled back alone."""

from collections.abc import Iterator
from datetime import UTC, datetime
from math import ceil
from pathlib import Path

import pytest

from rollout_console.guard.alerts import alerts_now
from rollout_console.guard.balance import BalanceWatch
from rollout_console.guard.loop import PATIENCE_S, Event, Turn
from rollout_console.guard.monitor import Monitor
from rollout_gate import AccessLine, AccessLog, timestamp
from rollout_gate.file.parse import parse
from tests.guard.test_guarding import Run, kinds, of, with_mode

HEALTHY = ("acme", "hooli", "stark", "umbrella")
SICK = "globex.eu"


@pytest.fixture
def file(file: Path) -> Path:
    """A route on a ramp, with orgs on lines of their own and one on the default."""
    text = file.read_text().replace('bake = "15m"', 'bake = "60s"')
    text = text.replace('window = "5m"', 'window = "60s"')
    lines = "".join(f"{org} = 25\n" for org in HEALTHY[1:-1])
    text = text.replace("[routes.chat.orgs]\n", f"[routes.chat.orgs]\n{lines}", 1)
    text = text.replace("default_percent = 0  ", "default_percent = 10 ", 1)
    assert "default_percent = 10" in text
    file.write_text(text)
    return file


def started(file: Path, mode: str) -> Run:
    run = Run(with_mode(file, mode))
    run.now = ceil(run.now / 60) * 60 - 5.0  # the first turn is at the start of a slot
    run.turn()
    return run


@pytest.fixture
def run(file: Path) -> Iterator[Run]:
    made = started(file, "enforce")
    yield made
    made.guarding.end()


def seconds(
    run: Run, count: int, sick: dict[str, int], *, good_of_10: int = 2, healthy: int = 200
) -> None:
    """Play seconds of two requests of each org; ``sick`` has the status of those that fail."""
    orgs = (*HEALTHY, SICK, *(org for org in sick if org not in (*HEALTHY, SICK)))
    log = AccessLog(run.file.parent / "access.jsonl")
    for i in range(count):
        for org in orgs:
            for half in (0.0, 0.5):
                bad = org in sick and 2 * (run.now + i + half) % 10 >= good_of_10
                log.append(
                    AccessLine(
                        ts=timestamp(datetime.fromtimestamp(run.now + i + half, UTC)),
                        route="chat", org=org, side="tokenlab", model="m",
                        status=sick[org] if bad else healthy, latency_ms=100.0,
                    )
                )  # fmt: skip
    log.close()
    run.now += count


def latched(run: Run) -> list[str]:
    route = parse(run.file.read_bytes()).routes["chat"]
    assert not route.rolled_back
    return [org for org, share in route.orgs.items() if share.rolled_back and org != "initech"]


def only(turn: Turn, kind: str) -> Event:
    (found,) = [event for event in turn.events if event.kind == kind]
    return found


def test_enforce_rolls_the_sick_org_back_alone(run: Run) -> None:
    seconds(run, 20, {})
    seconds(run, 20, {SICK: 503})
    turn = run.turn(0.5)
    event = only(turn, "rollback")
    reason = "5xx 80% in 20 s, 32 of 40, limit 2%; 100% of 5xx are globex.eu"
    assert latched(run) == [SICK]
    assert (event.route, event.org, event.signal) == ("chat", SICK, "gateway")
    assert event.text == f"rolled back chat / globex.eu: {reason}"
    assert event.command.endswith("resume chat globex.eu")
    assert b"guard@gw-01: 5xx 80%" in run.file.read_bytes()
    (row,) = run.switch.history.rows(run.file)
    assert (row.action, row.org, row.reason) == ("rollback", SICK, reason)
    assert row.verdict == f"rollback: {reason}"
    assert turn.verdicts["chat"].kind == "ok", "what it sent is not the route's"
    assert turn.alerts == []
    seconds(run, 20, {})
    assert "rollback" not in kinds(run.turn(0.5))
    assert of(run.turn(), SICK) == "it was rolled back"


def test_a_resumed_org_begins_anew(run: Run) -> None:
    seconds(run, 20, {SICK: 503})
    run.turn(0.5)
    switch = run.new_switch("jo")
    switch.open()
    switch.apply(switch.planner.plan_resume("chat", SICK))
    turn = run.turn(1.0)
    assert (latched(run), turn.condemned["chat"]) == ([], {})
    seconds(run, 15, {SICK: 503})
    run.turn(0.5)
    assert latched(run) == [SICK]


def test_several_sick_orgs_are_rolled_back_each(run: Run) -> None:
    seconds(run, 20, {})
    for _ in range(20):
        seconds(run, 1, {SICK: 503, "stark": 503}, good_of_10=5)
        run.turn(0.0)
    assert sorted(latched(run)) == [SICK, "stark"]


def test_a_common_sickness_is_the_routes(run: Run) -> None:
    seconds(run, 20, {})
    seconds(run, 2, dict.fromkeys((*HEALTHY, SICK), 503))
    turn = run.turn(0.5)
    assert run.latched()
    assert only(turn, "rollback").org is None
    route = parse(run.file.read_bytes()).routes["chat"]
    assert not any(share.rolled_back for org, share in route.orgs.items() if org != "initech")


def test_an_org_of_the_default_gets_a_line_of_its_own(run: Run) -> None:
    seconds(run, 20, {})
    seconds(run, 20, {"umbrella": 503})
    run.turn(0.5)
    assert latched(run) == ["umbrella"]


def test_an_org_that_cannot_be_named_does_not_stop_the_others(run: Run) -> None:
    key = "sk-" + "0123456789abcdef" * 3
    seconds(run, 20, {})
    seconds(run, 25, {key: 503, SICK: 503})
    turn = run.turn(0.5)
    assert latched(run) == [SICK]
    assert "rollback" in kinds(turn)
    assert turn.trouble


def test_a_standby_leaves_an_org_to_the_leader_for_a_while(run: Run, file: Path) -> None:
    other = Run(file)
    other.now = run.now
    seconds(run, 20, {})
    seconds(run, 20, {SICK: 503})
    other.now = run.now
    assert not other.turn(0.5).acts
    assert latched(other) == []
    seconds(other, 5, {SICK: 503})
    other.turn(PATIENCE_S)
    assert latched(other) == [SICK]
    other.guarding.end()


def test_hold_names_the_org_and_raises_the_others(file: Path) -> None:
    run = started(file, "hold")
    seconds(run, 75, {SICK: 503})
    turn = run.turn(0.5)
    event = only(turn, "alert")
    words = "5xx 80% in 60 s, 96 of 120, limit 2%; 100% of 5xx are globex.eu"
    assert event.text.startswith("chat / globex.eu: rollback: 5xx 80%")
    assert (event.org, event.command.split()[-3:]) == (SICK, ["rollback", "chat", SICK])
    assert (latched(run), turn.is_sick) == ([], True)
    assert of(turn, SICK).startswith("5xx 80%")
    assert of(turn, SICK).endswith(words.split(", ")[-1])
    assert {"acme", "hooli", "stark"} <= {
        event.org for event in turn.events if event.kind == "raise"
    }
    assert turn.verdicts["chat"].kind == "hold", "after the raises, of no org's sickness"
    assert "5xx" not in turn.verdicts["chat"].reason
    run.guarding.end()


def test_a_wide_raise_that_includes_the_sick_org_is_held_and_names_it(file: Path) -> None:
    run = started(file, "hold")
    monitor = run.guarding._monitor
    seconds(run, 75, {"umbrella": 503})
    run.turn(0.5)

    def held(org: str, points: int) -> str:
        switch = run.new_switch("jo")
        switch.open()
        plan = switch.planner.plan_set("chat", org, points)
        return monitor.held_plan(plan, BalanceWatch(), run.now)

    assert held("*", 2500).startswith("chat / (default): umbrella: 5xx 80%")
    assert held("stark", 10_000).startswith("chat / stark: ") is True, "it was raised just now"
    assert "umbrella" not in held("stark", 10_000)
    assert monitor.rollback_reason("chat", None, run.now).startswith("umbrella: 5xx 80%")
    assert "chat / umbrella rollback: 5xx 80%" in monitor.spoken_verdict("chat", None, run.now)
    run.guarding.end()


def test_one_org_rolled_back_by_hand_does_not_hide_a_sick_route(file: Path) -> None:
    run = started(file, "hold")
    seconds(run, 20, {})
    seconds(run, 10, dict.fromkeys((*HEALTHY, SICK), 503))
    assert run.turn(0.5).verdicts["chat"].kind == "rollback"
    switch = run.new_switch("jo")
    switch.open()
    switch.apply(switch.planner.plan_rollback("chat", SICK, "5xx"))
    for _ in range(3):
        assert run.turn(1.0).verdicts["chat"].kind == "rollback"
    run.by_hand("acme", 1000)
    assert run.turn(1.0).verdicts["chat"].kind == "rollback"
    run.guarding.end()


@pytest.mark.parametrize("mode", ["observe", "hold"])
def test_a_refused_key_is_an_alarm_in_every_mode(file: Path, mode: str) -> None:
    run = started(file, mode)
    seconds(run, 20, {})
    seconds(run, 20, dict.fromkeys((*HEALTHY, SICK), 401))
    turn = run.turn(0.5)
    event = only(turn, "alert")
    assert event.text == (
        "chat: rollback: TokenLab refuses the key: 401/403 on 84%; "
        "roll back, or give it a working key: 2 in the console"
    )
    assert (turn.alerts[0].level, turn.verdicts["chat"].kind) == ("alarm", "rollback")
    assert not run.latched()
    run.guarding.end()


def test_the_verdict_is_that_of_a_log_without_the_lines_of_a_latched_org(file: Path) -> None:
    """Requests come at the start of each slot, so that bins of a second are as wide as of five."""
    text = file.read_text().replace('"globex.eu" = 12.5', '"globex.eu" = {rolled_back = true}')
    found = []
    for name, orgs in (("with", (*HEALTHY, SICK)), ("without", HEALTHY)):
        folder = file.parent / name
        folder.mkdir()
        (folder / "rollout.toml").write_text(text)
        now = 1_800_000_000.0
        log = AccessLog(folder / "access.jsonl")
        for slot in range(11):
            for i in range(8):
                for org in orgs:
                    at = datetime.fromtimestamp(now - 55 + 5 * slot + i / 100, UTC)
                    sick = org == SICK or (slot > 6 and i % 3 == 0)
                    log.append(
                        AccessLine(ts=timestamp(at), route="chat", org=org, side="tokenlab",
                                   model="m", status=503 if sick else 200, latency_ms=100.0)
                    )  # fmt: skip
        log.close()
        monitor = Monitor(folder / "rollout.toml", parse(text.encode()))
        monitor.catch_up(now)
        alerts = alerts_now(monitor, BalanceWatch(pending=True), {}, "", now)
        found.append(
            (
                monitor.verdicts(now)["chat"],
                monitor.condemned(now),
                [monitor.health("chat", org, now).verdict for org in HEALTHY],
                [alert.sentence for alert in alerts if alert.signal],
            )
        )
        monitor.close()
    assert found[0] == found[1]
    assert found[0][0].kind == "rollback"
