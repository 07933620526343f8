"""Writing an export by atomic rename, never over the rollout file, a folder or a device."""

import os
import tempfile
from contextlib import suppress
from pathlib import Path

from rollout_console.common.errors import OperationError
from rollout_console.common.files import sync_folder

_MODE = 0o644  # of a new file: applications of other users read it, and it has no secrets


def write_export(path: Path, data: bytes, *, source: Path) -> None:
    """Write ``data`` to ``path`` atomically: readers see the old content or the new.

    It goes to a temporary file, fsync, rename, fsync of the folder. A symlink is followed and
    kept; the mode is kept, and the owner as far as permissions allow. ``source`` is the rollout
    file, which is never overwritten. Raises OperationError on failure, with ``path`` untouched.
    """
    try:
        target = _target(path, source)
        _replace(target, data, target.stat() if target.exists() else None)
    except (OSError, RuntimeError) as error:
        why = getattr(error, "strerror", None) or "its symlinks go in a circle"
        raise OperationError(f"{path} cannot be written: {why}; give another --out") from None


def _target(path: Path, source: Path) -> Path:
    target = path.resolve()
    if target.is_dir():
        raise OperationError(f"{path} is a folder; give a file in it as --out")
    if target.exists() and not target.is_file():
        # The rename would replace a device or a pipe by a regular file.
        raise OperationError(f"{path} is no plain file; leave --out away to print")
    if target.exists() and source.exists() and target.samefile(source):
        raise OperationError(f"{path} is the rollout file itself; give another --out")
    return target


def _replace(target: Path, data: bytes, before: os.stat_result | None) -> None:
    descriptor, temp = tempfile.mkstemp(dir=target.parent, prefix=".rollout-export.")
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(data)
            stream.flush()
            if before is not None and (before.st_uid, before.st_gid) != (
                os.geteuid(),
                os.getegid(),
            ):
                with suppress(OSError):  # only root may change the owner
                    os.fchown(descriptor, before.st_uid, before.st_gid)
            os.fchmod(descriptor, _MODE if before is None else before.st_mode & 0o777)
            os.fsync(descriptor)
        Path(temp).replace(target)
    except BaseException:
        with suppress(OSError):
            Path(temp).unlink()
        raise
    sync_folder(target.parent)
