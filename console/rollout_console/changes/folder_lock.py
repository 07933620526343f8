"""The folder of a file that is replaced: its lock, and what goes wrong there in words."""

import errno
import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from rollout_console.changes.errors import NotWritable

LOCK_WAIT_S = 2.0


@contextmanager
def folder_lock(folder: Path, path: Path) -> Iterator[int]:
    """Lock the folder itself, which leaves nothing behind; a lock that hangs is not waited for.

    The lock only spares two consoles a conflict. It is advisory: an editor does not take it, and
    after LOCK_WAIT_S the comparison before the rename is protection enough.
    """
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise NotWritable(f"{path} is unchanged: {why(error)}") from None
    try:
        until = time.monotonic() + LOCK_WAIT_S
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= until:
                    break
                time.sleep(0.002)
            except OSError:
                break  # a file system without locks
        yield descriptor
    finally:
        with suppress(OSError):
            os.close(descriptor)


def why(error: OSError | RuntimeError) -> str:
    if not isinstance(error, OSError):
        return "its symlinks go in a circle"
    known = {
        errno.ENOSPC: "the disk is full; free some space and try again",
        errno.EDQUOT: "the disk quota is used up; free some space and try again",
        errno.EFBIG: "the file would be larger than this process may write",
        errno.EROFS: "the file system is read-only; mount it writable",
        errno.EACCES: "permission denied in its folder; check mode and owner of the folder",
        errno.EPERM: "not permitted in its folder; check mode and owner of the folder",
        errno.ENOENT: "it does not exist (any more)",
        errno.EIO: "the disk reports an error",
    }
    return known.get(error.errno or 0, error.strerror or str(error))
