"""Replacing a file with another version of it: whole, durable, and only if nobody was faster."""

import errno
import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from console.rollout.revision import revision_of
from console.store.errors import Conflict, NotReadable, NotWritable, StoreError, Written
from console.store.exchange import put_in_place

LOCK_WAIT_S = 2.0
ABSENT = ""
"""In place of a revision: there is no file."""
_TICK_NS = 10_000_000
"""The coarsest clock of a file system's times: one jiffy at 100 Hz."""
_TEMP = ".rollout-console."
_MODE_OF_A_NEW_FILE = 0o644  # applications of other users read it; it holds no secret


def swap(path: Path, expected: str, data: bytes) -> None:
    """Put ``data`` in place of the file at ``path`` if its revision is still ``expected``.

    A symlink stays one: its target is replaced. Mode and owner are kept. The new text is synced
    before the rename and the folder after it; then the file is read back. Where ``expected`` is
    ABSENT the file is made, unless somebody else made it first.

    Raises Conflict, NotReadable or NotWritable; the file is then as it was. Raises Written where
    it was put in place, and then was changed again by somebody else or may not be durable.
    """
    try:
        target = path.resolve(strict=expected != ABSENT)
    except (OSError, RuntimeError) as error:
        raise NotReadable(f"{path} cannot be found: {_why(error)}") from None
    with _folder_lock(target.parent, path) as folder:
        _check(path, target, expected)
        _clean_up(folder)
        temp = f"{_TEMP}{os.getpid()}.{time.monotonic_ns()}.tmp"
        try:
            _write_temp(folder, temp, target, data)
            if expected == ABSENT:
                # Unlike a rename, a link never takes the place of what has appeared meanwhile.
                os.link(temp, target.name, src_dir_fd=folder, dst_dir_fd=folder)
                os.unlink(temp, dir_fd=folder)
            else:
                _check(path, target, expected)  # writing and syncing took its time
                put_in_place(folder, temp, target.name, path, expected, revision_of(data))
        except FileExistsError:
            with suppress(OSError):
                os.unlink(temp, dir_fd=folder)
            raise Conflict(path.name, expected, revision_of(target.read_bytes())) from None
        except OSError as error:
            with suppress(OSError):
                os.unlink(temp, dir_fd=folder)
            raise NotWritable(f"{path} is unchanged: {_why(error)}") from None
        except Conflict:
            with suppress(OSError):
                os.unlink(temp, dir_fd=folder)
            raise
        except BaseException:
            with suppress(OSError):
                os.unlink(temp, dir_fd=folder)
            raise
        try:
            os.fsync(folder)
        except OSError as error:
            raise Written(
                f"{path} was changed, but may not survive a power loss: {_why(error)}"
            ) from None
        try:
            _check(path, target, revision_of(data))
        except StoreError:
            raise Written(f"{path} was changed, and right after that by somebody else") from None


def set_aside(path: Path, data: bytes, suffix: str) -> Path:
    """Write ``data`` to a new file beside ``path``, named after it; raises NotWritable."""
    aside = path.resolve().with_name(f"{path.name}.{suffix}")
    try:
        descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(descriptor)
    except OSError as error:
        raise NotWritable(f"{aside} could not be written: {_why(error)}") from None
    return aside


def _check(path: Path, target: Path, expected: str) -> None:
    try:
        found = revision_of(target.read_bytes())
    except FileNotFoundError as error:
        if expected == ABSENT:
            return
        raise NotReadable(f"{path} cannot be read: {_why(error)}") from None
    except OSError as error:
        raise NotReadable(f"{path} cannot be read: {_why(error)}") from None
    if found != expected:
        raise Conflict(path.name, expected, found)


def _write_temp(folder: int, temp: str, target: Path, data: bytes) -> None:
    try:
        status: os.stat_result | None = target.stat()
    except FileNotFoundError:
        status = None
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
    descriptor = os.open(temp, flags, 0o600, dir_fd=folder)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(descriptor, view) :]
        if status is None:
            os.fchmod(descriptor, _MODE_OF_A_NEW_FILE)
        else:
            if (status.st_uid, status.st_gid) != (os.geteuid(), os.getegid()):
                with suppress(OSError):  # only root may give a file away
                    os.fchown(descriptor, status.st_uid, status.st_gid)
            os.fchmod(descriptor, status.st_mode & 0o7777)
        # A clock's tick before the rename, which sets the change time: gates tell by the two that
        # the file came whole.
        written = time.time_ns() - _TICK_NS
        os.utime(descriptor, ns=(written, written))
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _folder_lock(folder: Path, path: Path) -> Iterator[int]:
    """Lock the folder itself, which leaves nothing behind; a lock that hangs is not waited for.

    The lock only spares two consoles a conflict. It is advisory: an editor does not take it, and
    after LOCK_WAIT_S the comparison before the rename is protection enough.
    """
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise NotWritable(f"{path} is unchanged: {_why(error)}") from None
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
        os.close(descriptor)


def _clean_up(folder: int) -> None:
    """Remove what writers left that died in the middle."""
    for name in os.listdir(folder):
        if name.startswith(_TEMP) and name.endswith(".tmp"):
            pid = name.removeprefix(_TEMP).split(".")[0]
            if pid.isdigit() and not _alive(int(pid)):
                with suppress(OSError):
                    os.unlink(name, dir_fd=folder)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


def _why(error: OSError | RuntimeError) -> str:
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
