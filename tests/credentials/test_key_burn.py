"""A key that spends: when it reaches its limit at this rate."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

from msgspec.structs import replace

from rollout_console.credentials.key_values import KeyBurn
from rollout_console.tokenlab.types import ApiKey

NOW = datetime(2026, 11, 25, tzinfo=UTC)


def key(used: str, limit: str | None = "100", status: str = "active") -> ApiKey:
    return ApiKey(
        id="key_1", name="prod", prefix="sk-a", status=status,
        limit=None if limit is None else Decimal(limit), used=Decimal(used), models=(),
        expires_at=None, last_used_at=None, created_at=NOW,
    )  # fmt: skip


def said(burn: KeyBurn, one: ApiKey, minutes: float) -> list[tuple[str, str]]:
    now = NOW + timedelta(minutes=minutes)
    return [(warning.level, warning.sentence) for warning in burn.warnings([one], now)]


def test_it_is_told_when_the_limit_is_near_in_time() -> None:
    burn = KeyBurn()
    assert said(burn, key("10"), 0) == []
    assert said(burn, key("11"), 1) == [], "too short a time to tell"
    assert said(burn, key("20"), 10) == [
        ("warning", "key prod reaches its limit in about 80 m at this rate")
    ]
    assert said(burn, key("90"), 60) == [
        ("alarm", "key prod reaches its limit in about 8 m at this rate")
    ]


def test_what_does_not_end_is_not_told() -> None:
    for one in (key("20", None), key("20", status="inactive"), key("10"), key("100")):
        burn = KeyBurn()
        said(burn, replace(one, used=Decimal(10)), 0)
        assert said(burn, one, 10) == []
    burn = KeyBurn()
    said(burn, key("10", "1000000"), 0)
    assert said(burn, key("10.5", "1000000"), 10) == [], "years from now"
