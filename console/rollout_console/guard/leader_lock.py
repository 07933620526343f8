"""Leader election among guards on one rollout file: the leader holds flock on the file itself.

The lock is on the inode that the path names now. A change of the file replaces the inode, so the
leader locks the new one at its next turn; another guard may win that race, and is then the leader.
There is no lock file to clean up, and the kernel releases the lock of a process that dies.
"""

import fcntl
import os
import stat
from contextlib import suppress
from pathlib import Path

from rollout_console.changes.shared import LeaderElection
from rollout_console.changes.switch import Switch
from rollout_console.common.flock import take_flock

_OBSERVED_S = 0.009
"""Seconds that a lock is tried again for: an observer has a shared lock for a moment."""


class LeaderLock:
    """An exclusive flock on the rollout file, non-blocking but for retries of some milliseconds."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor = -1
        self.no_locks = ""
        """The error where the file system does not support locks; empty where it does."""

    def hold(self) -> bool:
        """Acquire or keep the lock; return whether this process is the leader.

        A file that is missing or cannot be opened changes nothing: the leader stays the leader.
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
            locked = take_flock(found, _OBSERVED_S, poll_s=_OBSERVED_S / 3)
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
        """Release the lock, so that another guard can become the leader."""
        if self._descriptor >= 0:
            with suppress(OSError):
                os.close(self._descriptor)
        self._descriptor = -1

    def _is_held(self, status: os.stat_result) -> bool:
        if self._descriptor < 0:
            return False
        held = os.fstat(self._descriptor)
        return (held.st_dev, held.st_ino) == (status.st_dev, status.st_ino)


def election_of(switch: Switch) -> LeaderElection:
    """Return the election among the guards of a rollout file, on one host or on several."""
    if switch.shared is None:
        return LeaderLock(switch.path)
    return switch.shared.leadership(switch.who.name)


def guard_acts(switch: Switch) -> bool:
    """Return whether a guard acts on a rollout file now, on this host or on another."""
    return somebody_acts(switch.path) if switch.shared is None else switch.shared.has_leader


def somebody_acts(path: Path) -> bool:
    """Return whether a guard holds the lock now, without competing for it; false on errors."""
    try:
        found = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        # A shared lock, so that observers do not block each other; closing it releases it at once.
        return not take_flock(found, 0, how=fcntl.LOCK_SH)
    except OSError:
        return False  # unknown: the file system does not support locks
    finally:
        with suppress(OSError):
            os.close(found)
