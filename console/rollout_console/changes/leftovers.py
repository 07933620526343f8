"""Clean up the temporary files of a killed writer: a text that was never put in place, the one
that it replaced, or one that another writer had saved just before the exchange.

A temporary file is named by the process and by the revisions before and after the change. While
it is being written its suffix is ``.part``; after that, with ``.tmp``, it may have been exchanged
with the file.
"""

import os
import time
from contextlib import suppress
from pathlib import Path

from rollout_console.changes.folder_lock import folder_lock
from rollout_console.changes.rename_exchange import exchanged
from rollout_console.common.files import real_path
from rollout_console.common.process_id import may_live, process_id
from rollout_gate.file.revision import revision_of

_TEMP = ".rollout-console."
_SHOWN = 12


def temp_name(expected: str, revision: str) -> str:
    """Return a unique name of a temporary file of this process, without its suffix."""
    from_, to = expected[:_SHOWN] or "none", revision[:_SHOWN]
    return f"{_TEMP}{process_id()}.{time.monotonic_ns()}.{from_}.{to}"


def clean_up(folder: int, name: str) -> str:
    """Remove the leftovers of dead writers from an open folder; return a notice, or empty.

    A version that another writer had saved is swapped back while the file is still the dead
    writer's, and kept next to the file where that has changed since.
    """
    try:
        names = os.listdir(folder)
    except OSError:
        return ""
    said = ""
    for one in names:
        name_of_it, _, ending = one.removeprefix(_TEMP).rpartition(".")
        if one.startswith(_TEMP) and ending in ("part", "tmp"):
            identity, *rest = name_of_it.rsplit(".", 3)
            if not may_live(identity):
                with suppress(OSError):
                    said = _settle(folder, one, name, rest) or said
    return said


def _settle(folder: int, temp: str, name: str, revisions: list[str]) -> str:
    found = _revision(folder, temp)
    ours = found[:_SHOWN] in revisions[-2:] or len(revisions) < 2  # names of older versions
    if temp.endswith(".part") or ours:
        os.unlink(temp, dir_fd=folder)
        return ""
    if _revision(folder, name)[:_SHOWN] == revisions[-1] and exchanged(folder, temp, name):
        os.unlink(temp, dir_fd=folder)
        return (
            f"{name} was restored to the version that another writer saved before a writer was"
            " killed"
        )
    kept = f"{name}.kept-{time.time_ns()}"
    os.rename(temp, kept, src_dir_fd=folder, dst_dir_fd=folder)
    return f"the version that another writer saved before a writer was killed is kept in {kept}"


def _revision(folder: int, name: str) -> str:
    descriptor = os.open(name, os.O_RDONLY | os.O_CLOEXEC, dir_fd=folder)
    with os.fdopen(descriptor, "rb") as stream:
        return revision_of(stream.read())


def recovered(path: Path) -> str:
    """Recover, under the folder's lock, from a killed writer; return a notice, or empty.

    Raises NotWritable where another process has the lock: what it writes is not waited for.
    """
    target = real_path(path)
    with folder_lock(target.parent, path, wait=False) as folder:
        return clean_up(folder, target.name)
