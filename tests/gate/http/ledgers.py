"""What tests of the ledger share: a task, rows of the file, a file of before it had orgs."""

import json
import sqlite3
import time
from pathlib import Path

from rollout_gate import Gate

TASK = {"id": "task_1", "task_id": "task_1", "status": "pending", "poll_url": "/v1/tasks/task_1"}


def ledger_path(gate: Gate) -> Path:
    return gate.path.parent / "rollout-jobs.sqlite3"


def rows(path: Path) -> list[tuple[str, str | None]]:
    with sqlite3.connect(path) as database:
        found = database.execute("select job_id, task_id from jobs order by sent_at").fetchall()
    database.close()
    return found


def write_without_orgs(path: Path) -> None:
    """Write a ledger as it was before the schema had orgs, with one job."""
    with sqlite3.connect(path) as old:
        old.execute(
            "create table jobs (job_id text not null, route text not null, side text not null,"
            " sent_at real not null, task_id text, status integer, body blob,"
            " primary key (route, job_id)) without rowid"
        )
        row = ("job-1", "video", "tokenlab", time.time(), "task_1", 200, json.dumps(TASK).encode())
        old.execute("insert into jobs values (?, ?, ?, ?, ?, ?, ?)", row)
    old.close()
