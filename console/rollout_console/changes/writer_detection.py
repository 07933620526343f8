"""Whether somebody has a file open for writing, as far as the kernel tells."""

import fcntl
import os
import signal
from contextlib import suppress
from pathlib import Path


def open_for_writing(path: Path) -> bool | None:
    """Return whether a process has the file open for writing; None where that cannot be known.

    Linux grants its owner a read lease on a file only while nobody does (fcntl(2), F_SETLEASE).
    """
    if not hasattr(fcntl, "F_SETLEASE"):
        return None
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        # Who opens it in this very moment has us told by a signal that nobody minds.
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
