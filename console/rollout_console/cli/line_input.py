"""Read a line that is typed, and lose no ctrl+c that comes before the read has begun."""

import os
import select
import signal
import sys
from contextlib import suppress
from functools import cache


def read_line() -> str:
    r"""Read a line of standard input, with its "\n"; "" is the end of the input.

    Raises KeyboardInterrupt on ctrl+c, and UnicodeDecodeError.
    """
    if sys.stdin.isatty():
        _wait_for_line()
    return sys.stdin.readline()


def _wait_for_line() -> None:
    """Wait until a line was typed; a signal's handler runs at once, and may raise.

    Python runs it between two instructions of its own: a signal between the last of them and the
    system's read would wait for the next line (the race that pselect(2) is for). The wakeup
    descriptor is written at the signal itself.
    """
    woken, wakes = _pipe()
    before = signal.set_wakeup_fd(wakes, warn_on_full_buffer=False)
    try:
        while sys.stdin not in select.select([sys.stdin, woken], [], [])[0]:
            with suppress(BlockingIOError):
                os.read(woken, 512)
    finally:
        signal.set_wakeup_fd(before)


@cache
def _pipe() -> tuple[int, int]:
    """Return a pipe that is never closed: a ctrl+c may come before the descriptor is put back."""
    woken, wakes = os.pipe()
    os.set_blocking(woken, False)
    os.set_blocking(wakes, False)
    return woken, wakes
