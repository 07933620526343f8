"""Freeze windows: when they hold, and what cannot be one."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollout_gate.file.errors import FileError
from rollout_gate.file.freeze_windows import parse_freeze
from rollout_gate.file.parse import parse
from tests.conftest import SAMPLE


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("window", "now", "until"),
    [
        ("fri 16:00 - mon 08:00", "2026-11-27T16:00", "2026-11-30T08:00"),  # a Friday
        ("FRI  16:00 - Mon 08:00", "2026-11-29T23:59", "2026-11-30T08:00"),
        ("fri 16:00 - mon 08:00", "2026-11-27T15:59", None),
        ("fri 16:00 - mon 08:00", "2026-11-30T08:00", None),
        ("22:00 - 06:00", "2026-11-25T23:30", "2026-11-26T06:00"),
        ("22:00 - 06:00", "2026-11-26T05:59", "2026-11-26T06:00"),
        ("22:00 - 06:00", "2026-11-26T12:00", None),
        ("2026-12-24 - 2027-01-02", "2027-01-02T23:59", "2027-01-03T00:00"),
        ("2026-12-24 - 2027-01-02", "2026-12-23T23:59", None),
        ("2026-12-24 - 2026-12-24", "2026-12-24T12:00", "2026-12-25T00:00"),
    ],
)
def test_windows(window: str, now: str, until: str | None) -> None:
    found = parse_freeze(window).until(at(now))
    assert found == (None if until is None else at(until))


@pytest.mark.parametrize(
    "text",
    ["", "friday", "fri 16:00", "fri 24:00 - mon 08:00", "08:00 - 08:00", "mon 08:00 - mon 08:00",
     "2026-12-24 - 2026-12-23", "2026-13-01 - 2026-13-02", "22:00-06:00 CET"],
)  # fmt: skip
def test_what_is_none(text: str) -> None:
    with pytest.raises(ValueError, match=r"freeze window|ends before|begins when|no date"):
        parse_freeze(text)


@given(st.integers(-10_000_000, 10_000_000))
def test_a_week_of_it_is_as_long_as_it_says(minutes: int) -> None:
    now = at("2026-11-25T00:00") + timedelta(minutes=minutes)
    window = parse_freeze("fri 16:00 - mon 08:00")
    inside = sum(window.until(now + timedelta(hours=i)) is not None for i in range(7 * 24))
    assert inside == 64


def test_in_the_file() -> None:
    text = SAMPLE.read_text()
    file = parse(text.replace("freeze = []", 'freeze = ["22:00 - 06:00"]').encode())
    assert [one.text for one in file.routes["claude"].ramp.freeze] == ["22:00 - 06:00"]
    for bad in ('"22:00 - 06:00"', "[22]", '["sometimes"]'):
        with pytest.raises(FileError, match=r"line \d+, column \d+: ramp.freeze "):
            parse(text.replace("freeze = []", f"freeze = {bad}").encode())
