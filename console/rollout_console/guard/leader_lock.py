"""Which of several guards on one rollout file acts: the one that holds a lock on the file itself.

The lock is on what the path leads to now. A change puts another file there, so whoever acts takes
the lock on that one too, at the next look; another may be faster, and then acts from there on. It
leaves nothing behind, and a process that dies gives it back.
"""

import fcntl
import os
import stat
import time
from contextlib import suppress
from pathlib import Path


class LeaderLock:
    """An exclusive lock on the rollout file, never waited for."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor = -1
        self.no_locks = ""
        """Why nobody can have the lock: the file system has none. Empty where it can be had."""

    def hold(self) -> bool:
        """Take the lock, or keep it; return whether it is this process that acts.

        A file that is away or cannot be opened changes nothing: who acted before still does.
        """
        try:
            found = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError:
            return self._descriptor >= 0
        status = os.fstat(found)
        if not stat.S_ISREG(status.st_mode) or self._is_held(status):
            with suppress(OSError):
                os.close(found)
            return self._descriptor >= 0
        try:
            locked = _locked(found, fcntl.LOCK_EX)
        except OSError as error:
            locked, self.no_locks = False, error.strerror or str(error)
        else:
            self.no_locks = ""
        if not locked:
            with suppress(OSError):
                os.close(found)
            self.release()
            return False
        self.release()
        self._descriptor = found
        return True

    def release(self) -> None:
        """Let another act."""
        if self._descriptor >= 0:
            with suppress(OSError):
                os.close(self._descriptor)
        self._descriptor = -1

    def _is_held(self, status: os.stat_result) -> bool:
        if self._descriptor < 0:
            return False
        held = os.fstat(self._descriptor)
        return (held.st_dev, held.st_ino) == (status.st_dev, status.st_ino)


def somebody_acts(path: Path) -> bool:
    """Return whether a guard holds the lock now; for who only wants to know."""
    try:
        found = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        # Shared, so that those who ask do not see each other, and given back at once.
        return not _locked(found, fcntl.LOCK_SH, tries=1)
    except OSError:
        return False  # a file system without locks does not tell
    finally:
        with suppress(OSError):
            os.close(found)


def _locked(descriptor: int, how: int, tries: int = 4) -> bool:
    """Take a lock; somebody who only asks whether there is one is gone a moment later.

    Raises OSError where there are no locks, as on NFS without lockd and on some FUSE.
    """
    for left in range(tries - 1, -1, -1):
        try:
            fcntl.flock(descriptor, how | fcntl.LOCK_NB)
        except BlockingIOError:
            if left:
                time.sleep(0.003)
        else:
            return True
    return False
