"""The jobs of the ledger, by route, org and job id: the transactions on its SQLite file."""

import secrets
import sqlite3
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, get_args

import msgspec

from rollout_gate.file.model import Side
from rollout_gate.http import create_records
from rollout_gate.http.create_records import MOST_TIME, Create, storable_org, time_in
from rollout_gate.http.shared_database import opened, storable, writing
from rollout_gate.sqlite_file import make_file
from rollout_gate.untrusted import ANYTHING, UndecodableError, decode_json

Key = tuple[str, str, str]
"""Route, org and job id."""

_HASH_KEY = "fingerprint"
_MODE = 0o660
"""File mode of a new ledger, less the umask: it has the key of its hashes of prompts."""
KEPT_S = 14 * 86_400
"""Retention of a job, in seconds."""

_PLAUSIBLE_S = 86_400
"""A clock that is set ahead is put right within so many seconds."""
_EXPIRES = "expires_at"

_SIDES = get_args(Side)

_ANY_ORG = "\x00"
"""Wildcard org of jobs from before the schema had orgs, which matches any org; ``storable_org``
returns it for none."""
_JOBS = """
create table if not exists jobs (
  job_id text not null, route text not null, side text not null, sent_at real not null,
  task_id text, status integer, body blob, org text not null, primary key (route, org, job_id)
) without rowid
"""
_SCHEMA = f"""
{_JOBS};
create index if not exists jobs_by_task on jobs (task_id);
create index if not exists jobs_by_time on jobs (sent_at);
"""
_ADD_ORG = (
    "alter table jobs rename to jobs_without_org",
    _JOBS,
    "insert into jobs select job_id, route, side, sent_at, task_id, status, body, char(0)"
    " from jobs_without_org",
    "drop table jobs_without_org",
)
WANTED = """
select side, sent_at, task_id, status, body, status is not null or exists (
  select 1 from creates where creates.job_id = jobs.job_id and creates.job_id != ''
    and creates.route = jobs.route and creates.org = jobs.org and creates.sent_at = jobs.sent_at
    and creates.status is not null)
from jobs where route = ? and org in (?, char(0)) and job_id = ? and not exists (
  select 1 from creates where creates.job_id = jobs.job_id and creates.job_id != ''
    and creates.route = jobs.route and creates.org = jobs.org and creates.sent_at = jobs.sent_at
    and creates.state in ('failed', 'cancelled'))
"""
"""A job that was sent, unless its task is known to have ended without an asset: then it may be
repeated."""
_OLD = "select 1 from jobs where sent_at < ? limit 1"
_NEWEST = "select max(sent_at) from jobs where sent_at < ?"
SIDES_OF = """
select side, route, org, sent_at from jobs where task_id = :task
union all select side, route, org, sent_at from creates where task_id = :task
"""
_FORGET = "delete from jobs where route = ? and org in (?, char(0)) and job_id = ?"


class Job(msgspec.Struct, frozen=True):
    """A create that was sent; ``body`` is the response to it, None while that is not known.

    ``sent_at`` is in epoch seconds, 0 where it is not known. ``request_ended`` is whether the
    create's request is over, with or without a response; where it is not, it is in flight, or its
    process has ended.
    """

    side: str
    sent_at: float
    task_id: str | None
    status: int | None
    body: bytes | None
    request_ended: bool = False


def job_in(row: Sequence[Any]) -> Job:
    """Return the job of a row; a value that cannot be one of ours counts as missing.

    SQLite enforces no types, and a damaged file has anything in a row: what is left of it says at
    least that the create was sent, so that it is not sent again.
    """
    side, sent_at, task_id, status, body, ended = row
    return Job(
        side if side in _SIDES else "",
        time_in(sent_at) or 0.0,
        task_id if isinstance(task_id, str) else None,
        status if isinstance(status, int) and 200 <= status < 300 else None,
        body if isinstance(body, bytes) and _is_object(body) else None,
        bool(ended),
    )


def side_among(made: Iterable[Sequence[Any]], key: Key) -> str | None:
    """Return the side of the task that is asked about, None where none is known.

    ``made`` are side, route, org and time of what was created with its id, in any order; a row
    without a side that there is counts as missing.
    """

    def rank(one: Sequence[Any]) -> tuple[bool, bool, float]:
        _, route, org, sent_at = one
        return route == key[0], org in (key[1], _ANY_ORG), time_in(sent_at) or 0.0

    known = [one for one in made if one[0] in _SIDES]
    return str(max(known, key=rank)[0]) if known else None


def _is_object(body: bytes) -> bool:
    try:
        return isinstance(decode_json(body, ANYTHING), dict)
    except UndecodableError:
        return False


class Known(msgspec.Struct, frozen=True):
    """A job that was sent before, and its id."""

    job_id: str
    job: Job


def insert(database: sqlite3.Connection, key: Key, job: Job, create: Create | None) -> Job | None:
    """Insert a job that is about to be sent; return the one that another request has sent."""
    with writing(database):
        _expire(database, job.sent_at)
        known = put(database, key, job)
        if known is None and create is not None:
            create_records.put(database, create)
        return known


def insert_unlike(
    database: sqlite3.Connection, key: Key, job: Job, create: Create, since: float
) -> Known | None:
    with writing(database):
        _expire(database, job.sent_at)
        known = known_like(database, create, since)
        if known is None:
            _replace(database, key, job)
            create_records.put(database, create)
        return known


