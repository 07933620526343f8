"""Read TokenLab's lines of the access log into a temporary SQLite table, in bounded memory."""

import sqlite3
from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from math import inf
from pathlib import Path

import msgspec

from rollout_console.common.listing import counted
from rollout_console.health.log.record import BillingRecord
from rollout_console.health.log.time_range import LogReader
from rollout_console.reconcile.store import micros
from rollout_gate.access_log import MOST_ID

CHARGED = frozenset(
    (
        "compact", "completions", "edits", "embeddings", "moderations", "rerank", "speech",
        "transcriptions", "translations", "variations",
    )
)  # fmt: skip
"""Operations that are charged as a generation is; others, such as a poll, cost nothing."""

EXPECTED, POSSIBLE, RELEASED = 0, 1, 2
"""Kinds of lines: an answer that is charged, and one that may be: a failed or a cached one, an
operation that costs nothing by itself, and the create of a task that failed. All but the first
are matched, but never missed."""

BEGINS_LATER = "the log has no line from before"
"""How the sentence begins that a log does not go back to the period's begin."""

_MEDIA = frozenset(("image", "video", "music", "3d"))
_MOST_TOKENS = 10**15
_QUIET_S = 60.0
_NO_ID = ("", "redacted")
_SCHEMA = """
CREATE TABLE log.lines (
    id INTEGER PRIMARY KEY,
    at INTEGER NOT NULL,            -- epoch microseconds
    inside INTEGER NOT NULL,        -- 1: of the period, 0: of its margins
    kind INTEGER NOT NULL,          -- EXPECTED, POSSIBLE or RELEASED
    is_async INTEGER NOT NULL,
    route TEXT NOT NULL,
    org TEXT NOT NULL,
    model TEXT NOT NULL,
    status INTEGER NOT NULL,
    outcome TEXT,
    billing_id TEXT,
    request_id TEXT,
    task_id TEXT,
    task_status TEXT,
    tokens_in INTEGER NOT NULL,
    tokens_out INTEGER NOT NULL,
    attempt INTEGER NOT NULL        -- 2 and more: a retry
)
"""


class Period(msgspec.Struct, frozen=True):
    """The period that is reconciled, in epoch seconds, the end exclusive; and its margins.

    Lines up to ``before_s`` and ``after_s`` seconds outside of it are read as well, for records
    whose request began before the period, or by a clock that differs.
    """

    since: float
    until: float
    before_s: float = 0.0
    after_s: float = 0.0

    @property
    def micros(self) -> tuple[int, int]:
        """Begin and end, in epoch microseconds."""
        return round(self.since * 1e6), round(self.until * 1e6)


class PreviousLines(msgspec.Struct):
    """Answered requests of the previous side; tokens are those of the lines that have them."""

    requests: int = 0
    with_tokens: int = 0
    tokens_in: int = 0
    tokens_out: int = 0

    def merge(self, other: "PreviousLines") -> None:
        """Add others."""
        self.requests += other.requests
        self.with_tokens += other.with_tokens
        self.tokens_in += other.tokens_in
        self.tokens_out += other.tokens_out


class LogRead(msgspec.Struct, frozen=True):
    """What was read of the log; times are epoch seconds, ``begins_at`` -inf where it is whole.

    ``lines`` are TokenLab's of the period; ``uncharged`` of them are not expected to be charged.
    ``previous`` are those of the other side that would be, by route and org, where asked for.
    ``unreadable`` is whether a file of the log is there and cannot be read, ``missing`` whether
    there is none.
    """

    lines: int
    uncharged: int
    begins_at: float
    words: tuple[str, ...]
    previous: Mapping[tuple[str, str], PreviousLines] = {}
    unreadable: bool = False
    missing: bool = False


def read_lines(
    db: sqlite3.Connection, path: Path, period: Period, formats: dict[str, str], *,
    route: str = "", org: str = "", previous_of: Collection[str] = (),
) -> LogRead:  # fmt: skip
    """Read the lines of TokenLab's side into the table ``log.lines`` of a snapshot of the store.

    ``formats`` are those of the routes by name; with ``route`` or ``org`` other lines are left out.
    ``previous_of`` names the routes whose previous side is counted as well.
    """
    db.execute(_SCHEMA)
    reader = LogReader(path, BillingRecord)
    media = {name for name, kind in formats.items() if kind in _MEDIA}
    previous: dict[tuple[str, str], PreviousLines] = {}
    lines = uncharged = 0
    since, until = period.since - period.before_s, period.until + period.after_s
    for records in reader.between(since, until):
        chosen = [
            one
            for one in records
            if one.side == "tokenlab" and route in ("", one.route) and org in ("", one.org)
        ]
        rows = list(_rows(chosen, period, media))
        if previous_of:
            others = (one for one in records if one.side == "previous" and one.route in previous_of)
            _count(others, period, previous)
        inside = [row for row in rows if row[1]]
        lines += len(inside)
        uncharged += sum(row[2] == POSSIBLE for row in inside)
        db.executemany(
            "INSERT INTO log.lines (at, inside, kind, is_async, route, org, model, status, outcome,"
            " billing_id, request_id, task_id, task_status, tokens_in, tokens_out, attempt)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (row for row in rows if row[2] == EXPECTED or row[9] or row[10] or row[11]),
        )
    _index(db)
    uncharged += db.execute(
        "SELECT count(*) FROM log.lines WHERE inside = 1 AND kind = ?", (RELEASED,)
    ).fetchone()[0]
    begins_at = reader.begins_at if reader.begins_at > period.since else -inf
    words = tuple(_words(reader, period.since))
    return LogRead(
        lines, uncharged, begins_at, words, previous, reader.unreadable, reader.missing
    )  # fmt: skip


