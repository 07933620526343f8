"""The advisory lock of a pull: one process asks the API, and others wait for its records."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from rollout_console.common.flock import take_flock

_WAIT_S = 900.0
_POLL_S = 0.1


@contextmanager
def pull_lock(
    path: Path, *, waits: Callable[[], None] = lambda: None, wait_s: float = _WAIT_S
) -> Iterator[bool]:
    """Lock the store at ``path`` with flock(2) beside it; yield whether the lock was taken.

    The kernel releases it when its process ends, however that is. It spares the API a second pull
    of the same records; the store needs no lock, so that where the wait is over, or the file
    system has none, the block runs without it. ``waits`` is called once where there is a wait.
    """
    descriptor, taken = -1, False
    try:
        with suppress(OSError):
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
            descriptor = os.open(path.with_name(f"{path.name}.lock"), flags, 0o600)
            taken = take_flock(descriptor, wait_s, poll_s=_POLL_S, on_wait=waits)
        yield taken
    finally:
        if descriptor >= 0:
            with suppress(OSError):
                os.close(descriptor)
