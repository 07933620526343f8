"""One line of the access log, as it is read."""

from datetime import datetime
from enum import Enum
from functools import lru_cache
from typing import Literal

import msgspec


class StatusClass(Enum):
    """What a status means to an operator; each is a signal of its own."""

    OK = "ok"
    CONTRACT = "contract"
    AUTH = "auth"
    BALANCE = "balance"
    RATE_LIMIT = "rate_limit"
    GATEWAY = "gateway"


class AccessRecord(msgspec.Struct, gc=False):
    """What the console uses of a line; fields it does not know are passed over."""

    ts: str
    route: str
    org: str
    side: Literal["tokenlab", "previous"]
    status: int
    latency_ms: float
    model: str = ""
    error: str | None = None

    @property
    def at(self) -> float:
        """When, in epoch seconds; raises ValueError where ``ts`` is no time."""
        return _second(self.ts[:19], self.ts[19:])

    @property
    def status_class(self) -> StatusClass:
        """The class of the status."""
        return classify(self.status)


def classify(status: int) -> StatusClass:
    """Return the class of an HTTP status; 0 means that there was no response."""
    if 200 <= status < 400:
        return StatusClass.OK
    named = {
        401: StatusClass.AUTH,
        403: StatusClass.AUTH,
        402: StatusClass.BALANCE,
        429: StatusClass.RATE_LIMIT,
    }
    if status in named:
        return named[status]
    return StatusClass.CONTRACT if 400 <= status < 500 else StatusClass.GATEWAY


def _second(whole: str, rest: str) -> float:
    # The usual form is "….123Z"; any other that RFC 3339 allows is read the slow way.
    if rest.endswith("Z") and (rest == "Z" or (rest[0] == "." and rest[1:-1].isdigit())):
        fraction = rest[:-1]
        return _epoch(whole + "+00:00") + (float(fraction) if len(fraction) > 1 else 0.0)
    return datetime.fromisoformat(whole + rest).timestamp()


@lru_cache(maxsize=4096)
def _epoch(text: str) -> float:
    moment = datetime.fromisoformat(text)
    return moment.timestamp()
