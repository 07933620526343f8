"""Writing what a command was asked to write to a file: atomically, and over nothing else's data."""

import os
import re
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from rollout_console.common.errors import OperationError
from rollout_console.common.files import checked_path, remove_leftovers, sync_folder
from rollout_console.history.location import companions

_MODE = 0o644  # of a new file: applications of other users read it, and it has no secrets
PRIVATE = 0o600
"""The mode of a new file that is for its owner alone."""
_HEAD_BYTES = 64 * 1024
_PREFIX = ".rollout-output."
_LEFTOVER = re.compile(r"\.rollout-output\.[a-z0-9_]{8}")
"""A name as mkstemp makes it: what an operator names so otherwise is their own."""


def write_output(
    path: Path, data: bytes, *, rollout_file: Path, what: str, is_what: Callable[[bytes], bool]
) -> None:
    """Write ``data`` to ``path`` as ``stream_output`` does; a new file is for all to read."""
    stream_output(
        path, lambda stream: stream.write(data), rollout_file=rollout_file, what=what,
        is_what=is_what, mode=_MODE,
    )  # fmt: skip


def stream_output(
    path: Path, write: Callable[[BinaryIO], object], *, rollout_file: Path, what: str,
    is_what: Callable[[bytes], bool], mode: int = PRIVATE,
) -> None:  # fmt: skip
    """Write what ``write`` writes to ``path`` atomically: readers see the old content or the new.

    It goes to a temporary file, fsync, rename, fsync of the folder. A symlink is followed and
    kept; an existing file keeps its mode, a new one has ``mode``, and the owner is kept as far as
    permissions allow. An existing file is replaced only if it is empty or ``is_what`` says of its
    first 64 KiB that it is an earlier output (``what``, in words), and never if it is the rollout
    file or one that belongs to it: history, access log, the guard's record. That is looked at
    before the data is written and again right before the rename; a file that another program
    creates in between is not replaced. Raises OperationError on failure, with ``path`` untouched.
    """

    def check() -> None:
        if refusal := _refusal(target, rollout_file, what, is_what):
            raise OperationError(f"{path} {refusal}")

    try:
        target = checked_path(path)
        check()
        _replace(target, write, target.stat() if target.exists() else None, mode, check)
    except FileExistsError:
        raise OperationError(f"{path} has just been created by another program") from None
    except OSError as error:
        raise OperationError(
            f"{path} cannot be written: {error.strerror}; give another path"
        ) from None


def _refusal(target: Path, rollout_file: Path, what: str, is_what: Callable[[bytes], bool]) -> str:
    if target.is_dir():
        return "is a folder; give a file in it"
    if target.exists() and not target.is_file():
        # The rename would replace a device or a pipe by a regular file.
        return "is not a regular file; give another path, or none to print"
    for other, kind in companions(rollout_file).items():
        if target == other or (target.exists() and other.exists() and target.samefile(other)):
            return f"is {kind}; give another path"
    if target.exists():
        with target.open("rb") as stream:
            head = stream.read(_HEAD_BYTES)
        if head.strip() and not is_what(head):
            return f"exists and is not {what}: give another path, or delete it first"
    return ""


def _replace(
    target: Path,
    write: Callable[[BinaryIO], object],
    before: os.stat_result | None,
    mode: int,
    check: Callable[[], None],
) -> None:
    remove_leftovers(target.parent, _LEFTOVER)
    descriptor, temp = tempfile.mkstemp(dir=target.parent, prefix=_PREFIX)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            write(stream)
            stream.flush()
            if before is not None and (before.st_uid, before.st_gid) != (
                os.geteuid(),
                os.getegid(),
            ):
                with suppress(OSError):  # only root may change the owner
                    os.fchown(descriptor, before.st_uid, before.st_gid)
            os.fchmod(descriptor, mode if before is None else before.st_mode & 0o777)
            os.fsync(descriptor)
        check()
        if target.exists() or not _linked(temp, target):
            Path(temp).replace(target)
    finally:
        with suppress(OSError):  # it has been renamed
            Path(temp).unlink()
    sync_folder(target.parent)


def _linked(temp: str, target: Path) -> bool:
    """Give ``temp`` the name ``target`` unless that exists, as link(2) does and rename(2) not.

    Returns False on a file system without hard links; raises FileExistsError.
    """
    try:
        os.link(temp, target)
    except FileExistsError:
        raise
    except OSError:
        return False
    return True
