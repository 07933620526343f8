"""The access log: whole lines, whoever else writes, and no failure of a request."""

import errno
import json
import multiprocessing
import os
import resource
import signal
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from rollout_console.health.log.lines import decoded
from rollout_gate import AccessLine, AccessLog, timestamp
from tests.support.unprivileged import as_nobody, folder_of_nobody


def line(number: int, org: str = "acme") -> AccessLine:
    return AccessLine(
        ts=timestamp(), route="chat", org=org, side="tokenlab", model="m", status=200,
        latency_ms=float(number), request_id="x" * 200,
    )  # fmt: skip


def write_many(path: str) -> None:
    log = AccessLog(path)
    for i in range(2_000):
        log.append(line(i))


def test_four_processes_tear_no_line(tmp_path: Path) -> None:
    path = tmp_path / "access.jsonl"
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=write_many, args=(str(path),)) for _ in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    lines = path.read_text().splitlines()
    assert len(lines) == 8_000
    assert all(json.loads(text)["org"] == "acme" for text in lines)


def test_a_line_that_is_being_written_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "access.jsonl"
    path.write_text('{"written":')
    looks: list[float] = []

    def meanwhile(seconds: float) -> None:
        looks.append(seconds)
        if len(looks) == 3:
            with path.open("a") as other:
                other.write("true}\n")

    monkeypatch.setattr("rollout_gate.access_log.time.sleep", meanwhile)
    log = AccessLog(path)
    log.append(line(1))
    log.close()
    assert [bool(text) for text in path.read_text().split("\n")] == [True, True, False]
    assert 0.005 < sum(looks) < 0.01


def test_a_rotated_log_is_made_anew_and_unknown_fields_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "access.jsonl"
    log = AccessLog(path)
    log.append(line(1))
    path.rename(tmp_path / "access.jsonl.1")
    log.append(line(2))
    log.close()
    assert json.loads(path.read_text())["latency_ms"] == 2.0
    assert "error" not in json.loads(path.read_text())


def test_a_folder_that_is_gone_costs_a_line_and_nothing_else(tmp_path: Path) -> None:
    log = AccessLog(tmp_path / "gone" / "access.jsonl")
    log.append(line(1))
    assert log.lost == 1


def test_what_a_full_disk_tore_off_takes_no_other_line_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    path, log = tmp_path / "a.jsonl", AccessLog(tmp_path / "a.jsonl")
    really = os.write
    log.append(line(1, "before"))
    monkeypatch.setattr(os, "write", lambda descriptor, data: really(descriptor, data[:20]))
    log.append(line(2, "torn"))
    monkeypatch.setattr(os, "write", really)
    log.append(line(3, "after"))
    before, torn, after = path.read_text().splitlines()
    assert json.loads(before)["org"] == "before"
    assert len(torn) == 19, "a newline is in the place of its last byte"
    assert json.loads(after)["org"] == "after"
    assert log.lost == 1
    messages = [one.getMessage() for one in caplog.records if one.levelname == "WARNING"]
    assert messages == [f"{path} cannot be written to: the disk is full; 1 lines lost"]