def known_like(database: sqlite3.Connection, create: Create, since: float) -> Known | None:
    found = create_records.newest_like(
        database, create.route, create.org, create.fingerprint, since
    )
    if found is None or not found.job_id:
        return None if found is None else Known("", job_of(found))
    row = database.execute(WANTED, (found.route, found.org, found.job_id)).fetchone()
    return Known(found.job_id, job_in(row) if row else job_of(found))


def record(database: sqlite3.Connection, create: Create) -> None:
    with writing(database):
        _expire(database, create.sent_at)
        create_records.put(database, create)


def _expire(database: sqlite3.Connection, now: float) -> None:
    """Delete what is older than its retention, a day after that was first seen.

    A clock that is set ahead for a moment makes everything old, so nothing is deleted by the
    time of the moment: that time is noted, and what was too old at it is deleted once a create
    comes a day later or more. A note of a time that has not come yet is of a clock that was wrong.
    """
    noted = create_records.note_of(database, _EXPIRES)
    at = _number(noted)
    if noted is not None and at is not None and at <= now:
        if now - at < _PLAUSIBLE_S:
            return
        database.execute("delete from jobs where sent_at < ?", (at - KEPT_S,))
        create_records.expire(database, at)
    is_old = database.execute(_OLD, (now - KEPT_S,)).fetchone() is not None
    if is_old or create_records.has_expired(database, now):
        create_records.write_note(database, _EXPIRES, repr(now).encode())
    elif noted is not None:
        create_records.forget_note(database, _EXPIRES)


def _number(noted: bytes | None) -> float | None:
    try:
        return time_in(float(noted or b""))
    except ValueError:
        return None


def is_expired(database: sqlite3.Connection, job: Job, now: float) -> bool:
    """Return whether a job is so old that its id may be created again.

    The newest job tells whether the clock is right: after a gap of a day it may be set ahead.
    """
    if not 0 < job.sent_at < now - KEPT_S:
        return False
    (last,) = database.execute(_NEWEST, (MOST_TIME,)).fetchone()
    return last is not None and now - last < _PLAUSIBLE_S


def put(database: sqlite3.Connection, key: Key, job: Job) -> Job | None:
    """Insert or replace a job; return the conflicting one of another request, if any."""
    row = database.execute(WANTED, key).fetchone()
    if row is not None and row[1] != job.sent_at:
        known = job_in(row)
        if not is_expired(database, known, job.sent_at):
            return known
    _replace(database, key, job)
    return None


def _replace(database: sqlite3.Connection, key: Key, job: Job) -> None:
    database.execute(
        "insert or replace into jobs"
        " (route, org, job_id, side, sent_at, task_id, status, body)"
        " values (?, ?, ?, ?, ?, ?, ?, ?)",
        (*key, job.side, job.sent_at, job.task_id, job.status, job.body),
    )


def update(database: sqlite3.Connection, key: Key, job: Job, create: Create | None) -> None:
    with writing(database):
        if create is not None:
            create_records.put(database, create)
        done = database.execute(
            "update jobs set task_id = ?, status = ?, body = ?"
            " where route = ? and org in (?, char(0)) and job_id = ?",
            (job.task_id, job.status, job.body, *key),
        )
        if not done.rowcount:  # the file was deleted, or replaced, since the create was sent
            _replace(database, key, job)


def delete(database: sqlite3.Connection, key: Key) -> None:
    with writing(database):
        remove(database, key)


def remove(database: sqlite3.Connection, key: Key) -> None:
    """Delete a job and its creates that made no known task, in a transaction of the caller's."""
    database.execute(_FORGET, key)
    create_records.remove_job(database, *key)


def key_for(route: str, org: str, job_id: str) -> Key:
    return storable(route), storable_org(org), storable(job_id)


def key_of(create: Create) -> Key:
    """Return the key of a create that is not read from the file, where its org is as stored."""
    return key_for(create.route, create.org, create.job_id)


def job_of(create: Create) -> Job:
    """Return what a create without a record of its job id is as a job."""
    known = create.task_id is not None or create.state == "completed"
    status = create.status if known else None
    sent_at = time_in(create.sent_at) or 0.0
    return Job(create.side, sent_at, create.task_id, status, None, create.request_ended)


def hash_key(database: sqlite3.Connection) -> bytes:
    """Return the key of this file's hashes, a new one where it has none."""
    found = create_records.note_of(database, _HASH_KEY)
    if found is None:
        with writing(database):
            found = create_records.key_named(database, _HASH_KEY, secrets.token_bytes(32))
    return found


def connected(path: Path, wait_s: float) -> sqlite3.Connection:
    try:
        make_file(path, _MODE)
    except OSError as error:
        raise sqlite3.OperationalError(f"it cannot be made: {error.strerror}") from None
    connection = opened(path, wait_s)
    try:
        connection.text_factory = _text
        connection.execute("pragma synchronous = full")
        if _has_no_org(connection):
            _add_org(connection)
        connection.executescript(_SCHEMA + create_records.SCHEMA)
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def _text(data: bytes) -> str:
    """Decode a text of a damaged file, too: sqlite3 would refuse every row with such a one."""
    return data.decode(errors="replace")


def _add_org(database: sqlite3.Connection) -> None:
    """Migrate the jobs of a file from before the schema had orgs.

    The columns are looked at again in the transaction: another process may have migrated the file
    since, and a second migration would make all of its jobs those of any org.
    """
    with writing(database):
        if _has_no_org(database):
            for statement in _ADD_ORG:
                database.execute(statement)


def _has_no_org(database: sqlite3.Connection) -> bool:
    columns = {row[1] for row in database.execute("pragma table_info(jobs)")}
    return bool(columns) and "org" not in columns
