"""A lock that survives a fork."""

import os
import threading
from weakref import WeakSet

_locked: "WeakSet[Locked]" = WeakSet()


class Locked:
    """Has a lock, ``_lock``. A forked child gets a fresh one.

    The thread that held it at the fork is not in the child, where it would be held for ever.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        _locked.add(self)


def _after_fork_in_child() -> None:
    for one in list(_locked):
        one._lock = threading.Lock()


os.register_at_fork(after_in_child=_after_fork_in_child)
