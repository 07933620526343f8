"""Whether this process may replace the rollout file, found out without a write."""

import errno
import os
import stat
from pathlib import Path

from rollout_console.changes.folder_lock import why
from rollout_console.changes.in_place import is_mount_point
from rollout_console.common.files import real_path


def why_not_replaceable(path: Path) -> str:
    """Return why the file at ``path`` cannot be replaced, in one clause; empty where it may be.

    access(2) is asked for the effective user, whom the kernel asks at a write too; root may do all
    but on a read-only file system. A rename needs the folder alone, whatever the file's own mode
    is, and in a folder with the sticky bit it needs the owner of either. A file that is a mount
    point is written in place as well.
    """
    target = real_path(path)
    folder = target.parent
    try:
        of_folder = folder.stat()
        if not _may(folder, os.R_OK | os.W_OK | os.X_OK):
            is_read_only = os.statvfs(folder).f_flag & os.ST_RDONLY
            return why(OSError(errno.EROFS if is_read_only else errno.EACCES, ""))
        owners = {0, of_folder.st_uid, target.stat().st_uid}
    except OSError:
        return ""  # what is missing or cannot be reached is said as that
    if of_folder.st_mode & stat.S_ISVTX and os.geteuid() not in owners:
        return why(OSError(errno.EPERM, ""))
    if not _may(target, os.W_OK) and is_mount_point(path):
        return "it is a mount point, and its own mode or owner does not permit to write it"
    return ""


def _may(path: Path, how: int) -> bool:
    return os.access(path, how, effective_ids=os.access in os.supports_effective_ids)