def _rows(
    records: Iterable[BillingRecord], period: Period, media: set[str]
) -> Iterator[tuple[object, ...]]:
    since, until = period.micros
    for one in records:
        at = micros(one.ts)
        billing_id = _id(one.billing_transaction_id)
        is_charged = _is_charged(one)
        is_poll = one.operation is not None and one.operation not in CHARGED
        yield (
            at,
            int(since <= at < until),
            EXPECTED if is_charged or (billing_id and not is_poll) else POSSIBLE,
            int(bool(one.task_id) or one.route in media),
            one.route,
            one.org,
            one.model,
            one.status,
            one.outcome,
            billing_id,
            _id(one.request_id),
            _id(one.task_id),
            one.task_status,
            min(max(one.input_tokens or 0, 0), _MOST_TOKENS),
            min(max(one.output_tokens or 0, 0), _MOST_TOKENS),
            min(max(one.attempt or 1, 1), _MOST_TOKENS),
        )


def _is_charged(one: BillingRecord) -> bool:
    return (
        200 <= one.status < 300
        and one.outcome in (None, "ok", "filtered")
        and not one.cached
        and (one.operation is None or one.operation in CHARGED)
    )


def _count(
    records: Iterable[BillingRecord], period: Period, found: dict[tuple[str, str], PreviousLines]
) -> None:
    since, until = period.micros
    for one in records:
        if _is_charged(one) and since <= micros(one.ts) < until:
            lines = found.setdefault((one.route, one.org), PreviousLines())
            lines.requests += 1
            if one.input_tokens is not None or one.output_tokens is not None:
                lines.with_tokens += 1
                lines.tokens_in += min(max(one.input_tokens or 0, 0), _MOST_TOKENS)
                lines.tokens_out += min(max(one.output_tokens or 0, 0), _MOST_TOKENS)


def _id(text: str | None) -> str | None:
    return None if text is None or text in _NO_ID else text[:MOST_ID]


def _index(db: sqlite3.Connection) -> None:
    """Index the lines, and tell a task's create what its polls were told.

    The billing id is that of the create too, and the create of a task that failed or was cancelled
    is not charged: what was reserved for it is released.
    """
    db.execute("CREATE INDEX log.by_task ON lines (task_id) WHERE task_id IS NOT NULL")
    db.execute(
        "UPDATE log.lines SET billing_id = (SELECT other.billing_id FROM log.lines other"
        " WHERE other.task_id = lines.task_id AND other.billing_id IS NOT NULL LIMIT 1)"
        " WHERE task_id IS NOT NULL AND billing_id IS NULL"
    )
    db.execute(
        "UPDATE log.lines SET kind = ? WHERE kind = ? AND task_id IS NOT NULL"
        " AND EXISTS (SELECT 1 FROM log.lines other WHERE other.task_id = lines.task_id"
        " AND other.task_status IN ('failed', 'cancelled'))",
        (RELEASED, EXPECTED),
    )
    for name in ("billing_id", "request_id"):
        db.execute(
            f"CREATE INDEX log.by_{name} ON lines ({name}, kind, id) WHERE {name} IS NOT NULL"
        )


def _words(reader: LogReader[BillingRecord], since: float) -> Iterator[str]:
    """Yield what limits the comparison: an error, unusable lines, a log that begins later."""
    if reader.trouble:
        yield reader.trouble
    if reader.begins_at > since + _QUIET_S:
        at = datetime.fromtimestamp(reader.begins_at, UTC)
        yield f"{BEGINS_LATER} {at:%Y-%m-%d %H:%M:%S}Z"
    if reader.unusable.lines:
        unusable = reader.unusable
        yield f"{counted(unusable.lines, 'line')} of the log cannot be used: {unusable.why}"
