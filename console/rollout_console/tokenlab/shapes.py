"""Parse answers in the four text formats, field by field: complete, streamed, and errors.

The required fields come from ``rollout_gate.file.formats``; this module knows where to find them.
"""

from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from rollout_gate.file.formats import RouteKind, kind_of
from rollout_gate.secret import redacted
from rollout_gate.untrusted import ANYTHING, UndecodableError, as_utf8, decode_json

_CUT_SHORT = {"length", "max_tokens", "MAX_TOKENS", "incomplete"}
_MOST_CODE, _MOST_WORDS = 60, 200
_MOST_EVENTS = 20_000
_MOST_TOKENS = 10**12

Table = dict[str, Any]


class Reading(msgspec.Struct):
    """A parsed answer; ``problems`` names each required field that is missing or invalid,
    ``notes`` each missing field that no contract guarantees."""

    text: str = ""
    model: str = ""
    finish: str = ""
    tokens_in: int | None = None
    tokens_out: int | None = None
    billing_id: str = ""
    problems: list[str] = msgspec.field(default_factory=list)
    notes: list[str] = msgspec.field(default_factory=list)


def dig(value: Any, dotted: str) -> Any:
    """Return the value at a dotted path, where numbers index lists; None without one."""
    for part in dotted.split("."):
        if isinstance(value, list):
            value = value[int(part)] if part.isdigit() and int(part) < len(value) else None
        else:
            value = value.get(part) if isinstance(value, dict) else None
    return value


def read_whole(route_format: str, data: bytes) -> Reading:
    """Parse a complete, not streamed, answer."""
    try:
        body = decode_json(data, ANYTHING)
    except UndecodableError:
        return Reading(problems=["the body is not JSON"])
    if not isinstance(body, dict):
        return Reading(problems=["the body is not a JSON object"])
    return _read(kind_of(route_format), route_format, body)


def _read(row: RouteKind, route_format: str, body: Table) -> Reading:
    found = Reading()
    missing = [name for name in row.answer if dig(body, name) is None]
    found.problems += [f"{name} is missing" for name in missing]
    for name in row.usage:
        above, count = dig(body, name.rsplit(".", 1)[0]), dig(body, name)
        if count is None and (above is None or isinstance(above, dict)):
            found.notes.append(f"{name} is missing: what it costs cannot be told from the answer")
        elif _count(count) is None:
            found.problems.append(f"{name} is no count")
    found.tokens_in, found.tokens_out = (_count(dig(body, name)) for name in row.usage)
    found.text = "".join(_texts(route_format, body))
    found.model = str(body.get("model") or body.get("modelVersion") or "")
    found.finish = _finish(route_format, body)
    found.billing_id = str(body.get("billing_transaction_id") or "")
    if not found.text and found.finish not in _CUT_SHORT and not missing:
        found.problems.append("the answer has no text")
    return found


def _texts(route_format: str, body: Table) -> Iterator[str]:
    places: Any
    if route_format == "openai_chat_completions":
        places = [{"text": dig(body, "choices.0.message.content")}]
    elif route_format == "openai_responses":
        items = body.get("output")
        parts = [dig(item, "content") for item in items] if isinstance(items, list) else []
        places = [piece for part in parts if isinstance(part, list) for piece in part]
    elif route_format == "anthropic_messages":
        places = body.get("content")
    else:
        places = dig(body, "candidates.0.content.parts")
    for place in places if isinstance(places, list) else []:
        text = place.get("text") if isinstance(place, dict) else None
        if isinstance(text, str):
            yield text


def _finish(route_format: str, body: Table) -> str:
    place = {
        "openai_chat_completions": "choices.0.finish_reason",
        "openai_responses": "status",
        "anthropic_messages": "stop_reason",
        "gemini_generate_content": "candidates.0.finishReason",
    }[route_format]
    return str(dig(body, place) or "")


def _count(value: Any) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int):
        return None
    return value if 0 <= value <= _MOST_TOKENS else None


