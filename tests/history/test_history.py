"""The history: intents, crashes, restoring, undo, and every kind of trouble."""

import os
import stat
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from console.history.errors import HistoryError
from console.history.history import History, NewChange
from console.history.who import Who, whoami
from console.rollout.revision import revision_of

AT = datetime(2026, 11, 23, 19, 31, 4, 500_000, tzinfo=UTC)
FILE = Path("rollout.toml")


def change(
    before: bytes, after: bytes, undoes: int | None = None, action: str = "set"
) -> NewChange:
    return NewChange(
        file=FILE, at=AT, who=Who("jo", "gw-01", "10.0.0.7"), action=action, route="chat",
        org="acme", before="25", after="50", reason="why not", verdict="ok",
        previous_revision=revision_of(before), revision=revision_of(after),
        before_text=before, after_text=after, undoes_id=undoes,
    )  # fmt: skip


@pytest.fixture
def history(tmp_path: Path) -> History:
    return History(tmp_path / "state" / "h.sqlite3")


def test_reading_makes_nothing(history: History) -> None:
    assert history.rows(FILE) == []
    assert history.last_undoable(FILE) is None
    history.reconcile(FILE, "x")
    assert not history.path.parent.exists()


def test_a_change_is_there_once_it_is_committed(history: History) -> None:
    row = history.begin(change(b"a", b"b"))
    assert history.rows(FILE) == []
    history.commit(row)
    (found,) = history.rows(FILE)
    assert found.as_json() == {
        "revision": revision_of(b"b"), "previous_revision": revision_of(b"a"),
        "at": "2026-11-23T19:31:04.500Z", "user": "jo", "host": "gw-01",
        "action": "set", "route": "chat", "org": "acme",
        "before": "25", "after": "50", "reason": "why not",
    }  # fmt: skip
    assert (found.ssh_origin, found.verdict) == ("10.0.0.7", "ok")
    assert history.text_of(FILE, revision_of(b"a")[:7]) == b"a"
    assert stat.S_IMODE(history.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(history.path.parent.stat().st_mode) == 0o700


def test_undo_walks_back(history: History) -> None:
    for before, after in ((b"a", b"b"), (b"b", b"c")):
        history.commit(history.begin(change(before, after)))
    newest = history.last_undoable(FILE)
    assert newest is not None
    assert newest.revision == revision_of(b"c")
    history.commit(history.begin(change(b"c", b"b", undoes=newest.id, action="undo")))
    older = history.last_undoable(FILE)
    assert older is not None
    assert older.revision == revision_of(b"b")


@pytest.mark.parametrize(("now", "applied"), [(b"b", 1), (b"a", 0)])
def test_an_intent_of_a_dead_process_is_settled_by_the_file(
    history: History, now: bytes, applied: int
) -> None:
    script = f"""
from tests.history.test_history import *
History(Path({str(history.path)!r})).begin(change(b"a", b"b"))
os._exit(1)
"""
    subprocess.run([sys.executable, "-c", script], check=False, cwd=Path(__file__).parents[2])
    # The relative file of the child is the same one from here only by its name.
    root = Path(__file__).parents[2] / FILE
    assert History(history.path).rows(root) == []
    history.reconcile(root, revision_of(now))
    assert len(history.rows(root)) == applied


def test_an_external_edit_seen_twice_is_one_row(history: History) -> None:
    for _ in range(2):
        history.record_external(
            FILE, Who("", "gw"), AT, (revision_of(b"a"), b"a"), (revision_of(b"b"), b"b")
        )
    assert [row.action for row in history.rows(FILE)] == ["external"]
    assert history.last_undoable(FILE) is None


@pytest.mark.parametrize("revision", ["", "abc", "zzzzzzzz", "0000000", "*******"])
def test_a_wrong_revision_is_one_sentence(history: History, revision: str) -> None:
    history.commit(history.begin(change(b"a", b"b")))
    with pytest.raises(HistoryError):
        history.text_of(FILE, revision)


def test_a_damaged_or_impossible_database_is_one_sentence(tmp_path: Path) -> None:
    damaged = tmp_path / "h.sqlite3"
    damaged.write_bytes(b"not a database at all" * 100)
    with pytest.raises(HistoryError, match="damaged"):
        History(damaged).rows(FILE)
    with pytest.raises(HistoryError, match="damaged"):
        History(damaged).begin(change(b"a", b"b"))
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(HistoryError, match="cannot be made"):
        History(blocked / "h.sqlite3").begin(change(b"a", b"b"))


def test_who() -> None:
    found = whoami({"SUDO_USER": "jo\x1b", "SSH_CONNECTION": "10.0.0.7 5 10.0.0.1 22"})
    assert (found.user, found.ssh_origin) == ("jo", "10.0.0.7")
    assert found.host
    assert os.sep not in found.user
