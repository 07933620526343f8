"""Every create of an async media task, one row each: what was sent where, and what became of it.

The table is beside that of the job ids in the ledger's file: a job id makes a create idempotent, a
row here accounts for it, with or without a job id. A row has neither prompt nor media nor a URL of
an asset; of a request's body it has a keyed hash.
"""

import sqlite3
from collections.abc import Iterable, Iterator
from typing import Any, Literal

import msgspec
import msgspec.structs

from rollout_gate.access_log import TaskState
from rollout_gate.http.shared_database import storable
from rollout_gate.http.task_answers import TaskAnswer

KEPT_CREATES_S = 90 * 86_400
"""Retention of a create, in seconds."""

SENDING_S = 900
"""For how many seconds a create that nothing was recorded of since may still be in flight; after
that its process has ended without a word."""

MOST_TIME = 7_258_118_400.0
"""The year 2200 in epoch seconds: a time after it is none."""

CreateState = Literal["unknown"] | TaskState
"""``unknown``: it was sent, and no answer has told whether a task was made."""


class Create(msgspec.Struct, frozen=True, kw_only=True):
    """One create that was sent. Times are epoch seconds, ``cost`` is decimal US dollars as text.

    ``job_id`` is empty where there is none; ``has_own_id`` is whether the application gave it.
    ``endpoint`` is the path of the request, ``operation`` that of the access log (None for the
    generation itself). ``status`` is the HTTP status of the answer to the create, 0 without one.
    ``fingerprint`` is a keyed hash of the request, empty where it could not be read.
    ``seen_at`` is when an answer last told the state of the task, the create's own included, and
    ``polls`` how often the application has asked about it.
    """

    create_id: str
    route: str
    org: str
    side: str
    sent_at: float
    job_id: str = ""
    has_own_id: bool = False
    model: str = ""
    endpoint: str = ""
    operation: str | None = None
    fingerprint: bytes = b""
    host: str = ""
    status: int | None = None
    task_id: str | None = None
    poll_url: str | None = None
    state: CreateState = "unknown"
    progress: int | None = None
    error: str | None = None
    request_id: str | None = None
    billing_transaction_id: str | None = None
    cost: str | None = None
    seen_at: float | None = None
    ended_at: float | None = None
    polls: int = 0

    @property
    def answers_again(self) -> bool:
        """Whether it is the answer to the same request, too: not a failure, nor done at once."""
        is_done_at_once = self.state == "completed" and self.task_id is None
        return self.state not in ("failed", "cancelled") and not is_done_at_once

    @property
    def request_ended(self) -> bool:
        """Whether its own request is over, with or without a response; its task may go on."""
        return self.status is not None

    @property
    def is_over(self) -> bool:
        """Whether its task has ended."""
        return self.state not in ("unknown", "open")


_COLUMNS = Create.__struct_fields__
SCHEMA = """
create table if not exists creates (
  create_id text primary key, route text not null, org text not null, side text not null,
  sent_at real not null, job_id text not null, has_own_id integer not null, model text not null,
  endpoint text not null, operation text, fingerprint blob not null, host text not null,
  status integer, task_id text, poll_url text, state text not null, progress integer, error text,
  request_id text, billing_transaction_id text, cost text, seen_at real, ended_at real,
  polls integer not null
) without rowid;
create index if not exists creates_by_time on creates (sent_at);
create index if not exists creates_by_task on creates (task_id) where task_id is not null;
create index if not exists creates_by_job on creates (job_id, route, org) where job_id != '';
create index if not exists creates_by_request on creates (route, org, fingerprint, sent_at);
create index if not exists creates_open on creates (sent_at)
  where state in ('unknown', 'open');
create table if not exists ledger_keys (name text primary key, value blob not null) without rowid;
"""
_NAMES = ", ".join(_COLUMNS)
_SLOTS = ", ".join("?" * len(_COLUMNS))
_RENEWED = ", ".join(f"{name} = excluded.{name}" for name in _COLUMNS[1:])
_PUT = f"""
insert into creates ({_NAMES}) values ({_SLOTS})
  on conflict (create_id) do update set {_RENEWED}
"""  # noqa: S608 - names of ours alone
_SELECT = f"select {_NAMES} from creates"  # noqa: S608 - names of ours alone
_SEEN = """
update creates set
  state = coalesce(:state, state), progress = coalesce(:progress, progress),
  error = coalesce(:error, error), poll_url = coalesce(poll_url, :poll_url),
  billing_transaction_id = coalesce(:billing_transaction_id, billing_transaction_id),
  seen_at = max(coalesce(seen_at, 0), :at),
  ended_at = case when :state in ('completed', 'failed', 'cancelled') then :at end
where task_id = :task_id and (side = :side or :side is null)
  and state in ('unknown', 'open')
"""
_ASKED = """
update creates set polls = polls + 1
where task_id = :task_id and (side = :side or :side is null)
"""


def storable_org(org: str) -> str:
    """Return an org as it is in the file: one of NULs alone has one more, as a single NUL is the
    wildcard of jobs from before there were orgs, and would answer for every org."""
    is_nul = org != "" and not org.strip("\0")
    return org + "\0" if is_nul else storable(org)


