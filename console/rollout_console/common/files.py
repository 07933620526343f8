"""File operations that several packages share: atomic, durable (fsync), private, always closed."""

import errno
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

LEFT_AFTER_S = 3600.0
"""Age in seconds from which a temporary file is taken for one of a killed writer."""


def is_missing(path: Path) -> bool:
    """Return whether nothing is at ``path``; raises OSError where that cannot be determined.

    Unlike Path.exists, which is False for a loop of symlinks too.
    """
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    return False


def real_path(path: Path) -> Path:
    """Return Path.resolve(), and for symlinks in a loop the path, as Python does from 3.13 on.

    Before, Path.resolve raises RuntimeError; who then opens the path has an OSError that says it.
    """
    return Path(os.path.realpath(path))


def checked_path(path: Path, *, strict: bool = False) -> Path:
    """Return the real path; raises OSError for symlinks in a loop, and ``strict`` if missing."""
    try:
        path.stat()
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise OSError(error.errno, "its symlinks form a loop", str(path)) from None
        if strict:
            raise
    return real_path(path)


@contextmanager
def descriptor_of(path: Path, flags: int, mode: int = 0o600) -> Iterator[int]:
    """Open a file descriptor for the block; raises OSError when it cannot be opened.

    An error of close is ignored: whatever must be durable is fsynced before.
    """
    descriptor = os.open(path, flags | os.O_CLOEXEC, mode)
    try:
        yield descriptor
    finally:
        with suppress(OSError):
            os.close(descriptor)


def sync_folder(folder: Path) -> None:
    """Sync a folder with fsync, which makes its entries durable; raises OSError."""
    with descriptor_of(folder, os.O_RDONLY | os.O_DIRECTORY) as descriptor:
        os.fsync(descriptor)


def write_private(path: Path, data: bytes, *, durable: bool = True) -> None:
    """Replace the file at ``path`` atomically (fsync, rename), mode 0600; raises OSError.

    The folder is created (0700) where it is missing. A cache, which can be made again, need not be
    ``durable``: it is not fsynced.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with replacing(path) as stream:
        stream.write(data)
        if durable:
            stream.flush()
            os.fsync(stream.fileno())
    if durable:
        sync_folder(path.parent)


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Open a temporary file, mode 0600, which is renamed to ``path`` when the block has ended
    without an error; raises OSError. Of root it belongs to whom the file did, else the folder.

    Its name is random, and of one writer alone: threads of one process write the same file, and so
    do processes of several containers on one volume, which have the same process ids.
    """
    remove_leftovers(path.parent, re.compile(rf"\.{re.escape(path.name)}\..*\.tmp"))
    temp = path.with_name(f".{path.name}.{os.urandom(8).hex()}.tmp")
    try:
        descriptor = os.open(temp, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as stream:
            if os.geteuid() == 0:  # a command by sudo: the user, or the service, must still read it
                with suppress(OSError):  # of a container without CAP_CHOWN, or NFS: it stays root's
                    like = (path if path.exists() else path.parent).stat()
                    os.fchown(descriptor, like.st_uid, like.st_gid)
            yield stream
        temp.replace(path)
    finally:
        with suppress(OSError):
            temp.unlink()


def remove_leftovers(folder: Path, names: re.Pattern[str]) -> None:
    """Remove the temporary files of these names whose writer was killed before the rename.

    Those are older than LEFT_AFTER_S by mtime: a younger one may belong to a running writer.
    """
    before = time.time() - LEFT_AFTER_S
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if names.fullmatch(entry.name):
                with suppress(OSError):  # another user's, or a folder
                    if entry.stat(follow_symlinks=False).st_mtime < before:
                        Path(entry.path).unlink()
