"""The server of ``tests.support.commands``: its commands are processes, and end with it."""

import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from tests.support.commands import Commands
from tests.support.waiting import has_ended, soon, until

SHOWS = """
import json, os, sys
print(json.dumps([sys.argv[1:], os.environ.get("GIVEN"), os.getcwd(), sys.stdin.read()]))
sys.stderr.write("told \\ud800")
sys.exit("one sentence")
"""
WORKER = """
import os, sys
from pathlib import Path
from tests.support.commands import Commands
server = Commands()
with open(os.devnull, "r+b") as nothing:
    command = server.start(
        [], script="import time; time.sleep(60)", stdin=nothing, stdout=nothing, stderr=nothing,
        env={},
    )
print(command.pid, server.pid, flush=True)
os.kill(os.getpid(), 9)
"""


@pytest.mark.parametrize(
    "words", [["show"], ["show", "--json"], ["set", "nope", "x", "5", "--yes"], ["nonsense"]]
)
def test_a_command_is_as_one_that_was_started(
    commands: Commands, file: Path, words: list[str]
) -> None:
    environ = {**os.environ, "COLUMNS": "80"}
    asked = ["-f", str(file), *words]
    started = subprocess.run(
        [sys.executable, "-m", "rollout_console", *asked], capture_output=True, text=True,
        env=environ, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    forked = commands.run(asked, env=environ)
    assert forked.returncode == started.returncode
    assert (forked.stdout, forked.stderr) == (started.stdout, started.stderr)


def test_streams_environment_folder_and_exit_code_are_its_own(
    commands: Commands, tmp_path: Path
) -> None:
    for name in ("a", "b"):
        folder = tmp_path / name
        folder.mkdir()
        done = commands.run([name], script=SHOWS, env={"GIVEN": name}, cwd=folder, input="é")
        assert done.stdout == f'[["{name}"], "{name}", "{folder}", "\\u00e9"]\n'
        assert (done.stderr, done.returncode) == ("told \\ud800one sentence\n", 1)
    done = commands.run([], script="raise ValueError(5)", env={})
    assert (done.returncode, done.stderr.splitlines()[-1]) == (1, "ValueError: 5")


def test_a_command_that_does_not_end_is_killed(commands: Commands) -> None:
    with soon(), pytest.raises(subprocess.TimeoutExpired):
        commands.run([], script="import time; time.sleep(60)", env={}, timeout=0.1)
    assert commands.run(["--version"], env={}).returncode == 0


def test_nothing_outlives_the_process_that_has_the_server() -> None:
    """Killed, it can tell nobody; its socket is closed by the kernel."""
    root = Path(__file__).resolve().parents[1]
    path = os.pathsep.join([str(root), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-c", WORKER], stdout=subprocess.PIPE, text=True, timeout=60,
        env={**os.environ, "PYTHONPATH": path},
    )  # fmt: skip
    assert done.returncode == -9
    for pid in map(int, done.stdout.split()):
        until(partial(has_ended, pid))
