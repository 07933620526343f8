"""The four text formats as streams: an answer's events, and their framing as server-sent events.

A stream is in three parts, what opens it, its content and what closes it, so that a fault can stop
or delay it at a content event and not at a byte.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from rollout_console.sim.formats import (
    Ask,
    blocks_of,
    called,
    candidate,
    chat_usage,
    end_of,
    message_head,
    output_of,
    response_body,
)


@dataclass(frozen=True, slots=True)
class Event:
    """One event: its JSON object (empty for ``[DONE]``), and its name where the format has one."""

    value: dict[str, Any]
    name: str = ""


@dataclass(frozen=True, slots=True)
class Script:
    """The events of a stream; each of ``content`` is a word, or a tool call."""

    opening: tuple[Event, ...] = ()
    content: tuple[Event, ...] = ()
    closing: tuple[Event, ...] = ()

    @property
    def events(self) -> tuple[Event, ...]:
        """All events, in their order."""
        return (*self.opening, *self.content, *self.closing)


@dataclass(frozen=True, slots=True)
class Piece:
    """The bytes of one event on the wire, and whether it is content."""

    data: bytes
    content: bool = False


DONE = Event({})
"""The marker after the last chunk of Chat Completions."""


def script(kind: str, ask: Ask) -> Script:
    """Return the events of the answer to ``ask`` in format ``kind``."""
    return {
        "openai_chat_completions": _chat,
        "openai_responses": _responses,
        "anthropic_messages": _messages,
        "gemini_generate_content": _gemini,
    }[kind](ask)


def framed(kind: str, played: Script) -> list[Piece]:
    """Return a stream's events as they are sent, framed as the format's real API does."""
    content = range(len(played.opening), len(played.opening) + len(played.content))
    return [
        Piece(_frame(kind, event, number), number in content)
        for number, event in enumerate(played.events)
    ]


def array(events: Iterable[Event]) -> bytes:
    """Return Gemini's stream without ``alt=sse``: a JSON array of its chunks."""
    return compact([event.value for event in events])


def keep_alive(kind: str) -> bytes:
    """Return what a server sends while it has nothing to say: a ping, a comment, or nothing.

    Google sends none, and its SDK takes a comment for an answer that is no JSON.
    """
    if kind == "gemini_generate_content":
        return b""
    if kind == "anthropic_messages":
        return _frame(kind, Event({"type": "ping"}, "ping"), 0)
    return b": keep-alive\n\n"


def compact(value: object) -> bytes:
    """Serialize JSON without spaces."""
    return json.dumps(value, separators=(",", ":")).encode()


def _frame(kind: str, event: Event, number: int) -> bytes:
    if not event.value:
        return b"data: [DONE]\n\n"
    value = event.value
    if kind == "openai_responses":
        value = {"type": event.name, "sequence_number": number} | value
    name = b"event: " + event.name.encode() + b"\n" if event.name else b""
    return name + b"data: " + compact(value) + b"\n\n"


