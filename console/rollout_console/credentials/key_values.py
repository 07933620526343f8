"""API key values: parse, validate, sort, filter, serialize, and warn of expiry and limits."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Literal

import msgspec

from rollout_console.common.durations import parse_duration
from rollout_console.common.errors import OperationError
from rollout_console.credentials.vault.credential import kind_of
from rollout_console.tokenlab.types import ApiKey

EXPIRY_DAYS = (30, 7, 1)
LIMIT_SHARES = (0.80, 0.95)

RUNWAY_S = 24 * 3600
_LEAST_SPAN_S = 300.0

Level = Literal["note", "warning", "alarm"]


class KeyWarning(msgspec.Struct, frozen=True):
    """A warning that a key will soon stop working; ``level`` rises as expiry or limit nears."""

    key: ApiKey
    level: Level
    sentence: str


def find_key(keys: Sequence[ApiKey], wanted: str) -> ApiKey:
    """Return the key with that id, or else with that unique name; raises OperationError.

    Names of revoked keys do not count.
    """
    by_id = [key for key in keys if key.id == wanted]
    by_name = [key for key in keys if key.name == wanted and key.status != "revoked"]
    found = by_id or by_name
    if len(found) == 1:
        return found[0]
    if not found:
        raise OperationError(f"there is no API key {wanted!r}; see keys list")
    ids = ", ".join(key.id for key in found[:4])
    raise OperationError(f"{len(found)} keys are named {wanted!r}; give an id: {ids}")


def parse_limit(text: str) -> Decimal | None:
    """Parse a spending limit of 0 to 1,000,000 US dollars in whole cents; None for ``none``.

    Raises OperationError.
    """
    if text.strip().lower() == "none":
        return None
    try:
        amount = Decimal(text.strip().lstrip("$"))
    except ArithmeticError:
        raise OperationError(f"{text[:40]!r} is no amount; give US dollars, or none") from None
    if not amount.is_finite() or not 0 <= amount <= 1_000_000 or amount != round(amount, 2):
        raise OperationError("a limit is 0 to 1000000 US dollars, in whole cents, or none")
    return amount


def parse_expiry(text: str, now: datetime | None = None) -> datetime | None:
    """Parse when a key expires into UTC; None for ``never``.

    A duration such as ``30d`` counts from ``now``, and a date without a time means the last second
    of that day, in UTC. Raises OperationError, also for a time that is past.
    """
    text, now = text.strip(), now or datetime.now(UTC)
    if text.lower() == "never":
        return None
    try:
        left_s = parse_duration(text)
        if left_s is not None:
            at = (now + timedelta(seconds=left_s)).replace(microsecond=0)
        elif len(text) == len("2027-01-31"):
            at = datetime.fromisoformat(text).replace(hour=23, minute=59, second=59, tzinfo=UTC)
        else:
            at = datetime.fromisoformat(text)
            if at.tzinfo is None:
                raise OperationError("a time needs its zone, such as 2027-01-31T18:00:00Z")
            at = at.astimezone(UTC)
    except ValueError:
        raise OperationError(
            f"{text[:40]!r} is no time: give 30d, 12h, 2w, 2027-01-31, 2027-01-31T18:00:00Z "
            "or never"
        ) from None
    except OverflowError:
        raise OperationError(f"{text[:40]!r} is too far away; never is without an end") from None
    if at <= now:
        raise OperationError(f"{text[:40]!r} is past: give a time to come, such as 30d, or never")
    return at


def sort_keys(keys: Iterable[ApiKey], by: str) -> list[ApiKey]:
    """Return the keys sorted ``by`` name, used, limit, created, expires, last-used or status."""
    far, past = datetime.max.replace(tzinfo=UTC), datetime.min.replace(tzinfo=UTC)
    orders: Mapping[str, Callable[[ApiKey], Any]] = {
        "name": lambda key: key.name.casefold(),
        "used": lambda key: -key.used,
        "limit": lambda key: -(key.used_share or 0.0),
        "created": lambda key: -key.created_at.timestamp(),
        "expires": lambda key: key.expires_at or far,
        "last-used": lambda key: -(key.last_used_at or past).timestamp() if key.last_used_at else 0,
        "status": lambda key: (
            ("active", "inactive", "revoked").index(key.status)
            if key.status in ("active", "inactive", "revoked")
            else 3
        ),
    }
    return sorted(keys, key=lambda key: (orders[by](key), key.name.casefold(), key.id))


SORTS = ("name", "used", "limit", "created", "expires", "last-used", "status")


def starts(secret: str, prefix: str) -> bool:
    """Return whether a secret matches a key's listed ``prefix``, such as ``sk-ab...``."""
    shown = prefix.rstrip(".…*")
    return len(shown) > len("sk-") and secret.startswith(shown)


