"""The store of ids: shared by threads, processes and forked children; a file in the way of none."""

import logging
import os
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from rollout_gate.http import id_file, shared_database
from rollout_gate.http.id_file import IdReader, IdWriter, open_conversations
from rollout_gate.http.id_store import MOST_IN_MEMORY, IdStore, ids_at
from rollout_gate.http.operations import Bound
from tests.support.unprivileged import as_nobody, folder_of_nobody
from tests.support.waiting import until

SLOW_S = 2.0
"""What no request may wait for, with room for a busy machine; 100 of them would for 5 s or more."""


def bound(side: str = "tokenlab", thread: str = "t", at: float | None = None) -> Bound:
    used_at = time.time() if at is None else at
    return Bound(side, "chat", "acme", "response", thread, used_at)  # type: ignore[arg-type]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "rollout-ids.sqlite3"


def rows_of(path: Path, query: str) -> list[Any]:
    with closing(sqlite3.connect(path)) as database:
        return database.execute(query).fetchall()


def test_what_one_store_remembers_another_finds(path: Path) -> None:
    one, other = IdStore(path), IdStore(path)
    assert other.find(["a"]) is None
    one.remember("a", bound())
    assert one.recall(["x", "a"]) == one.recall(["a"])
    until(lambda: other.find(["a"]))
    found = other.recall(["a"])
    assert found is not None
    assert (found.side, found.route, found.org) == ("tokenlab", "chat", "acme")


def test_another_process_finds_it(path: Path) -> None:
    store = IdStore(path)
    store.remember("a\udcff", bound("previous"))
    store.flush()
    code = (
        "import sys; from rollout_gate.http.id_store import IdStore\n"
        "print(IdStore(sys.argv[1]).find(['a\\udcff']).side)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True
    )
    assert done.stdout == "previous\n"


def test_what_a_process_remembers_last_is_written_when_it_ends(path: Path) -> None:
    code = (
        "import sys, time; from rollout_gate.http.id_store import ids_at\n"
        "from rollout_gate.http.operations import Bound\n"
        "store = ids_at(sys.argv[1])\n"
        "store.remember('a', Bound('tokenlab', 'chat', 'acme', 'response', 'a', time.time()))\n"
    )
    subprocess.run([sys.executable, "-c", code, str(path)], check=True)
    assert IdStore(path).find(["a"]) is not None


def test_a_forked_child_writes_what_it_remembers(path: Path) -> None:
    store = IdStore(path)
    store.remember("before", bound())
    store.flush()
    assert IdStore(path).find(["before"]) is not None
    child = os.fork()
    if not child:
        try:
            store.remember("in the child", bound())
            until(lambda: IdStore(path).find(["in the child"]) is not None)
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    assert store.find(["in the child"]) is not None
    store.remember("after", bound())
    store.flush()
    assert IdStore(path).find(["after"]) is not None


def test_a_reader_that_is_collected_closes_its_connection(path: Path) -> None:
    IdWriter(path).write({"a": bound()})
    reader = IdReader(path)
    assert set(reader.find(["a"])) == {"a"}
    connection = reader._connection
    assert connection is not None
    del reader
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        connection.execute("select 1")


