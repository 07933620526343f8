"""Reading a rollout file from disk."""

import os
import stat
from contextlib import suppress
from pathlib import Path

from console.rollout.errors import RolloutError
from console.rollout.model import MAX_BYTES


class Unreadable(RolloutError):
    """The rollout file cannot be read; ``str()`` names the file, the cause and the way out."""


def read_file(path: str | Path) -> tuple[bytes, os.stat_result]:
    """Return the bytes of the file and the status they belong to; raises Unreadable."""
    try:
        # A fifo would block the open for ever, and a device has no end.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise Unreadable(_sentence(path, error)) from None
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            kind = "a folder" if stat.S_ISDIR(status.st_mode) else "not a regular file"
            raise Unreadable(f"{path} is {kind}; give the path of a rollout file")
        if status.st_size > MAX_BYTES:
            size, most = status.st_size / 1048576, MAX_BYTES // 1048576
            raise Unreadable(f"{path} has {size:.0f} MiB; at most {most} MiB are read")
        with os.fdopen(os.dup(descriptor), "rb") as stream:
            return stream.read(MAX_BYTES + 1), status
    except OSError as error:
        raise Unreadable(_sentence(path, error)) from None
    finally:
        with suppress(OSError):
            os.close(descriptor)


def _sentence(path: str | Path, error: OSError) -> str:
    if isinstance(error, FileNotFoundError):
        return f"{path} does not exist; give another with --file or $ROLLOUT_FILE"
    if isinstance(error, PermissionError):
        return f"{path} cannot be read: permission denied; check its mode and owner"
    return f"{path} cannot be read: {error.strerror or error}"