def matches(key: ApiKey, text: str) -> bool:
    """Return whether a key's name, id, prefix, status or a model contains ``text``, case-folded."""
    needle = text.strip().casefold()
    return any(
        needle in part.casefold()
        for part in (key.name, key.id, key.prefix, key.status, *key.models)
    )


def checked_key_name(name: str) -> str:
    """Return a key's name, trimmed, of 1 to 50 characters; raises OperationError."""
    trimmed = name.strip()
    if not 1 <= len(trimmed) <= 50:
        raise OperationError("a key's name has 1 to 50 characters")
    if kind_of(trimmed) is not None:
        raise OperationError("that looks like a credential; a name is shown everywhere")
    return trimmed


def warnings_of(key: ApiKey, now: datetime) -> Iterable[KeyWarning]:
    """Yield warnings of an active key: expiry within 30 days, 80% of its limit used."""
    if key.expires_at is not None:
        left = key.expires_at - now
        if left <= timedelta(0):
            yield KeyWarning(key, "alarm", f"key {key.name} has expired")
        elif left <= timedelta(days=EXPIRY_DAYS[0]):
            days = left / timedelta(days=1)
            level: Level = "note"
            if days <= EXPIRY_DAYS[2]:
                level = "alarm"
            elif days <= EXPIRY_DAYS[1]:
                level = "warning"
            when = f"{days:.0f} days" if days >= 2 else f"{left / timedelta(hours=1):.0f} hours"
            yield KeyWarning(key, level, f"key {key.name} expires in {when}")
    share = key.used_share
    if share is not None and share >= LIMIT_SHARES[0]:
        level = "alarm" if share >= LIMIT_SHARES[1] else "warning"
        said = f"has used {100 * share:.0f}% of its ${key.limit:,.2f}"
        yield KeyWarning(key, level, f"key {key.name} {said}")


class KeyBurn:
    """The burn rate of keys, from what they had used at two times."""

    def __init__(self) -> None:
        self._first: dict[str, tuple[datetime, Decimal]] = {}

    def warnings(self, keys: Iterable[ApiKey], now: datetime) -> Iterator[KeyWarning]:
        """Yield warnings of active keys that reach their limit within a day at their burn rate.

        The rate is the mean since a key was first passed in, at least 5 minutes ago.
        """
        for key in keys:
            since, used = self._first.setdefault(key.id, (now, key.used))
            span = (now - since).total_seconds()
            if key.limit is None or key.status != "active" or span < _LEAST_SPAN_S:
                continue
            burn = (key.used - used) / Decimal(str(span))
            left = key.limit - key.used
            if burn > 0 and 0 < left < burn * RUNWAY_S:
                hours = float(left / burn) / 3600
                when = f"{hours:.0f} h" if hours >= 2 else f"{60 * hours:.0f} m"
                level: Level = "alarm" if hours < 1 else "warning"
                sentence = f"key {key.name} reaches its limit in about {when} at this rate"
                yield KeyWarning(key, level, sentence)


def as_json(key: ApiKey) -> dict[str, object]:
    """Return a key as a JSON object for ``--json``; amounts are exact decimal strings."""
    return {
        "id": key.id,
        "name": key.name,
        "key_prefix": key.prefix,
        "status": key.status,
        "limit_usd": None if key.limit is None else f"{key.limit:f}",
        "used_usd": f"{key.used:f}",
        "models": list(key.models),
        "expires_at": key.expires_at.isoformat() if key.expires_at else None,
        "last_used_at": key.last_used_at.isoformat() if key.last_used_at else None,
        "created_at": key.created_at.isoformat(),
    }
