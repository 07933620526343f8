"""Crashes of writers: a sample of what ``python -m tests.load.crashes`` tries in full.

Each runs in a small process of its own: the writers are forks, and a fork of this one copies the
page table of all that the tests have imported.
"""

from collections.abc import Callable
from multiprocessing import get_context

import pytest

from tests.load.crashes import Tally, crashes, race
from tests.support.parts import need


def tallied(run: Callable[[], Tally]) -> Tally:
    with get_context("spawn").Pool(1) as pool:
        return pool.apply(run)


def killed_and_failed() -> Tally:
    tally = Tally()
    crashes(tally, step=101)
    return tally


def raced() -> Tally:
    tally = Tally()
    race(tally, 3.0, least_kills=11)
    return tally


@pytest.mark.slow
@pytest.mark.timeout(600)  # hundreds of processes, of which each is traced
def test_a_kill_and_an_error_at_any_call_lose_nothing() -> None:
    need("strace")
    tally = tallied(killed_and_failed)
    assert tally.kill_points > 20
    assert tally.faults == 3 * tally.kill_points
    assert tally.lost == []


def test_racing_writers_that_are_killed_lose_nothing() -> None:
    tally = tallied(raced)
    assert tally.kills > 10
    assert tally.decisions > 0
    assert tally.lost == []
