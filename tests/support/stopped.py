"""SIGSTOP and SIGCONT for a process that blocks in write(2) on a full pipe: a partial write."""

import array
import fcntl
import os
import signal
import termios
from pathlib import Path

from tests.support.waiting import until

_PIPE_BYTES = 65_536


def stop_in_its_write(pid: int, pipe: int) -> None:
    """Send SIGSTOP, then SIGCONT, to a process that is blocked by a full pipe."""
    until(lambda: _bytes_in(pipe) >= _PIPE_BYTES)
    os.kill(pid, signal.SIGSTOP)
    until(lambda: state_of(pid) == "T")
    os.kill(pid, signal.SIGCONT)
    until(lambda: state_of(pid) != "T")


def _bytes_in(pipe: int) -> int:
    found = array.array("i", [0])
    fcntl.ioctl(pipe, termios.FIONREAD, found)
    return found[0]


def state_of(pid: int) -> str:
    """Return the state of a process, as in ps: T is stopped."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
