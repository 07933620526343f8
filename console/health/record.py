"""One line of the access log, as it is read."""

from datetime import datetime
from enum import Enum
from typing import Annotated, Literal

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

    ts: Annotated[datetime, msgspec.Meta(tz=True)]
    route: str
    org: str
    side: Literal["tokenlab", "previous"]
    status: int
    latency_ms: float
    model: str = ""
    error: str | None = None

    @property
    def at(self) -> float:
        """When, in epoch seconds."""
        return self.ts.timestamp()

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
