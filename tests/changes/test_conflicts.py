"""Somebody else changes the file between the question and the answer."""

import os
import threading
import time
from pathlib import Path

import pytest

from rollout_console.changes import rename_exchange as exchange
from rollout_console.changes.errors import Conflict
from rollout_console.changes.plan import ALL_ORGS
from rollout_console.changes.switch import Switch
from rollout_console.common.errors import NothingToDo, OperationError
from rollout_console.history.actor import Actor
from rollout_console.history.history import History
from rollout_gate.file.errors import RolloutError
from rollout_gate.file.parse import parse


def org(switch: Switch, name: str = "acme") -> tuple[int, bool]:
    route = parse(switch.path.read_bytes()).routes["chat"]
    return route.org_points(name), route.org_rolled_back(name)


def replaced(path: Path, old: bytes, new: bytes) -> None:
    """Put another text in place, as most editors do."""
    data = path.read_bytes()
    assert old in data
    temp = path.with_name("editor.tmp")
    temp.write_bytes(data.replace(old, new, 1))
    temp.replace(path)


def test_a_lowering_never_becomes_a_raise(switch: Switch) -> None:
    plan = switch.planner.plan_set("chat", "acme", 1000)
    replaced(switch.path, b"acme = 25", b"acme = 0")
    with pytest.raises(Conflict):
        switch.apply(plan)
    assert org(switch) == (0, False), "theirs stands"
    assert switch.recent(5)[0] == []


def test_a_change_that_was_to_move_nothing_does_not_go_live(switch: Switch) -> None:
    switch.apply(switch.planner.plan_rollback("chat", None))
    plan = switch.planner.plan_set("chat", "acme", 10_000)
    assert plan.direction == "none"
    latched = next(line for line in switch.path.read_bytes().split(b"\n") if b"gw-01:" in line)
    replaced(switch.path, latched, b"rolled_back = false")
    with pytest.raises(Conflict):
        switch.apply(plan)
    assert org(switch) == (2500, False)


def test_a_rollback_is_made_on_top_of_whatever_they_wrote(switch: Switch) -> None:
    plan = switch.planner.plan_rollback("chat", "acme")
    replaced(switch.path, b'"globex.eu" = 12.5', b'"globex.eu" = 99')
    switch.apply(plan)
    assert org(switch) == (2500, True)
    assert org(switch, "globex.eu") == (9900, False)


def test_a_file_being_written_in_place_is_waited_for(switch: Switch) -> None:
    plan = switch.planner.plan_rollback("chat", "acme")
    whole = switch.path.read_bytes().replace(b"acme = 25", b"acme = 24", 1)
    half, begun = whole[: whole.index(b'"globex.eu"')], threading.Event()

    def editor() -> None:
        with switch.path.open("r+b", buffering=0) as stream:
            stream.truncate(0)
            stream.write(half)
            begun.set()
            time.sleep(0.3)
            stream.write(whole[len(half) :])

    thread = threading.Thread(target=editor)
    thread.start()
    begun.wait()
    switch.apply(plan)
    thread.join()
    assert org(switch) == (2400, True)
    assert org(switch, "globex.eu") == (1250, False), "the other half is there"


def test_a_shell_waits_for_it_too(file: Path) -> None:
    whole = file.read_bytes()
    half = whole[: whole.index(b'"globex.eu"')]
    stream = file.open("wb", buffering=0)
    stream.write(half)

    def editor() -> None:
        time.sleep(0.15)
        stream.write(whole[len(half) :])
        stream.close()

    thread = threading.Thread(target=editor)
    thread.start()
    switch = Switch(file, History(file.parent / "h.sqlite3"), Actor("jo", "gw-01"))
    assert switch.open().data == whole
    thread.join()


