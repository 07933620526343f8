"""Crash recovery of the history: settle the pending rows of processes that died."""

import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

from rollout_console.common.process_id import may_live, process_id
from rollout_console.history.rows import NOTES
from rollout_gate.file.read import read_regular
from rollout_gate.file.revision import revision_of


def recover(
    db: sqlite3.Connection, name: str, file: Path, is_dead: Callable[[sqlite3.Row], bool]
) -> None:
    """Commit or abort the pending rows of dead processes; a live process settles its own.

    An aborted row is no evidence: its writer may have compared the file without the lock, as the
    wait for the lock is bounded. Only the first row of a group is settled, and the others with it:
    their two revisions are equal, and so they prove nothing.
    """
    begun = [row for row in pending(db, name) if row["group_id"] in (None, row["id"])]
    dead = [row for row in begun if is_dead(row)]
    # Read the file after the dead processes are known: from then on none of them changes it.
    now = revision_at(file) if dead else ""
    for row in reversed(dead):
        after = db.execute(
            "SELECT previous_revision FROM changes WHERE file = ? AND id > ?"  # noqa: S608
            f" AND state <> 'abandoned' AND action NOT IN {NOTES} AND group_id IS NOT ?"
            " ORDER BY id LIMIT 1",
            (name, row["id"], row["id"]),
        ).fetchone()
        made = now if after is None else after["previous_revision"]
        settle(db, row["id"], "applied" if made == row["revision"] else "abandoned")


def settle(db: sqlite3.Connection, row: int, state: str) -> int:
    """Set the state of a row, and of the group that it is the first of; return how many it were."""
    settled = "UPDATE changes SET state = ? WHERE id = ? OR group_id = ?"
    return db.execute(settled, (state, row, row)).rowcount


def pending(db: sqlite3.Connection, name: str) -> list[sqlite3.Row]:
    """Return the rows of a file whose change was begun, and neither made nor abandoned."""
    return db.execute(
        "SELECT * FROM changes WHERE file = ? AND state = 'pending' ORDER BY id", (name,)
    ).fetchall()


def revision_at(file: Path) -> str:
    """Return the current revision of the file; empty where it cannot be read."""
    try:
        return revision_of(read_regular(file)[0])
    except OSError:
        return ""


def is_dead(row: sqlite3.Row) -> bool:
    """Whether the process that began a row is gone."""
    return not may_live(_process(row))


def is_dead_or_own(row: sqlite3.Row) -> bool:
    """Whether the process that began a row is gone, or is this one, which has no change under way.

    It is so when the file is opened.
    """
    identity = _process(row)
    return is_dead(row) or identity in (process_id(), str(os.getpid()))


def _process(row: sqlite3.Row) -> str:
    return str(row["process"] or row["pid"])
