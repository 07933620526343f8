"""Value types of a model; prices are exact US dollars, times are in UTC."""

from datetime import datetime
from decimal import Decimal

import msgspec

CATEGORIES = (
    "chat", "embedding", "translation", "image", "video", "audio", "tts", "stt", "rerank", "3d",
    "music",
)  # fmt: skip
SCENES = ("image", "video", "music", "3d", "tts", "stt", "embedding", "rerank", "translation")
"""The values of ``recommended_for``; chat is none."""
STAGES = ("active", "preview", "deprecated", "retired")

MOST_COUNT = 10**15
"""The upper bound of a plausible count of tokens or samples, rank, or price."""
_MOST_EXPONENT, _MOST_DIGITS = 18, 40


def is_usd(currency: object) -> bool:
    """Return whether what an answer says of a currency is US dollars; so is nothing at all."""
    return currency in (None, "") or (isinstance(currency, str) and currency.upper() == "USD")


def is_amount(value: Decimal) -> bool:
    """Return whether a number is a plausible price, without expanding a huge exponent."""
    if not value.is_finite() or value.is_signed():
        return False
    exponent = value.as_tuple().exponent
    short = isinstance(exponent, int) and abs(exponent) <= _MOST_DIGITS
    return short and abs(value.adjusted()) <= _MOST_EXPONENT and value <= MOST_COUNT


def is_count(value: int) -> bool:
    """Return whether a number is a plausible count, 0 to 10**15."""
    return 0 <= value <= MOST_COUNT


def is_share(value: float) -> bool:
    """Return whether a number is a share from 0 to 1."""
    return 0 <= value <= 1


class Evidence(msgspec.Struct, frozen=True, omit_defaults=True):
    """Statistics of a model over 24 h in one scene; ``rank`` is None without enough samples.

    ``success`` is a share from 0 to 1.
    """

    rank: int | None = None
    success: float | None = None
    samples: int = 0
    status: str = "insufficient_samples"
    updated_at: str = ""

    @property
    def words(self) -> str:
        """The evidence in words: the success rate, or that there are too few samples."""
        if self.status != "ready" or self.success is None:
            return f"insufficient samples ({self.samples:,})"
        return f"{100 * self.success:.1f}% of {self.samples:,}"


class Price(msgspec.Struct, frozen=True, omit_defaults=True):
    """A price, per million tokens or per request; ``least`` and ``most`` are a range."""

    unit: str = ""
    input_per_1m: Decimal | None = None
    output_per_1m: Decimal | None = None
    per_request: Decimal | None = None
    least: Decimal | None = None
    most: Decimal | None = None
    varies: bool = False

    @property
    def sort_key(self) -> tuple[int, Decimal]:
        """The sort key: token prices first, then prices per request, then unknown ones."""
        if self.input_per_1m is not None:
            # Weight input to output 3:1, a common mix of tokens.
            return 0, 3 * self.input_per_1m + (self.output_per_1m or Decimal(0))
        for amount in (self.per_request, self.least):
            if amount is not None:
                return 1, amount
        return 2, Decimal(0)

    @property
    def amounts(self) -> tuple[Decimal | None, ...]:
        """Every amount field, None where it is not set."""
        return (
            self.input_per_1m, self.output_per_1m, self.per_request, self.least, self.most,
        )  # fmt: skip

    @property
    def words(self) -> str:
        """The price formatted with its unit."""
        if self.input_per_1m is not None:
            out = "" if self.output_per_1m is None else f" in, ${self.output_per_1m:f} out"
            return f"${self.input_per_1m:f}{out} per 1M tokens"
        if self.per_request is not None:
            return f"${self.per_request:f} {self.unit.replace('_', ' ') or 'per request'}"
        if self.least is not None:
            most = "" if self.most is None else f" to ${self.most:f}"
            return f"${self.least:f}{most} {self.unit.replace('_', ' ')}".rstrip()
        return "unknown"


class Contract(msgspec.Struct, frozen=True, omit_defaults=True):
    """A model's documented operations, endpoints, inputs and outputs."""

    operations: tuple[str, ...] = ()
    endpoint: str = ""
    endpoints: dict[str, str] = {}
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    status_endpoints: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    limits: dict[str, str] = {}
    example: dict[str, object] | None = None


class ModelInfo(msgspec.Struct, frozen=True, omit_defaults=True):
    """One model. ``formats`` is None until its detail is fetched: lists do not contain them."""

    id: str
    provider: str = ""
    category: str = ""
    aliases: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    max_input: int | None = None
    max_output: int | None = None
    price: Price = Price()
    stage: str = "active"
    reason: str = ""
    replacement: str = ""
    released_at: datetime | None = None
    deprecated_at: datetime | None = None
    sunset_at: datetime | None = None
    retired_at: datetime | None = None
    latest: bool = False
    free: bool = False
    free_until: datetime | None = None
    evidence: dict[str, Evidence] = {}
    contract: Contract = Contract()
    formats: tuple[str, ...] | None = None

    @property
    def in_order(self) -> bool:
        """Whether its numbers are plausible and its dates have a zone, so that it can be sorted."""
        amounts = [amount for amount in self.price.amounts if amount is not None]
        counts = [self.max_input or 0, self.max_output or 0]
        for one in self.evidence.values():
            counts += [one.rank or 0, one.samples]
        dates = (
            self.released_at, self.deprecated_at, self.sunset_at, self.retired_at, self.free_until,
        )  # fmt: skip
        return (
            all(map(is_amount, amounts))
            and all(map(is_count, counts))
            and all(is_share(one.success or 0.0) for one in self.evidence.values())
            and all(at is None or at.tzinfo is not None for at in dates)
        )

    @property
    def names(self) -> tuple[str, ...]:
        """The id and every alias."""
        return (self.id, *self.aliases)
