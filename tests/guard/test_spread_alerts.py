"""What is told of servers that share a file: who lags, who is gone, and whose file is its own."""

import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from rollout_console.changes.recorded import Recorded
from rollout_console.changes.spread import Registered, Spread
from rollout_console.guard.alerts import Alert, Alerts, ModelTrouble, _shown, alerts_now
from rollout_console.guard.balance import BalanceWatch
from rollout_console.guard.monitor import Monitor
from rollout_console.guard.proof import Proof, on_servers, proof_of
from rollout_gate import AccessLine, AccessLog, timestamp
from rollout_gate.file.parse import parse

NOW = time.time()
OWN = "feed" * 16
SERVERS = ("gw-01", "gw-02", "gw-03")


def at(revision: int, **fields: object) -> list[Registered]:
    return [Registered(host, "/f", f"r{revision}", **fields) for host in SERVERS]  # type: ignore[arg-type]


def told(found: Spread) -> list[str]:
    return [sentence for _, sentence in [*found.problems, *found.local]]


def test_the_time_to_the_last_server_is_that_of_a_change_that_was_seen() -> None:
    one = Spread().after("r7", tuple(at(7)), 100.0)
    assert one.words == "3 of 3 servers"  # there before: no time is known of it
    two = one.after("r8", tuple(at(7)), 101.0).after("r8", tuple(at(7)), 103.0)
    assert two.words == "0 of 3 servers, 2 s"
    assert two.problems == []
    three = two.after("r8", (*at(8)[:2], at(7)[2]), 107.0)
    assert three.words == "2 of 3 servers, 6 s"
    assert told(three) == ["the last change is not in force on gw-03"]
    four = three.after("r8", tuple(at(8)), 107.25)
    assert four.words == "3 of 3 servers after 6.2 s"
    assert four.after("r8", tuple(at(8)), 109.0).words == four.words
    assert four.as_json()["seconds"] == 6.25
    assert Spread().after("r1", (), 0.0).words == "no server mirrors it"


def test_a_server_that_lagged_for_a_moment_is_no_alarm_because_etcd_went_away() -> None:
    last = Spread().after("r7", tuple(at(7)), 0.0).after("r8", tuple(at(7)), 0.5)
    assert last.problems == []  # however long ago that was: it was not read since
    assert last.words == "0 of 3 servers, 0 s"


def test_a_missing_heartbeat_is_an_alarm_after_a_restart_would_be_over() -> None:
    gone = (*at(7)[:2], Registered("gw-03", "/f", gone=True))
    one = Spread().after("r7", tuple(at(7)), 100.0).after("r7", gone, 100.0)
    assert one.words == "2 of 3 servers"
    assert one.is_done  # nobody waits for it
    assert told(one) == []
    alarm = ["no heartbeat from the mirror on gw-03"]
    assert told(one.after("r7", gone, 121.0)) == alarm
    assert told(one.after("r7", tuple(at(7)), 121.0)) == []
    # One that was gone before this console began is an alarm at once.
    assert told(Spread().after("r7", gone, 121.0)) == alarm


def test_one_trouble_of_many_servers_is_one_sentence() -> None:
    found = Spread("r7", mirrors=tuple(at(7, trouble="the disk is full")))
    assert told(found) == ["gw-01, gw-02, gw-03: the disk is full"]


def test_a_state_is_over_at_once_and_a_flapping_signal_is_not(file: Path) -> None:
    now_is = [Spread("r7", mirrors=tuple(at(7, trouble="the disk is full")))]
    monitor, alerts = Monitor(file, parse(file.read_bytes()), servers=lambda: now_is[0]), Alerts()
    models = {"chat": ModelTrouble("the model is gone", holds=True)}
    found = alerts_now(monitor, BalanceWatch(pending=True), models, "broken", NOW)
    began, _ = alerts.look(found, NOW)
    assert len(began) == 3
    now_is[0] = Spread("r7", mirrors=tuple(at(7)))
    found = alerts_now(monitor, BalanceWatch(pending=True), {}, "", NOW + 1)
    _, ended = alerts.look(found, NOW + 1)
    assert ("file",) in [one.key for one in ended]
    assert [one.key for one in alerts.open] == [("model", "chat")]


@pytest.mark.parametrize("known", [True, False])
def test_a_server_that_is_rolled_back_by_itself_is_no_misrouting(file: Path, known: bool) -> None:
    file.write_text(file.read_text().replace("acme = 25", "acme = 100"))
    mirror = Registered("gw-02", "/f", "r7", ("chat/acme",), wrote=OWN if known else "b" * 64)
    spread = Spread("r7", mirrors=(mirror,))
    monitor = Monitor(file, parse(file.read_bytes()), servers=lambda: spread)
    written = time.time()
    monitor.remember(Recorded((), monitor.file.revision, 0.0), written)
    log = AccessLog(file.parent / "access.jsonl")
    for number in range(40):
        log.append(
            AccessLine(
                ts=timestamp(datetime.fromtimestamp(written + 20 + number / 4, UTC)), route="chat",
                org="acme", side="previous", model="m", status=200, latency_ms=100.0, bucket=77,
                revision=OWN[:12], host="gw-02", attempt=1,
            )
        )  # fmt: skip
    log.close()
    now = written + 40  # after the grace of a file that was just written
    monitor.catch_up(now)
    found = alerts_now(monitor, BalanceWatch(pending=True), {}, "", now)
    kinds = {one.key[0] for one in found}
    assert "latched" in kinds
    assert bool({"stray", "writers"} & kinds) is not known


def test_a_proof_says_whose_log_it_is_by_and_is_none_where_a_server_lags() -> None:
    proof = proof_of(1000.0, 1020.0, 999.0, 1030.0, 1030.0)
    assert proof == Proof(True, "drained in 1 s · last TokenLab request 30 s ago")
    whole = Spread("r7", mirrors=tuple(at(7)))
    assert on_servers(proof, whole, 3) == on_servers(proof, whole, None) == proof
    partial = on_servers(proof, whole, 1)
    assert (partial.drained, partial.limits) == (True, "by the log of 1 of 3 servers")
    gone = Registered("gw-03", "/f", gone=True)
    for mirrors in ((*at(8)[:2], at(7)[2]), (*at(8)[:2], gone)):
        found = on_servers(proof, Spread("r8", mirrors=mirrors), None)
        assert not found.drained
        assert found.text.startswith("not in force on gw-03 · last TokenLab request 30 s ago")


def test_an_alert_that_holds_keeps_its_place_among_the_most() -> None:
    alerts, most = Alerts(), 20
    old = [Alert(("verdict", "chat", "5xx", f"z{n:02}"), "alarm", "sick") for n in range(most)]
    new = [Alert(("verdict", "chat", "5xx", f"a{n:02}"), "alarm", "sick") for n in range(5)]
    began, _ = alerts.look(_shown(old, alerts.keys), NOW)
    assert len(began) == most
    for at in range(1, 70):
        began, ended = alerts.look(_shown([*new, *old], alerts.keys), NOW + at)
        assert began == ended == []
    alerts.look(_shown(new, alerts.keys), NOW + 70)
    assert {one.key for one in new} <= set(alerts.keys), "now there is room"
