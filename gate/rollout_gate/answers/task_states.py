"""How an async media task stands by the words of its answer, and whether an answer is a refusal.

TokenLab's words are those of its published contract (autumn 2026); those of previous providers are
the words of the media APIs that publish theirs (OpenAI's videos, Volcengine, Runway, Luma, fal,
Replicate). A word that is in no list leaves a task open: nobody takes it for finished.
"""

from typing import Any, Literal

_STATES: dict[str, Literal["open", "completed", "failed", "cancelled"]] = {
    **dict.fromkeys(("completed", "complete", "succeeded", "success", "done", "finished", "ready",
                     "ok"), "completed"),
    **dict.fromkeys(("failed", "failure", "error", "expired", "rejected", "timeout"), "failed"),
    **dict.fromkeys(("cancelled", "canceled", "aborted"), "cancelled"),
    **dict.fromkeys(("pending", "processing", "queued", "running", "in_queue", "in_progress",
                     "submitted", "created", "starting", "waiting", "preparing", "generating",
                     "dreaming"), "open"),
}  # fmt: skip
_WELL = frozenset(("", "0", "ok", "success", "succeed", "succeeded", "submitted", "accepted"))
"""Codes and messages of answers that are no refusal."""


def state_of(word: str) -> Literal["open", "completed", "failed", "cancelled"]:
    """Return how a task stands whose status is this word."""
    return _STATES.get(word.lower().replace("-", "_"), "open")


def is_refusal(code: Any, message: Any) -> bool:
    """Return whether the ``code`` and ``message`` of an answer that is no task say a failure.

    Some APIs answer 200 with ``{"code": 1002, "message": "no balance", "id": "request-1"}``.
    """
    if isinstance(code, bool) or not isinstance(code, int | str) or not isinstance(message, str):
        return False
    if isinstance(code, int):
        is_well = code == 0 or 200 <= code < 300
    else:
        is_well = code.lower() in _WELL or (len(code) == 3 and code.startswith("2"))
    return not is_well and message.strip(" .!").lower() not in _WELL
