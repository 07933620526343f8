"""The record that one line of the access log decodes to."""

from datetime import datetime
from enum import Enum
from typing import Annotated, Literal

import msgspec


class StatusClass(Enum):
    """Class of an HTTP status as an operator sees it; each is a signal of its own."""

    OK = "ok"
    CONTRACT = "contract"
    AUTH = "auth"
    BALANCE = "balance"
    RATE_LIMIT = "rate_limit"
    GATEWAY = "gateway"


_Name = Annotated[str, msgspec.Meta(max_length=256)]
"""Names are kept in memory as long as there is traffic, so their length (characters) is bounded."""


class AccessRecord(msgspec.Struct, gc=False):
    """The fields of a line that the console decodes; unknown fields are ignored.

    ``status`` is 0 to 999, ``latency_ms`` 0 to 10⁹; a line outside these ranges is unusable.
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
        """The time of the record, in epoch seconds."""
        return self.ts.timestamp()

    @property
    def status_class(self) -> StatusClass:
        """The class of the status."""
        return classify(self.status)


_REDIRECTS = frozenset((301, 302, 303, 307, 308))


def classify(status: int) -> StatusClass:
    """Return the class of an HTTP status; 0 means that there was no response.

    A redirect that was not followed is no response either, and so ``GATEWAY``.
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
