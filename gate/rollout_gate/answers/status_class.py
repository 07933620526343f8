"""The class of an answer: one mapping for the log's readers and for metrics."""

from enum import Enum

from rollout_gate.answers.error_codes import class_of


class StatusClass(Enum):
    """Class of an answer as an operator sees it; each is a signal of its own.

    ``BAD`` is an answer with nothing in it, ``ABANDONED`` one that the application left, or that
    its host had not the resources to ask for: neither is a side's fault.
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


UNSENT = "unsent"
"""The error of a request for which its host had no open file, memory, port or connection left."""
UNSENDABLE = "unsendable"
"""The error of a request that HTTP does not allow, as with a line end in a header, or whose body is
an iterator that is consumed or raises."""
LEFT = ("abandoned", "cancelled", UNSENT, UNSENDABLE)
"""Errors of the application's own; with the outcome ``error`` these words are an API's code."""
_CLIENT_CLOSED = 499
"""The status of nginx for a client that has closed the connection."""
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


def was_not_sent(status: int, outcome: str | None, error: str | None) -> bool:
    """Return whether an access line is of a request that never left its host."""
    return status == 0 and outcome != "error" and error in (UNSENT, UNSENDABLE)


def class_of_answer(status: int, outcome: str | None, error: str | None) -> StatusClass:
    """Return the class of an access line: of its status, or where that is good, of its outcome."""
    by_status = classify(status)
    if outcome == "abandoned":
        return StatusClass.ABANDONED
    if outcome is None and error in LEFT and (status < 300 or status == _CLIENT_CLOSED):
        return StatusClass.ABANDONED
    if by_status is not StatusClass.OK:
        return by_status
    outcome = outcome or (error if error in ("truncated", "empty") else None)
    if outcome == "error":
        return StatusClass(class_of(error or ""))
    return _BY_OUTCOME.get(outcome or "ok", StatusClass.OK)
