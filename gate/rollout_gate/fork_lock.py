"""A lock that is fork-safe: reset in the child by os.register_at_fork."""

import os
import threading
from weakref import WeakSet

_locked: "WeakSet[Locked]" = WeakSet()


class Locked:
    """Base class with a lock, ``_lock``, which is replaced by a fresh one in a forked child.

    A thread that holds the lock at the fork does not exist in the child, where the lock would
    stay held for ever (a deadlock).
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        _locked.add(self)


def _after_fork_in_child() -> None:
    for one in list(_locked):
        one._lock = threading.Lock()


os.register_at_fork(after_in_child=_after_fork_in_child)
