"""The guard without a screen: it raises, holds, rolls back, and never fights an operator."""

import errno
import fcntl
import os
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from rollout_console.changes.plan import Plan
from rollout_console.changes.switch import Done, Switch
from rollout_console.cli.commands.demo import let_it_be_old
from rollout_console.common.errors import OperationError, ReadOnly
from rollout_console.common.write_access import WriteAccess
from rollout_console.guard import ramp as ramping
from rollout_console.guard.alerts import ModelTrouble
from rollout_console.guard.balance import BalanceWatch
from rollout_console.guard.leader_lock import LeaderLock, somebody_acts
from rollout_console.guard.loop import PATIENCE_S, GuardLoop, Turn
from rollout_console.guard.monitor import Monitor
from rollout_console.guard.put_back import put_back
from rollout_console.guard.ramp_record import Place, RampRecord, RouteRamp
from rollout_console.history.actor import Actor
from rollout_console.history.history import History
from rollout_console.tokenlab.types import Balance
from rollout_gate import AccessLine, AccessLog, timestamp
from rollout_gate.file.parse import parse

START = time.time()


class Run:
    """A guard on a file, in a time of its own."""

    def __init__(self, file: Path, *, read_only: bool = False, now: float = START) -> None:
        self.file = file
        self.now = now
        self.models: dict[str, ModelTrouble] = {}
        self.balance = BalanceWatch()
        self._log = AccessLog(file.parent / "access.jsonl")
        self.switch = self.new_switch("guard", read_only=read_only)
        if not self.switch.history.is_there:
            let_it_be_old(self.switch.history, file)
        self.monitor = Monitor(file, self.switch.open().file)
        self.guarding = GuardLoop(self.switch, self.monitor)
        self.guarding.start(self.now)

    def new_switch(self, user: str, *, read_only: bool = False) -> Switch:
        return Switch(
            self.file, History(self.file.parent / "h.sqlite3"), Actor(user, "gw-01"),
            access=WriteAccess(read_only=read_only),
            clock=lambda: datetime.fromtimestamp(self.now, UTC),
        )  # fmt: skip

    def traffic(
        self, count: int, status: int = 200, org: str = "acme", side: str = "tokenlab",
        route: str = "chat",
    ) -> None:  # fmt: skip
        for i in range(count):
            at = datetime.fromtimestamp(self.now - (count - i) / 50, UTC)
            self._log.append(
                AccessLine(ts=timestamp(at), route=route, org=org, side=side, model="m",
                           status=status, latency_ms=100.0)
            )  # fmt: skip

    def turn(self, after_s: float = 5.0) -> Turn:
        self.now += after_s
        return self.guarding.turn(self.balance, self.models, self.now)

    def healthy(self, org: str = "acme") -> Turn:
        """Bake for as long as a step needs, with requests enough at its end."""
        self.now += 60
        self.traffic(140, org=org)
        return self.turn(1.0)

    def by_hand(self, org: str, points: int) -> None:
        switch = self.new_switch("jo")
        switch.open()
        switch.apply(switch.planner.plan_set("chat", org, points))

    def share(self, org: str = "acme") -> int:
        return parse(self.file.read_bytes()).routes["chat"].org_points(org)

    def latched(self) -> bool:
        return parse(self.file.read_bytes()).routes["chat"].rolled_back


def kinds(turn: Turn) -> list[str]:
    return [event.kind for event in turn.events]


def of(turn: Turn, org: str = "acme") -> str:
    (found,) = [one for one in turn.standings["chat"] if one.org == org]
    return found.out or found.waits_for


@pytest.fixture
def ramp_file(file: Path) -> Path:
    text = file.read_text().replace('bake = "15m"', 'bake = "60s"')
    file.write_text(text.replace('window = "5m"', 'window = "60s"'))
    return file


@pytest.fixture
def run(ramp_file: Path) -> Iterator[Run]:
    made = Run(ramp_file)
    yield made
    made.guarding.end()


def test_it_climbs_step_by_step_and_stops_at_the_top(run: Run) -> None:
    assert of(run.turn()) == "no data"
    assert "raise" in kinds(run.healthy())
    assert run.share() == 5000
    assert "raise" not in kinds(run.turn(20))
    run.traffic(140)
    assert of(run.turn(10)).startswith("bakes for ")
    assert "raise" in kinds(run.healthy())
    assert run.share() == 10_000
    assert "raise" not in kinds(run.healthy())
    rows = run.switch.history.rows(run.file)
    assert [(r.user, r.org, r.before, r.after, r.reason) for r in rows] == [
        ("guard", "acme", "50", "100", "ramp: step 6 of 6"),
        ("guard", "acme", "25", "50", "ramp: step 5 of 6"),
    ]
    assert rows[0].verdict == "ok"


