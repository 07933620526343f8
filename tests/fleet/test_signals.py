"""A command that is told to end while its change is under way says what is known of it."""

import fcntl
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from rollout_console.cli.main import run
from rollout_console.etcd.client import EtcdClient
from rollout_gate.file.parse import parse
from tests.support.commands import Command, Commands
from tests.support.etcd import Cluster
from tests.support.lossy import Link, lossy
from tests.support.waiting import until

SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]
ROLLBACK = ("rollback", "chat", "acme", "--yes", "--reason", "5xx")


class Running:
    """A command, and what it has written."""

    def __init__(self, command: Command, folder: Path) -> None:
        self.command = command
        self._folder = folder

    @property
    def out(self) -> str:
        return (self._folder / "out").read_text()

    @property
    def err(self) -> str:
        return (self._folder / "err").read_text()


@contextmanager
def running(commands: Commands, folder: Path, *words: str, script: str = "") -> Iterator[Running]:
    (folder / "in").touch()
    with (
        (folder / "in").open("rb") as stdin,
        (folder / "out").open("wb") as out,
        (folder / "err").open("wb") as err,
        commands.start(
            words, stdin=stdin, stdout=out, stderr=err, env=os.environ, cwd=folder, script=script
        ) as command,
    ):
        yield Running(command, folder)


@pytest.fixture
def link(etcd: Cluster) -> Iterator[Link]:
    with lossy(etcd.members[0].url) as found:
        yield found


@pytest.fixture
def through(link: Link, address: str, client: EtcdClient) -> str:
    """The address of the test's file, through the link; its history is begun."""
    assert run(["-f", address, "undo", "--yes"]) == 1
    return f"etcd://{link.url.partition('://')[2]}{client.address.key}"


def is_rolled_back(client: EtcdClient) -> bool:
    return parse(client.get(client.address.key).values[0].data).is_latched("chat", "acme")


@pytest.mark.parametrize("number", SIGNALS)
def test_an_outcome_that_comes_within_a_moment_is_said(
    number: int, commands: Commands, through: str, link: Link, client: EtcdClient, tmp_path: Path
) -> None:
    link.lose = ["held"]
    with running(commands, tmp_path, "-f", through, *ROLLBACK, "--json") as found:
        assert link.has_held.wait(60)
        found.command.send_signal(number)
        until(lambda: "is under way, its outcome is waited for" in found.err)
        link.released.set()
        assert found.command.wait() == 0
    assert '"action": "rollback"' in found.out
    assert is_rolled_back(client)


@pytest.mark.parametrize("number", SIGNALS)
def test_an_outcome_that_is_not_known_is_said_with_where_to_look(
    number: int, commands: Commands, through: str, link: Link, tmp_path: Path
) -> None:
    link.lose = ["held", "held", "held"]
    with running(commands, tmp_path, "-f", through, *ROLLBACK) as found:
        assert link.has_held.wait(60)
        found.command.send_signal(number)
        until(lambda: "a second signal ends that" in found.err)
        found.command.send_signal(number)
        assert found.command.wait() == 3
    assert not found.out
    last = found.err.splitlines()[-1]
    assert last == (
        f"rollout-console: {signal.Signals(number).name} while rolling back chat / acme was under"
        f" way: whether it was made is not known; rollout-console -f {through} history lists it if"
        " it was"
    )


def test_a_change_that_takes_longer_than_a_second_is_said_once(
    commands: Commands, through: str, link: Link, client: EtcdClient, tmp_path: Path
) -> None:
    link.lose = ["held"]
    with running(commands, tmp_path, "-f", through, *ROLLBACK) as found:
        until(lambda: "rolling back chat / acme is under way: etcd has not answered" in found.err)
        link.released.set()
        assert found.command.wait() == 0
    assert found.err.count("is under way: etcd has not answered") == 1
    assert found.out.startswith("done: chat / acme")
    assert is_rolled_back(client)


def test_a_change_that_was_not_sent_is_said_to_be_none(
    commands: Commands, etcd: Cluster, address: str, client: EtcdClient, tmp_path: Path
) -> None:
    etcd.members[0].pause()
    try:
        with running(commands, tmp_path, "-f", address, *ROLLBACK) as found:
            until(lambda: f"{address} is read: etcd has not answered" in found.err)
            found.command.send_signal(signal.SIGINT)
            assert found.command.wait() == 130
    finally:
        etcd.members[0].go_on()
    assert found.err.endswith("rollout-console: SIGINT: nothing was changed\n")
    assert not is_rolled_back(client)


@pytest.mark.parametrize("number", SIGNALS)
def test_a_change_of_a_local_file_is_finished_and_said(
    number: int, commands: Commands, file: Path, tmp_path: Path
) -> None:
    script = (
        "import sys\n"
        "from rollout_console.changes import folder_lock\n"
        "from rollout_console.cli import main, outcome\n"
        "folder_lock.LOCK_WAIT_S, outcome._SAID_AFTER_S = 600.0, 0.05\n"
        f"sys.exit(main.run({['-f', str(file), *ROLLBACK]!r}))"
    )
    folder = os.open(file.parent, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)  # as another console that writes
        with running(commands, tmp_path, script=script) as found:
            until(lambda: "rollout.toml is not written yet" in found.err)
            found.command.send_signal(number)
            until(lambda: "a second signal ends that" in found.err)
            fcntl.flock(folder, fcntl.LOCK_UN)
            assert found.command.wait() == 0
    finally:
        os.close(folder)
    assert found.out.startswith("done: chat / acme")
    assert parse(file.read_bytes()).is_latched("chat", "acme")


def test_ctrl_c_before_anything_was_begun_is_no_traceback(
    commands: Commands, tmp_path: Path
) -> None:
    script = (
        "import signal, sys\n"
        "from rollout_console import __main__\n"
        "from rollout_console.cli import streams\n"
        "del sys.modules['rollout_console.cli.main']\n"
        "class Slow:\n"
        "    def find_spec(self, *_):\n"
        "        signal.raise_signal(signal.SIGINT)\n"
        "sys.meta_path.insert(0, Slow())\n"
        "__main__.main()"
    )
    with running(commands, tmp_path, script=script) as found:
        assert found.command.wait() == 130
    assert found.err == ""


def test_a_signal_that_nohup_ignores_stays_ignored(
    commands: Commands, through: str, link: Link, tmp_path: Path
) -> None:
    link.lose = ["held"]
    script = (
        "import signal, sys; signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
        "from rollout_console.cli.main import run\n"
        f"sys.exit(run({['-f', through, *ROLLBACK]!r}))"
    )
    with running(commands, tmp_path, script=script) as found:
        assert link.has_held.wait(60)
        found.command.send_signal(signal.SIGHUP)
        until(lambda: "etcd has not answered" in found.err)
        link.released.set()
        assert found.command.wait() == 0
    assert "SIGHUP" not in found.err
