"""Detect whether a process has a file open for writing, by a Linux file lease."""

import fcntl
import os
import signal
from contextlib import suppress
from pathlib import Path


def open_for_writing(path: Path) -> bool | None:
    """Return whether a process has the file open for writing; None where that cannot be known.

    Linux grants a file's owner a read lease only while no process has the file open for writing
    (fcntl(2), F_SETLEASE).
    """
    if not hasattr(fcntl, "F_SETLEASE"):
        return None
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        # A process that opens the file now breaks the lease: get the signal SIGURG, which is
        # ignored by default.
        fcntl.fcntl(descriptor, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    except BlockingIOError:
        return True
    except OSError:
        return None
    finally:
        with suppress(OSError):
            os.close(descriptor)
    return False