def test_a_restart_keeps_its_place_and_bakes_on(run: Run, ramp_file: Path) -> None:
    run.healthy()
    assert run.share() == 5000
    run.guarding.end()
    again = Run(ramp_file, now=run.now)
    again.switch.history.path.unlink()  # the record beside the file is enough
    again.guarding.start(again.now)
    again.now += 20
    again.traffic(140)
    assert of(again.turn()).startswith("bakes for ")
    assert "raise" in kinds(again.healthy())
    assert again.share() == 10_000


@pytest.mark.parametrize("written", [False, True])
def test_a_guard_that_died_in_a_step_is_no_operator(
    run: Run, ramp_file: Path, written: bool
) -> None:
    run.turn()
    run.guarding.end()
    RampRecord(ramp_file, WriteAccess()).keep("chat", {"acme": Place(2500, None, to=5000)})
    if written:
        ramp_file.write_bytes(ramp_file.read_bytes().replace(b"acme = 25", b"acme = 50", 1))
    again = Run(ramp_file)
    assert "ramp" not in kinds(again.turn())
    again.healthy()
    assert again.share() == (10_000 if written else 5000)


def rolled_back_and_resumed(run: Run, org: str | None) -> None:
    switch = run.new_switch("jo")
    switch.open()
    run.now += 0.2
    switch.apply(switch.planner.plan_rollback("chat", org, "it smells"))
    run.now += 0.2
    switch.apply(switch.planner.plan_resume("chat", org))


@pytest.mark.parametrize("running", [True, False])
def test_what_is_moved_back_before_the_guard_looks_leaves_its_ramp_all_the_same(
    run: Run, ramp_file: Path, running: bool
) -> None:
    run.turn()
    record = RampRecord(ramp_file, WriteAccess())
    os.utime(record.path, (run.now, run.now))  # the time of this test
    if not running:
        run.guarding.end()
    switch = run.new_switch("jo")
    switch.open()
    for points in (1000, 2500):
        run.now += 0.2
        switch.apply(switch.planner.plan_set("chat", "acme", points))
    after = run if running else Run(ramp_file, now=run.now)
    turn = after.turn()
    assert of(turn) == "changed outside the guard, and back to 25%"
    assert "ramp" in kinds(turn)
    record.put_back("chat", ["acme"])
    os.utime(record.path, (after.now + 1, after.now + 1))
    assert of(after.turn()) == "no data", "put back into the ramp"
    after.guarding.end()


def test_the_steps_of_a_guard_are_no_moves_of_others(run: Run, ramp_file: Path) -> None:
    """They are in the history as well, also where the record has not been written since."""
    run.turn()
    record = RampRecord(ramp_file, WriteAccess())
    run.healthy()
    assert run.share() == 5000
    os.utime(record.path, (START - 900, START - 900))
    run.guarding.end()
    again = Run(ramp_file, now=run.now)
    assert "ramp" not in kinds(again.turn())
    again.guarding.end()


@pytest.mark.parametrize("org", ["acme", None])
@pytest.mark.parametrize("running", [True, False])
def test_what_is_resumed_before_the_guard_looks_leaves_its_ramp_all_the_same(
    run: Run, ramp_file: Path, org: str | None, running: bool
) -> None:
    """Within one turn, or while no guard runs."""
    run.turn()
    record = RampRecord(ramp_file, WriteAccess())
    os.utime(record.path, (run.now, run.now))  # the time of this test
    if not running:
        run.guarding.end()
    rolled_back_and_resumed(run, org)
    after = run
    if not running:
        after = Run(ramp_file, now=run.now)
    turn = after.turn()
    assert of(turn) == "it was rolled back, and resumed since"
    assert "ramp" in kinds(turn)
    assert "ramp" not in kinds(after.turn())
    for is_put_back in (True, False):  # the turn writes it as well
        if is_put_back:
            record.put_back("chat", ["acme"])
        os.utime(record.path, (after.now + 1, after.now + 1))
        assert of(after.turn()) == "no data"
    after.guarding.end()
    again = Run(ramp_file, now=after.now)
    assert of(again.turn()) == "no data", "put back into the ramp for good"
    again.guarding.end()


def many(run: Run, ramp_file: Path, count: int) -> None:
    """Let a route have so many orgs at 25%, all of them ready for their next step."""
    orgs = "".join(f'"org-{i}" = 25\n' for i in range(count))
    text = ramp_file.read_text().replace("[routes.chat.orgs]\n", f"[routes.chat.orgs]\n{orgs}", 1)
    ramp_file.write_text(text)
    run.turn()
    run.turn()
    run.now += 120
    for i in range(count):
        run.traffic(140, org=f"org-{i}")


