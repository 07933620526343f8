"""The console's own SQLite databases: how one is made, and put in quarantine when it is damaged."""

from contextlib import suppress
from pathlib import Path

from rollout_console.common.flock import locked_folder
from rollout_gate.sqlite_file import make_file

_WAIT_S = 2.0
"""How long another process that renames the file is waited for, in seconds."""
_BESIDE = ("-journal", "-wal", "-shm")
"""Rollback journal and write-ahead log (WAL): SQLite would replay them into the new database."""


def make_private(path: Path) -> None:
    """Make an empty database file, mode 0600, and its folder (0700) where there is none.

    Raises OSError.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    make_file(path, 0o600)


def quarantine(path: Path, inode: int | None) -> Path:
    """Rename a damaged database, so that a new one can take its place; return its new path.

    The first is ``….corrupt``, later ones are ``….corrupt-2`` and so on. Where another process has
    renamed the one of ``inode`` already, and made a new one, the newest copy is returned. Raises
    OSError.
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
