"""The guard acts on how async jobs end: it rolls back a route, or an org alone, and holds."""

import re
import sqlite3
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from rollout_console.changes.recorded import Recorded
from rollout_console.changes.switch import Switch
from rollout_console.common.errors import OperationError
from rollout_console.guard.balance import BalanceWatch
from rollout_console.guard.loop import GuardLoop, Turn
from rollout_console.guard.monitor import Monitor
from rollout_console.history.actor import Actor
from rollout_console.history.history import History
from rollout_gate import AccessLine, AccessLog, timestamp
from rollout_gate.file.parse import parse
from rollout_gate.http.create_records import Create
from tests.jobs.ledgers import FILE, create, write

GUARD = '\n[guard]\nmode = "enforce"\nmax_asset_p95 = "5m"\n'


class Guarded:
    """A guard on a rollout of videos."""

    def __init__(self, folder: Path, guard: str = GUARD) -> None:
        self.file = folder / "rollout.toml"
        if not self.file.exists():
            self.file.write_text(FILE.format(url="http://127.0.0.1:9") + guard)
        self.now = time.time()
        self.switch = Switch(self.file, History(folder / "h.sqlite3"), Actor("guard", "gw-01"))
        self.monitor = Monitor(self.file, self.switch.open().file)
        self.loop = GuardLoop(self.switch, self.monitor)
        self.loop.start(self.now)

    def turn(self) -> Turn:
        self.monitor.jobs._next_at = self.monitor.jobs._next_look_at = 0.0
        return self.loop.turn(BalanceWatch(), {}, time.time())

    def latched(self, org: str | None = None) -> bool:
        return parse(self.file.read_bytes()).is_latched("video", org)


def jobs(count: int, state: str, org: str = "acme", side: str = "tokenlab", first: int = 0) -> Any:
    """Yield jobs that ended a minute after their create, the last of them ``first`` seconds ago."""
    now = time.time()
    for i in range(count):
        ago = 65 + first + i
        yield create(
            f"{side}-{org}-{state}-{i}", ago=ago, org=org, side=side, state=state,
            ended_at=now - ago + 60, now=now,
        )  # fmt: skip


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[Guarded]:
    made = Guarded(tmp_path)
    yield made
    made.loop.end()


def record(guarded: Guarded, *some: Create) -> None:
    write(guarded.file.parent, *some)


def test_a_route_whose_jobs_fail_after_their_200_is_rolled_back(guarded: Guarded) -> None:
    record(
        guarded, *jobs(20, "failed"), *jobs(5, "failed", "globex"), *jobs(60, "completed", first=60)
    )
    done = guarded.turn()
    assert guarded.latched()
    (event,) = [one for one in done.events if one.kind == "rollback"]
    assert event.signal == "jobs"
    assert re.fullmatch(r"jobs failed 100% in \d+ s, 25 of 25, limit 5%", event.evidence)
    assert event.text.startswith(f"rolled back video: {event.evidence}")
    assert "resume video" in event.command
    row = guarded.switch.history.rows(guarded.file)[0]
    assert (row.user, row.reason) == ("guard", event.evidence)
    assert row.verdict == f"rollback: {event.evidence}"
    line = next(one for one in guarded.file.read_text().splitlines() if "rolled_back" in one)
    assert event.evidence in line
    assert not [one for one in guarded.turn().events if one.kind == "rollback"], "once"


def test_one_sick_org_is_rolled_back_alone(guarded: Guarded) -> None:
    well = [one for org in ("globex", "initech", "hooli") for one in jobs(20, "completed", org)]
    record(guarded, *jobs(20, "failed"), *well)
    guarded.turn()
    assert guarded.latched("acme")
    assert not guarded.latched()


def test_what_fails_on_both_sides_and_what_is_well_moves_nothing(guarded: Guarded) -> None:
    record(
        guarded, *jobs(20, "failed"), *jobs(30, "completed"),
        *jobs(20, "failed", side="previous"), *jobs(30, "completed", side="previous"),
    )  # fmt: skip
    done = guarded.turn()
    assert not guarded.latched()
    words = "video: the previous provider is failing as well: jobs failed 40% of 50"
    assert words in [one.sentence for one in done.alerts]


