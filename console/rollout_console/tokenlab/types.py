"""Value types of the management API, separate from its client, which is slow to import.

Amounts are exact US dollars; times are in UTC.
"""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal

import msgspec

from rollout_gate.secret import Secret


class Balance(msgspec.Struct, frozen=True):
    """The organisation's balance: what is left, what was paid in, and what was used."""

    organization_id: str
    balance: Decimal
    total_recharge: Decimal
    total_used: Decimal


class ApiKey(msgspec.Struct, frozen=True):
    """An API key of the organisation; its secret was shown once, when it was created.

    ``limit`` is None for no limit, 0 for no spending at all; ``models`` empty for no restriction.
    """

    id: str
    name: str
    prefix: str
    status: str
    limit: Decimal | None
    used: Decimal
    models: tuple[str, ...]
    expires_at: datetime | None
    last_used_at: datetime | None
    created_at: datetime

    @property
    def used_share(self) -> float | None:
        """The used fraction of the limit, may exceed 1; 1 for a limit of 0, None without one."""
        if self.limit is None:
            return None
        return float(self.used / self.limit) if self.limit else 1.0


class CreatedKey(msgspec.Struct, frozen=True):
    """A newly created key with its secret, which the API never shows again.

    ``odd`` are the answer's fields that could not be read; without its id, that of ``key`` is
    empty.
    """

    key: ApiKey
    secret: Secret
    odd: tuple[str, ...] = ()

    @property
    def problem(self) -> str:
        """What is odd, in a sentence; empty where nothing is."""
        if not self.odd:
            return ""
        return (
            f"the API's answer is not what its contract says ({', '.join(self.odd)}), so look at"
            f" {self.key.name} in the list before it is used: what it may spend is not certain"
        )


class Proof(msgspec.Struct, frozen=True):
    """The result of verifying a valid API key: whether it works now, and a sentence on it."""

    works: bool
    words: str


class Spent(msgspec.Struct, frozen=True):
    """A row of a billing breakdown: one model or one day."""

    name: str
    requests: int
    cost: Decimal


class Billing(msgspec.Struct, frozen=True):
    """What a key has cost: in total, by model and by day."""

    requests: int
    cost: Decimal
    by_model: tuple[Spent, ...]
    by_day: tuple[Spent, ...]


class UsageRecord(msgspec.Struct, frozen=True, gc=False):
    """One usage record: what a settled request, or a refund (a negative ``cost``), has cost.

    Ids are as the API has them, None where it has none; ``quantity`` is a decimal string in
    ``unit``.
    """

    request_id: str | None
    billing_id: str | None
    model: str
    scene: str
    unit: str
    quantity: str
    tokens_in: int
    tokens_out: int
    cost: Decimal
    at: datetime


class UsagePage(msgspec.Struct, frozen=True):
    """One page of a key's usage records; ``total`` and ``cost`` are those of all pages.

    ``cost`` is None where the answer has no total of its own.
    """

    records: Sequence[UsageRecord]
    pages: int
    total: int
    cost: Decimal | None


class RateLimit(msgspec.Struct, frozen=True):
    """What an answer says of the rate limit: requests left, and when it resets (epoch seconds)."""

    remaining: int
    resets_at: float
