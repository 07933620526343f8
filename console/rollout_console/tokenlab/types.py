"""What the API's answers say, as values; apart from the client, which takes time to load.

Amounts are US dollars, exact; times are in UTC.
"""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from rollout_gate.secret import Secret


@dataclass(frozen=True, slots=True)
class Balance:
    """The organisation's balance."""

    organization_id: str
    balance: Decimal
    total_recharge: Decimal
    total_used: Decimal


@dataclass(frozen=True, slots=True)
class ApiKey:
    """An API key of the organisation; its secret was shown once, when it was made.

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
        """The share of the limit that is used, 0 to 1 and over; None without a limit."""
        if self.limit is None:
            return None
        return float(self.used / self.limit) if self.limit else 1.0


@dataclass(frozen=True, slots=True)
class CreatedKey:
    """A key just made, with its secret, which the API never shows again."""

    key: ApiKey
    secret: Secret


@dataclass(frozen=True, slots=True)
class Proof:
    """What one real request showed of an API key: that it answers, or why not although valid."""

    works: bool
    words: str


@dataclass(frozen=True, slots=True)
class Spent:
    """What one model, or one day, has cost."""

    name: str
    requests: int
    cost: Decimal


@dataclass(frozen=True, slots=True)
class Billing:
    """What a key has cost, in all, by model and by day."""

    requests: int
    cost: Decimal
    by_model: tuple[Spent, ...]
    by_day: tuple[Spent, ...]
