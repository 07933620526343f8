"""Replace a file by an atomic exchange of names, and detect which version was replaced.

A plain rename replaces whatever is there, even a version that an editor saved a moment ago. Where
the kernel can exchange two names (Linux, ``renameat2``), the replaced version can still be read,
and swapped back if it is not the expected one.
"""

import ctypes
import errno
import os
from functools import lru_cache
from pathlib import Path
from typing import Any

from rollout_console.changes.errors import Conflict
from rollout_gate.file.revision import revision_of

_EXCHANGE = 2
"""RENAME_EXCHANGE of linux/fs.h."""
_TURNS = 5


def put_in_place(
    folder: int, temp: str, name: str, path: Path, expected: str, ours: str
) -> list[str]:
    """Put the file ``temp``, of revision ``ours``, in place of ``name`` if that is ``expected``.

    Both names are in the open folder. Return warnings, the change being made. Raises Conflict with
    the other writer's version back in place, or OSError with nothing changed.
    """
    if not exchanged(folder, temp, name):
        os.rename(temp, name, src_dir_fd=folder, dst_dir_fd=folder)
        return []
    try:
        found = _revision(folder, temp)
    except OSError as error:
        # The change is made. Keep the replaced version: another writer may have saved it just now.
        return [f"what it replaced could not be read ({error.strerror}) and is kept in {temp}"]
    if found == expected:
        return removed(folder, temp)
    return _put_back(folder, temp, name, path, (expected, found, ours))


def _put_back(
    folder: int, temp: str, name: str, path: Path, revisions: tuple[str, str, str]
) -> list[str]:
    """Lost the race: swap the other version back; repeat if another save comes in between."""
    expected, found, comes_out = revisions
    try:
        for _ in range(_TURNS):
            exchanged(folder, temp, name)
            came_out = _revision(folder, temp)
            if came_out == comes_out:
                removed(folder, temp)
                break
            comes_out, found = found, came_out
    except OSError as error:
        why = f"could not be put back ({error.strerror})"
        return [f"somebody had saved it in the last moment; what they saved {why}: {temp} has it"]
    raise Conflict(path.name, expected, found)


def removed(folder: int, temp: str) -> list[str]:
    """Remove a file that may not exist; return warnings."""
    try:
        os.unlink(temp, dir_fd=folder)
    except FileNotFoundError:
        return []
    except OSError as error:
        return [f"{temp} could not be removed: {error.strerror}"]
    return []


def _revision(folder: int, name: str) -> str:
    descriptor = os.open(name, os.O_RDONLY | os.O_CLOEXEC, dir_fd=folder)
    with os.fdopen(descriptor, "rb") as stream:
        return revision_of(stream.read())


def exchanged(folder: int, one: str, other: str) -> bool:
    """Exchange two names atomically; return whether kernel and file system support that.

    Raises OSError, with nothing exchanged.
    """
    return _exchange(folder, one, other)


def _exchange(folder: int, one: str, other: str) -> bool:
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
