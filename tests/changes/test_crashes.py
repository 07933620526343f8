"""Crashes of writers: a sample of what ``python -m tests.load.crashes`` tries in full."""

from tests.load.crashes import Tally, crashes, race
from tests.support.parts import need


def test_a_kill_and_an_error_at_any_call_lose_nothing() -> None:
    need("strace")
    tally = Tally()
    crashes(tally, step=101)
    assert tally.kill_points > 20
    assert tally.faults == 3 * tally.kill_points
    assert tally.lost == []


def test_racing_writers_that_are_killed_lose_nothing() -> None:
    tally = Tally()
    race(tally, 3.0, least_kills=11)
    assert tally.kills > 10
    assert tally.decisions > 0
    assert tally.lost == []