@pytest.mark.parametrize("kernel", [True, False])
def test_an_editor_that_saves_in_the_last_moment_is_not_overwritten(
    switch: Switch, kernel: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = switch.planner.plan_set("chat", "acme", 1000)
    real = exchange.put_in_place

    def late(*arguments: object) -> list[str]:
        replaced(switch.path, b'"globex.eu" = 12.5', b'"globex.eu" = 99')
        return real(*arguments)  # type: ignore[arg-type]

    if not kernel:
        monkeypatch.setattr(exchange, "_renameat2", lambda: None)
    monkeypatch.setattr("rollout_console.changes.atomic_swap.put_in_place", late)
    if not kernel:
        switch.apply(plan)  # without the kernel's help this moment stays open
        return
    with pytest.raises(Conflict):
        switch.apply(plan)
    assert org(switch) == (2500, False)
    assert org(switch, "globex.eu") == (9900, False)
    assert [path.name for path in switch.path.parent.iterdir()] == ["rollout.toml"]


def test_what_was_changed_right_after_is_in_the_history(
    switch: Switch, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = switch.planner.plan_set("chat", "acme", 1000)
    real, armed = os.fsync, [True]

    def then_an_editor(descriptor: int) -> None:
        real(descriptor)
        if os.path.isdir(f"/proc/self/fd/{descriptor}") and armed.pop():
            replaced(switch.path, b"acme = 10", b"acme = 9")

    monkeypatch.setattr(os, "fsync", then_an_editor)
    armed[:] = [False, True]
    done = switch.apply(plan)
    monkeypatch.undo()
    assert "another writer changed it again right afterwards" in done.warnings[0]
    assert org(switch) == (900, False)
    (row,) = switch.recent(5)[0]
    assert (row.action, row.before, row.after) == ("set", "25", "10")


def test_an_undo_does_not_take_back_what_somebody_else_set(switch: Switch) -> None:
    switch.apply(switch.planner.plan_set("chat", "acme", 5000))
    replaced(switch.path, b"acme = 50", b"acme = 0")
    switch.refresh()
    with pytest.raises(NothingToDo, match="was changed since"):
        switch.planner.plan_undo()
    assert org(switch) == (0, False)


def test_one_row_for_an_edit_that_two_consoles_see(switch: Switch, file: Path) -> None:
    other = Switch(file, switch.history, Actor("al", "gw-02"))
    other.open()
    replaced(file, b"acme = 25", b"acme = 24")
    for _ in range(2):
        switch.refresh()
        other.refresh()
    assert [row.action for row in switch.recent(9)[0]] == ["external"]
    switch.apply(switch.planner.plan_set("chat", "acme", 100))
    switch.apply(switch.planner.plan_set("chat", "acme", 50))
    other.refresh()
    assert [row.action for row in switch.recent(9)[0]] == ["set", "set", "external"]


@pytest.mark.parametrize("org_id", ["sk-live-abcdef12345678", "mt-abcdefgh123456789", "a\udcffb"])
def test_what_is_no_org_is_refused_and_not_repeated(switch: Switch, org_id: str) -> None:
    before = switch.path.read_bytes()
    with pytest.raises(OperationError) as told:
        switch.planner.plan_set("chat", org_id, 100)
    assert org_id not in str(told.value)
    with pytest.raises(OperationError) as told:
        switch.planner.plan_rollback("chat", org_id)
    assert org_id not in str(told.value)
    assert switch.path.read_bytes() == before


@pytest.mark.parametrize("org_id", ["sk-telecom", "mt-gateway-east", "sk-" + "x" * 30])
def test_a_name_that_only_begins_like_one_is_an_org(switch: Switch, org_id: str) -> None:
    switch.apply(switch.planner.plan_set("chat", org_id, 100))
    assert org(switch, org_id) == (100, False)


def test_the_default_is_not_an_org_to_roll_back(switch: Switch) -> None:
    with pytest.raises(NothingToDo, match="roll back route chat"):
        switch.planner.plan_rollback("chat", ALL_ORGS)
    assert b'"*"' not in switch.path.read_bytes()


def test_a_broken_file_is_restored(switch: Switch) -> None:
    good = switch.path.read_bytes()
    switch.apply(switch.planner.plan_set("chat", "acme", 1000))
    switch.path.write_bytes(b"[broken")
    with pytest.raises(RolloutError):
        switch.refresh()
    plan = switch.planner.plan_restore(switch.recent(1)[0][0].previous_revision)
    assert "not valid TOML" in plan.rescues
    done = switch.apply(plan, reason="broken", held="x", override=True)
    assert switch.path.read_bytes() == good
    assert (switch.path.parent / done.kept_as).read_bytes() == b"[broken"


DAMAGE = {
    "of another user": "",
    "newer": "PRAGMA user_version = 7",
    "without a column": "ALTER TABLE changes RENAME COLUMN verdict TO judgement",
    "with a bad time": "UPDATE changes SET at = 'yesterday'",
    "with a bad value": "UPDATE changes SET after = 'many'",
}


@pytest.mark.parametrize("what", DAMAGE)
def test_no_state_of_the_history_stops_a_rollback(
    switch: Switch, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sqlite3

    from rollout_console.cli.main import run

    monkeypatch.setenv("ROLLOUT_STATE_DIR", str(switch.history.path.parent))
    switch.apply(switch.planner.plan_set("chat", "acme", 1000))
    statement = DAMAGE[what]
    if statement:
        with sqlite3.connect(switch.history.path) as db:
            db.execute(statement)
        db.close()
    else:

        def refuse(self: Path) -> bool:
            raise PermissionError(13, "Permission denied", str(self))

        monkeypatch.setattr("rollout_console.history.schema.Path.exists", refuse)
    assert run(["-f", str(switch.path), "rollback", "chat", "acme", "--yes"]) == 0
    monkeypatch.undo()
    assert org(switch) == (1000, True)
