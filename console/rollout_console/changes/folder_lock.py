"""The advisory lock (flock) of the folder of a file to be replaced, and its errors in words."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from rollout_console.changes.errors import NotWritable
from rollout_console.common.flock import take_flock

LOCK_WAIT_S = 1.0


@contextmanager
def folder_lock(folder: Path, path: Path, *, wait: bool = True) -> Iterator[int]:
    """Lock the folder itself with flock(2), which needs no lock file; the wait is bounded.

    The lock only spares two consoles a conflict. It is advisory: an editor does not take it, and
    after LOCK_WAIT_S seconds the block runs without it, as the comparison before the rename is
    protection enough. Yields the folder's file descriptor. Raises NotWritable; without ``wait``
    also where another process has the lock.
    """
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise NotWritable(f"{path} is unchanged: {why(error)}") from None
    try:
        taken = True
        with suppress(OSError):  # a file system without locks
            taken = take_flock(descriptor, LOCK_WAIT_S if wait else 0, poll_s=0.002)
        if not taken and not wait:
            raise NotWritable(f"the folder of {path} is locked")
        yield descriptor
    finally:
        with suppress(OSError):
            os.close(descriptor)


def why(error: OSError) -> str:
    """Return the cause of an error in the folder as one clause, with the remedy."""
    known = {
        errno.ENOSPC: "the disk is full; free some space and try again",
        errno.EDQUOT: "the disk quota is used up; free some space and try again",
        errno.EFBIG: "the file would be larger than this process may write",
        errno.EROFS: "the file system is read-only; mount it writable",
        errno.EACCES: "permission denied in its folder; check mode and owner of the folder",
        errno.EPERM: "not permitted in its folder; check mode and owner of the folder, and lsattr",
        errno.ENOENT: "it does not exist (any more)",
        errno.EIO: "the disk reports an error",
    }
    return known.get(error.errno or 0, error.strerror or str(error))
