"""Jobs that fail after their 200 are rolled back, from the simulator to the last create."""

import pytest

from rollout_console.jobs.job_book import JobBook
from rollout_gate.file.parse import parse
from rollout_gate.paths import LEDGER_NAME
from tests.benchmarks.job_drill import FAULTS, Rollout, rollout
from tests.support.waiting import until


@pytest.fixture(autouse=True)
def in_a_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tasks of a second, a ledger that is read four times a second."""
    monkeypatch.setattr("rollout_console.sim.media.QUEUED_S", 0.1)
    monkeypatch.setattr("rollout_console.sim.media.WORKING_S", 0.3)
    monkeypatch.setattr("rollout_console.guard.job_watch.EVERY_S", 0.25)
    monkeypatch.setattr("tests.benchmarks.job_drill.TURN_S", 0.2)
    monkeypatch.setattr("tests.benchmarks.job_drill.AFTER_S", 1.0)


def completed(made: Rollout, least: int) -> bool:
    found = JobBook(made.file.parent / LEDGER_NAME).ended(since=0.0)
    ended = found.get(("video", "tokenlab"))
    return ended is not None and ended.completed >= least


@pytest.mark.timed
def test_jobs_that_fail_after_their_200_are_rolled_back_and_drain() -> None:
    with rollout(20.0) as made:
        until(lambda: completed(made, 30))
        found = made.drill(FAULTS["50% fail"])
        assert found.reason.startswith("jobs failed")
        assert found.org is None
        file = parse(made.file.read_bytes())
        assert file.is_latched("video")
        assert not file.rolled_back
        assert found.jobs < 300
        book = JobBook(made.file.parent / LEDGER_NAME)
        until(lambda: {one.create.side for one in book.rows(0.0, most=20)} == {"previous"})
