"""The console on a pty of its own, with an emulated terminal: what it writes, counted and seen."""

import fcntl
import os
import pty
import select
import signal
import struct
import sys
import termios
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pyte

CONSOLE = (sys.executable, "-m", "rollout_console")
QUIET_S = 0.4


def new_screen(width: int, height: int) -> pyte.Screen:
    """Return a terminal that does not wrap, as Textual sets it."""
    screen = pyte.Screen(width, height)
    screen.reset_mode(7, private=True)
    return screen


def looks(screen: pyte.Screen) -> list[list[tuple[Any, ...]]]:
    """Return what is seen in each cell: on a space neither its colour nor its weight is."""
    lines = [screen.buffer[y] for y in range(screen.lines)]
    return [[_look(line[x]) for x in range(screen.columns)] for line in lines]


def _look(cell: Any) -> tuple[Any, ...]:
    seen = (cell.data, cell.bg, cell.underscore, cell.strikethrough, cell.reverse)
    if cell.data == " " and not (cell.underscore or cell.strikethrough or cell.reverse):
        return seen
    return (*seen, cell.fg, cell.bold, cell.italics, cell.blink)


class PtyConsole:
    """A process on a pty; ``screen`` is what its terminal shows, ``written`` counts its bytes."""

    def __init__(self, pid: int, master: int, size: tuple[int, int]) -> None:
        self.pid = pid
        self.written = 0
        self._recorded: list[bytes] = []
        self.screen = new_screen(*size)
        self._stream = pyte.ByteStream(self.screen)
        self._master = master
        self.resize(*size)

    def resize(self, width: int, height: int) -> None:
        """Give the terminal another size; the kernel sends SIGWINCH."""
        self.screen.resize(height, width)
        size = struct.pack("HHHH", height, width, 0, 0)
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, size)

    def report_status(self, does_report: bool = True) -> None:
        """Answer, or not, what the terminal is asked from now on, once it has read that."""
        self.screen.write_process_input = (  # type: ignore[method-assign]
            self.press if does_report else lambda data: None  # type: ignore[assignment]
        )

    def has_written(self, within_s: float) -> bool:
        """Wait until something is written, and read none of it, as a terminal that has halted."""
        return bool(select.select([self._master], [], [], within_s)[0])

    def press(self, keys: str) -> None:
        """Send keys as a terminal does."""
        os.write(self._master, keys.encode())

    def text(self) -> str:
        """Return what is on the screen."""
        return "\n".join(self.screen.display)

    def until(self, true: Callable[[str], bool], within_s: float = 30) -> float:
        """Wait until the screen shows it; return the seconds."""
        start = time.monotonic()
        while not true(self.text()):
            left = start + within_s - time.monotonic()
            assert left > 0, f"did not happen; the screen shows:\n{self.text()}"
            self._read(min(left, 0.5))
        return time.monotonic() - start

    def recorded(self) -> list[bytes]:
        """Return a list that all that is written from now on is added to."""
        return self._recorded

    def bytes_until_quiet(self, quiet_s: float = QUIET_S, within_s: float = 3) -> int:
        """Read until nothing comes for a moment; return the bytes since the last call."""
        end = time.monotonic() + within_s
        while time.monotonic() < end and self._read(quiet_s):
            pass
        found, self.written = self.written, 0
        return found

    def _read(self, within_s: float) -> bool:
        if not select.select([self._master], [], [], within_s)[0]:
            return False
        try:
            data = os.read(self._master, 65_536)
        except OSError:  # Linux's end of file: the process has closed its side
            return False
        self.written += len(data)
        self._recorded.append(data)
        self._stream.feed(data)
        return bool(data)

    def close(self) -> None:
        """End the process."""
        try:
            os.kill(self.pid, signal.SIGTERM)
            end = time.monotonic() + 5
            while os.waitpid(self.pid, os.WNOHANG)[0] == 0:
                if not self._read(0.05):  # at once, where it has closed its side and still ends
                    time.sleep(0.01)
                if time.monotonic() > end:
                    os.kill(self.pid, signal.SIGKILL)
        finally:
            os.close(self._master)


@contextmanager
def on_pty(
    command: tuple[str, ...], size: tuple[int, int], env: Mapping[str, str]
) -> Iterator[PtyConsole]:
    """Run a command on a pty; ``env`` is added to the environment, without SSH's and the size."""
    values = {k: v for k, v in os.environ.items() if k not in ("SSH_CONNECTION", "COLORTERM")}
    values |= {"TERM": "xterm-256color", **env}
    for name in ("COLUMNS", "LINES", "PYTHONDONTWRITEBYTECODE"):
        values.pop(name, None)
    pid, master = pty.fork()
    if pid == 0:
        os.execvpe(command[0], command, values)
    found = PtyConsole(pid, master, size)
    try:
        yield found
    finally:
        found.close()
