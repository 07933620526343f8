"""Atomic, durable compare-and-swap of a file: lock, compare, fsync, exchange, read back."""

import errno
import os
import time
from collections.abc import Callable
from pathlib import Path

from rollout_console.changes.attributes import Attributes, ReadersLostError, attributes_of, give
from rollout_console.changes.errors import Conflict, DiskFull, NotReadable, NotWritable, Written
from rollout_console.changes.folder_lock import folder_lock, why
from rollout_console.changes.in_place import write_in_place
from rollout_console.changes.leftovers import clean_up, temp_name
from rollout_console.changes.rename_exchange import put_in_place, removed
from rollout_console.common.files import checked_path, real_path
from rollout_gate.file.read import read_regular
from rollout_gate.file.revision import revision_of

ABSENT = ""
"""In place of a revision: the file does not exist."""
_TICK_NS = 10_000_000
"""The coarsest resolution of a file system's timestamps: one jiffy at 100 Hz."""
_MODE_OF_A_NEW_FILE = 0o644  # applications of other users read it; it holds no secret


def swap(
    path: Path,
    expected: str,
    data: bytes,
    write_ahead: Callable[[], None] = lambda: None,
    *,
    in_place: bool = False,
) -> None:
    """Replace the file at ``path`` with ``data`` if its revision is still ``expected``.

    A symlink stays one: its target is replaced. Owner, group, mode, ACL and extended attributes
    are kept. The new text is fsynced before the rename and the folder after it; then the file is
    read back. A file that is a mount point is written in place, and any other one ``in_place``.
    Where ``expected`` is ABSENT the file is created, unless another process created it first.

    ``write_ahead`` is called under the lock, after the comparison and before the first write, so
    that it logs in the order of the changes. Exceptions of it are propagated.

    Raises Conflict, NotReadable or NotWritable (DiskFull); the file is then unchanged. Raises
    Written, with warnings, where the file was replaced.
    """
    try:
        target = checked_path(path, strict=expected != ABSENT)
    except OSError as error:
        raise NotReadable(f"{path} cannot be found: {why(error)}") from None
    with folder_lock(target.parent, path) as folder:
        warnings = [said] if (said := clean_up(folder, target.name)) else []
        _check(path, target, expected)
        write_ahead()
        try:
            if in_place:
                warnings += write_in_place(path, target, expected, data)
            else:
                warnings += _put(folder, path, target, expected, data)
        except OSError as error:
            kind = DiskFull if error.errno in (errno.ENOSPC, errno.EDQUOT) else NotWritable
            raise kind(f"{path} is unchanged: {why(error)}") from None
        # Point of no return: the change is made, whatever fails below.
        try:
            os.fsync(folder)
        except OSError as error:
            warnings.append(f"it may not survive a power loss: {why(error)}")
        warnings += _read_back(target, revision_of(data))
    if warnings:
        raise Written(f"{path} was changed; {'; '.join(warnings)}")


def _put(folder: int, path: Path, target: Path, expected: str, data: bytes) -> list[str]:
    """Make the change; return warnings. Raises OSError with nothing changed."""
    ours = revision_of(data)
    name = temp_name(expected, ours)
    part, temp = f"{name}.part", f"{name}.tmp"
    try:
        warnings = _write_temp(folder, part, path, target, data)
        if expected == ABSENT:
            # link(2), unlike rename(2), fails with EEXIST where a file has appeared meanwhile.
            os.link(part, target.name, src_dir_fd=folder, dst_dir_fd=folder)
            return warnings + removed(folder, part)
        os.rename(part, temp, src_dir_fd=folder, dst_dir_fd=folder)
        _check(path, target, expected)  # again: writing and fsync took time
        try:
            return warnings + put_in_place(folder, temp, target.name, path, expected, ours)
        except OSError as error:
            if error.errno != errno.EBUSY:
                raise
        removed(folder, temp)
        return write_in_place(path, target, expected, data)
    except FileExistsError:
        removed(folder, part)
        raise Conflict(path.name, expected, revision_of(read_regular(target)[0])) from None
    except BaseException:
        removed(folder, part)
        removed(folder, temp)
        raise


def set_aside(path: Path, data: bytes, suffix: str) -> Path:
    """Write ``data`` to a new file next to ``path``, named after it; raises NotWritable."""
    aside = real_path(path).with_name(f"{path.name}.{suffix}")
    try:
        descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(descriptor)
    except OSError as error:
        raise NotWritable(f"{aside} could not be written: {why(error)}") from None
    return aside


def _check(path: Path, target: Path, expected: str) -> None:
    try:
        found = revision_of(read_regular(target)[0])
    except FileNotFoundError as error:
        if expected == ABSENT:
            return
        raise NotReadable(f"{path} cannot be read: {why(error)}") from None
    except OSError as error:
        raise NotReadable(f"{path} cannot be read: {why(error)}") from None
    if found != expected:
        raise Conflict(path.name, expected, found)


def _write_temp(folder: int, temp: str, path: Path, target: Path, data: bytes) -> list[str]:
    try:
        wanted: Attributes | None = attributes_of(target)
    except FileNotFoundError:
        wanted = None
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
    descriptor = os.open(temp, flags, 0o600, dir_fd=folder)
    warnings: list[str] = []
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(descriptor, view) :]
        if wanted is None:
            os.fchmod(descriptor, _MODE_OF_A_NEW_FILE)
        else:
            warnings = give(descriptor, wanted)
            if wanted.status.st_nlink > 1:
                warnings.append("another name of it (a hard link) still has the old text")
        # Set mtime a clock tick before the rename, which sets ctime: by ctime > mtime gates see
        # that the file came by an atomic rename.
        written = time.time_ns() - _TICK_NS
        os.utime(descriptor, ns=(written, written))
        os.fsync(descriptor)
    except ReadersLostError as error:
        raise NotWritable(f"{path} is unchanged: {error}") from None
    finally:
        os.close(descriptor)
    return warnings


def _read_back(target: Path, revision: str) -> list[str]:
    try:
        found = revision_of(read_regular(target)[0])
    except OSError as error:
        return [f"it could not be read back: {why(error)}"]
    return [] if found == revision else ["another writer changed it again right afterwards"]
