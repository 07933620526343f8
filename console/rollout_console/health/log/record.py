"""The record that one line of the access log decodes to."""

from datetime import datetime
from typing import Annotated, Literal

import msgspec

from rollout_gate.access_log import MOST_NAME
from rollout_gate.answers.status_class import (
    StatusClass,
    class_of_answer,
    classify,
    was_not_sent,
)

__all__ = ["AccessRecord", "BillingRecord", "JobRecord", "StatusClass", "classify"]

_Name = Annotated[str, msgspec.Meta(max_length=MOST_NAME)]
"""Names are kept in memory as long as there is traffic, so their length (characters) is bounded."""

_Count = Annotated[int, msgspec.Meta(ge=-(10**15), le=10**15)]
"""JSON bounds no number, and one of hundreds of digits is beyond a float."""
_Milliseconds = Annotated[float, msgspec.Meta(ge=0, le=1e9)]


class AccessRecord(msgspec.Struct, gc=False):
    """The fields of an access line that the console decodes; all others are ignored.

    ``rollout_gate.access_log.AccessLine`` says what they mean. ``status`` is 0 to 999, times are 0
    to 10⁹ ms, counts up to 10¹⁵; a line outside these ranges is unusable.
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
    output_tokens: _Count | None = None
    attempt: _Count | None = None
    stream: bool | None = None
    cached: bool | None = None
    bucket: _Count | None = None
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
        return class_of_answer(self.status, self.outcome, self.error)

    @property
    def was_not_sent(self) -> bool:
        """Whether the request never left its host, which no side is at fault for."""
        return was_not_sent(self.status, self.outcome, self.error)


class BillingRecord(AccessRecord, gc=False):
    """An access record with the fields that reconciliation needs as well."""

    billing_transaction_id: str | None = None
    task_id: str | None = None
    task_status: str | None = None
    input_tokens: _Count | None = None


class JobRecord(AccessRecord, gc=False):
    """An access record with the fields of async jobs as well."""

    job_id: str | None = None
    task_id: str | None = None
    task_status: str | None = None
    billing_transaction_id: str | None = None
