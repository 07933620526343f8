"""Write a file in place that is itself a mount point, and cannot be replaced by a rename.

A container has such a file where it bind-mounts a single one (``docker -v
rollout.toml:/app/rollout.toml``, ``subPath`` of Kubernetes): rename(2) fails with EBUSY.
"""

import os
from contextlib import suppress
from pathlib import Path

from rollout_console.changes.errors import Conflict, NotWritable
from rollout_console.common.files import real_path
from rollout_gate.file.revision import revision_of


def is_mount_point(path: Path) -> bool:
    """Return whether something is mounted at a file's path itself (proc_pid_mountinfo(5))."""
    try:
        target = os.fsencode(real_path(path))
        mounts = Path("/proc/self/mountinfo").read_bytes().splitlines()
    except OSError:
        return False
    return any(_unescaped(line.split(b" ")[4]) == target for line in mounts if b" " in line)


def write_in_place(path: Path, target: Path, expected: str, data: bytes) -> list[str]:
    """Overwrite the file with ``data``, and restore the old text where that fails.

    The disk space is allocated first (posix_fallocate), and the text is written with one call: a
    gate that polls in between sees a file that is not settled, and waits. Return warnings.
    Raises Conflict, or NotWritable with the file unchanged.
    """
    try:
        descriptor = os.open(target, os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        raise NotWritable(
            f"{path} is unchanged: it is a mount point, which can only be written in place, and"
            f" that is not permitted ({error.strerror}): change the file that is mounted here, or"
            " mount its folder instead"
        ) from None
    try:
        before = _read(descriptor)
        if revision_of(before) != expected:
            raise Conflict(path.name, expected, revision_of(before))
        try:
            if len(data) > len(before):
                os.posix_fallocate(descriptor, 0, len(data))
            _write(descriptor, data)
        except OSError as error:
            with suppress(OSError):
                _write(descriptor, before)
            raise NotWritable(f"{path} is unchanged: {error.strerror}") from None
        try:
            os.fsync(descriptor)
        except OSError as error:
            return [f"it may not survive a power loss: {error.strerror}"]
        return []
    finally:
        with suppress(OSError):
            os.close(descriptor)


def _read(descriptor: int) -> bytes:
    size, found = os.fstat(descriptor).st_size, b""
    while len(found) < size and (piece := os.pread(descriptor, size - len(found), len(found))):
        found += piece
    return found


def _write(descriptor: int, data: bytes) -> None:
    done = 0
    while done < len(data):
        done += os.pwrite(descriptor, data[done:], done)
    os.ftruncate(descriptor, len(data))


def _unescaped(name: bytes) -> bytes:
    for code in (b"040", b"011", b"012", b"134"):
        name = name.replace(b"\\" + code, bytes([int(code, 8)]))
    return name
