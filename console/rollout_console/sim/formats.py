"""The four text formats: parse a request, build an answer, complete or streamed."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from rollout_console.sim.errors import ApiFault
from rollout_console.sim.tools import arguments_for, forced_tool

_WORDS = [
    "The",
    "request",
    "was",
    "understood",
    "and",
    "this",
    "is",
    "the",
    "short",
    "simulated",
    "answer",
    "to",
    "it",
    ".",
]


@dataclass(frozen=True, slots=True)
class Ask:
    """A parsed request, with the ids of its answer."""

    model: str
    stream: bool
    text: str
    tool: str = ""
    arguments: str = "{}"
    wants_usage: bool = True
    id: str = ""
    created: int = 0
    billing_id: str = ""

    @property
    def tokens_in(self) -> int:
        """The input tokens, estimated at four characters each."""
        return max(1, len(self.text) // 4)

    @property
    def tokens_out(self) -> int:
        """The output tokens: the words of the fixed answer."""
        return len(_WORDS)


def read_ask(kind: str, body: object, model: str = "", stream: bool = False) -> Ask:
    """Parse ``body`` in format ``kind``; raises ApiFault 400."""
    if not isinstance(body, dict):
        raise ApiFault(400, "The body must be a JSON object.")
    field = {
        "openai_chat_completions": "messages",
        "openai_responses": "input",
        "anthropic_messages": "messages",
        "gemini_generate_content": "contents",
    }[kind]
    if kind != "gemini_generate_content":
        model, stream = body.get("model", ""), body.get("stream", False) is True
        if not isinstance(model, str) or not model:
            raise ApiFault(400, "model is required.", param="model")
    if not body.get(field):
        raise ApiFault(400, f"{field} is required.", param=field)
    if kind == "anthropic_messages" and not isinstance(body.get("max_tokens"), int):
        raise ApiFault(400, "max_tokens is required.", param="max_tokens")
    tool = forced_tool(body)
    options = body.get("stream_options")
    return Ask(
        model,
        stream,
        json.dumps(body[field]),
        str(tool.get("name", "")),
        json.dumps(arguments_for(tool)),
        kind != "openai_chat_completions"
        or (isinstance(options, dict) and options.get("include_usage") is True),
    )


def whole(kind: str, ask: Ask) -> dict[str, Any]:
    """Return the complete, not streamed, answer."""
    text = " ".join(_WORDS)
    if kind == "openai_chat_completions":
        message: dict[str, Any] = {"role": "assistant", "content": text}
        if ask.tool:
            call = {"name": ask.tool, "arguments": ask.arguments}
            message["content"] = None
            message["tool_calls"] = [{"id": "call_1", "type": "function", "function": call}]
        choice = {"index": 0, "message": message, "finish_reason": _finish(ask)}
        return {
            "id": f"chatcmpl-{ask.id}", "object": "chat.completion", "created": ask.created,
            "model": ask.model, "choices": [choice], "usage": _openai_usage(ask),
            "billing_transaction_id": ask.billing_id,
        }  # fmt: skip
    if kind == "openai_responses":
        return _response(ask, "completed", [_output(ask)]) | {
            "billing_transaction_id": ask.billing_id
        }
    if kind == "anthropic_messages":
        return _message(ask) | {
            "content": [_block(ask)],
            "stop_reason": "tool_use" if ask.tool else "end_turn",
            "usage": {"input_tokens": ask.tokens_in, "output_tokens": ask.tokens_out},
        }
    return _candidate(ask, [_called(ask) if ask.tool else {"text": text}], "STOP")


def streamed(kind: str, ask: Ask) -> Iterator[bytes]:
    """Yield the answer as server-sent events, framed as the format's real API does."""
    if kind == "openai_chat_completions":
        yield from _stream_chat(ask)
    elif kind == "openai_responses":
        yield from _stream_responses(ask)
    elif kind == "anthropic_messages":
        yield from _stream_messages(ask)
    elif ask.tool:
        yield _data(_candidate(ask, [_called(ask)], "STOP"))
    else:
        for i, word in enumerate(_WORDS):
            last = i == len(_WORDS) - 1
            piece = _candidate(
                ask, [{"text": word if i == 0 else f" {word}"}], "STOP" if last else None
            )
            yield _data(piece)


