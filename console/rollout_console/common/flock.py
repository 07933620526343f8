"""Advisory locks by flock(2): the kernel releases them when their process ends, however it does."""

import errno
import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from rollout_console.common.files import descriptor_of


def take_flock(
    descriptor: int, wait_s: float, *, how: int = fcntl.LOCK_EX, poll_s: float = 0.01,
    on_wait: Callable[[], None] = lambda: None,
) -> bool:  # fmt: skip
    """Take a lock, waiting at most ``wait_s`` seconds; return whether it was taken.

    ``on_wait`` is called once where another has it and there is a wait. Raises OSError where the
    file system has no locks, as NFS without lockd and some FUSE.
    """
    until, waits = time.monotonic() + wait_s, False
    while True:
        try:
            fcntl.flock(descriptor, how | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= until:
                return False
        else:
            return True
        if not waits:
            waits = True
            on_wait()
        time.sleep(poll_s)


@contextmanager
def locked_folder(folder: Path, wait_s: float) -> Iterator[None]:
    """Hold an exclusive lock of a folder, which is created (0700) where it is missing.

    Raises TimeoutError where another has it for ``wait_s`` seconds, and OSError where the folder
    cannot be used. A file system without locks has the block run without one.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with descriptor_of(folder, os.O_RDONLY | os.O_DIRECTORY) as descriptor:
        taken = True
        with suppress(OSError):
            taken = take_flock(descriptor, wait_s)
        if not taken:
            raise TimeoutError(errno.ETIMEDOUT, "another process uses it")
        yield


@contextmanager
def best_effort_lock(folder: Path, wait_s: float) -> Iterator[None]:
    """Hold the lock of a folder if it can be had within ``wait_s`` seconds.

    The block runs in any case, without the lock too: a cache is not worth waiting longer.
    """
    with ExitStack() as stack:
        with suppress(OSError):
            stack.enter_context(locked_folder(folder, wait_s))
        yield
