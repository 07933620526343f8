"""The history: intents, crashes, restoring, undo, and every kind of trouble."""

import itertools
import os
import sqlite3
import stat
import time
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from msgspec.structs import replace

from rollout_console.history import schema
from rollout_console.history.actor import Actor, whoami
from rollout_console.history.errors import HistoryError, Locked
from rollout_console.history.history import History, transaction
from rollout_console.history.location import history_of, misplaced
from rollout_console.history.rows import Edited, NewChange
from rollout_gate.file.parse import parse
from rollout_gate.file.revision import revision_of
from tests.support.other_users import as_user

AT = datetime(2026, 11, 23, 19, 31, 4, 500_000, tzinfo=UTC)
FILE = Path("rollout.toml")


def change(
    before: bytes, after: bytes, undoes: int | None = None, action: str = "set"
) -> NewChange:
    return NewChange(
        file=FILE, at=AT, who=Actor("jo", "gw-01", "10.0.0.7"), action=action, route="chat",
        org="acme", before="25", after="50", reason="why not", verdict="ok",
        previous_revision=revision_of(before), revision=revision_of(after),
        before_text=before, after_text=after, undoes_id=undoes,
    )  # fmt: skip


@pytest.fixture
def history(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> History:
    monkeypatch.chdir(tmp_path)
    return History(tmp_path / "state" / "h.sqlite3")


def test_reading_makes_nothing(history: History) -> None:
    assert history.rows(FILE) == []
    assert history.last_undoable(FILE) is None
    history.reconcile(FILE)
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


def said(before: bytes, after: bytes) -> Edited:
    return Edited(f"{before.decode()} to {after.decode()}", Actor("al", "laptop"))


def see(history: History, text: bytes) -> Edited | None:
    FILE.write_bytes(text)
    return history.see(FILE, Actor("", "gw"), AT, (revision_of(text), text), said)


def test_an_edit_of_others_is_one_row_however_many_see_it(history: History) -> None:
    assert see(history, b"a") is None, "nothing to compare it with"
    assert history.rows(FILE) == []
    for _ in range(2):
        see(history, b"b")
    (row,) = history.rows(FILE)
    assert (row.action, row.after, row.user, row.host) == ("external", "a to b", "al", "laptop")
    assert row.previous_revision == revision_of(b"a")
    assert history.last_undoable(FILE) is None


def test_the_same_text_put_back_is_an_edit_each_time(history: History) -> None:
    history.commit(history.begin(change(b"a", b"b")))
    for text in (b"a", b"b", b"a"):
        assert see(history, text) is not None
    rows = history.rows(FILE)
    assert [row.after for row in rows[:-1]] == ["b to a", "a to b", "b to a"]
    for newer, older in itertools.pairwise(rows):
        assert newer.previous_revision == older.revision, "rows join"


def test_a_change_under_way_is_nobody_elses(history: History) -> None:
    history.commit(history.begin(change(b"a", b"b")))
    row = history.begin(change(b"b", b"c"))
    for text in (b"b", b"c"):
        assert see(history, text) is None
    history.commit(row)
    assert [row.action for row in history.rows(FILE)] == ["set", "set"]


def test_the_rows_of_one_write_stay_together_however_many_they_are(
    history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A change of more orgs than changes are kept can be undone as any other."""
    monkeypatch.setattr("rollout_console.history.retention.KEPT", 5)
    for number in range(60):
        history.commit(history.begin(change(b"%d" % number, b"%d" % (number + 1))))
    history.commit(history.begin(*[change(b"60", b"61")] * 40))
    while True:  # until what is too much is deleted
        row = history.begin(change(b"61", b"62"))
        if row % 50 == 0:
            break
        history.abandon(row)
    history.commit(row)
    rows = history.rows(FILE, 100)
    assert len(rows) == 1 + 40 + 3, "five writes"
    assert len(history.group_of(rows[1])) == 40
    assert history.text_of(FILE, revision_of(b"60")) == b"60"


def test_since_when_all_is_known_is_later_once_writes_were_pruned(
    history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Few rows are left where the newest write has many; notes are older than what is left."""
    monkeypatch.setattr("rollout_console.history.retention.KEPT", 5)
    monkeypatch.setattr("rollout_console.history.retention.MOST_ROWS", 50)
    FILE.write_bytes(b"0")
    seen_at = AT - timedelta(days=2)
    history.see(
        FILE, Actor("jo", "gw-01"), seen_at, (revision_of(b"0"), b"0"), lambda *_: Edited("")
    )
    history.record(replace(change(b"0", b"0", action="undelivered"), at=AT - timedelta(days=1)))
    history.commit(history.begin(change(b"0", b"1")))
    assert history.known(FILE)[1] == seen_at
    later = AT + timedelta(hours=1)
    many = [replace(change(b"1", b"2"), at=later, org=f"o{number}") for number in range(60)]
    history.commit(history.begin(*many))
    assert [row.action for row in history.rows(FILE)] == ["set"] * 60 + ["undelivered"]
    assert history.known(FILE)[1] == later


def test_attempts_that_came_to_nothing_displace_no_change(
    history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rollout_console.history.retention.KEPT", 5)
    for number in range(5):
        history.commit(history.begin(change(b"%d" % number, b"%d" % (number + 1))))
    for _ in range(120):
        history.abandon(history.begin(change(b"5", b"6")))
    while True:
        row = history.begin(change(b"5", b"6"))
        if row % 50 == 0:
            break
        history.abandon(row)
    history.commit(row)
    assert len(history.rows(FILE)) == 5
    assert history.text_of(FILE, revision_of(b"2")) == b"2"
    with closing(sqlite3.connect(history.path)) as db:
        assert db.execute("SELECT count(*) FROM changes").fetchone()[0] <= 60


def killed(history: History, *changes: NewChange) -> None:
    """Begin changes in processes that end without a word."""
    for begun in changes:
        pid = os.fork()
        if pid == 0:
            history.begin(begun)
            os._exit(1)
        os.waitpid(pid, 0)


def actions(history: History) -> str:
    return " ".join(row.action for row in reversed(history.rows(FILE)))


@pytest.mark.parametrize("look", ["reconcile", "see"])
@pytest.mark.parametrize(
    ("now", "left"),
    [(b"b", "set"), (b"c", "set model"), (b"x", "set external")],
    ids=["not yet", "made", "others since"],
)
def test_an_intent_of_a_dead_process_is_settled_by_the_file(
    history: History, now: bytes, left: str, look: str
) -> None:
    history.commit(history.begin(change(b"a", b"b")))
    killed(history, change(b"b", b"c", action="model"))
    FILE.write_bytes(now)
    if look == "reconcile":
        history.reconcile(FILE)
    see(history, now)
    assert actions(history) == left


@pytest.mark.parametrize(("ends", "left"), [("commit", "model set"), ("abandon", "")])
def test_a_change_built_on_a_dead_writers_proves_it_unless_aborted(
    history: History, ends: str, left: str
) -> None:
    killed(history, change(b"a", b"b", action="model"))
    getattr(history, ends)(history.begin(change(b"b", b"c")))
    see(history, b"c")
    assert actions(history) == left


def test_a_text_that_recurs_proves_no_dead_writer(history: History) -> None:
    """A resume gives back an earlier text, on which others may have planned."""
    history.commit(history.begin(change(b"a", b"b")))
    history.commit(history.begin(change(b"b", b"a")))
    killed(history, change(b"a", b"b", action="model"))
    history.abandon(history.begin(change(b"b", b"x")))
    history.commit(history.begin(change(b"a", b"c")))
    history.commit(history.begin(change(b"c", b"b")))
    see(history, b"b")
    assert actions(history) == "set set set set"


def test_of_two_that_meant_the_same_one_was_made(history: History) -> None:
    killed(history, change(b"a", b"b", action="model"), change(b"a", b"b", action="phase"))
    see(history, b"b")
    assert actions(history) == "phase"


@pytest.mark.parametrize(
    ("under_way", "left"), [((b"a", b"b"), ""), ((b"b", b"c"), "model")], ids=["same", "next"]
)
def test_a_change_under_way_tells_what_became_of_a_dead_writers(
    history: History, under_way: tuple[bytes, bytes], left: str
) -> None:
    killed(history, change(b"a", b"b", action="model"))
    row = history.begin(change(*under_way))
    see(history, under_way[1])
    assert actions(history) == left
    history.commit(row)
    assert actions(history) == f"{left} set".strip()


def test_a_text_that_is_not_there_any_more_is_nobodys_edit(history: History) -> None:
    """As a console has it that read the file just before another one changed it."""
    history.commit(history.begin(change(b"a", b"b")))
    FILE.write_bytes(b"b")
    assert history.see(FILE, Actor("", "gw"), AT, (revision_of(b"a"), b"a"), said) is None
    assert actions(history) == "set"


def test_the_number_of_a_process_that_was_given_again_hides_nothing(history: History) -> None:
    row = history.begin(change(b"a", b"b"))
    with closing(sqlite3.connect(history.path)) as db:
        db.execute("UPDATE changes SET process = '1-00000000.1' WHERE id = ?", (row,))
        db.commit()
    FILE.write_bytes(b"b")
    history.reconcile(FILE)
    assert len(history.rows(FILE)) == 1


# One history for a file


def test_a_history_beside_its_file_has_its_group_and_mode(file: Path) -> None:
    file.chmod(0o640)
    file.parent.chmod(0o770)
    history = history_of(file)
    assert history.path == file.parent / "rollout.history.sqlite3"
    history.commit(history.begin(replace(change(b"a", b"b"), file=file)))
    for name in ("rollout.history.sqlite3", "rollout.history.sqlite3-journal"):
        status = (file.parent / name).stat()
        assert stat.S_IMODE(status.st_mode) == 0o660
        assert status.st_gid == file.parent.stat().st_gid
    assert sorted(one.name for one in file.parent.iterdir()) == [
        "rollout.history.sqlite3", "rollout.history.sqlite3-journal", "rollout.toml",
    ]  # fmt: skip


def test_a_symlink_and_its_target_have_one_history(file: Path, tmp_path: Path) -> None:
    link = tmp_path / "link.toml"
    link.symlink_to(file)
    assert history_of(link).path == history_of(file).path


@pytest.mark.parametrize("broken", ["", "\n[routes.chat\n"])
def test_the_file_may_say_where_its_history_is(file: Path, tmp_path: Path, broken: str) -> None:
    file.write_text(file.read_text() + '\n[history]\npath = "../own.sqlite3"\n' + broken)
    assert history_of(file).path.resolve() == file.parent.parent.resolve() / "own.sqlite3"
    if not broken:
        assert parse(file.read_bytes()).warnings == ()


def test_where_the_folder_can_have_none_it_is_this_users(
    file: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("ROLLOUT_STATE_DIR", str(tmp_path / "own"))
    monkeypatch.setattr("rollout_console.history.location.os.access", lambda *_: False)
    history = history_of(file)
    assert history.path == tmp_path / "own" / "history.sqlite3"
    assert not history.is_shared


def test_histories_of_state_folders_are_taken_over_once(
    file: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for user, texts in (("jo", (b"a", b"b", b"c")), ("al", (b"d", b"e"))):
        monkeypatch.setenv("ROLLOUT_STATE_DIR", str(tmp_path / user))
        own = History(tmp_path / user / "history.sqlite3")
        last = None
        for before, after in itertools.pairwise(texts):
            made = replace(change(before, after, undoes=last), file=file, who=Actor(user, "gw"))
            last = own.begin(made)
            own.commit(last)
        shared = history_of(file)
        for _ in range(2):
            shared.take_over(file)
    rows = shared.rows(file)
    assert [row.user for row in rows] == ["jo", "jo", "al"]
    assert rows[0].undoes_id == rows[1].id
    assert shared.text_of(file, revision_of(b"d")) == b"d"
    shared.commit(shared.begin(replace(change(b"c", b"f"), file=file)))
    assert shared.rows(file)[0].revision == revision_of(b"f")


def test_a_look_makes_no_history_where_there_is_none(
    file: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("ROLLOUT_STATE_DIR", str(tmp_path / "own"))
    own = History(tmp_path / "own" / "history.sqlite3")
    own.commit(own.begin(change(b"a", b"b")))  # of another file
    history = history_of(file)
    history.take_over(file)
    assert history.rows(file) == []
    assert [one.name for one in file.parent.iterdir()] == ["rollout.toml"]


def test_several_users_write_one_history(file: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root, to be other users")
    for folder in (file.parent, *list(file.parent.parents)[:-2]):
        folder.chmod(folder.stat().st_mode | 0o011)
    os.chown(file, 3001, 4000)
    os.chown(file.parent, 3001, 4000)
    file.parent.chmod(0o775)
    file.chmod(0o640)
    for number, user in enumerate((3001, 3002, 3003)):

        def act(number: int = number) -> str:
            made = replace(change(b"%d" % number, b"%d" % (number + 1)), file=file)
            history = history_of(file)
            history.commit(history.begin(made))
            return str(len(history.rows(file)))

        assert as_user(user, (user, 4000), act) == str(number + 1)
    assert not as_user(3004, (3004,), lambda: str(len(history_of(file).rows(file)))).isdigit()


@pytest.mark.parametrize("revision", ["", "abc", "zzzzzzzz", "0000000", "*******"])
def test_a_wrong_revision_is_one_sentence(history: History, revision: str) -> None:
    history.commit(history.begin(change(b"a", b"b")))
    with pytest.raises(HistoryError):
        history.text_of(FILE, revision)


@pytest.mark.parametrize(
    "named", ["rollout.toml", "./logs/../access.jsonl", "rollout.guard.toml", "rollout.plan.toml"]
)
def test_another_file_of_the_rollout_is_never_the_history(file: Path, named: str) -> None:
    """SQLite makes a database of an empty file, and an application then appends lines to it."""
    log = file.with_name("access.jsonl")
    log.touch()
    file.write_text(f'{file.read_text()}\n[history]\npath = "{named}"\n')
    history = history_of(file)
    assert history.path.name == "rollout.history.sqlite3"
    assert misplaced(file)
    history.commit(history.begin(change(b"a", b"b")))
    assert log.read_bytes() == b""


def test_a_folder_or_a_device_is_no_history(file: Path) -> None:
    for named in (".", "/dev/null", str(file.with_name("other.txt"))):
        file.with_name("other.txt").write_text("text of somebody " * 100)
        text = file.read_text().partition("\n[history]")[0]
        file.write_text(f'{text}\n[history]\npath = "{named}"\n')
        for ask in (
            lambda: history_of(file).rows(file),
            lambda: history_of(file).begin(change(b"a", b"b")),
        ):
            with pytest.raises(HistoryError, match=r"correct \[history\] path in the rollout file"):
                ask()


def test_a_damaged_or_impossible_database_is_one_sentence(tmp_path: Path) -> None:
    damaged = tmp_path / "h.sqlite3"
    damaged.write_bytes(b"not a database at all" * 100)
    with pytest.raises(HistoryError, match="corrupt"):
        History(damaged).rows(FILE)
    with pytest.raises(HistoryError, match="corrupt"):
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


def test_a_stamp_is_another_after_every_commit(history: History) -> None:
    def stamp() -> tuple[int, ...]:
        while (found := history.stamp()) is None:
            time.sleep(0.005)
        return found

    stamps = [stamp()]
    for number in range(5):
        row = history.begin(change(b"%d" % number, b"%d" % (number + 1)))
        stamps.append(stamp())
        history.commit(row)
        stamps += (stamp(), stamp())
    assert len(set(stamps)) == 11


def test_a_locked_database_is_waited_for_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A change takes several steps; a rollback must not wait for a backup at each of them."""
    history = History(tmp_path / "h.sqlite3")
    history.begin(change(b"a", b"b"))
    waits: list[float] = []
    connect = schema._connect

    def noted(uri: str, path: Path, busy_s: float) -> sqlite3.Connection:
        waits.append(busy_s)
        return connect(uri, path, busy_s)

    monkeypatch.setattr(schema, "_connect", noted)
    monkeypatch.setattr("rollout_console.history.history.BUSY_S", 0.5)
    with closing(sqlite3.connect(history.path, isolation_level=None)) as other:
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        for _ in range(3):
            with pytest.raises(Locked, match="is locked by another program"):
                history.begin(change(b"b", b"c"))
    assert waits == [0.5, 0.02, 0.02]


def test_a_full_disk_is_named(tmp_path: Path) -> None:
    """SQLite has ended the transaction by itself: the error of a ROLLBACK would hide the cause."""
    history = History(tmp_path / "h.sqlite3")
    history.begin(change(b"a", b"b"))

    def fill() -> None:
        with history._writing() as db:
            pages = db.execute("PRAGMA page_count").fetchone()[0]
            db.execute(f"PRAGMA max_page_count = {pages}")
            with transaction(db):
                db.execute("INSERT INTO texts VALUES ('f', 'r', ?)", (os.urandom(1_000_000),))

    with pytest.raises(HistoryError, match="the disk is full"):
        fill()


def group(before: bytes, after: bytes, rows: int = 3) -> list[NewChange]:
    one = change(before, after, action="rollback")
    return [replace(one, org=f"org-{number}") for number in range(rows)]


def orgs_of(history: History) -> list[str | None]:
    return [row.org for row in history.rows(FILE)]


def test_a_group_is_committed_and_abandoned_as_one(history: History) -> None:
    history.commit(history.begin(change(b"a", b"b")))
    history.abandon(history.begin(*group(b"b", b"c")))
    assert orgs_of(history) == ["acme"]
    row = history.begin(*group(b"b", b"c"))
    assert orgs_of(history) == ["acme"]
    history.commit(row)
    assert orgs_of(history) == ["org-2", "org-1", "org-0", "acme"]
    rows = history.rows(FILE)
    assert [one.group_id for one in rows] == [row, row, row, None]
    for newer, older in itertools.pairwise(rows):
        assert newer.previous_revision == older.revision, "rows join"
    leader = history.last_undoable(FILE)
    assert leader is not None
    assert leader.id == row
    assert [one.org for one in history.group_of(leader)] == ["org-0", "org-1", "org-2"]
    assert history.group_of(rows[-1]) == [rows[-1]]


@pytest.mark.parametrize(("text", "made"), [(b"b", False), (b"c", True)])
def test_a_crash_settles_a_group_by_the_file(history: History, text: bytes, made: bool) -> None:
    """A row whose two revisions are equal is no evidence that the file was changed."""
    history.commit(history.begin(change(b"a", b"b")))
    history.begin(*group(b"b", b"c"))
    FILE.write_bytes(text)
    history.reconcile(FILE)
    assert orgs_of(history) == (["org-2", "org-1", "org-0", "acme"] if made else ["acme"])
    history.commit(history.begin(change(text, b"d")))
    rows = history.rows(FILE)
    for newer, older in itertools.pairwise(rows):
        assert newer.previous_revision == older.revision, "rows join"


@pytest.mark.parametrize(("follows", "made"), [(b"b", False), (b"c", True)])
def test_a_crash_settles_a_group_by_the_next_change(
    history: History, follows: bytes, made: bool
) -> None:
    history.begin(*group(b"b", b"c"))
    history.commit(history.begin(change(follows, b"d")))
    FILE.write_bytes(b"d")
    history.reconcile(FILE)
    assert orgs_of(history) == (["acme", "org-2", "org-1", "org-0"] if made else ["acme"])


def test_a_crash_before_a_group_is_settled_by_the_group(history: History) -> None:
    history.begin(change(b"a", b"b"))
    history.begin(*group(b"b", b"c"))
    FILE.write_bytes(b"c")
    history.reconcile(FILE)
    assert orgs_of(history) == ["org-2", "org-1", "org-0", "acme"]


def test_groups_do_not_outrun_the_retention(
    history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rollout_console.history.retention.KEPT", 5)
    for number in range(60):
        history.commit(history.begin(*group(b"%d" % number, b"%d" % (number + 1))))
    assert len(history.rows(FILE)) <= 5 + 50


def test_a_history_before_groups_is_read_as_it_is(history: History) -> None:
    history.commit(history.begin(change(b"a", b"b")))
    with closing(sqlite3.connect(history.path)) as db:
        db.execute("ALTER TABLE changes DROP COLUMN group_id")
        db.execute("PRAGMA user_version = 3")
    found = history.last_undoable(FILE)
    assert found is not None
    assert (found.revision, found.group_id) == (revision_of(b"b"), None)
    history.commit(history.begin(*group(b"b", b"c")))
    assert orgs_of(history) == ["org-2", "org-1", "org-0", "acme"]


def test_a_group_that_is_taken_over_stays_one(history: History, tmp_path: Path) -> None:
    history.commit(history.begin(*group(b"a", b"b")))
    beside = History(tmp_path / "rollout.history.sqlite3", like=FILE, older=[history.path])
    FILE.write_bytes(b"b")
    beside.take_over(FILE)
    leader = beside.last_undoable(FILE)
    assert leader is not None
    assert [one.org for one in beside.group_of(leader)] == ["org-0", "org-1", "org-2"]
