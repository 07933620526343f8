"""Rename a damaged SQLite database, so that a new one can take its place and nothing is deleted."""

from contextlib import suppress
from pathlib import Path

from rollout_console.common.files import locked_folder

_WAIT_S = 2.0
"""How long another process that sets the file aside is waited for, in seconds."""
_BESIDE = ("-journal", "-wal", "-shm")
"""Files of SQLite's beside a database: it would roll the new one back, or forward, with them."""


def set_aside(path: Path, inode: int | None) -> Path:
    """Rename the database at ``path``, if it is that of ``inode``, or any; return its new path.

    The first is ``….corrupt``, later ones are ``….corrupt-2`` and so on. Where another process has
    set the file aside already, and made a new one, the newest copy is returned. Raises OSError.
    """
    with locked_folder(path.parent, _WAIT_S):
        copies = [path.with_name(f"{path.name}.corrupt")]
        while copies[-1].exists():
            copies.append(copies[0].with_name(f"{copies[0].name}-{len(copies) + 1}"))
        if len(copies) > 1 and inode is not None and path.stat().st_ino != inode:
            return copies[-2]
        for suffix in _BESIDE:
            with suppress(FileNotFoundError):
                path.with_name(f"{path.name}{suffix}").replace(
                    copies[-1].with_name(f"{copies[-1].name}{suffix}")
                )
        path.replace(copies[-1])
        return copies[-1]
