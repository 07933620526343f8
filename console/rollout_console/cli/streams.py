"""Keep closed, full or broken standard streams from failing a command.

A command does its work whether or not its output can be written (EBADF, ENOSPC, EPIPE).
"""

import io
import os
import sys
from contextlib import suppress
from typing import Any, TextIO

from rollout_console.common.glyphs import BACKSLASHES, register_handler, wants_ascii

CLOSED_AT_START: set[int] = set()
"""The standard streams that were closed when the process began, and so are written to nowhere."""


def open_closed() -> None:
    """Open /dev/null on each of the file descriptors 0 to 2 that is closed.

    Otherwise the next file opened would get that descriptor, and with it everything printed.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            CLOSED_AT_START.add(number)
            os.open(os.devnull, os.O_RDWR)  # POSIX: open() takes the lowest free descriptor
    for name, number, mode in (("stdin", 0, "r"), ("stdout", 1, "w"), ("stderr", 2, "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, mode, closefd=False))


def no_terminal() -> str:
    """Return which standard streams are no terminal, in words; empty where a screen can be drawn.

    Standard error may be a file, as with ``2>log``.
    """
    missing = [
        name
        for name, stream in (("input", sys.stdin), ("output", sys.stdout))
        if not stream.isatty()
    ]
    return f"standard {' and '.join(missing)} is no terminal" if missing else ""


class Output:
    """A text stream wrapper that swallows write errors; ``lost`` is the first of them."""

    def __init__(self, stream: TextIO) -> None:
        register_handler()
        if isinstance(stream, io.TextIOWrapper):
            # ASCII signs and escapes for what the encoding lacks, instead of UnicodeEncodeError.
            stream.reconfigure(errors=BACKSLASHES)
        self._stream = stream
        self.lost: OSError | None = None

    def fit_to_terminal(self, *, in_ascii: bool) -> None:
        """Write ASCII alone, where it was asked for, or to a terminal that has no other signs.

        What is piped to a file or a program keeps its encoding: it is data.
        """
        asks = in_ascii or (self._stream.isatty() and wants_ascii(os.environ))
        if asks and isinstance(self._stream, io.TextIOWrapper):
            self._stream.reconfigure(encoding="ascii", errors=BACKSLASHES)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write ``text``; after an OSError, discard it and all further output."""
        try:
            return self._stream.write(text)
        except OSError as error:
            self._give_up(error)
            return len(text)

    def flush(self) -> None:
        """Flush; after an OSError, discard the buffer and all further output."""
        try:
            self._stream.flush()
        except OSError as error:
            self._give_up(error)

    @property
    def was_left(self) -> bool:
        """Whether the reader closed the pipe (EPIPE), as ``head`` does."""
        return isinstance(self.lost, BrokenPipeError)

    def abandon(self) -> None:
        """Discard the buffer and all further output, as where a write was interrupted."""
        with suppress(OSError, ValueError):  # to /dev/null, where flushing the buffer cannot fail
            os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())

    def _give_up(self, error: OSError) -> None:
        self.lost = self.lost or error
        self.abandon()
