"""A read under way is said at once, and one that fails says when the next is."""

from math import inf

from rollout_console.tokenlab.errors import ApiError, Refused
from rollout_console.ui.reading import FIRST_WAIT_S, MOST_WAIT_S, Reading


def test_the_first_read_is_said_at_once_and_for_how_long() -> None:
    reading = Reading("the keys", 60)
    assert reading.is_due(100)
    reading.begin(100)
    assert reading.words(100) == "reading the keys…"
    assert reading.words(112) == "reading the keys… 12 s"
    assert not reading.is_due(130), "one is under way"
    assert not reading.is_due(1000), "however many pages it has"
    reading.end(112)
    assert (reading.words(112), reading.done, reading.failed) == ("", True, False)
    assert not reading.is_due(171)
    assert reading.is_due(172)
    reading.begin(172)
    assert not reading.words(172), "what was read before is on the screen"


def test_a_failure_says_when_the_next_try_is_and_backs_off() -> None:
    reading = Reading("the keys", 60)
    now, waits = 0.0, []
    for _ in range(9):
        reading.begin(now)
        reading.end(now, ApiError("unreachable"))
        waits.append(float(reading.words(now).split()[3]))
        now += waits[-1]
        assert reading.is_due(now)
    assert waits == [5, 10, 20, 40, 80, 160, 300, 300, 300]
    reading.begin(now)
    assert reading.words(now) == "reading the keys…", "it is offline until it is read again"
    reading.end(now)
    assert not reading.failed
    reading.end(now, TimeoutError())
    assert f"next try in {FIRST_WAIT_S:.0f} s" in reading.words(now)


def test_a_wait_that_the_api_asks_for_is_obeyed_within_the_maximum() -> None:
    for asked, wait in ((42.0, 42.0), (86_400.0, MOST_WAIT_S), (1.0, FIRST_WAIT_S)):
        reading = Reading("the keys", 60)
        reading.end(0, Refused(429, "slow down", retry_after_s=asked))
        assert reading.is_due(wait)
        assert not reading.is_due(wait - 0.5)


def test_a_clock_that_is_set_back_stops_nothing() -> None:
    reading = Reading("the keys", 60)
    reading.end(1_000_000)
    assert reading.is_due(1000)
    once = Reading("the history", inf)
    once.end(1000)
    assert not once.is_due(2_000_000)
