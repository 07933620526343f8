"""Ledgers of jobs for tests, written as the gate's clients write them."""

from pathlib import Path
from typing import Any

from rollout_gate.http.create_records import Create
from rollout_gate.http.job_ledger import TaskLedger
from rollout_gate.paths import LEDGER_NAME

NOW = 1_800_000_000.0
FILE = """\
schema = 1
algorithm = "fractional-v3"
[tokenlab]
base_url = "{url}"
[health]
access_log = "access.jsonl"
[routes.video]
format = "video"
model = "google-video-1"
phase = "rollout"
default_percent = 100
previous_base_url = "{url}/_previous/v1"
[routes.image]
format = "image"
model = "openai-image-1"
phase = "rollout"
default_percent = 100
previous_base_url = "{url}/_previous/v1"
"""


def create(name: str, *, ago: float = 0.0, now: float = NOW, **more: Any) -> Create:
    """Return a create of acme's on route ``video`` that was sent so many seconds ago."""
    given: dict[str, Any] = {
        "create_id": name, "route": "video", "org": "acme", "side": "tokenlab",
        "sent_at": now - ago, "task_id": f"ldtask_{name}", "state": "open", "status": 200,
        "seen_at": now - ago, "polls": 1,
    }  # fmt: skip
    return Create(**{**given, **more})


def write(folder: Path, *creates: Create) -> Path:
    """Write creates to the ledger of a folder; return its path."""
    path = folder / LEDGER_NAME
    ledger = TaskLedger(path)
    for one in creates:
        ledger.record(one)
    ledger.close()
    return path
