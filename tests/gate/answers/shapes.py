"""Answers of every format as providers send them, with the outcome that each is to have."""

import json
from typing import Any, NamedTuple

CHAT, RESPONSES = "openai_chat_completions", "openai_responses"
MESSAGES, GEMINI = "anthropic_messages", "gemini_generate_content"


class Shape(NamedTuple):
    """One answer: its format, whether it is a stream, its bytes, and what is to be said of it."""

    format: str
    streamed: bool
    body: bytes
    outcome: str
    error: str | None = None
    finish_reason: str | None = None
    tokens: tuple[int | None, int | None] = (None, None)


def _sse(*events: Any, names: bool = False) -> bytes:
    said = []
    for event in events:
        if isinstance(event, str):
            said.append(event if event.startswith((":", "event:")) else f"data: {event}")
            continue
        head = f"event: {event['type']}\n" if names else ""
        said.append(f"{head}data: {json.dumps(event)}")
    return "".join(f"{one}\n\n" for one in said).encode()


def _chunk(delta: Any = None, finish: str | None = None, index: int = 0, **more: Any) -> Any:
    choice = {"index": index, "delta": delta or {}, "finish_reason": finish}
    return {"id": "c", "object": "chat.completion.chunk", "choices": [choice], **more}


_ROLE = _chunk({"role": "assistant", "content": ""})
_WORD = _chunk({"content": "an error: rate_limit"})
_CALL = _chunk({"tool_calls": [{"index": 0, "function": {"name": "f", "arguments": ""}}]})
_USAGE = {"prompt_tokens": 7, "completion_tokens": 2,
          "prompt_tokens_details": {"cached_tokens": 3}}  # fmt: skip
_USAGE_CHUNK = {"id": "c", "choices": [], "usage": _USAGE}
_LIMITED = {"error": {"message": "slow down", "type": "requests", "code": "rate_limit_exceeded"}}


def _chat(message: Any, finish: str | None = "stop", **more: Any) -> bytes:
    choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": finish}
    return json.dumps(
        {"id": "c", "object": "chat.completion", "choices": [choice], **more}
    ).encode()


def _s(*events: Any, outcome: str, **more: Any) -> Shape:
    return Shape(CHAT, True, _sse(*events), outcome, **more)


def _w(body: bytes, outcome: str, *rest: Any, **more: Any) -> Shape:
    return Shape(CHAT, False, body, outcome, *rest, **more)


def _event(name: str, data: Any) -> str:
    """An event whose type is not that of its data, for ``_sse``."""
    return f"event: {name}\ndata: {data if isinstance(data, str) else json.dumps(data)}"


_FAILED = {"type": "server_error", "code": "server_error", "message": "x"}


