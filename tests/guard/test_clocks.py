"""Clocks that differ: of hosts that write the log or change the file, and one that is set back."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import time_machine

from rollout_console.changes.recorded import Recorded
from rollout_console.changes.switch import Switch
from rollout_console.guard import ingestion, loop
from rollout_console.guard.alerts import Alerts, alerts_now
from rollout_console.guard.balance import BalanceWatch
from rollout_console.guard.draining import Draining
from rollout_console.guard.loop import GuardLoop
from rollout_console.guard.monitor import Monitor
from rollout_console.guard.unsent import UnsentRequests
from rollout_console.health.log.record import AccessRecord
from rollout_console.history.actor import Actor
from rollout_console.history.history import History
from rollout_console.history.rows import Change
from rollout_console.ui.screens.home.notices import Notices
from rollout_console.ui.screens.home.status import data_age
from rollout_gate import AccessLine, AccessLog, timestamp
from rollout_gate.answers.status_class import UNSENT
from rollout_gate.file.parse import parse

HOUR_S = 3600.0
NOW = time.time()
TEXT = """schema = 1
algorithm = "fractional-v3"
[guard]
min_balance_usd = 0
[ramp]
bake = "15m"
[routes.chat]
format = "openai_chat_completions"
model = "m"
phase = "rollout"
[routes.chat.orgs]
acme = 10
globex = 10
"""


class Room:
    """A rollout file, its log, and a monitor that knows of no change of it."""

    def __init__(self, folder: Path, *changes: Change) -> None:
        self.path = folder / "rollout.toml"
        self.path.write_text(TEXT)
        self.log = AccessLog(folder / "access.jsonl")
        self.monitor = Monitor(self.path, parse(self.path.read_bytes()))
        self.history(*changes)

    def history(self, *changes: Change, now: float = NOW) -> None:
        known_since = NOW - 48 * HOUR_S
        revision = self.monitor.file.revision
        self.monitor.remember(Recorded(changes, revision, known_since), now)

    def write(
        self,
        at: float,
        count: int = 1,
        *,
        status: int = 200,
        host: str = "gw-01",
        side: str = "tokenlab",
        orgs: tuple[str, ...] = ("acme", "globex"),
    ) -> None:
        for number in range(count):
            for org in orgs:
                self.log.append(
                    AccessLine(
                        ts=timestamp(datetime.fromtimestamp(at - count + 1 + number, UTC)),
                        route="chat", org=org, side=side, model="m", status=status,
                        latency_ms=100.0, host=host,
                    )
                )  # fmt: skip

    def verdict(self, now: float, org: str | None = None) -> str:
        return self.monitor.health("chat", org, now).verdict_text

    def alerts(self, now: float) -> list[str]:
        balance = BalanceWatch(pending=True)
        return [one.sentence for one in alerts_now(self.monitor, balance, {}, "", now)]


@pytest.fixture
def room(tmp_path: Path) -> Iterator[Room]:
    found = Room(tmp_path)
    yield found
    found.log.close()
    found.monitor.close()


def row(number: int, action: str, at: float, before: str = "5", after: str = "10") -> Change:
    return Change(
        id=number, at=datetime.fromtimestamp(at, UTC), user="jo", host="gw-02", ssh_origin="",
        action=action, route="chat", org="acme", before=before, after=after, reason="",
        verdict="", previous_revision="a", revision="b", undoes_id=None,
    )  # fmt: skip


def test_a_clock_that_is_set_back_hides_no_incident_and_no_silence(room: Room) -> None:
    room.history(row(1, "resume", NOW - 30, "rolled back", "in force"))
    room.write(NOW, 600)
    room.monitor.catch_up(NOW)
    room.monitor.go_on(NOW + 9)
    assert data_age(room.monitor, NOW + 9)[0] == "  live 9 s"
    back = NOW + 9 - HOUR_S
    room.monitor.go_on(back)
    assert data_age(room.monitor, back)[0] == "  live 9 s"
    assert data_age(room.monitor, back + 60)[0] == "  stale 69 s"
    room.write(back + 90, 30, status=500)
    room.monitor.go_on(back + 90)
    assert room.verdict(back + 90).startswith("rollback: 5xx")


def test_a_clock_that_is_set_back_lengthens_no_bake_time(room: Room) -> None:
    room.history(row(1, "set", NOW - 60))
    room.write(NOW, 600)
    room.monitor.catch_up(NOW)
    back = NOW - HOUR_S
    room.monitor.go_on(back)
    room.write(back + 1000, 600)
    room.monitor.go_on(back + 1000)  # it bakes for 15 m, as if it was raised as the clock was set
    assert room.verdict(back + 1000, "acme") == "ok"


def test_what_was_rolled_back_drains_after_the_clock_is_set_back(room: Room) -> None:
    notices, draining, before = Notices(), Draining(), room.monitor.file
    room.write(NOW, 60)
    room.monitor.catch_up(NOW)
    room.path.write_text(TEXT.replace("acme = 10", "acme = { percent = 10, rolled_back = true }"))
    room.monitor.configure(parse(room.path.read_bytes()), NOW)
    draining.begin(before, room.monitor.file, NOW)
    notices.rolled_back("chat", "acme", NOW)
    back = NOW - HOUR_S
    for at in (back, back + 10):
        room.write(at, side="previous", orgs=("acme",))
        room.monitor.go_on(at)
        said = "".join(text for text, _ in notices.lines(room.monitor, at)[0])
        assert "-" not in said
        drained = draining.drained(room.monitor, at)
    assert "drained in 0 s · last TokenLab request 10 s ago" in said
    assert [one.text for one in drained] == ["chat / acme: drained in 0 s"]


def test_an_unsent_request_is_told_no_longer_after_the_clock_is_set_back() -> None:
    unsent = UnsentRequests()
    at = datetime.fromtimestamp(NOW, UTC)
    unsent.add([AccessRecord(at, "chat", "acme", "tokenlab", 0, 1.0, error=UNSENT)], NOW)
    unsent.set_back(NOW - HOUR_S, HOUR_S)
    assert "the last 9 s ago" in unsent.words(NOW - HOUR_S + 9)
    assert unsent.words(NOW - HOUR_S + 61) == ""


def test_an_alarm_is_not_since_a_time_to_come(room: Room) -> None:
    alerts = Alerts()
    room.write(NOW, 60, status=500)
    room.monitor.catch_up(NOW)
    alerts.look(alerts_now(room.monitor, BalanceWatch(pending=True), {}, "", NOW), NOW)
    alerts.look(alerts_now(room.monitor, BalanceWatch(pending=True), {}, "", NOW - 9), NOW - 9)
    assert alerts.open
    assert {one.since for one in alerts.open} == {NOW - 9}


def test_a_raise_is_no_older_than_the_change_before_it(tmp_path: Path) -> None:
    # The second host's clock is two hours behind: its raise would have baked at once.
    room = Room(tmp_path, row(2, "set", NOW - 2 * HOUR_S), row(1, "rollback", NOW - 60))
    room.write(NOW, 600)
    room.monitor.catch_up(NOW)
    assert "no data" not in room.verdict(NOW, "acme")
    assert room.monitor.held("chat", "acme", 1000, 2500, BalanceWatch(), NOW)
    assert room.monitor.raised_at("chat", "acme") == pytest.approx(NOW - 60)


def test_a_host_whose_clock_is_behind_is_named_and_holds_raises(room: Room) -> None:
    room.write(NOW, 1200)
    room.write(NOW, 1200, host="gw-02")
    room.monitor.catch_up(NOW)
    assert room.verdict(NOW) == "ok"
    for later in range(1, 15):
        room.write(NOW + later)
        room.write(NOW + later - 600, status=500, host="gw-02")
        room.monitor.go_on(NOW + later)
    now = NOW + 14
    words = "new lines of gw-02 are dated 10 m ago: set the clocks, or mend what brings the log"
    assert any(one.startswith(words) for one in room.alerts(now))
    assert room.verdict(now).startswith(f"hold: {words}")
    assert room.monitor.held("chat", "acme", 1000, 2500, BalanceWatch(), now).startswith(words)
    proof = room.monitor.proof("chat", None, NOW, now)
    assert not proof.drained
    assert proof.text.startswith("not known of gw-02, whose lines are dated long ago")
    room.write(now + 1, host="gw-02")  # its clock was set
    room.monitor.go_on(now + 1)
    assert room.alerts(now + 1) == []


def test_lines_that_were_there_before_are_no_wrong_clock(room: Room) -> None:
    for at in (0.0, 10.0, 20.0):
        room.write(NOW + at, host="gw-01")
        room.monitor.go_on(NOW + at)
    room.write(NOW - HOUR_S, 100, host="gw-02")  # the log of a host that was offline comes at once
    room.monitor.go_on(NOW + 21)
    room.write(NOW + 3600, host="gw-01")
    room.monitor.go_on(NOW + 3620)  # this process was stopped for an hour
    assert room.monitor.writer_clocks.words(NOW + 3620) == ""


def test_a_log_that_is_late_is_no_proof_until_its_lines_have_come(room: Room) -> None:
    room.write(NOW - 11, 60)
    room.monitor.catch_up(NOW - 11)
    for later in range(-10, 60):  # the log of gw-02 is always brought 40 seconds late
        now = NOW + later
        room.write(now, side="previous" if later > 0 else "tokenlab", orgs=("acme",))
        room.write(now - 40, side="tokenlab" if later <= 40 else "previous", host="gw-02")
        room.monitor.go_on(now)
        if later > 0:
            proof = room.monitor.proof("chat", None, NOW, now)
            assert proof.drained is (later >= 45), later
            assert proof.drained or proof.text.startswith("not known of gw-02"), later


def test_a_backlog_that_takes_long_to_read_is_no_wrong_clock(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    room.write(NOW)
    room.monitor.catch_up(NOW)
    monkeypatch.setattr(ingestion, "_PIECE_BYTES", 2000)
    room.write(NOW - HOUR_S, 200, host="gw-02")
    room.write(NOW + 9, host="gw-02")
    for later in range(10, 400):
        room.monitor.add(room.monitor.read()[0], NOW + later)
        assert room.monitor.writer_clocks.words(NOW + later) == ""
    assert not room.monitor.behind


@pytest.mark.parametrize("slow", ["read", "history"])
def test_what_is_written_during_a_slow_turn_is_not_dated_ahead(
    room: Room, slow: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    switch = Switch(room.path, History(room.path.parent / "history.sqlite3"), Actor("jo", "gw-01"))
    switch.open()
    guarding = GuardLoop(switch, room.monitor)
    stalled: list[str] = []
    place: Any = room.monitor if slow == "read" else loop
    name = "read" if slow == "read" else "follow_file"
    really = getattr(place, name)
    with time_machine.travel(NOW, tick=False) as clock:

        def slowly(*given: Any) -> Any:
            if not stalled:
                stalled.append(slow)
                clock.move_to(NOW + 9)
                room.write(NOW + 8, 5)
            return really(*given)

        monkeypatch.setattr(place, name, slowly)
        turn = guarding.turn(BalanceWatch(pending=True), {}, NOW)
    assert [one.sentence for one in turn.alerts if "ahead" in one.sentence] == []
    assert room.monitor.lines


def test_lines_dated_ahead_hold_raises(room: Room) -> None:
    room.write(NOW, 1200)
    room.monitor.catch_up(NOW)
    assert room.verdict(NOW) == "ok"
    room.write(NOW + HOUR_S)
    room.monitor.go_on(NOW + 1)
    assert "dated ahead of this host's clock" in room.verdict(NOW + 1)
