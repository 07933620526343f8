"""Standard output and error that write all that they are given, also where a signal interrupts.

With PYTHONUNBUFFERED, as containers often have it, and with ``python -u`` they are raw files. A
process that is stopped in a write to a pipe and goes on (SIGSTOP, SIGCONT; a debugger) has a
partial write(2), and a raw file leaves the rest to its caller, which Python's text streams drop.
"""

import io
import sys


def write_wholly() -> None:
    """Buffer the standard streams that are raw files; each line is flushed."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if isinstance(stream, io.TextIOWrapper) and isinstance(stream.buffer, io.RawIOBase):
            encoding, errors = stream.encoding, stream.errors
            whole = io.TextIOWrapper(
                io.BufferedWriter(stream.detach()),
                encoding=encoding, errors=errors, line_buffering=True,
            )  # fmt: skip
            setattr(sys, name, whole)
            setattr(sys, f"__{name}__", whole)
