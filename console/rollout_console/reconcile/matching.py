"""Match usage records with lines of the access log: by billing transaction id, then request id.

The work is done in SQL, on a snapshot of the store and the temporary tables beside it, so that
memory does not grow with the log. A charge takes at most one line, and a line at most one charge:
a second charge of the same request stays unmatched. Refunds go with what they pay back.
"""

import sqlite3

BY_BILLING, BY_REQUEST, BY_TRANSACTION = 1, 2, 3
"""How a record was matched; by transaction: with an entry of the same one that was matched."""

_STEPS = (
    """
    CREATE TABLE log.matches (
        record INTEGER PRIMARY KEY,     -- main.records
        line INTEGER NOT NULL,          -- log.lines
        how INTEGER NOT NULL
    )
    """,
    # By billing transaction id. Of several lines with one id the charged one comes first.
    """
    INSERT INTO log.matches
    SELECT record, line, 1 FROM (
        SELECT r.id AS record, (
            SELECT l.id FROM log.lines l WHERE l.billing_id = substr(r.billing_id, 1, 200)
            ORDER BY l.kind, l.id LIMIT 1
        ) AS line
        FROM main.records r
        WHERE r.at >= :since AND r.at < :until AND r.billing_id IS NOT NULL
    ) WHERE line IS NOT NULL
    """,
    "CREATE INDEX log.by_line ON matches (line)",
    # By request id: the n-th charge that is left with the n-th line that is left, which
    # no line of a matched transaction is. The entries of one transaction count as one charge: the
    # others follow below.
    """
    CREATE TABLE log.charges AS
    SELECT record, request_id,
           row_number() OVER (PARTITION BY request_id ORDER BY at, record) AS n
    FROM (
        SELECT min(r.id) AS record, min(r.at) AS at, substr(r.request_id, 1, 200) AS request_id
        FROM main.records r
        WHERE r.at >= :since AND r.at < :until AND r.request_id IS NOT NULL AND r.is_refund = 0
          AND NOT EXISTS (SELECT 1 FROM log.matches m WHERE m.record = r.id)
        GROUP BY r.request_id, coalesce(r.billing_id, r.id)
    )
    """,
    """
    INSERT INTO log.matches
    SELECT c.record, f.line, 2 FROM log.charges c JOIN (
        SELECT l.id AS line, l.request_id,
               row_number() OVER (PARTITION BY l.request_id ORDER BY l.kind, l.id) AS n
        FROM (SELECT DISTINCT request_id FROM log.charges) w
        JOIN log.lines l ON l.request_id = w.request_id
        WHERE NOT EXISTS (
            SELECT 1 FROM log.lines k JOIN log.matches m ON m.line = k.id
            WHERE k.billing_id = l.billing_id
        )
    ) f ON f.request_id = c.request_id AND f.n = c.n
    """,
    # Other entries of a transaction that is matched already.
    """
    INSERT OR IGNORE INTO log.matches
    SELECT r.id, m.line, 3
    FROM main.records r
    JOIN main.records o ON o.billing_id = r.billing_id AND o.id <> r.id
    JOIN log.matches m ON m.record = o.id
    WHERE r.at >= :since AND r.at < :until AND r.billing_id IS NOT NULL
      AND NOT EXISTS (SELECT 1 FROM log.matches x WHERE x.record = r.id)
    """,
    # Refunds by request id: they take no line of their own.
    """
    INSERT OR IGNORE INTO log.matches
    SELECT record, line, 2 FROM (
        SELECT r.id AS record, (
            SELECT l.id FROM log.lines l WHERE l.request_id = substr(r.request_id, 1, 200)
            ORDER BY EXISTS (SELECT 1 FROM log.matches m WHERE m.line = l.id) DESC, l.kind, l.id
            LIMIT 1
        ) AS line
        FROM main.records r
        WHERE r.at >= :since AND r.at < :until AND r.request_id IS NOT NULL AND r.is_refund = 1
          AND NOT EXISTS (SELECT 1 FROM log.matches x WHERE x.record = r.id)
    ) WHERE line IS NOT NULL
    """,
)


def match(db: sqlite3.Connection, since: int, until: int) -> None:
    """Match the records between two epoch microseconds into the table ``log.matches``."""
    for statement in _STEPS:
        given = {"since": since, "until": until} if ":since" in statement else {}
        db.execute(statement, given)
