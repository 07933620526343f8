"""The record that one line of the access log decodes to."""

from datetime import datetime
from enum import Enum
from typing import Annotated, Literal

import msgspec

from rollout_gate.answers.error_codes import class_of


class StatusClass(Enum):
    """Class of an answer as an operator sees it; each is a signal of its own.

    ``BAD`` is an answer with nothing in it, ``ABANDONED`` one that the application left.
    """

    OK = "ok"
    CONTRACT = "contract"
    AUTH = "auth"
    BALANCE = "balance"
    RATE_LIMIT = "rate_limit"
    GATEWAY = "gateway"
    BAD = "bad"
    ABANDONED = "abandoned"

    __hash__ = object.__hash__
    """By identity: Enum's own is Python code, and a second of figures hashes hundreds."""


_Name = Annotated[str, msgspec.Meta(max_length=256)]
"""Names are kept in memory as long as there is traffic, so their length (characters) is bounded."""

_Milliseconds = Annotated[float, msgspec.Meta(ge=0, le=1e9)]


class AccessRecord(msgspec.Struct, gc=False):
    """The fields of an access line that the console decodes; all others are ignored.

    ``rollout_gate.access_log.AccessLine`` says what they mean. ``status`` is 0 to 999, times are 0
    to 10⁹ ms; a line outside these ranges is unusable.
    """

    ts: Annotated[datetime, msgspec.Meta(tz=True)]
    route: _Name
    org: _Name
    side: Literal["tokenlab", "previous"]
    status: Annotated[int, msgspec.Meta(ge=0, le=999)]
    latency_ms: _Milliseconds
    model: _Name = ""
    error: str | None = None
    request_id: str | None = None
    outcome: str | None = None
    operation: str | None = None
    ttft_ms: _Milliseconds | None = None
    finish_reason: str | None = None
    output_tokens: int | None = None
    attempt: int | None = None
    stream: bool | None = None
    cached: bool | None = None
    bucket: int | None = None
    revision: str | None = None
    bound: bool | None = None
    moved: bool | None = None
    host: str | None = None
    key_alias: str | None = None

    @property
    def at(self) -> float:
        """The time of the record, in epoch seconds."""
        return self.ts.timestamp()

    @property
    def status_class(self) -> StatusClass:
        """The class of the answer: of its status, or where that is good, of its outcome."""
        by_status = classify(self.status)
        if self.outcome == "abandoned" or self.error in _LEFT:
            return StatusClass.ABANDONED
        if by_status is not StatusClass.OK:
            return by_status
        outcome = self.outcome or (self.error if self.error in ("truncated", "empty") else None)
        if outcome == "error":
            return StatusClass(class_of(self.error or ""))
        return _BY_OUTCOME.get(outcome or "ok", StatusClass.OK)


class BillingRecord(AccessRecord, gc=False):
    """An access record with the fields that reconciliation needs as well."""

    billing_transaction_id: str | None = None
    task_id: str | None = None
    task_status: str | None = None
    input_tokens: int | None = None


class JobRecord(AccessRecord, gc=False):
    """An access record with the fields of async jobs as well."""

    job_id: str | None = None
    task_id: str | None = None
    task_status: str | None = None
    billing_transaction_id: str | None = None


_LEFT = ("abandoned", "cancelled")
"""Errors of the application's own, in lines without an outcome."""
_BY_OUTCOME = {"truncated": StatusClass.GATEWAY, "empty": StatusClass.BAD}
_REDIRECTS = frozenset((301, 302, 303, 307, 308))
_NAMED = {
    401: StatusClass.AUTH,
    403: StatusClass.AUTH,
    402: StatusClass.BALANCE,
    429: StatusClass.RATE_LIMIT,
}


def classify(status: int) -> StatusClass:
    """Return the class of an HTTP status; 0 means that there was no response.

    A redirect that was not followed is no response either, and so ``GATEWAY``.
    """
    if 200 <= status < 400 and status not in _REDIRECTS:
        return StatusClass.OK
    if status in _NAMED:
        return _NAMED[status]
    return StatusClass.CONTRACT if 400 <= status < 500 else StatusClass.GATEWAY
