"""Jobs of other hosts come from the access log, once, however often it is read."""

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from rollout_console.health.log.record import JobRecord
from rollout_console.health.log.time_range import LogReader
from rollout_console.jobs.job_book import JobBook
from rollout_console.jobs.log_feed import MOST_BACK_S, take_in_log
from rollout_gate.access_log import AccessLine, AccessLog, timestamp
from rollout_gate.http.job_ledger import TaskLedger
from rollout_gate.http.task_answers import TaskAnswer
from tests.jobs.ledgers import NOW, create, write


def line(task: str, ago: float, **more: object) -> AccessLine:
    given = {
        "ts": timestamp(datetime.fromtimestamp(NOW - ago, UTC)), "route": "video", "org": "acme",
        "side": "tokenlab", "model": "m", "status": 200, "latency_ms": 500.0, "task_id": task,
        "task_status": "open", "host": "gw-02",
    }  # fmt: skip
    return AccessLine(**{**given, **more})  # type: ignore[arg-type]


def write_log(folder: Path, *lines: AccessLine) -> LogReader[JobRecord]:
    log = AccessLog(folder / "access.jsonl")
    for one in lines:
        log.append(one)
    log.close()
    return LogReader(folder / "access.jsonl", JobRecord)


def feed(folder: Path, reader: LogReader[JobRecord], now: float = NOW) -> int:
    ledger = TaskLedger(folder / "rollout-jobs.sqlite3")
    try:
        return take_in_log(ledger, reader.between, now, host="gw-01")
    finally:
        ledger.close()


def test_creates_and_polls_of_another_host(tmp_path: Path) -> None:
    reader = write_log(
        tmp_path,
        line("t-1", 900, job_id="job-1"),
        line("t-2", 800, org="globex"),
        line("t-1", 500, operation="task", task_status="completed", billing_transaction_id="b-1"),
        line("t-3", 100, host="gw-01"),  # this host's client has written it to the ledger
        line("t-4", 100, task_id=None),
        line("t-2", 50, operation="task", status=500, task_status=None),
    )
    assert feed(tmp_path, reader) == 2
    rows = {row.create.task_id: row for row in JobBook(tmp_path / "rollout-jobs.sqlite3").rows(NOW)}
    assert set(rows) == {"t-1", "t-2"}
    first = rows["t-1"].create
    assert (first.state, first.billing_transaction_id, first.job_id, first.host) == (
        "completed", "b-1", "job-1", "gw-02",
    )  # fmt: skip
    assert first.sent_at == NOW - 900.5
    assert rows["t-2"].standing == "lost"


def test_a_log_that_is_read_again_changes_nothing(tmp_path: Path) -> None:
    reader = write_log(tmp_path, line("t-1", 90), line("t-1", 80, operation="task"))
    feed(tmp_path, reader)
    book = JobBook(tmp_path / "rollout-jobs.sqlite3")
    book.seen("t-1", TaskAnswer("t-1", "completed"))
    book.close()
    feed(tmp_path, reader, NOW + 10)
    (row,) = book.rows(NOW)
    assert row.create.state == "completed"


def test_what_the_ledger_has_is_not_added_again(tmp_path: Path) -> None:
    write(tmp_path, create("own", ago=90, task_id="t-1", endpoint="/v1/videos/generations"))
    feed(tmp_path, write_log(tmp_path, line("t-1", 90)))
    (row,) = JobBook(tmp_path / "rollout-jobs.sqlite3").rows(NOW)
    assert row.create.endpoint == "/v1/videos/generations"


def test_it_reads_on_from_where_it_was(tmp_path: Path) -> None:
    reader = write_log(tmp_path, line("t-1", 7_200), line("t-2", 10))
    feed(tmp_path, reader)
    asked: list[float] = []

    def between(since: float, until: float) -> Iterator[list[JobRecord]]:
        asked.append(since)
        yield from reader.between(since, until)

    ledger = TaskLedger(tmp_path / "rollout-jobs.sqlite3")
    take_in_log(ledger, between, NOW + 5, host="gw-01")
    ledger.close()
    assert NOW - 400 < asked[0] < NOW


def test_a_log_with_nothing_of_the_time_that_is_read_adds_nothing(tmp_path: Path) -> None:
    assert feed(tmp_path, write_log(tmp_path, line("t-1", MOST_BACK_S + 5))) == 0


def test_an_answer_is_of_when_it_came_and_not_of_when_it_was_read(tmp_path: Path) -> None:
    """However much of the log is read at once: jobs of 25 s would seem to have taken its time."""
    lines = []
    for number in range(20):
        ago = 3000.0 - 100 * number
        lines += [
            line(f"t-{number}", ago, job_id=f"job-{number}"),
            line(f"t-{number}", ago - 25, operation="task", task_status="completed"),
        ]
    lines += [
        line("t-99", 60),
        line("t-99", 30, operation="task"),
        line("t-99", 31, operation="task"),
    ]
    reader = write_log(tmp_path, *lines)
    feed(tmp_path, reader)
    feed(tmp_path, reader, NOW + 10)
    with closing(JobBook(tmp_path / "rollout-jobs.sqlite3")) as book:
        rows = {row.create.task_id: row.create for row in book.rows(NOW)}
    for number in range(20):
        found = rows[f"t-{number}"]
        assert found.ended_at is not None
        assert 25 <= found.ended_at - found.sent_at <= 26
    assert rows["t-99"].seen_at == pytest.approx(NOW - 30), "an older answer is no newer one"
