"""How a job stands, what is read first, and what was perhaps made twice."""

import os
import sqlite3
import threading
from collections.abc import Mapping
from contextlib import closing
from math import inf
from pathlib import Path
from typing import Any

import pytest

from rollout_console.cli.commands.jobs_arguments import STATES
from rollout_console.common.errors import OperationError
from rollout_console.jobs.job_book import (
    STANDINGS,
    JobBook,
    Order,
    Standing,
    Wanted,
    job_book,
)
from rollout_console.jobs.job_facts import advice, job_json, why_not_cancel
from rollout_console.jobs.outcomes import Ended
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
    found = JobBook(path).ended(since=NOW - 3_600, now=NOW)
    assert found == {
        ("video", "tokenlab"): Ended(20, 1, 110.0, 200.0), ("video", "previous"): Ended(1, 0, 7, 7),
    }  # fmt: skip
    assert JobBook(path).ended(since=NOW - 5, now=NOW) == {}


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
    path.unlink()
    os.mkfifo(path)  # whose writer nobody waits for
    with pytest.raises(OperationError, match=r"x\.sqlite3 cannot be read: not a regular file"):
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


def looked(book: JobBook, text: str, order: Order = "trouble") -> list[str]:
    return [row.create.create_id for row in book.look(NOW, 0.0, Wanted.of(text, order)).rows]


def test_a_look_filters_by_words_and_standings_and_counts_all(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        create("new", ago=5, org="Größe & Co", model="openai-video"),
        create("dead", ago=50, state="failed", error="moderation_failed", polls=2),
        create("lost", ago=9_000, polls=0, job_id="order-7"),
        create("gone", ago=60, state="unknown", task_id=None, status=504, route="image", org=""),
    )
    book = JobBook(path)
    look = book.look(NOW, 0.0, Wanted())
    assert [row.standing for row in look.rows] == ["unknown", "lost", "open", "failed"]
    assert look.counts == {"unknown": 1, "lost": 1, "open": 1, "failed": 1}
    assert (look.matched, look.is_cut) == (4, False)
    for text, found in {
        "trouble": ["gone", "lost"], "!trouble": ["new", "dead"], "TROUBLE video": ["lost"],
        "open": ["new"], "openai": ["new"], "ope": ["new"], "größe": ["new"], "Größe": ["new"],
        "gro": [], "co": ["new"], "ORDER-7 acme": ["lost"], "!acme": ["gone", "new"],
        "!acme video": ["gone", "new"], "_failed": ["dead"], "ldtask_dead": ["dead"], "'": [],
        "%": [], "!": ["gone", "lost", "new", "dead"], "  ": ["gone", "lost", "new", "dead"],
        "\udc80": [],
    }.items():  # fmt: skip
        assert looked(book, text) == found, text
    assert looked(book, "", "newest") == ["new", "dead", "gone", "lost"]
    assert looked(book, "", "oldest") == ["lost", "gone", "dead", "new"]
    assert looked(book, "", "route") == ["gone", "new", "lost", "dead"]
    look = book.look(NOW, 0.0, Wanted.of("!image"), most=1)
    assert (len(look.rows), look.matched) == (1, 3)
    book.close()


def test_a_look_reads_so_many_that_have_ended_and_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rollout_console.jobs.job_book.MOST_ENDED", 3)
    ended = [create(f"e{i}", ago=10 + i, state="completed") for i in range(5)]
    path = write(tmp_path, create("old", ago=90_000), *ended)
    book = JobBook(path)
    look = book.look(NOW, NOW - 86_400, Wanted())
    assert [row.create.create_id for row in look.rows] == ["old", "e0", "e1", "e2"]
    assert look.is_cut
    assert not book.look(NOW, NOW - 11.5, Wanted()).is_cut
    book.close()


def test_a_look_ends_when_it_is_told_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rollout_console.jobs.job_book._STEPS", 1)
    book, stop = JobBook(write(tmp_path, create("a"))), threading.Event()
    assert book.look(NOW, 0.0, Wanted(), stop=stop).matched == 1
    stop.set()
    with pytest.raises(OperationError, match="interrupted"):
        book.look(NOW, 0.0, Wanted(), stop=stop)


def test_the_tasks_to_poll_are_found_by_their_index(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without it each turn of the poller reads the whole ledger."""
    path = write(tmp_path, create("a"))
    plans: list[object] = []
    book = JobBook(path)

    def plan(query: str, given: Mapping[str, object]) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(path)) as database:
            plans.extend(database.execute(f"explain query plan {query}", {"limits": "{}", **given}))
        return []

    monkeypatch.setattr(book, "_query", plan)
    assert book.to_poll() == []
    assert "USING INDEX creates_open" in str(plans)


@pytest.mark.slow
def test_what_is_forgotten_is_read_back(tmp_path: Path) -> None:
    given: dict[str, Any] = {"state": "unknown", "task_id": None, "status": 504, "ago": 60}
    path = write(
        tmp_path, create("a", **given), create("b", job_id="order-1", **given), create("c")
    )
    book = JobBook(path)
    rows = {row.create.create_id: row.create for row in book.rows(NOW)}
    with closing(sqlite3.connect(path)) as other:
        other.execute("begin immediate")
        with pytest.raises(OperationError, match="nothing was forgotten"):
            book.forget_create(rows["a"])
        other.execute("rollback")
    assert {row.create.create_id for row in book.rows(NOW)} == {"a", "b", "c"}
    book.forget_create(rows["b"])
    assert {row.create.create_id for row in book.rows(NOW)} == {"a", "c"}, "nothing was left over"
    book.forget_create(rows["a"])
    assert [row.create.create_id for row in book.rows(NOW)] == ["c"]
    book.close()


def test_what_to_do_about_a_late_job_is_what_can_be_done_on_its_side(tmp_path: Path) -> None:
    path = write(tmp_path, create("ours", ago=4_000), create("theirs", ago=4_000, side="previous"))
    said = {
        row.create.side: (advice(row, with_keys=True), why_not_cancel(row))
        for row in JobBook(path).rows(NOW, standings=("late",))
    }
    assert said["tokenlab"] == ("poll it (p), and cancel it where that is possible (x)", "")
    assert said["previous"][0] == (
        "it is at the previous side, which is not polled here: look for it there"
    )
    assert said["previous"][1]


@pytest.mark.parametrize("column", ["sent_at", "seen_at", "ended_at"])
@pytest.mark.parametrize("value", [inf, -inf, 9e300, -9e300, 9e18, -1.0, 2**62, -(2**62)])
def test_a_time_that_is_none_is_shown_as_one_that_is(
    tmp_path: Path, column: str, value: float
) -> None:
    """Bytes of others must not end a listing: no calendar has such a time."""
    path = write(tmp_path, create("a", state="completed", ended_at=NOW))
    with closing(sqlite3.connect(path)) as database, database:
        database.execute(f"update creates set {column} = ?", (value,))
    (row,) = JobBook(path).find("a", NOW)
    told = job_json(row, NOW)
    assert str(told[column])[:4] in ("1970", "2200")
    assert [one.create.create_id for one in JobBook(path).look(NOW, -inf, Wanted()).rows] == ["a"]


def test_a_fate_that_is_told_in_a_far_future_is_none(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        create("a", ago=60, state="completed", ended_at=9e300),
        create("b", ago=60, state="completed", ended_at=NOW + 60),
    )
    assert [one.at - NOW for one in JobBook(path).outcomes(since=0.0, now=NOW)] == [60]