_TEXT = _chat({"content": "hi"}, usage=_USAGE)
CHAT_SHAPES = {
    "a stream": _s(_ROLE, _WORD, _WORD, _chunk(finish="stop"), _USAGE_CHUNK, "[DONE]",
                   outcome="ok", finish_reason="stop", tokens=(7, 2)),
    "a stream without [DONE]": _s(_ROLE, _WORD, _chunk(finish="stop"), outcome="ok",
                                  finish_reason="stop"),
    "a stream with [DONE] alone": _s(_ROLE, _WORD, "[DONE]", outcome="ok"),
    "comments": _s(": OPENROUTER PROCESSING", _ROLE, ": ping", _WORD, _chunk(finish="stop"),
                   outcome="ok", finish_reason="stop"),
    "an answer about errors": _s(_chunk({"content": '{"error": {"code": "rate_limit_exceeded"}}'}),
                                 _chunk({"content": '"error": [DONE]'}), _chunk(finish="stop"),
                                 outcome="ok", finish_reason="stop"),
    "a tool call": _s(_ROLE, _CALL, _chunk(finish="tool_calls"), outcome="ok",
                      finish_reason="tool_call"),
    "length": _s(_WORD, _chunk(finish="length"), outcome="ok", finish_reason="length"),
    "reasoning that was cut by length": _s(_chunk({"reasoning_content": "hm"}),
                                           _chunk(finish="length"), outcome="ok",
                                           finish_reason="length"),
    "hidden reasoning that was cut by length": _s(_ROLE, _chunk(finish="length"), "[DONE]",
                                                  outcome="ok", finish_reason="length"),
    "length of nothing": _s(_ROLE, _chunk(finish="length"), {
        "choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 0}}, outcome="empty",
        error="empty", finish_reason="length", tokens=(7, 0)),
    "filtered": _s(_ROLE, _chunk(finish="content_filter"), outcome="filtered",
                   finish_reason="content_filter"),
    "filtered in the middle": _s(_WORD, _chunk(finish="content_filter"), outcome="ok",
                                 finish_reason="content_filter"),
    "a refusal": _s(_chunk({"refusal": "I cannot"}), _chunk(finish="stop"), outcome="filtered",
                    finish_reason="stop"),
    "an unknown word": _s(_WORD, _chunk(finish="paused"), outcome="ok", finish_reason="paused"),
    "an error in the stream": _s(_ROLE, _WORD, _LIMITED, outcome="error",
                                 error="rate_limit_exceeded", finish_reason="error"),
    "an error first": _s(_LIMITED, "[DONE]", outcome="error", error="rate_limit_exceeded",
                         finish_reason="error"),
    "an error as text": _s(_WORD, {"error": "upstream died"}, outcome="error", error="error",
                           finish_reason="error"),
    "an error beside choices": _s(_WORD, _chunk(finish="error", error={"code": 502}),
                                  outcome="error", error="502", finish_reason="error"),
    "finish reason error": _s(_WORD, _chunk(finish="error"), outcome="error", error="error",
                              finish_reason="error"),
    "an empty error": _s({**_WORD, "error": {}}, _chunk(finish="stop"), outcome="ok",
                         finish_reason="stop"),
    "an error event of text": _s(_WORD, _event("error", "upstream failed"), "[DONE]",
                                 outcome="error", error="error", finish_reason="error"),
    "an error event of a JSON text": _s(_WORD, _event("error", '"overloaded"'), "[DONE]",
                                        outcome="error", error="error", finish_reason="error"),
    "an error event with a type": _s(_WORD, _event("error", _FAILED), "[DONE]", outcome="error",
                                     error="server_error", finish_reason="error"),
    "an error event with a code": _s(
        _WORD, _event("error", {"message": "x", "code": "server_error"}), "[DONE]",
        outcome="error", error="server_error", finish_reason="error"),
    "an error event of a list": _s(_WORD, _event("error", [_LIMITED]), "[DONE]", outcome="error",
                                   error="rate_limit_exceeded", finish_reason="error"),
    "an error event of nothing": _s(_WORD, "event: error", "[DONE]", outcome="error",
                                    error="error", finish_reason="error"),
    "an error event that says it is done": _s(_WORD, _event("error", "[DONE]"), outcome="error",
                                              error="error", finish_reason="error"),
    "an error event like a chunk": _s(_WORD, _WORD, _event("error", _WORD), "[DONE]",
                                      outcome="error", error="error", finish_reason="error"),
    "an error event after the end": _s(_WORD, _chunk(finish="stop"), _event("error", "x"), "[DONE]",
                                       outcome="error", error="error", finish_reason="error"),
    "an object that is an error": _s(
        _WORD, {"object": "error", "message": "CUDA OOM", "code": 500}, "[DONE]",
        outcome="error", error="500", finish_reason="error"),
    "a value of the type error": _s(_WORD, {"type": "error", "code": "server_error"}, "[DONE]",
                                    outcome="error", error="server_error", finish_reason="error"),
    "an error in no field": Shape(CHAT, True, _sse(_WORD, _WORD) + b'{"error":{"code":503}}\n\n'
                                  b"data: [DONE]\n\n", "error", "503", "error"),
    "an error in no field above others": Shape(CHAT, True, _sse(_WORD)
        + b'{"error":{"code":503}}\ndata: [DONE]\n\n', "error", "503", "error"),
    "an error in no field in lines": Shape(CHAT, True, json.dumps(_LIMITED, indent=2).encode(),
                                           "error", "rate_limit_exceeded", "error"),
    "an answer about error events": _s(
        _chunk({"content": "event: error\ndata: x\n\n{\"error\": 1}"}), _event("note", _WORD),
        _event("errors", _WORD), _chunk(finish="stop"), outcome="ok", finish_reason="stop"),
    "JSON in no field": Shape(CHAT, True, _sse(_WORD) + b'{"error":null}\n{"a":1}\n\n'
                              + _sse(_chunk(finish="stop")), "ok", None, "stop"),
    "cut": _s(_ROLE, _WORD, _WORD, outcome="truncated", error="truncated"),
    "cut with one of two choices": _s(_chunk({"content": "a"}), _chunk({"content": "b"}, index=1),
                                      _chunk(finish="stop"), outcome="truncated",
                                      error="truncated", finish_reason="stop"),
    "no event": _s(outcome="empty", error="empty"),
    "only comments": _s(": ping", ": ping", outcome="empty", error="empty"),
    "no content": _s(_ROLE, _chunk(finish="stop"), "[DONE]", outcome="empty", error="empty",
                     finish_reason="stop"),
    "only [DONE]": _s("[DONE]", outcome="empty", error="empty"),
    "a body": _w(_TEXT, "ok", None, "stop", (7, 2)),
    "a body with an empty error": _w(_chat({"content": "hi"}, error=None), "ok", None, "stop"),
    "a body with a call": _w(_chat({"content": None, "tool_calls": [{"id": "t"}]}, "tool_calls"),
                             "ok", None, "tool_call"),
    "a body with two choices": _w(json.dumps({"choices": [
        {"index": 0, "message": {"content": "a"}, "finish_reason": "stop"},
        {"index": 1, "message": {"content": "b"}, "finish_reason": "length"}]}).encode(),
        "ok", None, "length"),
    "a refusing body": _w(_chat({"content": None, "refusal": "no"}), "filtered", None, "stop"),
    "a filtered body": _w(_chat({"content": ""}, "content_filter"), "filtered", None,
                          "content_filter"),
    "an empty body": _w(_chat({"content": ""}), "empty", "empty", "stop"),
    "no choices": _w(b'{"id": "c", "choices": []}', "empty", "empty"),
    "choices of null": _w(b'{"id": "c", "choices": null}', "empty", "empty"),
    "no byte": _w(b"", "empty", "empty"),
    "an error object": _w(b'{"error": {"message": "x", "type": "insufficient_balance"}}',
                          "error", "insufficient_balance", "error"),
    "an error text": _w(b'{"error": "it broke"}', "error", "error", "error"),
    "a body that is an error": _w(b'{"object": "error", "message": "x", "code": 500}', "error",
                                  "500", "error"),
    "an error's number": _w(b'{"error": {"code": 429, "message": "x"}}', "error", "429", "error"),
    "a new code beside a known type": _w(
        b'{"error": {"code": "K-17", "type": "rate_limit_error"}}', "error", "rate_limit_error",
        "error"),
    "a cut body": _w(_TEXT[:-20], "truncated", "truncated"),
    "a body cut in a string": _w(_TEXT[:90], "truncated", "truncated"),
}  # fmt: skip


def _response(status: str = "completed", output: Any = (), **more: Any) -> Any:
    return {"id": "r", "object": "response", "status": status, "error": None,
            "incomplete_details": None, "output": list(output), **more}  # fmt: skip


def _part(text: str) -> Any:
    return {"type": "message", "content": [{"type": "output_text", "text": text}]}


_R_USAGE = {"input_tokens": 9, "output_tokens": 4, "input_tokens_details": {"cached_tokens": 0},
            "output_tokens_details": {"reasoning_tokens": 1}}  # fmt: skip
_CREATED = {"type": "response.created", "response": _response("in_progress")}
_DELTA = {"type": "response.output_text.delta", "delta": "response.failed error"}
_FN = {"type": "function_call", "name": "f", "arguments": "{}"}
_ENDED = {"type": "response.completed", "response": _response(output=[_part("hi")], usage=_R_USAGE)}
_FILTER = {"incomplete_details": {"reason": "content_filter"}}
_LONG = {"incomplete_details": {"reason": "max_output_tokens"}}


def _rs(*events: Any, outcome: str, **more: Any) -> Shape:
    return Shape(RESPONSES, True, _sse(*events, names=True), outcome, **more)


def _rw(body: Any, outcome: str, *rest: Any, **more: Any) -> Shape:
    return Shape(RESPONSES, False, json.dumps(body).encode(), outcome, *rest, **more)


RESPONSES_SHAPES = {
    "a stream": _rs(_CREATED, _DELTA, _DELTA, _ENDED, outcome="ok", finish_reason="stop",
                    tokens=(9, 4)),
    "completed without its output": _rs(_CREATED, _DELTA, {
        "type": "response.completed", "response": _response()}, outcome="ok", finish_reason="stop"),
    "a call": _rs(_CREATED, {"type": "response.output_item.added", "item": _FN}, {
        "type": "response.completed", "response": _response(output=[_FN])}, outcome="ok",
        finish_reason="tool_call"),
    "incomplete by length": _rs(_CREATED, _DELTA, {
        "type": "response.incomplete", "response": _response("incomplete", **_LONG)},
        outcome="ok", finish_reason="length"),
    "incomplete by the filter": _rs(_CREATED, {
        "type": "response.incomplete", "response": _response("incomplete", **_FILTER)},
        outcome="filtered", finish_reason="content_filter"),
    "incomplete for another reason": _rs(_CREATED, _DELTA, {
        "type": "response.incomplete",
        "response": _response("incomplete", incomplete_details={"reason": "weather"})},
        outcome="ok", finish_reason="weather"),
    "failed": _rs(_CREATED, _DELTA, {
        "type": "response.failed",
        "response": {**_response("failed"), "error": {"code": "rate_limit_exceeded"}}},
        outcome="error", error="rate_limit_exceeded", finish_reason="error"),
    "failed without a code": _rs(_CREATED, {
        "type": "response.failed", "response": _response("failed")}, outcome="error",
        error="error", finish_reason="error"),
    "failed without a response": _rs(_CREATED, _DELTA, {"type": "response.failed"}, _ENDED,
                                     outcome="error", error="error", finish_reason="error",
                                     tokens=(9, 4)),
    "completed without a response": _rs(_CREATED, _DELTA, {"type": "response.completed"},
                                        outcome="ok", finish_reason="stop"),
    "a late error": _rs(_CREATED, _DELTA, {
        "type": "error", "code": "server_error", "message": "x", "param": None}, outcome="error",
        error="server_error", finish_reason="error"),
    "a nested error": _rs(_CREATED, {
        "type": "error", "error": {"type": "invalid_request_error", "code": None}},
        outcome="error", error="invalid_request_error", finish_reason="error"),
    "an error event of another type": _rs(_CREATED, _DELTA, _event("error", _FAILED), _ENDED,
                                          outcome="error", error="server_error",
                                          finish_reason="error", tokens=(9, 4)),
    "an object that is an error": _rs(
        _CREATED, _DELTA, _event("x", {"object": "error", "code": 500}), _ENDED, outcome="error",
        error="500", finish_reason="error", tokens=(9, 4)),
    "an error beside a delta": _rs(_CREATED, _DELTA, {**_DELTA, "error": {"code": 500}}, _ENDED,
                                   outcome="error", error="500", finish_reason="error",
                                   tokens=(9, 4)),
    "a refusal": _rs(_CREATED, {"type": "response.refusal.delta", "delta": "I"}, {
        "type": "response.completed", "response": _response(output=[
            {"type": "message", "content": [{"type": "refusal", "refusal": "I cannot"}]}])},
        outcome="filtered", finish_reason="stop"),
    "cut": _rs(_CREATED, _DELTA, outcome="truncated", error="truncated"),
    "cut after created": _rs(_CREATED, outcome="truncated", error="truncated"),
    "no output": _rs(_CREATED, {"type": "response.completed", "response": _response()},
                     outcome="empty", error="empty", finish_reason="stop"),
    "a body": _rw(_response(output=[_part("hi")], usage=_R_USAGE), "ok", None, "stop", (9, 4)),
    "a body with a call": _rw(_response(output=[_FN]), "ok", None, "tool_call"),
    "a search of the server's alone": _rw(_response(output=[
        {"type": "web_search_call", "status": "failed"}]), "empty", "empty", "stop"),
    "a body in the background": _rw(_response("queued"), "ok"),
    "a failed body": _rw({**_response("failed"), "error": {"code": "server_error"}}, "error",
                         "server_error", "error"),
    "a long body": _rw(_response("incomplete", [_part("h")], **_LONG), "ok", None, "length"),
    "a filtered body": _rw(_response("incomplete", **_FILTER), "filtered", None,
                           "content_filter"),
    "an empty body": _rw(_response(), "empty", "empty", "stop"),
    "an error object": _rw({"error": {"code": "model_not_found"}}, "error", "model_not_found",
                           "error"),
}  # fmt: skip


def _ms(*events: Any, outcome: str, **more: Any) -> Shape:
    return Shape(MESSAGES, True, _sse(*events, names=True), outcome, **more)


def _message(content: Any = (), stop: str | None = "end_turn", **more: Any) -> Any:
    usage = {"input_tokens": 5, "output_tokens": 3}
    said = {"id": "m", "type": "message", "role": "assistant", "content": list(content)}
    return {**said, "stop_reason": stop, "usage": usage, **more}


def _mw(body: Any, outcome: str, *rest: Any, **more: Any) -> Shape:
    return Shape(MESSAGES, False, json.dumps(body).encode(), outcome, *rest, **more)


def _delta(stop: str, output: int = 3) -> Any:
    return {"type": "message_delta", "delta": {"stop_reason": stop, "stop_sequence": None},
            "usage": {"output_tokens": output}}  # fmt: skip


_START = {"type": "message_start", "message": {
    "id": "m", "type": "message", "content": [], "stop_reason": None,
    "usage": {"input_tokens": 5, "cache_read_input_tokens": 10, "output_tokens": 1}}}  # fmt: skip
_BLOCK = {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
_SAY = {"type": "content_block_delta", "index": 0,
        "delta": {"type": "text_delta", "text": "overloaded_error"}}  # fmt: skip
_THINK = {"type": "content_block_delta", "index": 0,
          "delta": {"type": "thinking_delta", "thinking": "hm"}}  # fmt: skip
_TOOL = {"type": "content_block_start", "index": 0, "content_block": {"type": "tool_use"}}
_BLOCK_STOP = {"type": "content_block_stop", "index": 0}
_PING, _STOP = {"type": "ping"}, {"type": "message_stop"}
_OVERLOADED = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
_TEXT_BLOCK = {"type": "text", "text": "hi"}

MESSAGES_SHAPES = {
    "a stream": _ms(_START, _BLOCK, _PING, _SAY, _SAY, _BLOCK_STOP, _delta("end_turn"), _STOP,
                    outcome="ok", finish_reason="stop", tokens=(15, 3)),
    "thinking first": _ms(_START, _THINK, _BLOCK, _SAY, _delta("max_tokens"), _STOP, outcome="ok",
                          finish_reason="length", tokens=(15, 3)),
    "thinking cut by length": _ms(_START, _THINK, _delta("max_tokens"), _STOP, outcome="ok",
                                  finish_reason="length", tokens=(15, 3)),
    "a tool": _ms(_START, _TOOL, _BLOCK_STOP, _delta("tool_use"), _STOP, outcome="ok",
                  finish_reason="tool_call", tokens=(15, 3)),
    "a pause": _ms(_START, _BLOCK, _SAY, _delta("pause_turn"), _STOP, outcome="ok",
                   finish_reason="stop", tokens=(15, 3)),
    "a refusal": _ms(_START, _delta("refusal", 0), _STOP, outcome="filtered",
                     finish_reason="content_filter", tokens=(15, 0)),
    "overloaded": _ms(_START, _OVERLOADED, outcome="error", error="overloaded_error",
                      finish_reason="error", tokens=(15, 1)),
    "overloaded in the middle": _ms(_START, _BLOCK, _SAY, _OVERLOADED, outcome="error",
                                    error="overloaded_error", finish_reason="error",
                                    tokens=(15, 1)),
    "an error event of another type": _ms(
        _START, _BLOCK, _SAY, _event("error", {"type": "overloaded_error", "message": "x"}), _STOP,
        outcome="error", error="overloaded_error", finish_reason="error", tokens=(15, 1)),
    "an error event like a delta": _ms(_START, _BLOCK, _SAY, _event("error", _SAY), _STOP,
                                       outcome="error", error="content_block_delta",
                                       finish_reason="error", tokens=(15, 1)),
    "an error beside a delta": _ms(_START, _BLOCK, _SAY, {**_SAY, "error": {"code": 500}}, _STOP,
                                   outcome="error", error="500", finish_reason="error",
                                   tokens=(15, 1)),
    "cut": _ms(_START, _BLOCK, _SAY, outcome="truncated", error="truncated", tokens=(15, 1)),
    "cut before the last word": _ms(_START, _BLOCK, _SAY, _BLOCK_STOP, _delta("end_turn"),
                                    outcome="truncated", error="truncated", finish_reason="stop",
                                    tokens=(15, 3)),
    "no content": _ms(_START, _PING, _delta("end_turn"), _STOP, outcome="empty", error="empty",
                      finish_reason="stop", tokens=(15, 3)),
    "only pings": _ms(_PING, _PING, outcome="empty", error="empty"),
    "cut in the first event": Shape(MESSAGES, True, b'event: message_start\ndata: {"type": "mess',
                                    "truncated", "truncated"),
    "a tool of the server's alone": _mw(_message([{"type": "server_tool_use"}]), "empty", "empty",
                                        "stop", (5, 3)),
    "a pause in a tool of the server's": _mw(_message([{"type": "server_tool_use"}], "pause_turn"),
                                             "ok", None, "stop", (5, 3)),
    "a compaction": _mw(_message([{"type": "compaction", "content": "s"}], "compaction"), "ok",
                        None, "compaction", (5, 3)),
    "a body": _mw(_message([_TEXT_BLOCK]), "ok", None, "stop", (5, 3)),
    "a long body": _mw(_message([_TEXT_BLOCK], "model_context_window_exceeded"), "ok", None,
                       "length", (5, 3)),
    "a body with a tool": _mw(_message([{"type": "tool_use"}], "tool_use"), "ok", None,
                              "tool_call", (5, 3)),
    "a refusing body": _mw(_message((), "refusal"), "filtered", None, "content_filter", (5, 3)),
    "an empty body": _mw(_message(), "empty", "empty", "stop", (5, 3)),
    "an error": _mw(_OVERLOADED, "error", "overloaded_error", "error"),
    "an error of billing": _mw({"type": "error", "error": {"type": "billing_error"}}, "error",
                               "billing_error", "error"),
}  # fmt: skip


def _candidate(text: str | None = None, finish: str | None = None, **more: Any) -> Any:
    parts = [] if text is None else [{"text": text}]
    found: Any = {"content": {"role": "model", "parts": parts}, "index": 0}
    if finish:
        found["finishReason"] = finish
    return {"candidates": [found], "usageMetadata": {"promptTokenCount": 8}, **more}


_G_USAGE = {"promptTokenCount": 8, "candidatesTokenCount": 6, "thoughtsTokenCount": 2}
_BLOCKED = {"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}}
_G_ERROR = {"error": {"code": 503, "message": "overloaded", "status": "UNAVAILABLE"}}


def _gs(*events: Any, outcome: str, tokens: Any = (8, None), **more: Any) -> Shape:
    return Shape(GEMINI, True, _sse(*events), outcome, tokens=tokens, **more)


def _gw(
    body: Any,
    outcome: str,
    error: str | None = None,
    finish: str | None = None,
    tokens: Any = (8, None),
) -> Shape:
    return Shape(GEMINI, False, json.dumps(body).encode(), outcome, error, finish, tokens)


_NONE = (None, None)
GEMINI_SHAPES = {
    "a stream": _gs(_candidate("a"), _candidate("b"),
                    _candidate("c", "STOP", usageMetadata=_G_USAGE), outcome="ok",
                    finish_reason="stop", tokens=(8, 8)),
    "length": _gs(_candidate("a"), _candidate(None, "MAX_TOKENS"), outcome="ok",
                  finish_reason="length"),
    "a function call": _gs({"candidates": [{"content": {"parts": [{"functionCall": {}}]},
                                            "finishReason": "STOP"}]}, outcome="ok",
                           finish_reason="stop", tokens=_NONE),
    "safety": _gs(_candidate(None, "SAFETY"), outcome="filtered", finish_reason="content_filter"),
    "a blocked prompt": _gs(_BLOCKED, outcome="filtered", finish_reason="content_filter",
                            tokens=_NONE),
    "a malformed call": _gs(_candidate(None, "MALFORMED_FUNCTION_CALL"), outcome="error",
                            error="MALFORMED_FUNCTION_CALL", finish_reason="error"),
    "a late error": _gs(_candidate("a"), _G_ERROR, outcome="error", error="UNAVAILABLE",
                        finish_reason="error"),
    "cut": _gs(_candidate("a"), _candidate("b"), outcome="truncated", error="truncated"),
    "an error event": _gs(
        _candidate("a"), _event("error", {"code": 503, "status": "UNAVAILABLE"}),
        _candidate(None, "STOP"), outcome="error", error="UNAVAILABLE", finish_reason="error"),
    "an object that is an error": _gs(_candidate("a"), {"object": "error", "code": 500},
                                      _candidate(None, "STOP"), outcome="error", error="500",
                                      finish_reason="error"),
    "no content": _gs(_candidate(None, "STOP"), outcome="empty", error="empty",
                      finish_reason="stop"),
    "a body": _gw(_candidate("a", "STOP", usageMetadata=_G_USAGE), "ok", None, "stop",
                  tokens=(8, 8)),
    "a list": _gw([_candidate("a"), _candidate("b", "STOP")], "ok", None, "stop"),
    "a list that is cut": Shape(GEMINI, False, json.dumps([_candidate("a")]).encode()[:-1],
                                "truncated", "truncated"),
    "a body without finishReason": _gw(_candidate("a"), "truncated", "truncated"),
    "a blocked body": _gw(_BLOCKED, "filtered", None, "content_filter", tokens=_NONE),
    "a filtered body": _gw(_candidate(None, "RECITATION"), "filtered", None, "content_filter"),
    "an empty body": _gw({"candidates": []}, "empty", "empty", tokens=_NONE),
    "an error": _gw(_G_ERROR, "error", "UNAVAILABLE", "error", tokens=_NONE),
    "an error in a list": _gw([_G_ERROR], "error", "UNAVAILABLE", "error", tokens=_NONE),
}  # fmt: skip


def _media(body: Any, outcome: str, *rest: Any) -> Shape:
    return Shape("image", False, json.dumps(body).encode(), outcome, *rest)


MEDIA_SHAPES = {
    "an image": _media({"created": 1, "data": [{"url": "https://x/1.png"}]}, "ok"),
    "a task": _media({"id": "t", "status": "pending"}, "ok"),
    "no image": _media({"created": 1, "data": []}, "empty", "empty"),
    "a failed task": _media({"id": "t", "status": "failed", "error": {"code": "timeout_error"}},
                            "error", "timeout_error", "error"),
    "an error": _media({"error": {"code": "quota_exceeded"}}, "error", "quota_exceeded", "error"),
}  # fmt: skip

SHAPES: dict[str, Shape] = {
    f"{name}: {what}": shape
    for name, shapes in (
        ("chat", CHAT_SHAPES), ("responses", RESPONSES_SHAPES), ("messages", MESSAGES_SHAPES),
        ("gemini", GEMINI_SHAPES), ("media", MEDIA_SHAPES),
    )
    for what, shape in shapes.items()
}  # fmt: skip
