"""What tests of the ledger share: a create and its task, rows of a file, one without orgs."""

import json
import sqlite3
import time
from pathlib import Path

from rollout_gate import Gate

TASK = {"id": "task_1", "task_id": "task_1", "status": "pending", "poll_url": "/v1/tasks/task_1"}
BODY = {"model": "kling-v3", "prompt": "a lighthouse"}
URL = "https://before.example/v1/videos/generations"
TEXT = """
schema = 1
algorithm = "fractional-v3"
[tokenlab]
base_url = "https://there.example"
[routes.video]
format = "video"
default_percent = 100
previous_base_url = "https://before.example/v1"
"""
"""A rollout file that sends every create of a video to TokenLab."""


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
