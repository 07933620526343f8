"""Jobs that were made twice hold the next step; those that need somebody to look are told."""

import sqlite3
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from rollout_console.guard.alerts import alerts_now
from rollout_console.guard.balance import BalanceWatch
from rollout_console.guard.evidence.verdict import Verdict
from rollout_console.guard.job_watch import EVERY_S, JobWatch, failing_jobs
from rollout_console.guard.monitor import Monitor
from rollout_console.jobs.outcomes import Ended
from rollout_gate import AccessLine, AccessLog, timestamp
from rollout_gate.file.parse import parse
from rollout_gate.http.create_records import Create
from tests.jobs.ledgers import FILE, create, write


@pytest.mark.parametrize(
    ("ours", "theirs", "limit", "words"),
    [
        (Ended(16, 2), None, 5.0, ""),
        (Ended(10, 8), None, 5.0, "failed jobs 44%, 8 of 18 in an hour, limit 5%"),
        (Ended(97, 3), None, 5.0, ""),
        (Ended(10, 8), Ended(12, 8), 5.0, ""),
        (Ended(2, 18), Ended(18, 2), 5.0,
         "failed jobs 90%, 18 of 20 in an hour, limit 5%, previous 10%"),
        (Ended(0, 3), Ended(1, 0), 5.0,
         "failed jobs 100%, 3 of 3 in an hour, limit 5%, previous 0%"),
        (Ended(10, 8), None, 60.0, ""),
        (None, Ended(0, 9), 5.0, ""),
    ],
)  # fmt: skip
def test_how_many_failures_are_too_many(
    ours: Ended | None, theirs: Ended | None, limit: float, words: str
) -> None:
    assert failing_jobs(ours, theirs, limit) == words


def test_jobs_that_fail_hold_and_are_an_alarm(rollout: Path) -> None:
    now = time.time()

    def ended(name: str, state: str, side: str = "tokenlab") -> Create:
        return create(name, now=now, ago=300, side=side, state=state, ended_at=now - 60)

    write(
        rollout.parent,
        *(ended(f"f{i}", "failed") for i in range(3)),
        *(ended(f"c{i}", "completed") for i in range(11)),
        *(ended(f"p{i}", "completed", "previous") for i in range(12)),
        create("old", now=now, ago=20_000, state="failed", ended_at=now - 19_000),
        create("gone", now=now, ago=100, state="cancelled", ended_at=now - 5),
    )
    monitor = watched(rollout)
    words = "failed jobs 21%, 3 of 14 in an hour, limit 5%, previous 0%"
    assert monitor.held("video", "acme", 0, 100, BalanceWatch(), now) == words
    assert alerts_of(monitor) == {
        ("failed_jobs", "video"): f"video: {words}; roll back, unless the previous side fails as"
        " well"
    }


@pytest.fixture
def rollout(tmp_path: Path) -> Path:
    path = tmp_path / "rollout.toml"
    path.write_text(FILE.format(url="http://127.0.0.1:9"))
    return path


def watched(rollout: Path) -> Monitor:
    monitor = Monitor(rollout, parse(rollout.read_bytes()))
    monitor.go_on(time.time())
    return monitor


KINDS = ("jobs", "duplicates", "failed_jobs", "ledger")


def alerts_of(monitor: Monitor) -> dict[tuple[str, ...], str]:
    found = alerts_now(monitor, BalanceWatch(), {}, "", time.time())
    return {one.key: one.sentence for one in found if one.key[0] in KINDS}


def test_a_job_made_twice_holds_its_route_alone(rollout: Path) -> None:
    now = time.time()
    write(
        rollout.parent,
        create("a", now=now, ago=60, job_id="j"), create("b", now=now, ago=30, job_id="j"),
    )  # fmt: skip
    monitor = watched(rollout)
    held = monitor.held("video", "acme", 0, 100, BalanceWatch(), now)
    assert held == ("1 async job perhaps made twice within a day: ldtask_a and ldtask_b")
    assert "made twice" not in monitor.held("image", "acme", 0, 100, BalanceWatch(), now)
    assert alerts_of(monitor) == {("duplicates", "video"): f"video: {held}"}


def test_it_is_over_after_a_day_and_holds_nothing_where_the_guard_observes(rollout: Path) -> None:
    now = time.time()
    same = {"job_id": "j", "polls": 1, "state": "completed"}
    write(
        rollout.parent,
        create("a", now=now, ago=90_000, **same), create("b", now=now, ago=89_000, **same),
    )  # fmt: skip
    assert alerts_of(watched(rollout)) == {}
    write(rollout.parent, create("c", now=now, ago=5, **same), create("d", now=now, ago=4, **same))
    text = rollout.read_text().replace("[health]", '[guard]\nmode = "observe"\n[health]')
    rollout.write_text(text)
    monitor = watched(rollout)
    assert monitor.held("video", "acme", 0, 100, BalanceWatch(), now) == ""
    assert ("duplicates", "video") in alerts_of(monitor), "it is told all the same"


