"""A real terminal for tests: the console in tmux, driven by keys, read as an operator reads it."""

import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.parts import need
from tests.support.waiting import PATIENCE_S


class Terminal:
    """One tmux session on a server of its own."""

    def __init__(self, socket: str) -> None:
        self._socket = socket

    def tmux(self, *arguments: str) -> str:
        """Run a tmux command; return what it prints."""
        done = subprocess.run(
            ["tmux", "-L", self._socket, "-f", "/dev/null", *arguments],
            capture_output=True, text=True, check=True, timeout=20,
        )  # fmt: skip
        return done.stdout

    def press(self, *keys: str) -> None:
        """Send keys, by tmux's names."""
        self.tmux("send-keys", "-t", "t", *keys)

    def answer(self, key: str, true: Callable[[str], bool]) -> str:
        """Press a key at a dialog as an operator does, until it takes it; return the screen.

        Nothing on the screen says when its grace period is over, and until then it takes none.
        """
        end = time.monotonic() + PATIENCE_S
        while True:
            self.press(key)
            try:
                return self.until(true, within_s=3.0)
            except AssertionError:
                if time.monotonic() > end:
                    raise

    def type(self, text: str) -> None:
        """Send a text as it is."""
        self.tmux("send-keys", "-t", "t", "-l", text)

    def screen(self) -> str:
        """Return what is on the screen."""
        return self.tmux("capture-pane", "-p", "-t", "t")

    def everything(self) -> str:
        """Return the screen and all that scrolled off it."""
        return self.tmux("capture-pane", "-p", "-S", "-", "-t", "t")

    def until(self, true: Callable[[str], bool], within_s: float = PATIENCE_S) -> str:
        """Wait until the screen shows it; return the screen."""
        end = time.monotonic() + within_s
        while not true(shown := self.screen()):
            assert time.monotonic() < end, f"did not happen; the screen shows:\n{shown}"
            time.sleep(0.1)
        return shown


@contextmanager
def terminal(
    command: str, size: tuple[int, int], env: dict[str, str], folder: Path
) -> Iterator[Terminal]:
    """Run ``command`` in a terminal of ``size`` columns and rows."""
    need("tmux")
    found = Terminal(f"rollout-test-{uuid.uuid4().hex[:8]}")
    values = [word for name, value in env.items() for word in ("-e", f"{name}={value}")]
    columns, rows = size
    script = f"{command}; echo [ended $?]; exec cat"
    found.tmux(
        "new-session", "-d", "-s", "t", "-x", str(columns), "-y", str(rows),
        "-c", str(folder), *values, "env", "-u", "TMUX", "sh", "-c", script,
    )  # fmt: skip
    try:
        yield found
    finally:
        found.tmux("kill-server")
