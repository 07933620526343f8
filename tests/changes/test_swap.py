"""Replacing the file: whole or not at all, and never over somebody else's edit."""

import os
import random
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from rollout_console.changes import rename_exchange as exchange
from rollout_console.changes.edits import SetPercent
from rollout_console.changes.errors import Conflict, NotReadable, NotWritable
from rollout_console.changes.file_store import RolloutStore
from rollout_gate.file.parse import parse


def opened(path: Path) -> RolloutStore:
    store = RolloutStore(path)
    store.open()
    return store


def test_symlink_and_mode_are_kept(file: Path, tmp_path: Path) -> None:
    file.chmod(0o640)
    link = tmp_path / "link.toml"
    link.symlink_to(file)
    store = opened(link)
    store.write(store.prepare([SetPercent("chat", "acme", 100)]))
    assert link.is_symlink()
    assert stat.S_IMODE(file.stat().st_mode) == 0o640
    assert parse(file.read_bytes()).routes["chat"].org_points("acme") == 100
    assert [p.name for p in file.parent.iterdir()] == ["rollout.toml"]


def test_somebody_elses_edit_is_never_overwritten(file: Path) -> None:
    store = opened(file)
    prepared = store.prepare([SetPercent("chat", "acme", 100)])
    file.write_bytes(file.read_bytes() + b"# mine\n")
    theirs = file.read_bytes()
    with pytest.raises(Conflict):
        store.write(prepared)
    assert file.read_bytes() == theirs
    assert store.refresh() is not None


@pytest.mark.parametrize("call", ["open", "write", "fsync", "fchmod", "rename"])
def test_every_failing_call_leaves_the_file_as_it_was(
    file: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    store = opened(file)
    before = file.read_bytes()
    prepared = store.prepare([SetPercent("chat", "acme", 100)])
    real = getattr(os, call)

    def fail(*arguments: Any, **more: Any) -> Any:
        if call == "open" and ".part" not in str(arguments[0]):
            return real(*arguments, **more)
        raise OSError(28, "No space left on device")

    if call == "rename":
        # A kernel that can exchange two names is not asked to rename.
        monkeypatch.setattr(exchange, "_renameat2", lambda: None)
    monkeypatch.setattr(os, call, fail)
    with pytest.raises(NotWritable, match="disk is full"):
        store.write(prepared)
    monkeypatch.undo()
    assert file.read_bytes() == before
    assert [p.name for p in file.parent.iterdir()] == ["rollout.toml"]


def test_a_real_limit_on_the_size_is_one_sentence(file: Path) -> None:
    script = f"""
import resource, signal, pathlib
from rollout_console.changes.file_store import RolloutStore
from rollout_console.changes.edits import SetPercent
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
store = RolloutStore(pathlib.Path({str(file)!r})); store.open()
prepared = store.prepare([SetPercent("chat", "acme", 100)])
resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
try:
    store.write(prepared)
except Exception as error:
    print(type(error).__name__, error)
"""
    before = file.read_bytes()
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("NotWritable")
    assert file.read_bytes() == before


def test_a_file_that_is_gone_is_said(file: Path) -> None:
    store = opened(file)
    prepared = store.prepare([SetPercent("chat", "acme", 100)])
    file.unlink()
    with pytest.raises(NotReadable):
        store.write(prepared)
    with pytest.raises(NotReadable, match="does not exist"):
        store.refresh()


WRITER = """
import pathlib, signal, sys
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # whatever this was started under, nohup for one
from rollout_console.changes.file_store import RolloutStore
from rollout_console.changes.errors import Conflict
from rollout_console.changes.edits import SetPercent
store = RolloutStore(pathlib.Path(sys.argv[1])); store.open()
print("ready", flush=True)
for i in range(int(sys.argv[3])):
    while True:
        try:
            store.write(store.prepare([SetPercent("chat", sys.argv[2], i % 10000)]))
            break
        except Conflict:
            store.refresh()
"""


def writer(file: Path, org: str, times: int) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, str(file), org, str(times)],
        stdout=subprocess.PIPE,
        text=True,
    )


def test_a_killed_writer_leaves_one_whole_version(file: Path) -> None:
    rng = random.Random(11)
    for signal_number in [signal.SIGKILL] * 8 + [signal.SIGHUP] * 4:
        with writer(file, "acme", 100_000) as child:
            assert child.stdout is not None
            child.stdout.readline()
            time.sleep(rng.uniform(0.0, 0.08))
            child.send_signal(signal_number)
            child.wait()
        parse(file.read_bytes())
    store = opened(file)
    store.write(store.prepare([SetPercent("chat", "acme", 10_000)]))
    assert [p.name for p in file.parent.iterdir()] == ["rollout.toml"], "litter of dead writers"


def test_four_writers_lose_nothing(file: Path) -> None:
    children = [writer(file, f"org-{i}", 51) for i in range(4)]
    for child in children:
        with child:
            assert child.wait() == 0
    orgs = parse(file.read_bytes()).routes["chat"].orgs
    assert [orgs[f"org-{i}"].points for i in range(4)] == [50] * 4
