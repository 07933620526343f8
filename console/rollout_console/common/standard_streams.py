"""Buffered standard output and error, so that no partial write loses the rest of the data.

With PYTHONUNBUFFERED, as containers often have it, and with ``python -u`` they are raw files. A
blocking write(2) to a pipe that SIGSTOP and SIGCONT or a debugger interrupt is partial: a raw file
leaves the rest to its caller, and Python's text streams drop it.
"""

import io
import sys


def buffer_standard_streams() -> None:
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
