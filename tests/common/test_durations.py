"""Durations as people write them."""

import pytest

from rollout_console.common.durations import parse_duration

DAY = 86_400


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("30d", 30 * DAY), ("12h", 12 * 3600), ("2w", 14 * DAY), ("90 minutes", 5400),
        ("90s", 90), ("1h30m", 5400), ("1 day 12 hours", 1.5 * DAY), ("1.5h", 5400),
        (" 2 W ", 14 * DAY), ("1 Week", 7 * DAY), ("0s", 0), ("10 MIN", 600), ("1hr", 3600),
    ],
)  # fmt: skip
def test_as_people_write_them(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text",
    [
        "", " ", "d", "30", "-1d", "+1d", "1e9d", "12345678d", "30 d x", "3 months", "1y", "1,5h",
        "30d\x00", "30\x1b[2Jd", "\u202e30d", "\u0663d", "\uff13d", "30dd", "inf d", "nan", "1..5h",
        "1d" * 40, "never", "2026-12-31", "14:05", "\u2153h",
    ],
)  # fmt: skip
def test_what_is_none(text: str) -> None:
    assert parse_duration(text) is None


def test_a_number_alone_needs_a_unit_that_goes_without_saying() -> None:
    assert parse_duration("30", bare="m") == 1800
    assert parse_duration("30s", bare="m") == 30
    assert parse_duration("-30", bare="m") is None
    assert parse_duration("", bare="m") is None
