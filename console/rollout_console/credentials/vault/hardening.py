"""Harden this process against core dumps and ptrace."""

import ctypes
import resource
import sys
from contextlib import suppress

_PR_SET_DUMPABLE = 4


def keep_memory_private() -> None:
    """Disable core dumps; on Linux also ptrace and /proc/PID/mem for the same user.

    These are RLIMIT_CORE 0 and PR_SET_DUMPABLE 0 (prctl(2)). A system without them is no error: a
    console that does not start is no safer.
    """
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform.startswith("linux"):
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
