"""Putting a file in the place of another, and finding out which other that was.

A plain rename takes the place of whatever is there, even of what an editor put there a moment ago.
Where the kernel can exchange two names (Linux, ``renameat2``), what was there can still be looked
at, and put back if it is not what it should have been.
"""

import ctypes
import errno
import os
from functools import lru_cache
from pathlib import Path
from typing import Any

from console.rollout.revision import revision_of
from console.store.errors import Conflict

_EXCHANGE = 2
"""RENAME_EXCHANGE of linux/fs.h."""
_TURNS = 5


def put_in_place(folder: int, temp: str, name: str, path: Path, expected: str, ours: str) -> None:
    """Put the file ``temp``, of revision ``ours``, in place of ``name`` if that is ``expected``.

    Both names are in the open folder. Raises Conflict with the other's text back in place, or
    OSError with nothing changed.
    """
    if not _exchange(folder, temp, name):
        os.rename(temp, name, src_dir_fd=folder, dst_dir_fd=folder)
        return
    found = _revision(folder, temp)
    if found == expected:
        os.unlink(temp, dir_fd=folder)
        return
    # Somebody was faster: back with it. Should somebody be faster again, back with that.
    comes_out = ours
    for _ in range(_TURNS):
        _exchange(folder, temp, name)
        came_out = _revision(folder, temp)
        if came_out == comes_out:
            os.unlink(temp, dir_fd=folder)
            break
        comes_out, found = found, came_out
    raise Conflict(path.name, expected, found)


def _revision(folder: int, name: str) -> str:
    descriptor = os.open(name, os.O_RDONLY | os.O_CLOEXEC, dir_fd=folder)
    with os.fdopen(descriptor, "rb") as stream:
        return revision_of(stream.read())


def _exchange(folder: int, one: str, other: str) -> bool:
    """Exchange two names; return whether the kernel and the file system can."""
    call = _renameat2()
    if call is None:
        return False
    if call(folder, os.fsencode(one), folder, os.fsencode(other), _EXCHANGE) == 0:
        return True
    error = ctypes.get_errno()
    if error in (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP):
        return False
    raise OSError(error, os.strerror(error))


@lru_cache(maxsize=1)
def _renameat2() -> Any:
    try:
        call = ctypes.CDLL(None, use_errno=True).renameat2
    except (AttributeError, OSError):
        return None
    call.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint)
    return call
