"""The tables of the store of usage records, and what a record of them can be."""

import sqlite3

from rollout_console.reconcile.errors import BadRecord

VERSION = 1
SCHEMA = f"""
CREATE TABLE keys (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    status TEXT NOT NULL,
    created_at INTEGER NOT NULL,    -- epoch seconds
    listed INTEGER NOT NULL         -- 0: no longer in the list of keys
) WITHOUT ROWID;
CREATE TABLE windows (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    key_id TEXT NOT NULL,
    begins INTEGER NOT NULL,        -- epoch seconds, both ends inclusive
    ends INTEGER NOT NULL,
    read_at REAL NOT NULL,          -- when its reading began
    total INTEGER NOT NULL,         -- as the API counts its records and sums their cost
    cost TEXT,
    note TEXT NOT NULL
);
CREATE INDEX windows_by_key ON windows (key_id, begins);
CREATE TABLE records (
    id INTEGER PRIMARY KEY,
    window_id INTEGER NOT NULL,
    identity BLOB NOT NULL UNIQUE,
    seen_at REAL NOT NULL,
    at INTEGER NOT NULL,            -- epoch microseconds
    key_id TEXT NOT NULL,
    request_id TEXT,
    billing_id TEXT,
    model TEXT NOT NULL,
    scene TEXT NOT NULL,
    unit TEXT NOT NULL,
    quantity TEXT NOT NULL,
    tokens_in INTEGER NOT NULL,
    tokens_out INTEGER NOT NULL,
    cost TEXT NOT NULL,             -- exact US dollars
    is_refund INTEGER NOT NULL
);
CREATE INDEX records_by_time ON records (at);
CREATE INDEX records_by_window ON records (window_id);
CREATE INDEX records_by_billing ON records (billing_id) WHERE billing_id IS NOT NULL;
PRAGMA user_version = {VERSION};
"""

FIRST_S, LAST_S = -62_135_596_800, 253_402_300_799
"""The epoch seconds of the years 1 to 9999, which a datetime can have."""
_TEXTS = ("key_id", "model", "scene", "unit", "quantity", "cost")
_IDS = ("request_id", "billing_id")
_TYPES = (
    *(f"typeof({name}) <> 'text'" for name in _TEXTS),
    *(f"typeof({name}) NOT IN ('text', 'null')" for name in _IDS),
    *(f"typeof({name}) <> 'integer'" for name in ("tokens_in", "tokens_out")),
)
_ODD = (
    "SELECT EXISTS (SELECT 1 FROM main.records WHERE at < :first)"  # noqa: S608
    " OR EXISTS (SELECT 1 FROM main.records WHERE at > :last)"  # text and blobs sort last
    " OR EXISTS (SELECT 1 FROM main.records WHERE at >= :since AND at < :until"
    f" AND ({' OR '.join(_TYPES)}))"
)


def refuse_damage(db: sqlite3.Connection, since: int, until: int) -> None:
    """Raise BadRecord where a record between two epoch microseconds cannot be one.

    SQLite keeps in a column whatever it is given. A time that is none is looked for in all of them,
    by the index: such a record would be of no period.
    """
    times = {"first": FIRST_S * 1_000_000, "last": LAST_S * 1_000_000 + 999_999}
    if db.execute(_ODD, {**times, "since": since, "until": until}).fetchone()[0]:
        raise BadRecord("a record has a value of another type, or an impossible time")
