"""What the tests of the simulator's answers share: one request in each format, and its answer read.

``read`` takes bytes apart without the gate and without the SDKs, which have tests of their own.
"""

import json
from dataclasses import dataclass
from typing import Any

import httpx

from rollout_console.sim.app import PREVIOUS
from tests.sim.test_contract import CHAT, CLAUDE, GEMINI, KEY

THEIRS = {"Authorization": "Bearer theirs", "anthropic-version": "2023-06-01"}
KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "openai_chat_completions": ("/v1/chat/completions", CHAT),
    "openai_responses": ("/v1/responses", {"model": "gpt-5.4", "input": "hi"}),
    "anthropic_messages": ("/v1/messages", CLAUDE),
    "gemini_generate_content": ("/v1beta/models/gemini-3.5-flash", GEMINI),
}
SIDES = ("tokenlab", "previous")
NO_JSON = r"Unterminated|Expecting"
"""What Python says of JSON that is cut."""


@dataclass(frozen=True)
class Frame:
    """One server-sent event: its name, its JSON or its text."""

    name: str
    value: Any


def set_fault(api: httpx.Client, **fields: Any) -> None:
    """Set one fault, and no other."""
    api.delete("/_sim/faults").raise_for_status()
    api.post("/_sim/faults", json=fields).raise_for_status()


def asked(kind: str, side: str, *, stream: bool, **more: Any) -> dict[str, Any]:
    """Return the arguments of httpx's ``build_request`` for one request in this format."""
    path, body = KINDS[kind]
    headers = KEY if side == "tokenlab" else THEIRS
    body = {**body, **more}
    if kind == "gemini_generate_content":
        path += ":streamGenerateContent?alt=sse" if stream else ":generateContent"
    else:
        body["stream"] = stream
    prefix = "" if side == "tokenlab" else PREVIOUS
    return {"method": "POST", "url": prefix + path, "json": body, "headers": headers}


def ask(api: httpx.Client, kind: str, side: str, *, stream: bool, **more: Any) -> httpx.Response:
    """Send one request in this format; the answer has status 200 and ended well."""
    answer = api.request(**asked(kind, side, stream=stream, **more))
    assert answer.status_code == 200
    said = "text/event-stream" if stream else "application/json"
    assert answer.headers["content-type"].startswith(said)
    if not stream:
        assert int(answer.headers["content-length"]) == len(answer.content)
    return answer


def frames(body: bytes) -> list[Frame]:
    """Return a stream's complete events, without its comments."""
    found = []
    for block in body.decode().split("\n\n")[:-1]:
        lines = [line for line in block.split("\n") if not line.startswith(":")]
        fields = dict(line.split(": ", 1) for line in lines)
        if fields:
            text = fields["data"]
            value = text if text == "[DONE]" else json.loads(text)
            found.append(Frame(fields.get("event", ""), value))
    return found


def text_of(kind: str, value: Any) -> str:
    """Return the text of one event of a stream; empty where it has none."""
    if not isinstance(value, dict):
        return ""
    if kind == "openai_chat_completions":
        return "".join(one["delta"].get("content") or "" for one in value.get("choices", ()))
    if kind == "openai_responses":
        return str(value["delta"]) if value["type"] == "response.output_text.delta" else ""
    if kind == "anthropic_messages":
        return str(value.get("delta", {}).get("text", ""))
    found = [
        part for one in value.get("candidates", ()) for part in one["content"].get("parts", ())
    ]
    return "".join(part.get("text", "") for part in found)


def words(kind: str, body: bytes) -> int:
    """Return how many events of a stream have text."""
    return sum(bool(text_of(kind, frame.value)) for frame in frames(body))


def finish_of(kind: str, value: dict[str, Any]) -> str | None:
    """Return the finish reason of a whole answer, or of a stream's event that has one."""
    found: str | None = None
    if kind == "openai_chat_completions":
        found = value["choices"][0]["finish_reason"] if value.get("choices") else None
    elif kind == "openai_responses":
        response = value.get("response", value)
        found = (response["incomplete_details"] or {}).get("reason") or response["status"]
    elif kind == "anthropic_messages":
        found = value.get("stop_reason") or value.get("delta", {}).get("stop_reason")
    elif "promptFeedback" in value:
        found = "blocked: " + value["promptFeedback"]["blockReason"]
    elif value.get("candidates"):
        found = value["candidates"][0].get("finishReason")
    return found
