"""Types of options: durations and whole numbers, refused in one sentence with what is taken."""

import argparse

import pytest

from rollout_console.cli.commands.keys_arguments import _day
from rollout_console.cli.values import days, duration, past_time, whole


def test_durations_of_options() -> None:
    quiet = duration(60, 60_000, bare="m")
    assert (quiet("30"), quiet("2h"), quiet("90 minutes")) == (1800, 7200, 5400)
    assert (days(0, 3650)("90"), days(0, 3650)("12w"), days(0, 3650)("36h")) == (90, 84, 2)


@pytest.mark.parametrize(
    ("parse", "text", "why"),
    [
        (duration(60, 86_400), "10", "'10' is no duration; give one such as 30d"),
        (duration(60, 86_400), "-1d", "is no duration"),
        (duration(60, 86_400), "1e9d", "is no duration"),
        (duration(60, 86_400), "30s", "30s is not from 60 s to 24 h"),
        (duration(60, 86_400), "2d", "2d is not from 60 s to 24 h"),
        (whole(1, 1000), "x", "'x' is no whole number; give one from 1 to 1000"),
        (whole(1, 1000), "\u0663", "is no whole number"),
        (whole(1, 1000), "-1", "-1 is not from 1 to 1000"),
        (whole(1, 1000), "9" * 5000, "is no whole number"),
        (whole(1, 1000), "9" * 20, f"{'9' * 20} is not from 1 to 1000"),
        (duration(60, 86_400), "999999999d", "999999999d is not from 60 s to 24 h"),
        (past_time, "0001-01-01T00:00:00+14:00", "is no time; give 14:05"),
        (past_time, "0001-01-01T00:00:00", "is no time; give 14:05"),
        (past_time, "9999-12-31T23:59:59-14:00", "is still to come"),
        (_day, "9999999w", "too far back"),
    ],
)
def test_what_is_refused(parse: object, text: str, why: str) -> None:
    assert callable(parse)
    with pytest.raises(argparse.ArgumentTypeError, match=why):
        parse(text)


def test_dates_of_usage() -> None:
    assert _day("2026-11-28") == "2026-11-28"
    assert _day("gestern") == "gestern", "the API says what is wrong with it"
    assert _day("7d").endswith("Z")
