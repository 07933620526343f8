"""The gate: follows every kind of change, and never raises into a request."""

import copy
import os
import pickle
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rollout_gate import Gate
from rollout_gate.file.model import RolloutFile
from tests.support.waiting import until

SLOW_S = 10.0


def text(percent: int) -> str:
    return (
        'schema = 1\nalgorithm = "fractional-v3"\n[routes.chat]\n'
        f'format = "openai_chat_completions"\n[routes.chat.orgs]\nacme = {percent}\n'
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    made = tmp_path / "r.toml"
    made.write_text(text(0))
    return made


@pytest.fixture
def gate(path: Path) -> Iterator[Gate]:
    with Gate(path, poll_s=0.05) as made:
        yield made


def side(gate: Gate) -> str:
    return gate.decide("chat", "acme").side


def test_it_follows_a_write_a_rename_and_a_restore(path: Path, gate: Gate) -> None:
    assert side(gate) == "previous"
    path.write_text(text(100))
    until(lambda: side(gate) == "tokenlab")
    other = path.with_suffix(".new")
    other.write_text(text(0))
    other.rename(path)
    until(lambda: side(gate) == "previous")
    path.unlink()
    until(lambda: "does not exist" in gate.trouble)
    path.write_text(text(100))
    until(lambda: side(gate) == "tokenlab" and not gate.trouble)


@pytest.mark.parametrize(
    "break_it",
    [
        lambda p: p.write_text("[routes.chat"),
        lambda p: p.write_text(text(101)),
        lambda p: p.write_bytes(b"\xff\xfe"),
        lambda p: (p.unlink(), p.mkdir()),
        lambda p: os.mkfifo(p.rename(p.with_name("old")).with_name(p.name)),
        lambda p: p.write_bytes(b"#" * (33 * 1024 * 1024)),
    ],
    ids=["torn", "wrong", "not-utf8", "folder", "fifo", "huge"],
)
def test_a_bad_file_leaves_the_last_good_version(
    path: Path, gate: Gate, break_it: Callable[[Path], object]
) -> None:
    path.write_text(text(100))
    until(lambda: side(gate) == "tokenlab")
    break_it(path)
    until(lambda: bool(gate.trouble))
    assert side(gate) == "tokenlab"
    if path.is_dir():
        path.rmdir()
    else:
        path.unlink()
    path.write_text(text(0))
    until(lambda: side(gate) == "previous")
    assert gate.trouble == ""


def test_a_file_emptied_before_it_is_written_is_never_obeyed(path: Path) -> None:
    with Gate(path, poll_s=60) as gate:
        path.write_text(text(100))
        gate.refresh()
        gate.refresh()
        assert side(gate) == "tokenlab"
        with path.open("w") as stream:
            for _ in range(3):
                gate.refresh()
                assert side(gate) == "tokenlab"
            stream.write(text(0)[:-3])
            stream.flush()
            gate.refresh()
            assert side(gate) == "tokenlab"


def test_without_a_first_version_all_goes_to_previous(tmp_path: Path) -> None:
    with Gate(tmp_path / "none.toml") as gate:
        decision = gate.decide("chat", "acme")
    assert (decision.side, decision.rule) == ("previous", "no_file")


def test_callbacks_are_called_and_may_fail(path: Path) -> None:
    changes: list[RolloutFile] = []
    troubles: list[str] = []

    def on_change(file: RolloutFile) -> None:
        changes.append(file)
        raise RuntimeError("a fault of the application")

    with Gate(path, poll_s=0.05, on_change=on_change, on_trouble=troubles.append) as gate:
        path.write_text(text(100))
        until(lambda: len(changes) == 2)
        path.write_text("x")
        until(lambda: len(troubles) == 1)
        path.write_text(text(50))
        until(lambda: troubles[1:] == [""])
        assert gate.file is not None
    assert "line 1" in troubles[0]


def test_more_may_listen_and_stop_listening(path: Path) -> None:
    heard: list[str] = []
    with Gate(path, poll_s=60) as gate:
        first = gate.subscribe(on_trouble=lambda text: heard.append(f"first: {text}"))
        gate.subscribe(on_trouble=lambda text: heard.append(f"second: {text}"))
        path.unlink()
        gate.refresh()
        first()
        first()
        path.write_text(text(100))
        gate.refresh()
    assert [line.split(":")[0] for line in heard] == ["first", "second", "second"]


def test_a_symlink_that_moves_is_followed(tmp_path: Path, path: Path) -> None:
    other = tmp_path / "other.toml"
    other.write_text(text(100))
    link = tmp_path / "link.toml"
    link.symlink_to(path)
    with Gate(link, poll_s=0.05) as gate:
        assert side(gate) == "previous"
        again = tmp_path / "again"
        again.symlink_to(other)
        again.rename(link)
        until(lambda: side(gate) == "tokenlab")


def test_no_mutation_raises_into_a_request(path: Path) -> None:
    rng = random.Random(5)
    with Gate(path, poll_s=60) as gate:
        for _ in range(300):
            data = bytearray(text(50).encode())
            for _ in range(rng.randint(1, 5)):
                data[rng.randrange(len(data))] = rng.randrange(256)
            path.write_bytes(data)
            gate.refresh()
            gate.refresh()
            assert side(gate) in ("tokenlab", "previous")


def test_a_forked_child_follows_too(path: Path) -> None:
    script = f"""
import os, time, pathlib
from rollout_gate import Gate
path = pathlib.Path({str(path)!r})
gate = Gate(path, poll_s=0.05)
if os.fork() == 0:
    end = time.monotonic() + 10
    path.write_text({text(100)!r})
    while gate.decide("chat", "acme").side != "tokenlab" and time.monotonic() < end:
        time.sleep(0.02)
    os._exit(0 if gate.decide("chat", "acme").side == "tokenlab" else 1)
raise SystemExit(os.waitstatus_to_exitcode(os.wait()[1]))
"""
    done = subprocess.run([sys.executable, "-c", script], check=False, timeout=60)
    assert done.returncode == 0


@pytest.mark.parametrize(
    "more", [{"org": None}, {"org": 5}, {"key": 12345}, {"key": b"x"}, {"flags": 7}, {"route": 3}]
)
def test_what_is_no_text_goes_to_previous_and_raises_nothing(
    gate: Gate, more: dict[str, object]
) -> None:
    found = gate.decide(**{"route": "chat", "org": "acme", **more})  # type: ignore[arg-type]
    assert found.side == "previous"
    assert found.rule in ("bad_argument", "unknown_route")


def latched(extra: str = "") -> str:
    return (
        'schema = 1\nalgorithm = "fractional-v3"\n[routes.chat]\n'
        'format = "openai_chat_completions"\ndefault_percent = 100\n[routes.chat.orgs]\n'
        f"acme = {{ rolled_back = true }}  # 5xx\n{extra}"
    )


def test_a_write_in_place_that_stands_still_loses_no_latch(path: Path, gate: Gate) -> None:
    path.write_text(latched())
    until(lambda: gate.decide("chat", "other").side == "tokenlab")
    whole = latched("beta = 5\n")
    with path.open("w") as stream:
        stream.write(whole[: whole.index("[routes.chat.orgs]")])
        stream.flush()
        until(lambda: "may be half a file" in gate.trouble)
        assert "routes.chat.orgs.acme" in gate.trouble
        time.sleep(0.3)  # six looks at the file
        assert side(gate) == "previous"
        stream.write(whole[whole.index("[routes.chat.orgs]") :])
    until(lambda: not gate.trouble and gate.decide("chat", "beta").points == 500)
    assert side(gate) == "previous"


def test_what_was_taken_out_in_place_is_meant_when_it_is_saved_once_more(
    path: Path, gate: Gate
) -> None:
    path.write_text(latched())
    until(lambda: gate.decide("chat", "other").side == "tokenlab")
    shorter = latched().replace("acme = { rolled_back = true }  # 5xx\n", "")
    path.write_text(shorter)
    until(lambda: "save it once more" in gate.trouble)
    assert side(gate) == "previous"
    path.write_text(shorter)
    until(lambda: side(gate) == "tokenlab")
    assert gate.trouble == ""


def test_what_is_taken_out_by_a_rename_is_meant(path: Path, gate: Gate) -> None:
    path.write_text(latched())
    until(lambda: gate.decide("chat", "other").side == "tokenlab")
    new = path.with_suffix(".new")
    new.write_text(latched().replace("acme = { rolled_back = true }  # 5xx\n", ""))
    os.utime(new, ns=(new.stat().st_mtime_ns - 10_000_000,) * 2)  # written a moment ago
    new.rename(path)
    until(lambda: side(gate) == "tokenlab")


def test_a_rename_in_the_tick_of_the_write_is_in_force_after_a_touch(path: Path) -> None:
    shorter = latched().replace("acme = { rolled_back = true }  # 5xx\n", "")
    new = path.with_suffix(".new")
    for _ in range(100):
        path.write_text(latched())
        with Gate(path, poll_s=60) as gate:
            new.write_text(shorter)
            new.rename(path)
            status = path.stat()
            if status.st_ctime_ns != status.st_mtime_ns:
                continue  # the clock ticked in between
            gate.refresh()
            assert "came whole, by a rename: save it once more" in gate.trouble
            assert side(gate) == "previous"
            os.utime(path)
            gate.refresh()
            gate.refresh()
            assert (side(gate), gate.trouble) == ("tokenlab", "")
            return
    pytest.skip("on this file system a rename always shows in the times")


def test_what_is_taken_out_by_another_link_is_meant(path: Path) -> None:
    """As Kubernetes changes a mounted ConfigMap: a symlink to a folder is exchanged."""
    for name, text in (
        ("one", latched()),
        ("two", latched().replace("acme = { rolled_back = true }  # 5xx\n", "")),
    ):
        path.with_name(name).mkdir()
        path.with_name(name).joinpath("r.toml").write_text(text)
    data = path.with_name("data")
    data.symlink_to("one")
    path.unlink()
    path.symlink_to("data/r.toml")
    with Gate(path, poll_s=60) as gate:
        path.with_name("new").symlink_to("two")
        path.with_name("new").rename(data)
        gate.refresh()
        gate.refresh()
        assert (side(gate), gate.trouble) == ("tokenlab", "")


@pytest.mark.parametrize("way", ["in place", "deleted", "renamed away"])
@pytest.mark.parametrize("again", ["chmod", "link", "nothing"])
def test_a_latch_is_not_lost_by_a_writer_that_stops_twice(path: Path, way: str, again: str) -> None:
    """The first half has no share at all and sends nothing: it is taken, and not built upon."""
    head = (
        'schema = 1\nalgorithm = "fractional-v3"\n[routes.chat]\n'
        'format = "openai_chat_completions"\n'
    )
    path.write_text(head + "default_percent = 100\nrolled_back = true\n")
    with Gate(path, poll_s=60) as gate:
        if way == "deleted":
            path.unlink()
        elif way == "renamed away":
            path.rename(path.with_suffix(".old"))
        gate.refresh()
        for text in (head, head + "default_percent = 100\n"):
            path.write_text(text)
            for _ in range(3):
                gate.refresh()
            assert side(gate) == "previous"
        assert "rolled_back is missing" in gate.trouble
        if again == "chmod":
            path.chmod(0o600)
        elif again == "link":
            os.link(path, path.with_suffix(".backup"))
        for _ in range(3):
            gate.refresh()
        assert side(gate) == "previous"
        path.write_text(head + "default_percent = 100\n")
        for _ in range(3):
            gate.refresh()
        assert side(gate) == "tokenlab", "saved once more, it is meant"
        assert gate.trouble == ""


def test_nothing_ends_the_watch(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_data: bytes) -> None:
        raise ZeroDivisionError

    path.write_text(latched())
    with monkeypatch.context() as patch:
        patch.setattr("rollout_gate.gate.parse", broken)
        gate = Gate(path, poll_s=0.05)
        assert "ZeroDivisionError" in gate.trouble
    with gate:
        until(lambda: gate.trouble == "")
        path.write_text(latched("zzz = { rolled_back = true }\n"))
        until(lambda: gate.decide("chat", "zzz").side == "previous")


@pytest.mark.parametrize("error", [SystemExit("stop"), KeyboardInterrupt(), GeneratorExit()])
def test_a_callback_that_would_end_its_thread_does_not_end_the_watch(
    path: Path, error: BaseException
) -> None:
    called: list[str] = []

    def ends(trouble: str) -> None:
        called.append(trouble)
        raise error

    def later() -> None:
        called.append("later")
        raise error

    with Gate(path, poll_s=0.05, on_trouble=ends) as gate:
        gate.later(later)
        path.write_text("broken [")
        until(lambda: len(called) >= 2 and "later" in called)
        path.write_text(text(100))
        until(lambda: side(gate) == "tokenlab")
    path.write_text("broken [")
    gate.refresh()  # it was just written in place
    with pytest.raises(type(error)):  # in the application's own thread it is the application's
        gate.refresh()


def test_a_copy_of_a_gate_is_the_gate(path: Path, gate: Gate) -> None:
    assert copy.copy(gate) is gate
    assert copy.deepcopy({"gate": gate})["gate"] is gate
    with pytest.raises(TypeError, match="cannot be pickled: make one in each process"):
        pickle.dumps(gate)


def test_a_new_file_that_is_still_written_to_is_looked_at_once_more(path: Path) -> None:
    """Deleted and written anew, as git checkout does it, it is not whole at once."""
    path.write_text(latched())
    with Gate(path, poll_s=60) as gate:
        path.unlink()
        gate.refresh()
        whole = latched()
        with path.open("w") as stream:
            stream.write(whole[: whole.index("[routes.chat.orgs]")])
            stream.flush()
            gate.refresh()
            assert side(gate) == "previous"
            stream.write(whole[whole.index("[routes.chat.orgs]") :])
        gate.refresh()
        gate.refresh()
        assert side(gate) == "previous"
        assert gate.trouble == ""


def test_a_relative_path_means_the_same_after_a_change_of_the_working_directory(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(path.parent)
    with Gate(path.name, poll_s=0.05) as gate:
        (path.parent / "elsewhere").mkdir()
        monkeypatch.chdir(path.parent / "elsewhere")
        path.write_text(text(100))
        until(lambda: side(gate) == "tokenlab")
        assert gate.path == path
