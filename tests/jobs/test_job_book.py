"""How a job stands, what is read first, and what was perhaps made twice."""

import sqlite3
from pathlib import Path
from typing import Any

import pytest

from rollout_console.cli.commands.jobs_arguments import STATES
from rollout_console.common.errors import OperationError
from rollout_console.jobs.job_book import STANDINGS, Ended, JobBook, Standing, job_book
from rollout_gate.file.parse import parse
from rollout_gate.http.create_records import Create
from rollout_gate.http.job_ledger import TaskLedger
from rollout_gate.http.task_answers import TaskAnswer
from tests.jobs.ledgers import FILE, NOW, create, write


@pytest.mark.parametrize(
    ("given", "standing"),
    [
        ({"state": "unknown", "task_id": None, "status": None, "ago": 60}, "sending"),
        ({"state": "unknown", "task_id": None, "status": None, "ago": 1_000}, "unknown"),
        ({"state": "unknown", "task_id": None, "status": 0, "ago": 1}, "unknown"),
        ({"state": "unknown", "task_id": None, "status": 503, "ago": 1}, "unknown"),
        ({"ago": 60}, "open"),
        ({"ago": 60, "polls": 0}, "open"),
        ({"ago": 700, "polls": 0}, "lost"),
        ({"ago": 700, "polls": 0, "state": "completed"}, "lost"),
        ({"ago": 700, "polls": 0, "state": "failed"}, "failed"),
        ({"ago": 700, "polls": 0, "state": "completed", "task_id": None}, "completed"),
        ({"ago": 700}, "open"),
        ({"ago": 1_801}, "late"),
        ({"ago": 301, "route": "image"}, "late"),
        ({"ago": 9_000, "state": "cancelled"}, "cancelled"),
        ({"ago": 9_000, "state": "completed"}, "completed"),
    ],
)
def test_how_a_job_stands(tmp_path: Path, given: dict[str, Any], standing: Standing) -> None:
    write(tmp_path, create("a", **given))
    book = job_book(tmp_path / "rollout.toml", parse(FILE.format(url="http://127.0.0.1").encode()))
    (row,) = book.rows(NOW)
    assert row.standing == standing
    assert book.counts(NOW) == {(row.create.route, standing): 1}
    assert book.rows(NOW, standings=[standing]) == [row]
    assert book.rows(NOW, standings=[one for one in STANDINGS if one != standing]) == []


def test_a_route_may_have_a_limit_of_its_own(tmp_path: Path) -> None:
    text = FILE.format(url="http://127.0.0.1").replace(
        "[routes.image]", 'max_open = "1m"\n[routes.image]'
    )
    write(tmp_path, create("a", ago=61), create("b", ago=61, route="image"))
    rows = job_book(tmp_path / "rollout.toml", parse(text.encode())).rows(NOW)
    assert [(row.create.route, row.standing) for row in rows] == [
        ("video", "late"), ("image", "open"),
    ]  # fmt: skip


def test_trouble_comes_first_and_what_is_open_is_never_too_old(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        create("done", ago=10, state="completed"),
        create("old", ago=80_000, state="completed"),
        create("stuck", ago=500_000),
        create("lost", ago=5_000, polls=0, org="globex"),
        create("gone", ago=400_000, state="unknown", task_id=None, status=0),
    )
    book = JobBook(path)
    rows = book.rows(NOW, since=NOW - 100)
    assert [row.create.create_id for row in rows] == ["gone", "lost", "stuck", "done"]
    assert [row.create.create_id for row in book.rows(NOW, org="globex")] == ["lost"]
    assert [row.create.create_id for row in book.rows(NOW, most=1)] == ["gone"]
    assert [row.create.create_id for row in book.find("ldtask_old", NOW)] == ["old"]


def test_a_poll_of_an_operators_tool_is_not_the_applications(tmp_path: Path) -> None:
    book = JobBook(write(tmp_path, create("a", ago=700, polls=0)))
    book.seen("ldtask_a", TaskAnswer("ldtask_a", "completed", progress=100))
    book.close()
    (row,) = book.rows(NOW)
    assert (row.standing, row.create.state, row.create.polls) == ("lost", "completed", 0)


