"""What a rollback would cut: the conversations that TokenLab holds and that went on lately."""

import sqlite3
import time
from pathlib import Path

import pytest

from rollout_console.changes import open_conversations
from rollout_console.changes.open_conversations import OPEN_S, cut_by
from rollout_console.changes.plan import Plan
from rollout_console.changes.switch import Switch
from rollout_console.cli.main import run
from rollout_console.history.actor import Actor
from rollout_console.history.history import History
from rollout_gate.http import id_file
from rollout_gate.http.id_file import IdWriter
from rollout_gate.http.id_store import IDS_NAME
from rollout_gate.http.operations import Bound
from tests.support.waiting import HANGS_S, PATIENCE_S, soon

SAID = "cuts {} (of the last 30 m), which TokenLab holds"


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a busy machine take its time for what is known in a moment."""
    monkeypatch.setattr(open_conversations, "WAIT_S", PATIENCE_S)


@pytest.fixture
def switch(file: Path) -> Switch:
    made = Switch(file, History(file.with_name("h.sqlite3")), Actor("jo", "gw", ""))
    made.open()
    return made


def held(file: Path, org: str, count: int, ago: float = 60, side: str = "tokenlab") -> None:
    used_at = time.time() - ago
    bound = [Bound(side, "chat", org, "response", f"{org}-{n}", used_at) for n in range(count)]  # type: ignore[arg-type]
    ids = {f"{org}-{side}-{ago}-{n}": one for n, one in enumerate(bound)}
    writer = IdWriter(file.with_name(IDS_NAME))
    writer.write(ids)
    writer.close()


def rollback(switch: Switch, route: str | None, org: str | None) -> Plan:
    return switch.planner.plan_rollback(route, org, "because")


def test_a_rollback_says_how_many_conversations_it_cuts(file: Path, switch: Switch) -> None:
    held(file, "acme", 12)
    held(file, "globex", 1)
    held(file, "acme", 5, OPEN_S + 60)
    held(file, "globex", 5, side="previous")
    for route, org, some in (
        ("chat", "acme", "12 open conversations"), ("chat", None, "13 open conversations"),
        (None, None, "13 open conversations"), ("chat", "globex", "1 open conversation"),
    ):  # fmt: skip
        assert cut_by(rollback(switch, route, org), file) == SAID.format(some)
    assert cut_by(rollback(switch, "claude", None), file) == ""


def test_a_share_cuts_nothing_as_each_stays_on_its_side(file: Path, switch: Switch) -> None:
    held(file, "acme", 12)
    for points in (0, 100, 10_000):
        assert cut_by(switch.planner.plan_set("chat", "acme", points), file) == ""


def timed(plan: Plan, file: Path) -> str:
    with soon():
        return cut_by(plan, file)


def test_what_cannot_be_read_in_time_is_not_said(
    file: Path, switch: Switch, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = rollback(switch, "chat", "acme")
    assert cut_by(plan, file) == "", "there is no file"
    assert not file.with_name(IDS_NAME).exists()
    held(file, "acme", 3)
    locked = sqlite3.connect(file.with_name(IDS_NAME), isolation_level=None)
    locked.execute("pragma journal_mode = delete")
    locked.execute("begin exclusive")
    assert timed(plan, file) == ""
    locked.close()
    with monkeypatch.context() as slow:
        slow.setattr(open_conversations, "WAIT_S", 0.1)
        slow.setattr(id_file, "open_conversations", lambda *_: time.sleep(HANGS_S))
        assert timed(plan, file) == ""
    assert "cuts 3" in timed(plan, file)
    for name in file.parent.glob(f"{IDS_NAME}*"):
        name.unlink()
    file.with_name(IDS_NAME).write_bytes(b"no database" * 100)
    assert cut_by(plan, file) == ""


def test_the_command_says_it_before_it_is_done(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    held(file, "acme", 2)
    assert run(["-f", str(file), "rollback", "chat", "acme", "--dry-run"]) == 0
    assert SAID.format("2 open conversations") in capsys.readouterr().out
    assert run(["-f", str(file), "set", "chat", "acme", "1", "--dry-run"]) == 0
    assert "cuts" not in capsys.readouterr().out
