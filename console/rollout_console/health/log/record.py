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


_Name = Annotated[str, msgspec.Meta(max_length=256)]
"""Names are kept as long as there is traffic, so a line may not bring ones without end."""


class AccessRecord(msgspec.Struct, gc=False):
    """What the console uses of a line; fields it does not know are passed over.

    ``status`` is 0 to 999, ``latency_ms`` 0 to 10⁹; a line with others is no access-log line.
    """

    ts: Annotated[datetime, msgspec.Meta(tz=True)]
    route: _Name
    org: _Name
    side: Literal["tokenlab", "previous"]
    status: Annotated[int, msgspec.Meta(ge=0, le=999)]
    latency_ms: Annotated[float, msgspec.Meta(ge=0, le=1e9)]
    model: _Name = ""
    error: str | None = None
    request_id: str | None = None

    @property
    def at(self) -> float:
        """When, in epoch seconds."""
        return self.ts.timestamp()

    @property
    def status_class(self) -> StatusClass:
        """The class of the status."""
        return classify(self.status)


_REDIRECTS = frozenset((301, 302, 303, 307, 308))


def classify(status: int) -> StatusClass:
    """Return the class of an HTTP status; 0 means that there was no response.

    A redirect that nobody followed is no answer either.
    """
    if 200 <= status < 400 and status not in _REDIRECTS:
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