class StreamReader:
    """Incremental parser of a streamed answer (server-sent events), which assembles it.

    ``has_text`` becomes True with the first event that holds text of the answer.
    """

    def __init__(self, route_format: str) -> None:
        self._format = route_format
        self._row = kind_of(route_format)
        self._rest = b""
        self._events: list[tuple[str, Table]] = []
        self._name = ""
        self._ended = False
        self._odd: list[str] = []
        self.has_text = False

    def feed(self, data: bytes) -> None:
        """Parse the next bytes; an incomplete line is buffered."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._line(line.rstrip(b"\r"))

    def _line(self, line: bytes) -> None:
        if line.startswith(b"event:"):
            self._name = line[6:].strip().decode("utf-8", "replace")
        elif line.startswith(b"data:"):
            self._data(line[5:].strip())
        elif not line:
            self._name = ""

    def _data(self, data: bytes) -> None:
        if data == b"[DONE]":
            self._ended = True
            return
        try:
            value = decode_json(data, ANYTHING)
        except UndecodableError:
            self._problem("an event is not JSON")
            return
        if not isinstance(value, dict) or len(self._events) >= _MOST_EVENTS:
            self._problem("an event is not a JSON object, or there is no end of them")
            return
        if self._row.framing == "named" and not self._name:
            self._problem("an event has no name")
        self._events.append((self._name or str(value.get("type", "")), value))
        self.has_text = self.has_text or bool(_piece(self._format, self._events[-1]))

    def _problem(self, words: str) -> None:
        if words not in self._odd:
            self._odd.append(words)

    def result(self) -> Reading:
        """Return the assembled answer, with its problems."""
        body, ended = _assembled(self._format, self._events)
        if self._row.framing == "data-done":
            ended = self._ended
        found = _read(self._row, self._format, body) if self._events else Reading()
        found.problems = self._odd + found.problems
        if not self._events:
            found.problems.append("there were no events")
        elif not ended:
            found.problems.append("the stream broke off before its end")
        return found


def _piece(route_format: str, event: tuple[str, Table]) -> str:
    name, value = event
    if route_format == "openai_chat_completions":
        text = dig(value, "choices.0.delta.content")
    elif route_format == "openai_responses":
        text = value.get("delta") if name == "response.output_text.delta" else None
    elif route_format == "anthropic_messages":
        text = dig(value, "delta.text")
    else:
        text = "".join(_texts(route_format, value))
    return text if isinstance(text, str) else ""


def _assembled(route_format: str, events: list[tuple[str, Table]]) -> tuple[Table, bool]:
    """Return the answer in its unstreamed shape, and whether the final event arrived."""
    text = "".join(_piece(route_format, event) for event in events)
    values = [value for _, value in events]
    last = values[-1] if values else {}
    if route_format == "openai_responses":
        done = next((v.get("response") for n, v in events if n == "response.completed"), None)
        return (done, True) if isinstance(done, dict) else ({}, False)
    if route_format == "anthropic_messages":
        start = next((dig(v, "message") for n, v in events if n == "message_start"), None)
        body: Table = dict(start) if isinstance(start, dict) else {}
        end: Table = next((v for n, v in events if n == "message_delta"), {})
        usage = [one for one in (body.get("usage"), end.get("usage")) if isinstance(one, dict)]
        body |= {
            "usage": {k: v for one in usage for k, v in one.items()},
            "stop_reason": dig(end, "delta.stop_reason"),
        }
        body["content"] = [{"type": "text", "text": text}]
        return body, any(name == "message_stop" for name, _ in events)
    if route_format == "gemini_generate_content":
        finish = dig(last, "candidates.0.finishReason")
        whole = {"content": {"parts": [{"text": text}]}, "finishReason": finish}
        return {**last, "candidates": [whole]}, finish is not None
    finish = next((f for v in values if (f := dig(v, "choices.0.finish_reason"))), None)
    used: Any = next((v["usage"] for v in values if isinstance(v.get("usage"), dict)), None)
    choice = {"message": {"content": text}, "finish_reason": finish}
    head = {**values[0], "object": "chat.completion"} if values else {}
    return {**head, "choices": [choice], "usage": used}, finish is not None


def read_error(
    route_format: str, data: bytes, cleaned: Callable[[str], str] = redacted
) -> tuple[str, str]:
    """Parse an error answer into code and message; both empty if it is not in the format's shape.

    Both are ``cleaned`` before they are truncated: redaction would miss a key cut in half.
    """
    try:
        body = decode_json(as_utf8(data), ANYTHING)
    except UndecodableError:
        return "", ""
    error = dig(body[0] if isinstance(body, list) and body else body, "error")
    if not isinstance(error, dict):
        return "", ""
    row = kind_of(route_format)
    code = error.get("status") if row.envelope == "google" else error.get("code")
    code = code or error.get("type") or ""
    message = error.get("message") or ""
    return cleaned(str(code))[:_MOST_CODE], cleaned(str(message))[:_MOST_WORDS]
