"""Writing what is exported: whole or not at all, and never over what is no export."""

import os
import tempfile
from contextlib import suppress
from pathlib import Path

from rollout_console.common.errors import OperationError
from rollout_console.common.files import sync_folder

_MODE = 0o644  # of a new file: other users' applications read it; it holds no secret


def write_export(path: Path, data: bytes, *, source: Path) -> None:
    """Put ``data`` at ``path`` at once: whoever reads it sees the old text or the new one.

    A symlink stays one; mode and owner are kept. ``source`` is the rollout file, which is never
    written over. Raises OperationError where it cannot be done; what was there is then untouched.
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
        # A rename would put a plain file in the place of a device or a pipe.
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
                with suppress(OSError):  # only root may give a file away
                    os.fchown(descriptor, before.st_uid, before.st_gid)
            os.fchmod(descriptor, _MODE if before is None else before.st_mode & 0o777)
            os.fsync(descriptor)
        Path(temp).replace(target)
    except BaseException:
        with suppress(OSError):
            Path(temp).unlink()
        raise
    sync_folder(target.parent)