def chat_chunk(ask: Ask, delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
    """Return one chunk of Chat Completions."""
    return _chat_head(ask) | {"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}


def _chat_head(ask: Ask) -> dict[str, Any]:
    head = {
        "id": f"chatcmpl-{ask.id}", "object": "chat.completion.chunk", "created": ask.created,
        "model": ask.model,
    }  # fmt: skip
    # Where usage is asked for, each chunk has the field, and only the last one a value in it.
    return head | ({"usage": None} if ask.wants_usage else {})


def _chat(ask: Ask) -> Script:
    deltas: list[dict[str, Any]] = [{"content": word} for word in ask.words]
    if ask.tool:
        call = {"name": ask.tool, "arguments": ask.arguments}
        one = {"index": 0, "id": "call_1", "type": "function", "function": call}
        deltas = [{"tool_calls": [one]}]
    usage = Event(_chat_head(ask) | {"choices": [], "usage": chat_usage(ask)})
    return Script(
        (Event(chat_chunk(ask, {"role": "assistant", "content": ""})),),
        tuple(Event(chat_chunk(ask, delta)) for delta in deltas),
        (
            Event(chat_chunk(ask, {}, end_of("openai_chat_completions", ask))),
            *((usage,) if ask.wants_usage else ()),
            DONE,
        ),
    )


def _responses(ask: Ask) -> Script:
    status, items = end_of("openai_responses", ask), output_of(ask)
    running = {"response": response_body(ask, "in_progress", [])}
    start = (Event(running, "response.created"), Event(running, "response.in_progress"))
    last = Event({"response": response_body(ask, status, items)}, f"response.{status}")
    if not items:
        return Script(start, (), (last,))
    item = items[0]
    empty: dict[str, Any] = {"arguments": ""} if ask.tool else {"content": []}
    opened = item | {"status": "in_progress"} | empty
    added = Event({"output_index": 0, "item": opened}, "response.output_item.added")
    done = Event({"output_index": 0, "item": item}, "response.output_item.done")
    inside = (_called_item if ask.tool else _text_item)(ask, item)
    return Script(
        (*start, added, *inside.opening), inside.content, (*inside.closing, done, last)
    )  # fmt: skip


def _called_item(ask: Ask, item: dict[str, Any]) -> Script:
    place = {"output_index": 0, "item_id": item["id"]}
    delta = place | {"delta": ask.arguments}
    done = place | {"arguments": ask.arguments, "name": ask.tool}
    return Script(
        (),
        (Event(delta, "response.function_call_arguments.delta"),),
        (Event(done, "response.function_call_arguments.done"),),
    )


def _text_item(ask: Ask, item: dict[str, Any]) -> Script:
    at = {"output_index": 0, "item_id": item["id"], "content_index": 0}
    part = {"type": "output_text", "text": "", "annotations": []}
    text = "".join(ask.words)
    return Script(
        (Event(at | {"part": part}, "response.content_part.added"),),
        tuple(
            Event(at | {"delta": word, "logprobs": []}, "response.output_text.delta")
            for word in ask.words
        ),
        (
            Event(at | {"text": text, "logprobs": []}, "response.output_text.done"),
            Event(at | {"part": part | {"text": text}}, "response.content_part.done"),
        ),
    )


def _messages(ask: Ask) -> Script:
    usage = {"input_tokens": ask.tokens_in, "output_tokens": 1}
    start = message_head(ask) | {"content": [], "stop_reason": None, "usage": usage}
    opening = [_named({"type": "message_start", "message": start})]
    content: list[Event] = []
    closing: list[Event] = []
    for block in blocks_of(ask):
        empty: dict[str, Any] = {"input": {}} if ask.tool else {"text": ""}
        begun = {"type": "content_block_start", "index": 0, "content_block": block | empty}
        opening.append(_named(begun))
        deltas: list[dict[str, Any]] = [{"type": "text_delta", "text": word} for word in ask.words]
        if ask.tool:
            deltas = [{"type": "input_json_delta", "partial_json": ask.arguments}]
        content += [
            _named({"type": "content_block_delta", "index": 0, "delta": delta}) for delta in deltas
        ]
        closing.append(_named({"type": "content_block_stop", "index": 0}))
    opening.append(_named({"type": "ping"}))
    end = {"stop_reason": end_of("anthropic_messages", ask), "stop_sequence": None}
    spent = {"output_tokens": ask.tokens_out}
    closing.append(_named({"type": "message_delta", "delta": end, "usage": spent}))
    closing.append(_named({"type": "message_stop"}))
    return Script(tuple(opening), tuple(content), tuple(closing))


def _named(value: dict[str, Any]) -> Event:
    return Event(value, value["type"])


def _gemini(ask: Ask) -> Script:
    parts: list[dict[str, Any]] = [{"text": word} for word in ask.words]
    if ask.tool:
        parts = [called(ask)]
    # The last word is a chunk of its own; Google's newer models send it with an empty text.
    end = candidate(ask, [{"text": ""}] if parts else [], end_of("gemini_generate_content", ask))
    return Script((), tuple(Event(candidate(ask, [part])) for part in parts), (Event(end),))
