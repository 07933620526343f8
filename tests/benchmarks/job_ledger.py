"""The job ledger with a million creates: what a request and a screen wait for, beside floors."""

import os
import sqlite3
import tempfile
import time
from pathlib import Path
from random import Random

from rollout_console.jobs.job_book import JobBook
from rollout_gate.http import create_records
from rollout_gate.http.create_records import Create
from rollout_gate.http.job_ledger import TaskLedger
from rollout_gate.http.task_answers import TaskAnswer
from tests.benchmarks.timing import in_turn, seconds

ROWS = 1_000_000
_CHUNK = 50_000


def main() -> None:
    """Print times with 1,000 and a million rows; the floor of a write is one fsynced insert."""
    with tempfile.TemporaryDirectory() as folder:
        small, large = (_ledger(Path(folder) / f"{n}.sqlite3", n) for n in (1_000, ROWS))
        size = large.stat().st_size / 1e6
        print(f"{ROWS:,} creates: {size:.0f} MB")
        floor = _floor(Path(folder) / "floor.sqlite3")
        writes = [_writes(path) for path in (small, large)]
        for name in writes[0]:
            base, few, many = in_turn(floor, writes[0][name], writes[1][name])
            print(
                f"{name}: {1e3 * few:.2f} ms with 1,000 rows, {1e3 * many:.2f} ms with a million;"
                f" {many / base:.1f}x an insert with fsync ({1e3 * base:.2f} ms)"
            )
        now = time.time()
        for name, few, many in _reads(small, large, now):
            print(f"{name}: {1e3 * few:.1f} ms with 1,000 rows, {1e3 * many:.1f} ms with a million")


def _ledger(path: Path, rows: int) -> Path:
    TaskLedger(path).log_read_to()
    rng, now = Random(rows), time.time()
    database = sqlite3.connect(path, isolation_level=None)
    database.execute("pragma synchronous = off")
    for begin in range(0, rows, _CHUNK):
        database.execute("begin")
        for i in range(begin, min(begin + _CHUNK, rows)):
            create_records.put(database, _create(f"{i:032x}", rng, now, i / rows))
        database.execute("commit")
    database.close()
    return path


def _create(name: str, rng: Random, now: float, part: float) -> Create:
    """Return a create of the last 90 days; of the last day one of 200 is open."""
    age = (1 - part) * 89 * 86_400
    is_open = age < 86_400 and rng.random() < 0.005
    return Create(
        create_id=name, route=f"video-{rng.randrange(4)}", org=f"org-{rng.randrange(500)}",
        side="tokenlab", sent_at=now - age, job_id=f"job-{name}" if rng.random() < 0.5 else "",
        model="google-video-1", endpoint="/v1/videos/generations", fingerprint=rng.randbytes(16),
        host="gw-01", status=200, task_id=f"ldtask_{name}", poll_url=f"/v1/tasks/ldtask_{name}",
        state="open" if is_open else "completed", seen_at=now - age, polls=2,
        ended_at=None if is_open else now - age + 60,
    )  # fmt: skip


def _floor(path: Path):  # type: ignore[no-untyped-def]
    database = sqlite3.connect(path, isolation_level=None)
    database.execute("pragma journal_mode = wal")
    database.execute("pragma synchronous = full")
    database.execute("create table t (id text primary key, body text) without rowid")

    def insert() -> None:
        database.execute("insert into t values (?, ?)", (os.urandom(16).hex(), "x" * 200))

    return insert


def _writes(path: Path):  # type: ignore[no-untyped-def]
    ledger, rng = TaskLedger(path), Random(7)

    def begin() -> None:
        name = os.urandom(16).hex()
        create = _create(name, rng, time.time(), 1.0)
        ledger.begin("video-1", f"new-{name}", "tokenlab", org="org-1", create=create)

    def begin_deduped() -> None:
        name = os.urandom(16).hex()
        create = _create(name, rng, time.time(), 1.0)
        ledger.begin_unlike(create, 600)

    def seen() -> None:
        ledger.seen("ldtask_" + f"{5:032x}", "tokenlab", TaskAnswer(None, "open", progress=5))

    return {"a create": begin, "a create with dedupe": begin_deduped, "a poll": seen}


def _reads(small: Path, large: Path, now: float) -> list[tuple[str, float, float]]:
    day = now - 86_400
    asked = {
        "jobs list": lambda book: book.rows(now, since=day, most=50),
        "jobs list --state trouble": lambda book: book.rows(now, since=day, standings=["lost"]),
        "counts": lambda book: book.counts(now, since=day),
        "jobs show": lambda book: book.find("ldtask_" + f"{5:032x}", now),
        "what to poll": lambda book: book.to_poll(),
        "what the guard judges": lambda book: book.judged(now),
        "a day of jobs, for charts": lambda book: book.judged(now, since=day),
        "jobs duplicates": lambda book: book.repeated(since=day, window_s=600),
    }
    found = []
    for name, ask in asked.items():
        few, many = JobBook(small), JobBook(large)
        found.append((
            name,
            min(seconds(lambda ask=ask, few=few: ask(few)) for _ in range(5)),  # type: ignore[misc]
            min(seconds(lambda ask=ask, many=many: ask(many)) for _ in range(5)),  # type: ignore[misc]
        ))  # fmt: skip
    return found