def test_duplicates_are_told_with_the_reason(tmp_path: Path) -> None:
    same: dict[str, Any] = {"fingerprint": b"f" * 16}
    path = write(
        tmp_path,
        create("j1", ago=900, job_id="job-1"),
        create("j2", ago=100, job_id="job-1"),
        create("l1", ago=800, state="unknown", task_id=None, status=0, **same),
        create("l2", ago=790, **same),
        create("r1", ago=500, fingerprint=b"g" * 16),
        create("r2", ago=400, fingerprint=b"g" * 16, state="completed"),
        create("r3", ago=10, fingerprint=b"g" * 16),
        create("o1", ago=500, fingerprint=b"h" * 16),
        create("o2", ago=499, fingerprint=b"h" * 16, org="another"),
        create("f1", ago=300, fingerprint=b"i" * 16, state="failed"),
        create("f2", ago=299, fingerprint=b"i" * 16),
        create("n1", ago=300),
        create("n2", ago=299),
    )
    found = JobBook(path).repeated(since=0, window_s=120)
    assert {(one.first.create_id, one.second.create_id, one.kind) for one in found} == {
        ("j1", "j2", "job_id"), ("l1", "l2", "after_unknown"), ("r1", "r2", "request"),
    }  # fmt: skip
    assert JobBook(path).repeated(since=NOW - 50, window_s=120) == []


def test_how_jobs_have_ended_on_each_side(tmp_path: Path) -> None:
    def ended(name: str, took: float, **more: Any) -> Create:
        return create(name, ago=took + 10, **{"ended_at": NOW - 10, "state": "completed", **more})

    path = write(
        tmp_path,
        *(ended(f"c{i}", 10.0 * (i + 1)) for i in range(20)),
        ended("f", 5, state="failed"),
        ended("x", 5, state="cancelled"),
        ended("p", 7, side="previous"),
        ended("i", 1, task_id=None),
        create("o", ago=5),
    )
    found = JobBook(path).ended(since=NOW - 3_600)
    assert found == {
        ("video", "tokenlab"): Ended(20, 1, 110.0, 200.0), ("video", "previous"): Ended(1, 0, 7, 7),
    }  # fmt: skip
    assert JobBook(path).ended(since=NOW - 5) == {}


def test_a_ledger_that_is_not_there_or_older_has_no_jobs(tmp_path: Path) -> None:
    book = JobBook(tmp_path / "none.sqlite3")
    assert (book.rows(NOW), book.counts(NOW), book.find("x", NOW)) == ([], {}, [])
    assert not book.exists, "reading makes no file"
    old = tmp_path / "old.sqlite3"
    with sqlite3.connect(old) as database:
        database.execute("create table jobs (job_id text)")
    database.close()
    assert JobBook(old).rows(NOW) == []


def test_a_ledger_that_is_none_is_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "x.sqlite3"
    path.write_bytes(b"garbage " * 1_000)
    with pytest.raises(OperationError, match=r"x\.sqlite3 cannot be read: file is not a database"):
        JobBook(path).rows(NOW)


def test_a_writer_does_not_keep_readers_waiting(tmp_path: Path) -> None:
    path = write(tmp_path, create("a", ago=1))
    ledger = TaskLedger(path)
    lock = sqlite3.connect(path, isolation_level=None)
    lock.execute("begin exclusive")
    assert len(JobBook(path).rows(NOW)) == 1
    lock.execute("commit")
    lock.close()
    ledger.close()


def test_names_of_routes_are_text(tmp_path: Path) -> None:
    odd = "it's; drop table creates --"
    book = JobBook(write(tmp_path, create("a", ago=100, route=odd)), {odd: 60})
    assert [row.standing for row in book.rows(NOW)] == ["late"]


def test_the_commands_know_every_standing() -> None:
    assert ("trouble", *STANDINGS) == STATES
