"""What an answer says of an async media task: its id, its state, where to poll it."""

import json
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

import msgspec

from rollout_gate.access_log import TaskState
from rollout_gate.answers.task_states import is_refusal, state_of
from rollout_gate.untrusted import UndecodableError, decode_json

_MOST = 200
"""Limit of an id in characters; a longer one is cut."""
MOST_POLL_URL = 1_000
"""Limit of a poll URL in characters; a longer one is left out."""
_MOST_INTEGER = 2**63
_NULL = msgspec.Raw(b"null")
_KEPT = frozenset((
    "id", "task_id", "object", "type", "status", "model", "progress", "cancelled",
    "cancellation_status", "created", "created_at", "updated", "updated_at", "completed_at",
    "expires_at", "billing_transaction_id", "request_id", "size", "seconds", "duration", "quality",
    "resolution", "ratio", "aspect_ratio", "width", "height", "frames", "framespersecond", "fps",
    "seed", "generate_audio", "draft", "draft_task_id", "service_tier", "priority",
    "remixed_from_video_id", "execution_expires_after",
))  # fmt: skip
"""Members of the create's answer that the ledger keeps: of TokenLab's contract and the APIs of
``task_states`` all that are neither a user's text nor a URL."""
_ASSETS = frozenset((
    "url", "video_url", "audio_url", "file_url", "last_frame_url", "thumbnail_url", "model_url",
))  # fmt: skip
"""Members that are the URL of what was made, of a task that is completed at once."""
_PARTS = frozenset(("video", "audio", "content"))
"""Members that hold such a URL and plain members."""
_OF_AN_ERROR = frozenset(("code", "type"))


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
    code: msgspec.Raw = _NULL
    message: msgspec.Raw = _NULL
    msg: msgspec.Raw = _NULL


class _Error(msgspec.Struct):
    code: msgspec.Raw = _NULL
    type: msgspec.Raw = _NULL


_answer_of = msgspec.json.Decoder(_Answer)
_error_of = msgspec.json.Decoder(_Error)
_text_of = msgspec.json.Decoder(str)
_number_of = msgspec.json.Decoder(float)
_members_of: msgspec.json.Decoder[dict[str, Any]] = msgspec.json.Decoder(dict[str, Any])
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
    is_refusal: bool = False
    """Whether it is an error in place of a task."""


NO_TASK = TaskAnswer()


def task_answer(body: bytes) -> TaskAnswer:
    """Parse the body of an answer; an empty TaskAnswer for one that says nothing of a task."""
    try:
        found = decode_json(body, _answer_of)
    except UndecodableError:
        return NO_TASK
    word = _text(found.status)
    state = None if word is None else state_of(word)
    if state == "failed" and _flag(found.cancelled):
        state = "cancelled"
    named, poll = _id(found.task_id), _text(found.poll_url)
    if state is None and named is None and poll is None and _is_refusal(found):
        return TaskAnswer(is_refusal=True)  # its id is that of the request
    one = named or _id(found.id)
    error = _code(found.error) if state in ("failed", "cancelled") else None
    return TaskAnswer(
        one, state, _poll_url(poll), _progress(found.progress), error,
        _id(found.billing_transaction_id),
        one is not None and (named is not None or poll is not None or state is not None),
    )  # fmt: skip


def kept_body(body: bytes, answer: TaskAnswer, clean: Callable[[str], str | None]) -> bytes:
    """Return what the ledger keeps of the body of an answer, to answer a repeated create with.

    It has members that are known to be no user's text, the URLs of assets that are not signed, and
    the poll URL of ``answer``, which has no query. ``clean`` removes credentials from a text.
    """
    try:
        members = decode_json(body, _members_of)
    except UndecodableError:
        members = {}
    kept = _members(members, clean)
    for name, value in members.items():
        if name in _PARTS and isinstance(value, dict):
            kept[name] = _members(value, clean)
    kept |= {name: members[name] for name in ("id", "task_id") if _is_id(members.get(name))}
    error = members.get("error")
    if isinstance(error, dict):
        codes = ((name, value) for name, value in error.items() if name in _OF_AN_ERROR)
        plain = {name: _plain(value, clean) for name, value in codes}
        kept["error"] = {
            name: value for name, value in plain.items() if not isinstance(value, dict | list)
        }
    elif "error" in members and not error:
        kept["error"] = None
    if answer.poll_url is not None:
        kept["poll_url"] = answer.poll_url
    if answer.id is not None and kept.get("id") is None and kept.get("task_id") is None:
        kept |= {"id": answer.id, "task_id": answer.id}  # a header alone has named it
    return body if _is_all(kept, body) else msgspec.json.encode(kept)


def _is_all(kept: dict[str, Any], body: bytes) -> bool:
    """Whether a body has nothing but what is kept, so that it is given again byte for byte.

    Of a name that is there twice, decoders return the last value alone.
    """

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            raise ValueError
        return found

    try:
        return bool(json.loads(body, object_pairs_hook=unique) == kept)
    except (ValueError, RecursionError):
        return False


def _members(given: Mapping[str, Any], clean: Callable[[str], str | None]) -> dict[str, Any]:
    plain = {name: _plain(value, clean) for name, value in given.items() if name in _KEPT}
    kept = {name: value for name, value in plain.items() if not isinstance(value, dict | list)}
    assets = ((name, url) for name, url in given.items() if name in _ASSETS)
    return kept | {name: url for name, url in assets if _is_unsigned(url, clean)}


def _is_id(value: Any) -> bool:
    return isinstance(value, str) or (_is_encodable(value) and not isinstance(value, bool))


def _is_encodable(value: Any) -> bool:
    """Whether it is an integer of 64 bits, beyond which msgspec decodes and does not encode."""
    return isinstance(value, int) and -_MOST_INTEGER <= value < _MOST_INTEGER


def _is_unsigned(url: Any, clean: Callable[[str], str | None]) -> bool:
    """Whether it is a URL without a query, a fragment or userinfo, which may be a credential."""
    if not isinstance(url, str) or len(url) >= MOST_POLL_URL or not url.startswith("http"):
        return False
    return not any(sign in url for sign in "?#@") and clean(url) == url


def _plain(value: Any, clean: Callable[[str], str | None]) -> Any:
    """Return a value without credentials; a text is cut, and is empty where it may be a URL."""
    if not isinstance(value, str):
        return None if isinstance(value, int) and not _is_encodable(value) else value
    return "" if "://" in value else (clean(value) or "")[:_MOST]


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


def _is_refusal(found: _Answer) -> bool:
    code = _id(found.code)
    said = _text(found.message) or _text(found.msg)
    error = bytes(found.error)
    has_error = error[:1] in (b"{", b'"') and error not in (b"{}", b'""')
    number = int(code) if code is not None and code.isdecimal() else code
    return has_error or is_refusal(number, said)


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


def _id(value: msgspec.Raw) -> str | None:
    """Return an id as a text, as a URL has it; some APIs number their tasks."""
    digits = bytes(value)
    return digits.decode()[:_MOST] if digits.isdigit() else _text(value)


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