def tear(path: Path, *, can_end_it: bool = True) -> None:
    """Let another process write 20 bytes of a line, as by a disk that is full then, and die."""
    child = os.fork()
    if child == 0:
        signal.alarm(10)
        _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 20, most))
        if not can_end_it:
            os.pwrite = full  # as on a copy-on-write file system
        log = AccessLog(path)
        log.append(line(2, "torn"))
        os._exit(0 if log.lost == 1 else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def full(*_: object) -> int:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def assert_one_torn(path: Path) -> None:
    """Both other lines are whole, and what is between them is one unusable line, lost already."""
    records, unusable = decoded(path.read_bytes())
    assert [one.org for one in records] == ["before", "after"]
    assert unusable.lines == 1
    assert b"\n\n" not in path.read_bytes()


def test_what_one_process_tore_takes_no_line_of_another_with_it(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    log = AccessLog(path)
    log.append(line(1, "before"))
    tear(path)
    log.append(line(3, "after"))
    log.close()
    assert log.lost == 0
    assert_one_torn(path)


@pytest.mark.parametrize("who", ["opens it later", "has failed itself"])
def test_what_its_writer_could_not_end_is_ended_by_whoever_opens_the_log(
    tmp_path: Path, who: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.jsonl"
    log = AccessLog(path)
    log.append(line(1, "before"))
    tear(path, can_end_it=False)
    assert not path.read_bytes().endswith(b"\n")
    if who == "opens it later":
        log = AccessLog(path)
    else:
        with monkeypatch.context() as patched:
            patched.setattr(os, "write", full)
            log.append(line(3, "lost"))
        assert log.lost == 1
    log.append(line(4, "after"))
    log.close()
    assert_one_torn(path)


def test_a_log_that_its_writer_may_not_read_has_whole_lines(tmp_path: Path) -> None:
    """Whether its last line is whole is not known: an empty line is before the next one."""
    with folder_of_nobody() as folder:
        path = folder / "a.jsonl"

        def write() -> None:
            for number in range(2):
                log = AccessLog(path)
                log.append(line(number))
                log.close()
                path.chmod(0o200)
                assert log.lost == 0
            path.chmod(0o600)

        as_nobody(write)
        records, unusable = decoded(path.read_bytes())
        assert [one.latency_ms for one in records] == [0.0, 1.0]
        assert unusable.lines == 0


def test_a_line_opens_nothing_and_reads_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = AccessLog(tmp_path / "a.jsonl")
    log.append(line(0))
    calls = []
    for name in ("open", "lseek", "pread", "pwrite"):
        monkeypatch.setattr(os, name, lambda *_, name=name: calls.append(name))
    for number in range(10):
        log.append(line(number))
    monkeypatch.undo()
    log.close()
    assert calls == []
    assert log.lost == 0


@pytest.mark.parametrize("make", ["full", "gone", "fifo", "folder"])
def test_a_log_that_is_no_log_loses_lines_and_says_so_once(
    tmp_path: Path, make: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "there" / "a.jsonl"
    if make != "gone":
        path.parent.mkdir()
    if make == "full":
        path.symlink_to("/dev/full")
    elif make == "fifo":
        os.mkfifo(path)
    elif make == "folder":
        path.mkdir()
    log = AccessLog(path)
    for _ in range(5):
        log.append(line(1))
    assert log.lost == 5
    assert len([one for one in caplog.records if "lost" in one.getMessage()]) == 1
    if make == "folder":
        path.rmdir()
    elif make == "gone":
        path.parent.mkdir()
    else:
        path.unlink()
    log.append(line(1))
    assert log.lost == 5
    assert len(path.read_text().splitlines()) == 1
    log.close()


def test_a_fork_while_another_thread_writes_leaves_the_child_able_to(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    log = AccessLog(path)
    log.append(line(0))
    held, may_go = threading.Event(), threading.Event()

    def hold() -> None:
        with log._lock:
            held.set()
            may_go.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    child = os.fork()
    if child == 0:
        signal.alarm(5)
        log.append(line(1))
        os._exit(0)
    may_go.set()
    thread.join()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    log.append(line(2))
    assert len(path.read_text().splitlines()) == 3
    log.close()


def test_lines_of_many_threads_and_processes_never_mix(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    log = AccessLog(path)
    children = []
    for _ in range(3):
        child = os.fork()
        if child == 0:
            for i in range(300):
                log.append(line(i))
            os._exit(0)
        children.append(child)

    def write() -> None:
        for i in range(300):
            log.append(line(i))

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for child in children:
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    read = [json.loads(text) for text in path.read_text().splitlines()]
    assert len(read) == 7 * 300
    log.close()


def test_a_log_stays_where_it_was_when_the_working_directory_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    log = AccessLog("access.jsonl")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    log.append(line(1))
    assert (tmp_path / "access.jsonl").is_file()
    assert log.path == tmp_path / "access.jsonl"


@pytest.mark.parametrize(
    "wrong", [{"org": object()}, {"status": 1j}, {"latency_ms": {1: object()}}]
)
def test_a_line_without_a_json_form_is_lost_and_raises_nothing(
    tmp_path: Path, wrong: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    log = AccessLog(tmp_path / "access.jsonl")
    given: dict[str, Any] = {
        "ts": timestamp(), "route": "chat", "org": "acme", "side": "tokenlab", "model": "m",
        "status": 200, "latency_ms": 1.0,
    }  # fmt: skip
    log.append(AccessLine(**{**given, **wrong}))
    log.append(AccessLine(**given))
    assert log.lost == 1
    assert len((tmp_path / "access.jsonl").read_text().splitlines()) == 1
    assert "a line cannot be encoded; 1 lines lost" in caplog.text


def test_a_lone_surrogate_is_written_out(tmp_path: Path) -> None:
    log = AccessLog(tmp_path / "access.jsonl")
    log.append(line(1, os.fsdecode(b"caf\xe9")))
    assert json.loads((tmp_path / "access.jsonl").read_text())["org"] == "caf\\udce9"
    assert log.lost == 0


def test_a_descriptor_that_was_closed_and_is_somebody_elses_is_left_alone(tmp_path: Path) -> None:
    """A daemon closes whatever it has inherited; the next file that is opened gets the number."""
    log = AccessLog(tmp_path / "access.jsonl")
    log.append(line(1))
    descriptor = log._descriptor
    os.close(descriptor)
    theirs = os.open(tmp_path / "theirs", os.O_CREAT | os.O_RDWR)
    assert theirs == descriptor
    try:
        log.append(line(2))
        log.close()
        log.append(line(3))
        log.close()
        assert os.pread(theirs, 100, 0) == b""
        assert os.fstat(theirs)
    finally:
        os.close(theirs)
    assert len((tmp_path / "access.jsonl").read_text().splitlines()) == 3
    assert log.lost == 0


def test_children_that_are_forked_while_the_disk_is_full_raise_nothing(tmp_path: Path) -> None:
    """Each line that fails closes the file, so a fork meets it half closed.

    It forks from a small process: each fork of this one copies the page table of all that the tests
    have imported, while the writers wait.
    """
    path = tmp_path / "full.jsonl"
    path.symlink_to("/dev/full")
    process = multiprocessing.get_context("spawn").Process(target=fork_often, args=(path,))
    process.start()
    process.join(60)
    ended = process.exitcode
    process.kill()
    assert ended == 0, "children that failed"


def fork_often(path: Path) -> None:
    """Fork while threads write, and let each child write; exit with how many of them failed."""
    log = AccessLog(path)
    stop = threading.Event()

    def write() -> None:
        while not stop.is_set():
            log.append(line(1))

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    failed = 0
    try:
        for _ in range(100):
            child = os.fork()
            if child == 0:
                try:
                    log.append(line(2))
                    os._exit(0)
                except BaseException:
                    os._exit(3)
            failed += os.waitpid(child, 0)[1] != 0
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    sys.exit(failed)