def _stream_chat(ask: Ask) -> Iterator[bytes]:
    head = {
        "id": f"chatcmpl-{ask.id}", "object": "chat.completion.chunk", "created": ask.created,
        "model": ask.model,
    }  # fmt: skip

    def chunk(delta: dict[str, Any], finish: str | None = None) -> bytes:
        return _data(head | {"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})

    yield chunk({"role": "assistant", "content": ""})
    if ask.tool:
        call = {"name": ask.tool, "arguments": ask.arguments}
        delta = {"tool_calls": [{"index": 0, "id": "call_1", "type": "function", "function": call}]}
        yield chunk(delta)
    else:
        for i, word in enumerate(_WORDS):
            yield chunk({"content": word if i == 0 else f" {word}"})
    yield chunk({}, _finish(ask))
    if ask.wants_usage:
        yield _data(head | {"choices": [], "usage": _openai_usage(ask)})
    yield b"data: [DONE]\n\n"


def _stream_responses(ask: Ask) -> Iterator[bytes]:
    sequence = 0

    def event(kind: str, fields: dict[str, Any]) -> bytes:
        nonlocal sequence
        sequence += 1
        return _event(kind, {"type": kind, "sequence_number": sequence - 1} | fields)

    yield event("response.created", {"response": _response(ask, "in_progress", [])})
    yield event("response.in_progress", {"response": _response(ask, "in_progress", [])})
    item = _output(ask)
    place = {"output_index": 0, "item_id": item["id"]}
    empty: dict[str, Any] = {"arguments": ""} if ask.tool else {"content": []}
    opened = item | {"status": "in_progress"} | empty
    yield event("response.output_item.added", {"output_index": 0, "item": opened})
    if ask.tool:
        yield event("response.function_call_arguments.delta", place | {"delta": ask.arguments})
        yield event(
            "response.function_call_arguments.done",
            place | {"arguments": ask.arguments, "name": ask.tool},
        )
    else:
        part = {"type": "output_text", "text": "", "annotations": []}
        at = place | {"content_index": 0}
        yield event("response.content_part.added", at | {"part": part})
        for i, word in enumerate(_WORDS):
            delta = word if i == 0 else f" {word}"
            yield event("response.output_text.delta", at | {"delta": delta, "logprobs": []})
        text = " ".join(_WORDS)
        yield event("response.output_text.done", at | {"text": text, "logprobs": []})
        yield event("response.content_part.done", at | {"part": part | {"text": text}})
    yield event("response.output_item.done", {"output_index": 0, "item": item})
    yield event("response.completed", {"response": _response(ask, "completed", [item])})


def _stream_messages(ask: Ask) -> Iterator[bytes]:
    usage = {"input_tokens": ask.tokens_in, "output_tokens": 1}
    start = _message(ask) | {"content": [], "stop_reason": None, "usage": usage}
    yield _event("message_start", {"type": "message_start", "message": start})
    empty: dict[str, Any] = {"input": {}} if ask.tool else {"text": ""}
    block = _block(ask) | empty
    yield _event(
        "content_block_start", {"type": "content_block_start", "index": 0, "content_block": block}
    )
    yield _event("ping", {"type": "ping"})
    deltas: list[dict[str, Any]] = [{"type": "input_json_delta", "partial_json": ask.arguments}]
    if not ask.tool:
        deltas = [
            {"type": "text_delta", "text": word if i == 0 else f" {word}"}
            for i, word in enumerate(_WORDS)
        ]
    for delta in deltas:
        yield _event(
            "content_block_delta", {"type": "content_block_delta", "index": 0, "delta": delta}
        )
    yield _event("content_block_stop", {"type": "content_block_stop", "index": 0})
    reason = "tool_use" if ask.tool else "end_turn"
    end = {"delta": {"stop_reason": reason, "stop_sequence": None}}
    yield _event(
        "message_delta",
        {"type": "message_delta", **end, "usage": {"output_tokens": ask.tokens_out}},
    )
    yield _event("message_stop", {"type": "message_stop"})


def _message(ask: Ask) -> dict[str, Any]:
    return {
        "id": f"msg_{ask.id}", "type": "message", "role": "assistant", "model": ask.model,
        "stop_sequence": None,
    }  # fmt: skip


def _block(ask: Ask) -> dict[str, Any]:
    if ask.tool:
        given = json.loads(ask.arguments)
        return {"type": "tool_use", "id": "toolu_1", "name": ask.tool, "input": given}
    return {"type": "text", "text": " ".join(_WORDS)}


def _output(ask: Ask) -> dict[str, Any]:
    if ask.tool:
        return {
            "type": "function_call", "id": "fc_1", "call_id": "call_1", "name": ask.tool,
            "arguments": ask.arguments, "status": "completed",
        }  # fmt: skip
    part = {"type": "output_text", "text": " ".join(_WORDS), "annotations": []}
    return {
        "type": "message", "id": f"msg_{ask.id}", "status": "completed", "role": "assistant",
        "content": [part],
    }  # fmt: skip


def _response(ask: Ask, status: str, output: list[dict[str, Any]]) -> dict[str, Any]:
    usage = {
        "input_tokens": ask.tokens_in,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": ask.tokens_out,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": ask.tokens_in + ask.tokens_out,
    }
    return {
        "id": f"resp_{ask.id}", "object": "response", "created_at": ask.created,
        "status": status, "model": ask.model, "output": output, "error": None,
        "incomplete_details": None, "instructions": None, "metadata": {},
        "parallel_tool_calls": True, "temperature": 1.0, "tool_choice": "auto", "tools": [],
        "top_p": 1.0, "usage": usage if status == "completed" else None,
    }  # fmt: skip


def _called(ask: Ask) -> dict[str, Any]:
    return {"functionCall": {"name": ask.tool, "args": json.loads(ask.arguments)}}


def _candidate(ask: Ask, parts: list[dict[str, Any]], finish: str | None) -> dict[str, Any]:
    candidate: dict[str, Any] = {"content": {"role": "model", "parts": parts}, "index": 0}
    if finish:
        candidate["finishReason"] = finish
    total = ask.tokens_in + ask.tokens_out
    return {
        "candidates": [candidate],
        "usageMetadata": {
            "promptTokenCount": ask.tokens_in,
            "candidatesTokenCount": ask.tokens_out,
            "totalTokenCount": total,
        },
        "modelVersion": ask.model,
        "responseId": ask.id,
    }


def _openai_usage(ask: Ask) -> dict[str, Any]:
    return {
        "prompt_tokens": ask.tokens_in,
        "completion_tokens": ask.tokens_out,
        "total_tokens": ask.tokens_in + ask.tokens_out,
    }


def _finish(ask: Ask) -> str:
    return "tool_calls" if ask.tool else "stop"


def _data(value: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(value, separators=(",", ":")).encode() + b"\n\n"


def _event(name: str, value: dict[str, Any]) -> bytes:
    return b"event: " + name.encode() + b"\n" + _data(value)
