"""Run a command on the small world, as a process that lets no token and no escape out."""

import os
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

from tests.reconcile.world import World
from tests.support.commands import Commands

Run = Callable[..., "CompletedProcess[str]"]


def runner(commands: Commands, world: World, folder: Path, command: str) -> Run:
    """Return what runs ``command`` with more words, in a folder of its own."""
    here = folder / "here"
    here.mkdir()

    def call(*words: str, token: str = "mt-sim-demo") -> "CompletedProcess[str]":
        env = {**os.environ, "TOKENLAB_MANAGEMENT_TOKEN": token}
        done = commands.run(["-f", str(world.path), command, *words], env=env, cwd=here)
        assert "Traceback" not in done.stderr
        assert "mt-sim" not in done.stdout + done.stderr
        assert not {"\x1b", "\x07", "\u202e"} & {*done.stdout, *done.stderr}
        return done

    return call
