"""When a key expires: durations, dates and times, and what is refused in one sentence."""

from datetime import UTC, datetime, timedelta

import pytest

from rollout_console.common.errors import OperationError
from rollout_console.credentials.key_values import parse_expiry

NOW = datetime(2026, 11, 28, 12, 30, 15, 123, UTC)


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("30d", datetime(2026, 12, 28, 12, 30, 15, tzinfo=UTC)),
        (" 2 weeks ", datetime(2026, 12, 12, 12, 30, 15, tzinfo=UTC)),
        ("90 minutes", datetime(2026, 11, 28, 14, 0, 15, tzinfo=UTC)),
        ("2026-12-31", datetime(2026, 12, 31, 23, 59, 59, tzinfo=UTC)),
        ("2026-11-28", datetime(2026, 11, 28, 23, 59, 59, tzinfo=UTC)),
        ("2026-12-31T18:00:00+02:00", datetime(2026, 12, 31, 16, tzinfo=UTC)),
        ("2026-12-31 18:00Z", datetime(2026, 12, 31, 18, tzinfo=UTC)),
        ("Never", None),
    ],
)
def test_times_to_come(text: str, at: datetime | None) -> None:
    assert parse_expiry(text, NOW) == at


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "is no time"), ("-1d", "is no time"), ("1e9d", "is no time"), ("soon", "is no time"),
        ("31 feb", "is no time"), ("2026-02-31", "is no time"), ("\u202e30d", "is no time"),
        ("30\x00d", "is no time"), ("d" * 5000, "is no time"), ("9999999d", "too far away"),
        ("9999-12-31T23:00:00-09:00", "too far away"), ("0s", "is past"), ("2026-11-27", "is past"),
        ("2026-12-31T18:00", "needs its zone"), ("0001-01-01T00:00:00+09:00", "too far away"),
    ],
)  # fmt: skip
def test_what_is_refused_in_one_sentence(text: str, why: str) -> None:
    with pytest.raises(OperationError, match=why) as said:
        parse_expiry(text, NOW)
    assert str(said.value).isprintable()
    assert len(str(said.value)) < 160


def test_the_time_of_now_is_the_clock() -> None:
    at = parse_expiry("1d")
    assert at is not None
    assert timedelta(hours=23) < at - datetime.now(UTC) < timedelta(hours=25)
