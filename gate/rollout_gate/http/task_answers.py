"""What an answer says of an async media task: its id, its state, where to poll it.

TokenLab's words are those of its published contract (autumn 2026); those of previous providers are
the words of the media APIs that publish theirs (OpenAI's videos, Volcengine, Runway, Luma, fal,
Replicate). A word that is in no list leaves a task open: nobody takes it for finished.
"""

from urllib.parse import urlsplit

import msgspec

from rollout_gate.access_log import TaskState
from rollout_gate.untrusted import UndecodableError, decode_json

_STATES: dict[str, TaskState] = {
    **dict.fromkeys(("completed", "complete", "succeeded", "success", "done", "finished", "ready",
                     "ok"), "completed"),
    **dict.fromkeys(("failed", "failure", "error", "expired", "rejected", "timeout"), "failed"),
    **dict.fromkeys(("cancelled", "canceled", "aborted"), "cancelled"),
    **dict.fromkeys(("pending", "processing", "queued", "running", "in_queue", "in_progress",
                     "submitted", "created", "starting", "waiting", "preparing", "generating",
                     "dreaming"), "open"),
}  # fmt: skip
_MOST = 200
"""Limit of an id in characters; a longer one is cut."""
MOST_POLL_URL = 1_000
"""Limit of a poll URL in characters; a longer one is left out."""
_NULL = msgspec.Raw(b"null")


class _Answer(msgspec.Struct):
    """Fields of a task, decoded one by one: an invalid one does not hide the others."""

    id: msgspec.Raw = _NULL
    task_id: msgspec.Raw = _NULL
    poll_url: msgspec.Raw = _NULL
    status: msgspec.Raw = _NULL
    progress: msgspec.Raw = _NULL
    cancelled: msgspec.Raw = _NULL
    error: msgspec.Raw = _NULL
    billing_transaction_id: msgspec.Raw = _NULL


class _Error(msgspec.Struct):
    code: msgspec.Raw = _NULL
    type: msgspec.Raw = _NULL


_answer_of = msgspec.json.Decoder(_Answer)
_error_of = msgspec.json.Decoder(_Error)
_text_of = msgspec.json.Decoder(str)
_number_of = msgspec.json.Decoder(float)
_flag_of = msgspec.json.Decoder(bool)


class TaskAnswer(msgspec.Struct, frozen=True):
    """A task as one answer has it. ``state`` is None where the answer has no word for it.

    ``poll_url`` is without query and fragment, which may be signed; ``progress`` is in percent, 0
    to 100; ``error`` is the code of a failure.
    """

    id: str | None = None
    state: TaskState | None = None
    poll_url: str | None = None
    progress: int | None = None
    error: str | None = None
    billing_transaction_id: str | None = None
    is_task: bool = False
    """Whether it can be nothing else than a task: a status, or a task's own fields."""


NO_TASK = TaskAnswer()


def task_answer(body: bytes) -> TaskAnswer:
    """Parse the body of an answer; an empty TaskAnswer for one that says nothing of a task."""
    try:
        found = decode_json(body, _answer_of)
    except UndecodableError:
        return NO_TASK
    word = _text(found.status)
    state = None if word is None else _STATES.get(word.lower().replace("-", "_"), "open")
    if state == "failed" and _flag(found.cancelled):
        state = "cancelled"
    named, poll = _text(found.task_id), _text(found.poll_url)
    one = named or _text(found.id)
    error = _code(found.error) if state in ("failed", "cancelled") else None
    return TaskAnswer(
        one, state, _poll_url(poll), _progress(found.progress), error,
        _text(found.billing_transaction_id),
        one is not None and (named is not None or poll is not None or state is not None),
    )  # fmt: skip


def _poll_url(url: str | None) -> str | None:
    if not url or len(url) >= MOST_POLL_URL:
        return None
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return None
    shown = f"[{host}]" if ":" in host else host
    return parts._replace(netloc=f"{shown}{port}" if host else "", query="", fragment="").geturl()


def _code(error: msgspec.Raw) -> str | None:
    try:
        found = decode_json(error, _error_of)
    except UndecodableError:
        return None  # a sentence alone: it may have what nobody may log
    return _text(found.code) or _text(found.type)


def _text(value: msgspec.Raw) -> str | None:
    try:
        return decode_json(value, _text_of)[:_MOST] or None
    except UndecodableError:
        return None


def _progress(value: msgspec.Raw) -> int | None:
    try:
        found = decode_json(value, _number_of)
    except UndecodableError:
        return None
    return round(found) if 0 <= found <= 100 else None


def _flag(value: msgspec.Raw) -> bool:
    try:
        return decode_json(value, _flag_of)
    except UndecodableError:
        return False
