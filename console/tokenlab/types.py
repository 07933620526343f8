"""What the API's answers say, as values; apart from the client, which takes time to load."""

from dataclasses import dataclass
from decimal import Decimal


@dataclass(frozen=True, slots=True)
class Balance:
    """The organisation's balance in US dollars, exact."""

    organization_id: str
    balance: Decimal
    total_recharge: Decimal
    total_used: Decimal
