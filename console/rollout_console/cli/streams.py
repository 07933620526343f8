"""The standard streams, whatever they are: closed, full, or read by nobody any more.

What a command has to do does not depend on whether its words can be written.
"""

import io
import os
import sys
from contextlib import suppress
from typing import Any, TextIO


def open_closed() -> None:
    """Open those of the descriptors 0 to 2 that are closed on /dev/null.

    The next file that is opened would get the number, and with it what is printed.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # POSIX: the lowest number that is free
    for name, number, mode in (("stdin", 0, "r"), ("stdout", 1, "w"), ("stderr", 2, "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, mode, closefd=False))


class Output:
    """A text stream that goes on where what it writes to does not; ``lost`` is why."""

    def __init__(self, stream: TextIO) -> None:
        if isinstance(stream, io.TextIOWrapper):
            # A terminal that cannot show a sign gets its number instead of a fault.
            stream.reconfigure(errors="backslashreplace")
        self._stream = stream
        self.lost: OSError | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write, or forget it."""
        try:
            return self._stream.write(text)
        except OSError as error:
            self._give_up(error)
            return len(text)

    def flush(self) -> None:
        """Flush, or forget it."""
        try:
            self._stream.flush()
        except OSError as error:
            self._give_up(error)

    @property
    def was_left(self) -> bool:
        """Whether whoever read it has seen enough."""
        return isinstance(self.lost, BrokenPipeError)

    def _give_up(self, error: OSError) -> None:
        self.lost = self.lost or error
        with suppress(OSError, ValueError):  # what is in the buffer is written somewhere, once
            os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())
