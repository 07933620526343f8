"""Retention: which rows of the history are kept, and which are pruned."""

import sqlite3

from rollout_console.history.rows import NOTES

KEPT = 1_000
"""How many writes of a file are kept, with their texts, and how many notes."""
MOST_ROWS = 20_000
"""Limit of their rows: a write of all orgs has one for each."""
PRUNED_EVERY = 50
"""Rows after which the history is pruned again."""

_ATTEMPTS_KEPT = 50
"""Retention of abandoned attempts, which are kept to explain what a missing row was."""


def prune(db: sqlite3.Connection, file: str) -> None:
    """Delete all but the newest KEPT writes; notes and abandoned attempts do not count as such.

    The rows of one write stay together, however many they are: half of them could not be undone.
    Of writes of many rows fewer are kept, down to the newest. Call this in a transaction.
    """
    made = "state IN ('applied', 'pending')"
    if _delete(db, file, f"{made} AND action NOT IN {NOTES}", KEPT):
        # By the oldest row that is left is known since when the changes are complete.
        db.execute("UPDATE seen SET since = '' WHERE file = ?", (file,))
    _delete(db, file, f"{made} AND action IN {NOTES}", KEPT)
    _delete(db, file, "state = 'abandoned'", _ATTEMPTS_KEPT)
    db.execute(
        "DELETE FROM texts WHERE file = :file AND revision NOT IN"
        " (SELECT revision FROM changes WHERE file = :file"
        "  UNION SELECT previous_revision FROM changes WHERE file = :file"
        "  UNION SELECT revision FROM seen WHERE file = :file)",
        {"file": file},
    )


def _delete(db: sqlite3.Connection, file: str, which: str, keep: int) -> int:
    """Delete all but the newest writes of those that a condition names; return how many rows."""
    return db.execute(
        "WITH writes AS (SELECT coalesce(group_id, id) AS name, max(id) AS last, count(*) AS n"  # noqa: S608
        f" FROM changes WHERE file = :file AND {which} GROUP BY name"
        " ORDER BY last DESC LIMIT :keep),"
        " counted AS (SELECT name, n, sum(n) OVER (ORDER BY last DESC) AS rows_to FROM writes)"
        f" DELETE FROM changes WHERE file = :file AND {which} AND coalesce(group_id, id)"
        " NOT IN (SELECT name FROM counted WHERE rows_to <= :most OR rows_to = n)",
        {"file": file, "keep": keep, "most": MOST_ROWS},
    ).rowcount