@pytest.mark.parametrize(
    ("modes", "latched", "held"),
    [
        ("jobs = 'hold'", False, "jobs failed 100%"),
        ("jobs = 'observe'", False, ""),
        ("gateway = 'observe'", True, ""),
    ],
)
def test_the_signal_has_a_mode_of_its_own(
    tmp_path: Path, modes: str, latched: bool, held: str
) -> None:
    guarded = Guarded(tmp_path, f"{GUARD}modes = {{ {modes} }}\n")
    record(guarded, *jobs(20, "failed"), *jobs(30, "completed", first=60))
    done = guarded.turn()
    assert guarded.latched() is latched
    told = [one for one in done.alerts if one.signal == "jobs"]
    assert len(told) == (0 if latched else 1), "it is told in any mode, and once"
    if not latched:
        said = guarded.monitor.held("video", "acme", 0, 100, BalanceWatch(), time.time())
        assert said.startswith(held)
        assert bool(said) == bool(held)
    guarded.loop.end()


@pytest.mark.parametrize(
    ("mode", "words"), [("hold", "refused 33% of jobs, previous 0.0%"), ("observe", "")]
)
def test_more_refused_jobs_than_on_the_previous_side_hold_a_raise(
    tmp_path: Path, mode: str, words: str
) -> None:
    guarded = Guarded(tmp_path, f"{GUARD}modes = {{ refused = '{mode}' }}\n")
    now = time.time()
    ours = [
        create(
            f"o{i}", now=now, ago=3_000 - 10 * i, state="completed" if i % 3 else "failed",
            ended_at=now - 2_900 + 10 * i, error=None if i % 3 else "content_policy_violation",
        )
        for i in range(240)
    ]  # fmt: skip
    theirs = [
        create(
            f"p{i}", now=now, ago=3_000 - 10 * i, state="completed", side="previous",
            ended_at=now - 2_900 + 10 * i,
        )
        for i in range(240)
    ]  # fmt: skip
    record(guarded, *ours, *theirs)
    done = guarded.turn()
    assert not guarded.latched()
    assert not [one for one in done.alerts if one.route], "as of `filtered`: a reason to wait"
    verdict = done.verdicts["video"]
    assert verdict.reason == (words or "no data"), "over a wait for requests"

    log = AccessLog(guarded.file.parent / "access.jsonl")
    for i in range(240):
        at = datetime.fromtimestamp(now - i, UTC)
        log.append(
            AccessLine(
                ts=timestamp(at), route="video", org="acme", side="tokenlab", model="m",
                status=200, latency_ms=90.0, outcome="ok",
            )
        )  # fmt: skip
    log.close()
    file = parse(guarded.file.read_bytes())
    monitor = Monitor(guarded.file, file)
    monitor.remember(Recorded((), file.revision, 0.0), now)
    monitor.catch_up(now)
    monitor.jobs.refresh(file, now)
    assert monitor.health("video", None, now).verdict.words == (f"hold: {words}" if words else "ok")
    assert monitor.held("video", "acme", 100, 500, BalanceWatch(), now) == words
    guarded.loop.end()


def test_slow_assets_hold_and_late_creates_do_not(guarded: Guarded) -> None:
    now = time.time()
    some = [
        create(f"s{i}", now=now, ago=900 + i, state="completed", ended_at=now - 10)
        for i in range(2)
    ]
    record(guarded, *some, *jobs(18, "completed"))
    guarded.turn()
    health = guarded.monitor.health("video", None, time.time())
    assert health.is_async
    assert (health.asset_p95_s or 0) > 800
    assert health.over_p95
    held = guarded.monitor.held("video", "acme", 0, 100, BalanceWatch(), time.time())
    assert held == "p95 to the asset 15m, limit 5.0m"
    assert health.verdict.words == "hold: p95 to the asset 15m, limit 5.0m"
    assert not guarded.latched()


def test_a_ledger_that_cannot_be_read_holds_and_rolls_nothing_back(guarded: Guarded) -> None:
    path = guarded.file.parent / "rollout-jobs.sqlite3"
    record(guarded, *jobs(30, "completed"))
    with sqlite3.connect(path) as database:
        database.execute("drop table creates")
        database.execute("create table creates (create_id, sent_at, task_id, state, route, org)")
    database.close()
    done = guarded.turn()
    assert not done.trouble
    assert not guarded.latched()
    held = guarded.monitor.held("video", "acme", 0, 100, BalanceWatch(), time.time())
    assert held.startswith("jobs not known: ")
    assert "cannot be read" in held


def test_a_look_at_the_day_that_takes_too_long_leaves_verdicts_known(
    guarded: Guarded, monkeypatch: pytest.MonkeyPatch
) -> None:
    def too_long(*_: object, **__: object) -> None:
        raise OperationError("the ledger takes too long to be read")

    monkeypatch.setattr("rollout_console.jobs.job_book.JobBook.counts", too_long)
    record(guarded, *jobs(20, "failed"), *jobs(30, "completed", first=60))
    done = guarded.turn()
    assert "the ledger takes too long to be read" in [one.sentence for one in done.alerts]
    assert guarded.latched(), "it does not stop the rollback"
