"""Read a rollout file from disk."""

import errno
import os
import stat
from contextlib import suppress
from pathlib import Path

from rollout_gate.file.errors import RolloutError
from rollout_gate.file.model import MAX_BYTES


class Unreadable(RolloutError):
    """The rollout file cannot be read; ``str()`` names the file, the cause and the remedy."""


class Missing(Unreadable):
    """There is no file at the path."""


def read_file(path: str | Path) -> tuple[bytes, os.stat_result]:
    """Return the bytes of the file and the fstat of the same open file; raises Unreadable."""
    try:
        return read_regular(path)
    except OSError as error:
        kind = Missing if isinstance(error, FileNotFoundError) else Unreadable
        raise kind(_sentence(path, error)) from None


def read_regular(path: str | Path, most: int = MAX_BYTES) -> tuple[bytes, os.stat_result]:
    """Return the bytes of a regular file and the fstat of the same open file.

    Raises OSError: EISDIR, EINVAL for a FIFO, a socket or a device, EFBIG over ``most`` bytes.
    """
    # O_NONBLOCK, then fstat: opening a FIFO would block for ever, and a device has no end of file.
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        status = os.fstat(descriptor)
        if stat.S_ISDIR(status.st_mode):
            raise OSError(errno.EISDIR, "a folder")
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "not a regular file")
        if status.st_size > most:
            size, most_size = status.st_size / 1048576, most // 1048576
            raise OSError(errno.EFBIG, f"of {size:.0f} MiB; at most {most_size} MiB are read")
        with os.fdopen(os.dup(descriptor), "rb") as stream:
            return stream.read(most + 1), status
    finally:
        with suppress(OSError):
            os.close(descriptor)


def _sentence(path: str | Path, error: OSError) -> str:
    if isinstance(error, FileNotFoundError):
        return f"{path} does not exist; give another with --file or $ROLLOUT_FILE"
    if isinstance(error, PermissionError):
        return f"{path} cannot be read: permission denied; check its mode and owner"
    if error.errno in (errno.EISDIR, errno.EINVAL):
        return f"{path} is {error.strerror}; give the path of a rollout file"
    if error.errno == errno.EFBIG:
        return f"{path} is {error.strerror}"
    return f"{path} cannot be read: {error.strerror or error}"
