"""Add the jobs of other hosts to the ledger, from their lines in the access log.

The clients of this host write to the ledger themselves. A line of another host says less than they
do: it has no endpoint, no poll URL and no fingerprint.
"""

import hashlib
import os
import sqlite3
from collections.abc import Callable, Iterable
from pathlib import Path

from rollout_console.common.errors import OperationError
from rollout_console.health.log.record import JobRecord
from rollout_gate.http.create_records import Create, CreateState
from rollout_gate.http.job_ledger import TaskLedger
from rollout_gate.http.task_answers import TaskAnswer

MOST_BACK_S = 86_400.0
"""How far back a log is read that was never read, in seconds."""
_OVERLAP_S = 300.0
"""Lines of several writers are out of order by less than this many seconds."""
_STATES: dict[str, CreateState] = {
    "open": "open", "completed": "completed", "failed": "failed", "cancelled": "cancelled",
}  # fmt: skip

Reader = Callable[[float, float], Iterable[list[JobRecord]]]
"""Yields the records of a log between two times, in epoch seconds."""


def take_in_log(ledger: TaskLedger, read: Reader, now: float, *, host: str = "") -> int:
    """Read the access log on from where it was read to; return how many creates were in it.

    A line is known by its task, so reading it again changes nothing. Raises OperationError.
    """
    own = host or os.uname().nodename
    try:
        since = max(ledger.log_read_to() - _OVERLAP_S, now - MOST_BACK_S)
        found = 0
        for records in read(since, now + _OVERLAP_S):
            theirs = [one for one in records if one.task_id and one.host not in (None, own)]
            creates = [_create(one) for one in theirs if one.operation != "task"]
            answers = [
                (one.task_id or "", one.side, _answer(one), min(one.at, now))
                for one in theirs
                if one.operation == "task" and 200 <= one.status < 300
            ]
            ledger.take_in(creates, answers, min(max(one.at for one in records), now))
            found += len(creates)
        return found
    except sqlite3.Error as error:
        raise OperationError(f"the ledger of jobs cannot be used: {error}") from None


def take_in_file(path: Path, read: Reader, now: float) -> int:
    """As ``take_in_log``, with the ledger at a path, which is made where it is not there yet."""
    ledger = TaskLedger(path)
    try:
        return take_in_log(ledger, read, now)
    finally:
        ledger.close()


def _create(record: JobRecord) -> Create:
    state = _STATES.get(record.task_status or "open", "open")
    sent_at = record.at - record.latency_ms / 1000
    digest = hashlib.sha256(f"{record.side}\0{record.task_id}".encode("utf-8", "backslashreplace"))
    return Create(
        create_id=f"log-{digest.hexdigest()[:28]}", route=record.route, org=record.org,
        side=record.side, sent_at=sent_at, job_id=record.job_id or "",
        has_own_id=bool(record.job_id), model=record.model, operation=record.operation,
        host=record.host or "", status=record.status, task_id=record.task_id, state=state,
        request_id=record.request_id, billing_transaction_id=record.billing_transaction_id,
        seen_at=record.at, ended_at=None if state == "open" else record.at,
    )  # fmt: skip


def _answer(record: JobRecord) -> TaskAnswer:
    found = _STATES.get(record.task_status or "")
    state = None if found == "unknown" else found
    return TaskAnswer(
        record.task_id, state, billing_transaction_id=record.billing_transaction_id, is_task=True
    )