def test_duplicates_of_the_previous_side_hold_nothing(rollout: Path) -> None:
    now = time.time()
    write(
        rollout.parent,
        create("a", now=now, ago=60, job_id="j", side="previous"),
        create("b", now=now, ago=30, job_id="j", side="previous"),
    )
    assert alerts_of(watched(rollout)) == {}


def test_what_is_lost_unknown_or_late_is_one_alert_a_route(rollout: Path) -> None:
    now = time.time()
    write(
        rollout.parent,
        create("a", now=now, ago=5_000, polls=0), create("b", now=now, ago=5_000, polls=0),
        create("c", now=now, ago=10, state="unknown", task_id=None, status=0),
        create("d", now=now, ago=400, route="image"),
    )  # fmt: skip
    assert alerts_of(watched(rollout)) == {
        ("jobs", "video"): "video: 1 unknown, 2 lost async jobs: see the jobs screen or jobs list",
        ("jobs", "image"): "image: 1 late async job: see the jobs screen or jobs list",
    }


def test_a_ledger_that_cannot_be_read_is_told_and_ends_nothing(rollout: Path) -> None:
    (rollout.parent / "rollout-jobs.sqlite3").write_bytes(b"garbage " * 1_000)
    monitor = watched(rollout)
    assert "cannot be read" in alerts_of(monitor)["ledger",]
    assert "made twice" not in monitor.held("video", "acme", 0, 100, BalanceWatch(), time.time())


def test_jobs_of_a_host_that_has_no_ledger_are_not_taken_for_good(
    rollout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The applications and their ledger are on another host, their log lines come from there."""
    now = time.time()
    monitor = watched(rollout)
    assert alerts_of(monitor) == {}, "there is no request yet"
    log = AccessLog(rollout.parent / "access.jsonl")
    for number in range(400):
        at = timestamp(datetime.fromtimestamp(now - 300 + number / 2, UTC))
        line = AccessLine(
            ts=at, route="video", org="acme", side="tokenlab", model="m", status=200,
            latency_ms=100.0,
        )  # fmt: skip
        log.append(line)
    log.close()
    monitor = watched(rollout)
    ledger = rollout.parent / "rollout-jobs.sqlite3"
    words = f"jobs not known: there is no ledger of them at {ledger}"
    assert alerts_of(monitor) == {("ledger", "none"): f"video: {words}"}
    assert monitor.verdicts(time.time())["video"] == Verdict("hold", words, "jobs")
    assert monitor.held("video", "acme", 100, 200, BalanceWatch(), time.time()) == words
    monkeypatch.chdir(rollout.parent)
    assert alerts_of(watched(Path(rollout.name))) == alerts_of(monitor), (
        "the path of a file named by -f"
    )
    write(rollout.parent, create("a", now=now, ago=1))
    assert alerts_of(watched(rollout)) == {}


@pytest.mark.parametrize("column", ["sent_at", "state", "task_id", "fingerprint", "ended_at"])
def test_garbage_in_a_row_stops_nothing(rollout: Path, column: str) -> None:
    now = time.time()
    path = write(
        rollout.parent,
        create("a", now=now, ago=60, job_id="j"),
        create("b", now=now, ago=30, job_id="j"),
        create("c", now=now, ago=30, state="completed", ended_at=now),
    )
    with sqlite3.connect(path) as database:
        database.execute(f"update creates set {column} = x'ff00ff'")
    database.close()
    monitor = watched(rollout)
    monitor.held("video", "acme", 0, 100, BalanceWatch(), now)
    alerts_of(monitor)


def test_a_folder_that_may_not_be_looked_into_stops_nothing(
    rollout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> bool:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pathlib.Path.exists", refuse)
    monkeypatch.setattr("rollout_console.jobs.job_book.JobBook.counts", refuse)
    write(rollout.parent, create("a", ago=1))
    watch = JobWatch(rollout)
    watch.refresh(parse(rollout.read_bytes()), time.time())
    assert watch.trouble.endswith("cannot be read: PermissionError")


def test_it_is_read_now_and_then_and_a_lock_is_not_waited_for(rollout: Path) -> None:
    now, file = time.time(), parse(rollout.read_bytes())
    watch = JobWatch(rollout)
    watch.refresh(file, now)
    assert watch.troubles == {}
    path = write(rollout.parent, create("a", now=now, ago=5_000, polls=0))
    watch.refresh(file, now)
    assert watch.troubles == {}, "not again within five seconds"
    watch._next_at = watch._next_look_at = 0.0
    watch.refresh(file, now)
    assert watch.troubles["video"].lost == 1
    lock = sqlite3.connect(path, isolation_level=None)
    lock.execute("pragma journal_mode = delete")
    lock.execute("begin exclusive")
    watch._next_at = watch._next_look_at = 0.0
    begun = time.monotonic()
    watch.refresh(file, now)
    assert time.monotonic() - begun < 4, "a busy timeout of SQLite's own is 5 s"
    assert "locked" in watch.trouble
    assert watch.troubles["video"].lost == 1, "what was known stays"
    after = time.monotonic() + EVERY_S
    assert watch._next_at <= after, "it has waited, not computed: the next read is not late for it"
    lock.execute("commit")
    lock.close()