def test_a_forked_child_does_not_close_what_its_parent_has_opened(path: Path) -> None:
    writer = IdWriter(path)
    writer.write({"a": bound()})
    connection = writer._connection
    assert connection is not None
    child = os.fork()
    if not child:
        try:
            writer.close()
            os._exit(0 if connection in shared_database._of_parents else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    writer.close()


def test_a_file_that_is_locked_delays_no_request(path: Path) -> None:
    store = IdStore(path)
    store.remember("a", bound())
    store.close()
    database = sqlite3.connect(path, isolation_level=None)
    database.execute("pragma journal_mode = delete")
    database.execute("begin exclusive")
    started = time.monotonic()
    other = IdStore(path)
    assert other.find(["a"]) is None
    other.remember("b", bound())
    for _ in range(100):
        assert other.find(["x"]) is None
    assert other.recall(["b"]) is not None
    assert time.monotonic() - started < SLOW_S
    database.execute("rollback")
    database.close()
    until(lambda: other.find(["a"]))
    until(lambda: store.find(["b"]))


def test_a_file_that_is_deleted_or_replaced_begins_anew(path: Path) -> None:
    store = IdStore(path)
    store.remember("a", bound())
    store.flush()
    assert IdStore(path).find(["a"]) is not None
    for name in path.parent.glob("rollout-ids*"):
        name.unlink()
    assert store.find(["x"]) is None
    assert store.recall(["a"]) is not None, "this process knows it all the same"
    store.remember("b", bound())
    store.flush()
    assert IdStore(path).find(["b"]) is not None


@pytest.mark.parametrize("what", ["no folder", "no database", "a folder in its place"])
def test_what_cannot_be_used_is_told_once_and_fails_nothing(
    path: Path, what: str, caplog: pytest.LogCaptureFixture
) -> None:
    if what == "no folder":
        path = path.parent / "missing" / path.name
    if what == "no database":
        path.write_bytes(b"no database" * 100)
    if what == "a folder in its place":
        path.mkdir()
    caplog.set_level(logging.WARNING, "rollout_gate")
    store = IdStore(path)
    for _ in range(3):
        store.remember("a", bound())
        store.flush()
        assert store.find(["x"]) is None
    assert store.recall(["a"]) is not None
    store.close()
    assert caplog.text.count("cannot be used") == 1


def test_a_file_that_is_read_only_is_read_at_most(caplog: pytest.LogCaptureFixture) -> None:
    with folder_of_nobody() as folder:
        path = folder / "rollout-ids.sqlite3"

        def write() -> None:
            store = IdStore(path)
            store.remember("a", bound())
            store.close()
            path.chmod(0o444)
            folder.chmod(0o555)

        def use() -> None:
            store, started = IdStore(path), time.monotonic()
            for _ in range(3):
                store.remember("b", bound())
                store.find(["a"])
                assert store.find(["b"]) is not None
            assert time.monotonic() - started < SLOW_S
            store.close()
            assert caplog.text.count("cannot be used") == 1

        as_nobody(write)
        as_nobody(use)


def test_memory_is_bounded_and_keeps_what_is_used(path: Path) -> None:
    store = IdStore(path)
    store._unwritable_until = float("inf")
    store.remember("first", bound())
    for n in range(2 * MOST_IN_MEMORY):
        store.remember(str(n), bound())
        if n % 1000 == 0:
            assert store.recall(["first"]) is not None
    assert len(store._known) == MOST_IN_MEMORY
    assert len(store._unwritten) == MOST_IN_MEMORY
    assert store.recall(["1"]) is None


def test_the_file_is_bounded_and_forgets_what_was_not_used_for_long(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(id_file, "MOST_ROWS", 3)
    monkeypatch.setattr(id_file, "_TRIM_EVERY", 1)
    writer, now = IdWriter(path), time.time()
    writer.write({"old": bound(at=now - id_file.KEPT_S - 1)})
    writer.write({str(n): bound(at=now + n) for n in range(6)})
    assert rows_of(path, "select id from ids order by used_at") == [("2",), ("3",), ("4",), ("5",)]


def test_the_use_of_an_id_is_written_for_its_retention(path: Path) -> None:
    store = IdStore(path)
    store.remember("a", bound(at=time.time() - 86_400))
    store.flush()
    assert store.recall(["a"]) is not None
    store.flush()
    ((used_at,),) = rows_of(path, "select used_at from ids")
    assert time.time() - used_at < 60


def test_threads_share_it(path: Path) -> None:
    store = ids_at(path)
    assert ids_at(str(path)) is store

    def work(number: int) -> None:
        for n in range(300):
            store.remember(f"{number}-{n}", bound())
            assert store.recall([f"{number}-{n}"]) is not None

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    store.close()
    assert rows_of(path, "select count(*) from ids") == [(8 * 300,)]


def test_open_conversations_have_more_than_one_turn_and_went_on_lately(path: Path) -> None:
    now = time.time()
    writer = IdWriter(path)
    writer.write(
        {
            "r1": bound(thread="r1"), "r2": bound(thread="r1"), "r3": bound(thread="r1"),
            "alone": bound(thread="alone"), "s2": bound(thread="s1"),
            "p2": bound("previous", thread="p1"), "old": bound(thread="o1", at=now - 3600),
            "globex": Bound("tokenlab", "chat", "globex", "response", "g1", now),
            "other": Bound("tokenlab", "other", "acme", "response", "x1", now),
        }
    )  # fmt: skip
    since = now - 1800
    assert open_conversations(path, "chat", "acme", since) == 2
    assert open_conversations(path, "chat", None, since) == 3
    assert open_conversations(path, None, None, since) == 4
    with pytest.raises(sqlite3.Error):
        open_conversations(path.with_name("missing"), None, None, since)
    assert not path.with_name("missing").exists()
