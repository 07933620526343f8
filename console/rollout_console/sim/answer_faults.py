"""Answers that are none although their status is 200, in each format, streamed and whole.

The connection ends well in all of them; what breaks it off is in ``app.py``. A fault stops a
stream at a content event, or builds the answer from another ``Ask``, so that all that it leaves is
as the format's real API sends it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from rollout_console.sim.errors import (
    ApiFault,
    anthropic_error,
    google_error,
    openai_error,
    tokenlab_error,
)
from rollout_console.sim.faults import CODES, VARIANTS, Fault
from rollout_console.sim.formats import WORDS, Ask, Finish, response_body, whole
from rollout_console.sim.streams import (
    DONE,
    Event,
    Piece,
    Script,
    array,
    chat_chunk,
    compact,
    framed,
    keep_alive,
    script,
)

MEDIA_KINDS = ("failure", "cut", "empty")


@dataclass(frozen=True, slots=True)
class Pace:
    """Delays of a stream in seconds: before its first content event, and between two of them."""

    first_s: float = 0.0
    between_s: float = 0.0


def pace_of(hits: Iterable[Fault]) -> Pace:
    """Return the delays of all faults that a request was hit by."""
    late = {"stall": 0.0, "trickle": 0.0}
    for fault in hits:
        if fault.kind in late:
            late[fault.kind] += fault.latency_ms / 1000
    return Pace(late["stall"], late["trickle"])


def answer_fault(hits: Iterable[Fault], *, media: bool = False) -> Fault | None:
    """Return the fault that spoils the answer: of several the first that was set.

    Media are neither filtered nor stopped by length here: their APIs have no word for it.
    """
    kinds = MEDIA_KINDS if media else VARIANTS
    return next((fault for fault in hits if fault.kind in kinds), None)


def serves_nothing(fault: Fault | None) -> bool:
    """Return whether nothing was made that could be charged."""
    return fault is not None and fault.kind == "failure"


def starts_no_task(fault: Fault | None) -> bool:
    """Return whether a create makes no task; of a failure that is told as its end, there is one."""
    return fault is not None and serves_nothing(fault) and fault.variant != "ending"


def stream_pieces(kind: str, ask: Ask, fault: Fault | None, *, native: bool) -> list[Piece]:
    """Return the events of a stream in format ``kind``, spoiled by ``fault``.

    ``native`` selects the previous provider's own error codes.
    """
    if fault is not None and fault.variant == "blank":
        return []
    if fault is not None and fault.variant == "bare":
        ping = Piece(keep_alive(kind))
        return [ping, ping] if ping.data else []
    pieces = framed(kind, _played(kind, ask, fault, native=native))
    if fault is not None and fault.variant == "inside":
        half = pieces[-1].data[: len(pieces[-1].data) // 2]
        pieces[-1] = replace(pieces[-1], data=half)
    return pieces


def array_body(kind: str, ask: Ask, fault: Fault | None, *, native: bool) -> bytes:
    """Return Gemini's stream as a JSON array, spoiled by ``fault``; one cut has no end."""
    if fault is not None and fault.kind == "empty" and fault.variant:
        return b"" if fault.variant == "blank" else b"[]"
    body = array(_played(kind, ask, fault, native=native).events)
    if fault is not None and fault.kind == "cut":
        return body[: len(body) // 2] if fault.variant == "inside" else body[:-1]
    return body


def whole_body(kind: str, ask: Ask, fault: Fault | None, *, native: bool) -> bytes:
    """Return an answer that is not streamed, spoiled by ``fault``."""
    if fault is None:
        return compact(whole(kind, ask))
    if fault.kind == "failure":
        return compact(_failed(kind, ask, fault, native=native))
    if fault.variant == "blank":
        return b""
    answer = whole(kind, _spoiled(ask, fault))
    if fault.variant == "bare":
        answer |= _bare(answer)
    return _cut(compact(answer), fault)


def media_body(
    body: dict[str, Any], fault: Fault | None, result: Iterable[str], *, native: bool
) -> bytes:
    """Return the body of an image or a task, spoiled by ``fault``.

    ``result`` are the fields that are the answer.
    """
    if fault is None:
        return compact(body)
    if fault.variant == "blank":
        return b""
    without = {name: value for name, value in body.items() if name not in result}
    if fault.kind == "failure":
        error = _error_of("", fault, native=native)
        if fault.variant != "ending" or "status" not in body:
            return compact(error)
        kept = without if body["status"] == "completed" else body
        ended = {name: value for name, value in kept.items() if name != "progress"}
        return compact(ended | {"status": "failed"} | error)
    if fault.kind == "empty":
        lists = () if fault.variant == "bare" else result
        emptied: dict[str, Any] = {n: [] for n in lists if isinstance(body.get(n), list)}
        return compact(without | emptied)
    return _cut(compact(body), fault)


def _cut(body: bytes, fault: Fault) -> bytes:
    return body[: len(body) // 2] if fault.kind == "cut" else body


def _played(kind: str, ask: Ask, fault: Fault | None, *, native: bool) -> Script:
    if fault is None:
        return script(kind, ask)
    if fault.kind == "failure":
        return _failing(kind, ask, fault, native=native)
    played = script(kind, _spoiled(ask, fault))
    if fault.kind == "cut":
        said = played.content[: fault.after + (fault.variant == "inside")]
        return Script(played.opening, said)
    return played


def _spoiled(ask: Ask, fault: Fault) -> Ask:
    """Return what is to be answered instead: less of it, or with another end."""
    said = min(fault.after, len(WORDS))
    if fault.kind == "empty":
        return replace(ask, tool="", said=0)
    if fault.kind == "length":
        return replace(ask, tool="", said=max(1, said), finish="length")
    if fault.kind == "filter":
        blocked = said == 0 and fault.variant != "answer"
        finish: Finish = "blocked" if blocked else "filter"
        return replace(ask, tool="", said=said, finish=finish)
    return ask


def _failing(kind: str, ask: Ask, fault: Fault, *, native: bool) -> Script:
    healthy = script(kind, ask)
    opened = healthy.opening if fault.after or fault.variant else ()
    return Script(
        opened, healthy.content[: fault.after], _last_words(kind, ask, fault, native=native)
    )  # fmt: skip


def _last_words(kind: str, ask: Ask, fault: Fault, *, native: bool) -> tuple[Event, ...]:
    """Return the event that says that a stream failed; ``ending`` says it in a regular end."""
    body = _error_of(kind, fault, native=native)
    ending = fault.variant == "ending"
    if kind == "openai_chat_completions" and ending:
        # As gateways do that normalise finish reasons: the error is beside a choice that ends.
        return Event(chat_chunk(ask, {"content": ""}, "error") | body), DONE
    if kind == "openai_responses":
        if ending:
            return (Event({"response": _failed_response(ask, body)}, "response.failed"),)
        error = body["error"]
        said = {"code": error["code"], "message": error["message"], "param": None}
        return (Event(said, "error"),)
    if kind == "anthropic_messages":
        return (Event(body, "error"),)
    if kind == "gemini_generate_content" and ending:
        ended = script(kind, replace(ask, tool="", said=0, finish="error"))
        return ended.closing
    return (Event(body),)


def _failed(kind: str, ask: Ask, fault: Fault, *, native: bool) -> Mapping[str, Any]:
    body = _error_of(kind, fault, native=native)
    if fault.variant != "ending" or kind == "anthropic_messages":
        return body
    if kind == "openai_responses":
        return _failed_response(ask, body)
    answer = whole(kind, replace(ask, tool="", said=0, finish="error"))
    if kind == "openai_chat_completions":
        answer["choices"][0] |= body
    return answer


def _failed_response(ask: Ask, body: Mapping[str, Any]) -> dict[str, Any]:
    error = {"code": body["error"]["code"], "message": body["error"]["message"]}
    return response_body(ask, "failed", []) | {"error": error}


def _error_of(kind: str, fault: Fault, *, native: bool) -> dict[str, Any]:
    """Return the error in its format's envelope; native formats have their own on both sides."""
    failed = ApiFault(CODES[fault.code or "gateway"])
    if kind == "anthropic_messages":
        return anthropic_error(failed)
    if kind == "gemini_generate_content":
        return google_error(failed)
    body = openai_error(failed) if native else tokenlab_error(failed)
    if kind == "openai_responses" and native:
        usual = "invalid_prompt" if failed.status == 400 else "server_error"
        body["error"]["code"] = body["error"]["code"] or usual
    return body


def _bare(answer: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of an empty answer whose parts are there, and empty, or the other way."""
    if "choices" in answer:
        return {"choices": []}
    if "candidates" in answer:
        return {"candidates": []}
    if "output" in answer:
        item = {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed"}
        return {"output": [item | {"content": []}]}
    return {"content": [{"type": "text", "text": ""}]}
