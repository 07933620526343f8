"""Pulls that are killed in the middle of a page, interrupted, doubled, or on a damaged store."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from rollout_console.reconcile.pull import MOST_RECORDS
from rollout_console.reconcile.store import UsageStore
from rollout_console.tokenlab.types import UsageRecord
from tests.reconcile.test_pull import Server, costs, serving
from tests.reconcile.world import FILE, line, record
from tests.support.commands import Command, Commands
from tests.support.waiting import PATIENCE_S, until

RECORDS = 2 * MOST_RECORDS + 500


class Killed:
    """The command ``reconcile`` on a server that can hold an answer back, and its store."""

    def __init__(self, commands: Commands, server: Server, folder: Path) -> None:
        self.server = server
        self.folder = folder
        self.path = folder / "rollout.toml"
        self.path.write_text(FILE.replace("BASE", server.origin.url))
        self.begin = time.time() - 7 * 3600
        self.records = [
            record(self.begin + 2 * number, "0.000123", billing=f"b{number}")
            for number in range(RECORDS)
        ]
        server.listing.records = list(self.records)
        (folder / "access.jsonl").write_text(
            "".join(
                json.dumps(line(one.at.timestamp(), billing=one.billing_id)) + "\n"
                for one in self.records
            )
        )
        self.held = threading.Event()
        self.release = threading.Event()
        self._commands = commands
        self._env = {**os.environ, "TOKENLAB_MANAGEMENT_TOKEN": "mt-sim-demo"}

    @property
    def words(self) -> list[str]:
        return ["-f", str(self.path), "reconcile", "--since", "8h", "--json"]

    def hold(self, at: int) -> None:
        """Answer no usage request from the ``at``-th on, until it is released."""

        def wait(number: int) -> None:
            if number >= at:
                self.held.set()
                self.release.wait(PATIENCE_S)

        self.server.listing.before = wait

    def start(self) -> Command:
        with open(os.devnull, "r+b") as null, (self.folder / "err").open("wb") as err:
            return self._commands.start(
                self.words, stdin=null, stdout=null, stderr=err, env=self._env
            )

    def finish(self) -> "subprocess.CompletedProcess[str]":
        self.server.listing.before = lambda number: None
        self.release.set()
        return self._commands.run(self.words, env=self._env, timeout=PATIENCE_S)

    @property
    def store(self) -> Path:
        (found,) = Path(os.environ["ROLLOUT_STATE_DIR"]).glob("usage-*.sqlite3")
        return found

    def kept(self) -> int:
        db = sqlite3.connect(self.store)
        try:
            assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            return int(db.execute("SELECT count(*) FROM records").fetchone()[0])
        finally:
            db.close()


@pytest.fixture
def killed(commands: Commands, tmp_path: Path) -> Iterator[Killed]:
    with serving([], tmp_path) as server:
        server.keys[0]["created_at"] = "2020-01-01T00:00:00Z"
        made = Killed(commands, server, tmp_path)
        yield made
        made.release.set()


def is_right(done: "subprocess.CompletedProcess[str]", records: list[UsageRecord]) -> None:
    found = json.loads(done.stdout)
    assert found["records"]["records"] == len(records), done.stderr
    assert Decimal(found["records"]["cost_usd"]) == costs(records)
    assert found["piles"]["matched"]["records"] == len(records)
    assert (done.returncode, found["ok"]) == (0, True)


@pytest.mark.parametrize("at", [1, 3, 30])
def test_killed_in_the_middle_of_a_page(killed: Killed, at: int) -> None:
    killed.hold(at)
    with killed.start() as command:
        until(killed.held.is_set)
        command.kill()
        assert command.wait() == -signal.SIGKILL
    kept = killed.kept()
    # Whole windows alone: of the one whose page it was there is nothing.
    assert kept == 0 if at < 15 else 0 < kept < at * 100
    killed.server.asked()
    is_right(killed.finish(), killed.records)
    assert killed.server.asked() <= (RECORDS - kept) / 100 + 12


def test_interrupted_it_says_what_is_kept(killed: Killed) -> None:
    killed.hold(40)
    with killed.start() as command:
        until(killed.held.is_set)
        os.kill(command.pid, signal.SIGINT)
        assert command.wait() == 130
    assert "what was pulled is kept" in (killed.folder / "err").read_text()
    assert killed.kept() > 0
    is_right(killed.finish(), killed.records)


def test_two_at_once_ask_for_each_page_once(killed: Killed) -> None:
    killed.hold(5)
    with killed.start() as first:
        until(killed.held.is_set)
        with killed.start() as second:
            until(lambda: (killed.folder / "err").exists())
            killed.server.listing.before = lambda number: None
            killed.release.set()
            assert (first.wait(), second.wait()) == (0, 0)
    # The second waits for the lock, and then reads again only what was read too early to be sure.
    assert killed.kept() == RECORDS
    assert killed.server.asked() < 2 * RECORDS / 100
    is_right(killed.finish(), killed.records)


def damage_garbage(path: Path) -> None:
    path.write_bytes(os.urandom(300_000))


def damage_empty(path: Path) -> None:
    path.write_bytes(b"")


def damage_deleted(path: Path) -> None:
    path.unlink()


def damage_tables(path: Path) -> None:
    db = sqlite3.connect(path)
    db.execute("DROP TABLE records")
    db.commit()
    db.close()


@pytest.mark.parametrize("damage", [damage_garbage, damage_empty, damage_deleted, damage_tables])
def test_a_damaged_store_is_pulled_anew(killed: Killed, damage: Callable[[Path], None]) -> None:
    is_right(killed.finish(), killed.records)
    path = killed.store
    for part in path.parent.glob(f"{path.name}-*"):
        part.unlink()
    damage(path)
    done = killed.finish()
    is_right(done, killed.records)
    is_corrupt = damage in (damage_garbage, damage_tables)
    assert ("were corrupt and were pulled anew" in done.stderr) == is_corrupt


def test_a_second_store_of_a_process_leaves_the_locks_of_the_first(tmp_path: Path) -> None:
    """Closing any descriptor of a file releases the record locks that its process has on it."""
    path = tmp_path / "usage.sqlite3"
    with UsageStore(path) as first, UsageStore(path) as second:
        first.keep_keys([])
        second.keep_keys([])
        script = "import sqlite3, sys; sqlite3.connect(sys.argv[1]).execute('select * from keys')"
        subprocess.run([sys.executable, "-c", script, path], check=True, timeout=PATIENCE_S)
        wal = path.with_name(f"{path.name}-wal")
        assert wal.exists(), "another process took itself for the last one, and deleted the log"
