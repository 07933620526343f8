"""The two-sample test: no false alarm however often it is asked, and a difference is found."""

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from rollout_console.guard.evidence.two_sample import Counted, compared


def stream(rng: random.Random, share: float, seconds: int, rate: int) -> list[Counted]:
    return [
        Counted(at, rate, sum(rng.random() < share for _ in range(rate))) for at in range(seconds)
    ]


def first_alarm(rng: random.Random, ours: float, theirs: float, rate: int = 5) -> int | None:
    one, other = stream(rng, ours, 300, rate), stream(rng, theirs, 300, rate)
    for until in range(10, 301, 10):
        if compared(one[:until], other[:until]).is_higher:
            return until
    return None


def test_equal_shares_raise_no_alarm_however_often_they_are_asked() -> None:
    rng = random.Random(7)
    for share in (0.01, 0.1, 0.5):
        assert [first_alarm(rng, share, share) for _ in range(60)] == [None] * 60


def test_a_higher_share_is_found() -> None:
    rng = random.Random(8)
    found = [first_alarm(rng, 0.25, 0.05) for _ in range(30)]
    assert None not in found
    assert max(at for at in found if at is not None) <= 120


def test_a_lower_share_is_no_trouble() -> None:
    rng = random.Random(9)
    assert [first_alarm(rng, 0.05, 0.4) for _ in range(20)] == [None] * 20


def test_a_difference_that_does_not_matter_is_none() -> None:
    many = [Counted(at, 1000, 30) for at in range(300)]
    few = [Counted(at, 1000, 20) for at in range(300)]
    found = compared(many, few)
    assert found.evidence > 20
    assert not found.is_higher


def test_without_the_other_side_nothing_is_said() -> None:
    assert not compared([Counted(0, 100, 100)], []).is_higher
    assert not compared([], []).is_higher
    apart = [Counted(at, 10, 10) for at in range(100)]
    later = [Counted(at, 10, 0) for at in range(200, 300)]
    assert not compared(apart, later).is_higher, "never live at the same time"


COUNTED = st.builds(
    lambda at, n, k: Counted(at, n, min(n, k)),
    st.integers(0, 100),
    st.integers(0, 50),
    st.integers(0, 50),
)


@settings(max_examples=100)
@given(st.lists(COUNTED, max_size=20), st.lists(COUNTED, max_size=20))
def test_it_is_a_function_of_the_counts(one: list[Counted], other: list[Counted]) -> None:
    assert compared(one, other) == compared(one[::-1], other[::-1])