def put(database: sqlite3.Connection, create: Create) -> None:
    """Insert or replace a create; raises sqlite3.Error."""
    values = {name: getattr(create, name) for name in _COLUMNS}
    values["org"] = storable_org(create.org)
    texts = (storable(one) if isinstance(one, str) else one for one in values.values())
    database.execute(_PUT, [*texts])


def put_missing(database: sqlite3.Connection, create: Create) -> None:
    """Insert a create whose task no other row has; raises sqlite3.Error."""
    known = database.execute(
        "select 1 from creates where task_id = ? and side = ?",
        (storable(create.task_id or ""), create.side),
    ).fetchone()
    if known is None:
        put(database, create)


def remove(database: sqlite3.Connection, create_id: str) -> None:
    """Delete a create that has certainly made nothing; raises sqlite3.Error."""
    database.execute("delete from creates where create_id = ?", (create_id,))


def remove_job(database: sqlite3.Connection, route: str, org: str, job_id: str) -> None:
    """Delete the creates of a job of which nobody knows whether they made a task."""
    database.execute(
        "delete from creates where route = ? and org = ? and job_id = ? and job_id != ''"
        " and task_id is null",
        (route, org, job_id),
    )


def has_expired(database: sqlite3.Connection, now: float) -> bool:
    """Return whether a create is older than its retention."""
    old = "select 1 from creates where sent_at < ? limit 1"
    return database.execute(old, (now - KEPT_CREATES_S,)).fetchone() is not None


def expire(database: sqlite3.Connection, now: float) -> None:
    """Delete the creates that are older than their retention."""
    database.execute("delete from creates where sent_at < ?", (now - KEPT_CREATES_S,))


def see(
    database: sqlite3.Connection, task_id: str, side: str | None, answer: TaskAnswer, at: float,
    *, by_application: bool,
) -> bool:  # fmt: skip
    """Update a task by an answer about it; return whether there was one that had not ended.

    A task that has ended stays as it ended. ``by_application`` is whether the application asked,
    rather than an operator's tool.
    """
    given = {
        "state": answer.state, "progress": answer.progress, "error": answer.error,
        "poll_url": answer.poll_url, "billing_transaction_id": answer.billing_transaction_id,
        "at": at, "task_id": task_id, "side": side,
    }  # fmt: skip
    if by_application:
        database.execute(_ASKED, given)
    return database.execute(_SEEN, given).rowcount > 0


def of_task(database: sqlite3.Connection, task_id: str) -> Create | None:
    """Return the create that made a task; None for an unknown task."""
    return next(_found(database, "where task_id = ? limit 1", (task_id,)), None)


def newest_like(
    database: sqlite3.Connection, route: str, org: str, fingerprint: bytes, since: float
) -> Create | None:
    """Return the newest create of the same request since a time, if it may still be the wanted one.

    It is not where its task has failed, nor where it was answered in full without a task.
    """
    found = _found(
        database,
        "where route = ? and org = ? and fingerprint = ? and sent_at >= ?"
        " and state not in ('failed', 'cancelled')"
        " and not (state = 'completed' and task_id is null) order by sent_at desc limit 1",
        (storable(route), storable_org(org), fingerprint, since),
    )
    return next(found, None)


def select(
    database: sqlite3.Connection, where: str = "", given: Iterable[object] = ()
) -> Iterator[Create]:
    """Yield creates; ``where`` is the SQL after the table's name, with ``?`` for each value."""
    return _found(database, where, tuple(given))


def key_named(database: sqlite3.Connection, name: str, fresh: bytes) -> bytes:
    """Return a secret key of this file; ``fresh`` becomes it where there is none."""
    database.execute("insert or ignore into ledger_keys values (?, ?)", (name, fresh))
    found = database.execute("select value from ledger_keys where name = ?", (name,)).fetchone()
    return _bytes(found[0])


def note_of(database: sqlite3.Connection, name: str) -> bytes | None:
    """Return a value that ``write_note`` has kept; None without one."""
    found = database.execute("select value from ledger_keys where name = ?", (name,)).fetchone()
    return None if found is None else _bytes(found[0])


def write_note(database: sqlite3.Connection, name: str, value: bytes) -> None:
    """Keep a value under a name, such as how far a log was read."""
    database.execute("insert or replace into ledger_keys values (?, ?)", (name, value))


def time_in(value: object) -> float | None:
    """Return a time of a row in epoch seconds; None for a value that is none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if 0 <= value < MOST_TIME else None


def _bytes(value: object) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode()


def forget_note(database: sqlite3.Connection, name: str) -> None:
    """Delete a value that ``write_note`` has kept."""
    database.execute("delete from ledger_keys where name = ?", (name,))


def _found(database: sqlite3.Connection, where: str, given: tuple[object, ...]) -> Iterator[Create]:
    for row in database.execute(f"{_SELECT} {where}", given):
        values = dict(zip(_COLUMNS, row, strict=True))
        values["has_own_id"] = bool(values["has_own_id"])
        try:
            yield msgspec.convert(values, Create)
        except ValueError:
            yield _repaired(values)


def _repaired(values: dict[str, object]) -> Create:
    """Return the create of a damaged row: a value of another type than its column's is missing."""
    kept: dict[str, Any] = {}
    for field in msgspec.structs.fields(Create):
        try:
            kept[field.name] = msgspec.convert(values[field.name], field.type)
        except ValueError:
            if field.required:
                kept[field.name] = 0.0 if field.name == "sent_at" else ""
    return Create(**kept)