def test_the_steps_of_a_turn_are_kept_together(
    run: Run, ramp_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    many(run, ramp_file, 8)
    kept: list[Mapping[str, Place]] = []
    keep = RampRecord.keep

    def counted(
        self: RampRecord, route: str, places: Mapping[str, Place]
    ) -> Mapping[str, RouteRamp]:
        kept.append(dict(places))
        return keep(self, route, places)

    monkeypatch.setattr(RampRecord, "keep", counted)
    with monkeypatch.context() as still:  # a machine under load has a turn's whole budget, too
        still.setattr(ramping, "monotonic", lambda: 0.0)
        turn = run.turn(1.0)
    assert kinds(turn).count("raise") == 8
    before, after = kept
    assert {place.to for place in before.values()} == {5000}
    assert {(place.points, place.to) for place in after.values()} == {(5000, None)}
    assert "ramp" not in kinds(run.turn())


def test_a_turn_takes_no_longer_than_a_verdict_may_wait(
    run: Run, ramp_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    many(run, ramp_file, 4)
    times = iter([0.0, 0.1, 0.6, 1.0])
    with monkeypatch.context() as slow:
        slow.setattr(ramping, "monotonic", lambda: next(times))
        assert kinds(run.turn(1.0)).count("raise") == 2
    record = RampRecord(ramp_file, WriteAccess()).read()["chat"].places
    assert {place.to for place in record.values()} == {None}
    assert kinds(run.turn(1.0)).count("raise") == 2
    assert {run.share(f"org-{i}") for i in range(4)} == {5000}


def test_a_step_that_failed_is_taken_the_next_time(run: Run, ramp_file: Path) -> None:
    many(run, ramp_file, 3)
    apply, calls = run.switch.apply, iter([True, False, True, True])

    def failing(plan: Plan, **how: Any) -> Done:
        if not next(calls):
            raise OperationError("the disk is full")
        return apply(plan, **how)

    run.switch.apply = failing  # type: ignore[method-assign]
    turn = run.turn(1.0)
    assert turn.trouble == "the disk is full"
    assert kinds(turn).count("raise") == 1, "what was done is told"
    assert [run.share(f"org-{i}") for i in range(3)] == [5000, 2500, 2500]
    turn = run.turn(1.0)
    assert turn.trouble == ""
    assert "ramp" not in kinds(turn), "its own step is no operator's hand"
    assert [run.share(f"org-{i}") for i in range(3)] == [5000, 5000, 5000]


def test_a_hand_takes_an_org_out_until_it_is_put_back(run: Run) -> None:
    run.turn()
    run.by_hand("acme", 1000)
    turn = run.turn()
    assert of(turn) == "changed outside the guard from 25% to 10%"
    assert "out of the ramp of chat: acme" in " ".join(event.text for event in turn.events)
    assert "raise" not in kinds(run.healthy())
    assert run.share() == 1000
    assert put_back(run.switch, "chat", "acme") == ["acme"]
    assert put_back(run.switch, "chat", None) == ["initech"], "rolled back in the sample"
    assert "raise" in kinds(run.healthy())
    assert run.share() == 2500


def test_an_editors_hand_counts_too(run: Run, ramp_file: Path) -> None:
    run.turn()
    ramp_file.write_bytes(ramp_file.read_bytes().replace(b"acme = 25\n", b"", 1))
    run.turn()
    turn = run.turn()
    assert "its line was removed outside the guard" in " ".join(
        out.why for out in RampRecord(ramp_file, WriteAccess()).read()["chat"].out.values()
    )
    assert not [one for one in turn.standings["chat"] if one.org == "acme"]


def test_of_two_guards_one_acts(run: Run, ramp_file: Path) -> None:
    assert run.turn().acts
    other = Run(ramp_file)
    assert not other.turn().acts
    assert somebody_acts(ramp_file)
    run.healthy()
    other.now = run.now
    watching = other.turn()
    assert not watching.acts
    assert "raise" not in kinds(watching)
    run.guarding.end()
    assert not somebody_acts(ramp_file)
    taking_over = other.turn()
    assert taking_over.acts
    assert "this guard is the leader" in [event.text for event in taking_over.events]


def test_the_lock_follows_the_file_through_a_change(ramp_file: Path) -> None:
    lock, other = LeaderLock(ramp_file), LeaderLock(ramp_file)
    assert (lock.hold(), other.hold()) == (True, False)
    new = ramp_file.with_name("new")
    new.write_bytes(ramp_file.read_bytes())
    new.replace(ramp_file)
    assert (lock.hold(), other.hold()) == (True, False)
    ramp_file.unlink()
    assert (lock.hold(), other.hold()) == (True, False), "a file that is away changes nothing"
    ramp_file.write_bytes(b"x")
    assert (other.hold(), lock.hold()) == (True, False), "who is faster, one alone"
    lock.release()
    other.release()


def storm(run: Run) -> Turn:
    run.turn()
    for i in range(40):
        run.traffic(1, 503 if i % 2 else 200, org=f"org-{i % 3}")
    return run.turn(1.0)


def with_mode(file: Path, mode: str) -> Path:
    file.write_text(file.read_text().replace('mode = "hold"', f'mode = "{mode}"'))
    return file


def test_enforce_rolls_back_once_and_says_how_to_resume(ramp_file: Path) -> None:
    run = Run(with_mode(ramp_file, "enforce"))
    (event,) = [event for event in storm(run).events if event.kind == "rollback"]
    assert run.latched()
    assert event.text.startswith("rolled back chat: 5xx 5")
    assert event.command.endswith("resume chat")
    assert f"-f {ramp_file.absolute()}" in event.command
    assert b"guard@gw-01: 5xx" in ramp_file.read_bytes()
    assert "rollback" not in kinds(run.turn())
    assert of(run.turn()) == "it was rolled back"
    (row,) = run.switch.history.rows(ramp_file)
    assert (row.user, row.action, row.verdict[:13]) == ("guard", "rollback", "rollback: 5xx")
    run.guarding.end()
    fresh = Run(ramp_file)
    fresh.now = run.now
    assert fresh.turn().verdicts["chat"].kind == "hold", "what was before the rollback is over"
    fresh.guarding.end()


def test_hold_tells_and_does_nothing(run: Run) -> None:
    turn = storm(run)
    assert not run.latched()
    (event,) = [event for event in turn.events if event.kind == "alert"]
    assert event.text.startswith("chat: rollback: 5xx")
    assert event.command.endswith("rollback chat")
    assert run.turn().events == [], "told once"


def test_observe_raises_nothing(ramp_file: Path) -> None:
    run = Run(with_mode(ramp_file, "observe"))
    run.turn()
    assert of(run.healthy()) == "mode observe: the guard takes no action"
    assert run.share() == 2500
    run.guarding.end()


@pytest.mark.parametrize(("status", "mode"), [(401, "enforce"), (402, "enforce"), (401, "hold")])
def test_three_refusals_in_a_row(ramp_file: Path, status: int, mode: str) -> None:
    run = Run(with_mode(ramp_file, mode))
    run.turn()
    run.traffic(3, status)
    turn = run.turn(1.0)
    assert run.latched() == (mode == "enforce")
    assert ("rollback" in kinds(turn)) == (mode == "enforce")
    assert any("in a row" in event.text for event in turn.events)
    run.guarding.end()


def test_money_models_and_freezes_hold(run: Run, ramp_file: Path) -> None:
    run.turn()
    run.balance.add(run.now + 61, Balance("o", Decimal(10), Decimal(10), Decimal(0)))
    assert of(run.healthy()) == "balance $10.00 is under $50.00"
    run.balance.add(run.now, Balance("o", Decimal(100), Decimal(100), Decimal(0)))
    run.models["chat"] = ModelTrouble("TokenLab has no model gpt-5.4 any more", holds=True)
    assert of(run.turn()) == "TokenLab has no model gpt-5.4 any more"
    run.models["chat"] = ModelTrouble("gpt-5.4 ends on 2026-12-31", holds=False)
    text = ramp_file.read_text()
    ramp_file.write_text(text.replace("freeze = []", 'freeze = ["2020-01-01 - 2099-12-31"]'))
    run.turn()
    assert of(run.turn()).startswith("frozen until ")
    assert run.share() == 2500


def test_read_only_watches(ramp_file: Path) -> None:
    run = Run(with_mode(ramp_file, "enforce"), read_only=True)
    before = ramp_file.read_bytes()
    turn = storm(run)
    assert turn.verdicts["chat"].kind == "rollback"
    assert not turn.acts
    assert ramp_file.read_bytes() == before
    assert not RampRecord(ramp_file, WriteAccess()).path.exists()
    assert not somebody_acts(ramp_file)


def test_trouble_is_a_sentence_and_the_next_turn_goes_on(run: Run, ramp_file: Path) -> None:
    run.turn()
    good = ramp_file.read_bytes()
    ramp_file.write_bytes(b"[broken")
    run.turn()
    turn = run.turn()
    assert "not valid TOML" in turn.trouble
    assert any("not valid TOML" in alert.sentence for alert in turn.alerts)
    assert run.healthy().trouble
    ramp_file.write_bytes(good)
    run.turn()
    assert run.turn().trouble == ""


def test_a_broken_record_holds_the_ramps_and_not_the_rollback(ramp_file: Path) -> None:
    RampRecord(ramp_file, WriteAccess()).path.write_text("[broken")
    run = Run(with_mode(ramp_file, "enforce"))
    assert "rollout.guard.toml cannot be used" in run.turn().trouble
    storm(run)
    assert run.latched()
    run.guarding.end()


def test_an_alert_is_over_when_it_stayed_away(run: Run) -> None:
    run.turn()
    run.traffic(1)
    assert run.turn().alerts == []
    assert [event.text for event in run.turn(130).events] == ["no line of the access log for 2 m"]
    for _ in range(10):
        run.now += 10
        run.traffic(5)
        turn = run.turn(1.0)
        assert turn.alerts == [], "it is open until it has stayed away, but not wrong in this look"
        if turn.events:
            break
    assert [event.text for event in turn.events] == ["over: no line of the access log for 2 m"]


def test_people_edit_the_record(ramp_file: Path) -> None:
    record = RampRecord(ramp_file, WriteAccess())
    record.keep("chat", {"acme": Place(2500), "odd.name [x]": Place(1250)})
    path = record.path
    path.write_text(path.read_text() + "\n# a comment of ours\n")
    record.keep("chat", {"acme": Place(5000)})
    assert "# a comment of ours" in path.read_text()
    found = record.read()["chat"].places
    assert {org: place.points for org, place in found.items()} == {
        "acme": 5000, "odd.name [x]": 1250,
    }  # fmt: skip


def test_read_only_puts_nothing_back(ramp_file: Path) -> None:
    watching = Run(ramp_file, read_only=True)
    with pytest.raises(ReadOnly):
        put_back(watching.switch, "chat", None)


def test_without_locks_it_rolls_back_raises_nothing_and_says_so(
    ramp_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on NFS without lockd, and on some FUSE and SMB."""

    def no_locks(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("rollout_console.guard.leader_lock.fcntl.flock", no_locks)
    run = Run(with_mode(ramp_file, "enforce"))
    assert "raise" not in kinds(run.healthy())
    turn = run.turn()
    assert "(No locks available)" in turn.trouble
    assert "rolls back, and raises nothing" in turn.trouble
    storm(run)
    assert run.latched()


def test_a_lock_that_is_no_guards_does_not_stop_a_rollback_for_long(ramp_file: Path) -> None:
    """A backup, rsync, or a guard that hangs."""
    run = Run(with_mode(ramp_file, "enforce"))
    with ramp_file.open() as other:
        run.guarding.end()
        fcntl.flock(other, fcntl.LOCK_EX)
        turn = storm(run)
        assert turn.verdicts["chat"].kind == "rollback"
        assert not run.latched(), "another guard may be about to"
        run.traffic(20, 503)
        run.turn(PATIENCE_S)
        assert run.latched()


def test_a_latch_that_somebody_takes_out_of_the_file_is_told(run: Run, ramp_file: Path) -> None:
    run.turn()
    before = ramp_file.read_bytes()
    switch = run.new_switch("jo")
    switch.open()
    switch.apply(switch.planner.plan_rollback("chat", None, "5xx"))
    assert not {"alert", "edit"} & {*kinds(run.turn())}, "recorded by who did it"
    ramp_file.write_bytes(before)
    events = [event for _ in range(3) for event in run.turn(60).events]
    (event,) = [event for event in events if "a rollback was reverted" in event.text]
    assert event.kind == "alert"
    assert event.text == (
        "a rollback was reverted: the file was changed by somebody else: chat resumed"
    )


def test_who_raises_by_hand_in_an_editor_bakes_too(run: Run, ramp_file: Path) -> None:
    """Also where no guard was there to see it: the history knows."""
    first = run.new_switch("jo")
    first.open()
    first.apply(first.planner.plan_set("chat", "acme", 2000))
    ramp_file.write_text(ramp_file.read_text().replace("acme = 20", "acme = 25"))
    os.utime(ramp_file, (run.now, run.now))
    run.guarding.end()
    again = Run(ramp_file, now=run.now)
    again.traffic(140)
    assert again.share() == 2500
    turn = again.turn(1.0)
    assert "raise" not in kinds(turn)
    assert of(turn) == "no data since the step"
    again.guarding.end()
