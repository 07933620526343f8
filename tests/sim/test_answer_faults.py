"""Answers that are none although their status is 200: the bytes of each kind, format and side."""

import itertools
import json
from typing import Any

import httpx
import pytest

from rollout_console.sim.faults import CODES
from rollout_console.sim.streams import keep_alive
from rollout_console.sim.tools import tool_fields
from tests.sim.asking import (
    KINDS,
    NO_JSON,
    SIDES,
    ask,
    asked,
    finish_of,
    frames,
    set_fault,
    text_of,
    words,
)

ALL = pytest.mark.parametrize(("kind", "side"), list(itertools.product(KINDS, SIDES)))
CHAT, RESPONSES, CLAUDE, GEMINI = KINDS
ERROR_EVENT = {RESPONSES: "error", CLAUDE: "error"}
OPENING = {CHAT: 1, RESPONSES: 4, CLAUDE: 3, GEMINI: 0}
LAST = {RESPONSES: "response.completed", CLAUDE: "message_stop"}


def error_in(kind: str, value: dict[str, Any]) -> dict[str, Any]:
    """The error of an event or a body, wherever its format has it."""
    found: dict[str, Any] = value if kind == RESPONSES and "error" not in value else value["error"]
    assert found["message"]
    return found


def code_in(kind: str, side: str, error: dict[str, Any]) -> str:
    if kind == GEMINI:
        return str(error["status"])
    if kind == CLAUDE or (kind == CHAT and side == "previous"):
        return str(error["type"])
    return str(error["code"])


OPENAI = {
    "gateway": "server_error", "overloaded": "server_error", "timeout": "server_error",
    "rate_limit": "requests", "auth": "invalid_request_error", "balance": "insufficient_quota",
    "contract": "invalid_request_error",
}  # fmt: skip
OURS = {
    "gateway": "server_error", "overloaded": "all_channels_failed", "timeout": "timeout_error",
    "rate_limit": "rate_limit_exceeded", "auth": "invalid_api_key",
    "balance": "insufficient_balance", "contract": "invalid_request_error",
}  # fmt: skip
SAID = {
    (CHAT, "tokenlab"): OURS,
    (CHAT, "previous"): OPENAI,
    (RESPONSES, "tokenlab"): OURS,
    (RESPONSES, "previous"): OPENAI | {
        "rate_limit": "rate_limit_exceeded", "auth": "invalid_api_key",
        "contract": "invalid_prompt",
    },
    CLAUDE: {
        "gateway": "api_error", "overloaded": "overloaded_error", "timeout": "timeout_error",
        "rate_limit": "rate_limit_error", "auth": "authentication_error",
        "balance": "billing_error", "contract": "invalid_request_error",
    },
    GEMINI: {
        "gateway": "INTERNAL", "overloaded": "UNAVAILABLE", "timeout": "DEADLINE_EXCEEDED",
        "rate_limit": "RESOURCE_EXHAUSTED", "auth": "UNAUTHENTICATED",
        "balance": "FAILED_PRECONDITION", "contract": "INVALID_ARGUMENT",
    },
}  # fmt: skip


@ALL
@pytest.mark.parametrize("code", ["", *CODES])
def test_a_failure_is_in_the_formats_own_words(
    api: httpx.Client, kind: str, side: str, code: str
) -> None:
    set_fault(api, kind="failure", code=code)
    expected = SAID.get(kind, SAID.get((kind, side), {}))[code or "gateway"]
    body = ask(api, kind, side, stream=False).json()
    only = frames(ask(api, kind, side, stream=True).content)
    assert [frame.name for frame in only] == [ERROR_EVENT.get(kind, "")]
    for value in (body, only[0].value):
        assert code_in(kind, side, error_in(kind, value)) == expected
        if kind == CLAUDE:
            assert value["type"] == "error"
    if kind == GEMINI:
        assert body["error"]["code"] == CODES[code or "gateway"]


@ALL
@pytest.mark.parametrize("after", [1, 5, 999])
def test_a_failure_comes_after_content(api: httpx.Client, kind: str, side: str, after: int) -> None:
    set_fault(api, kind="failure", code="overloaded", after=after)
    body = ask(api, kind, side, stream=True).content
    *before, last = frames(body)
    assert words(kind, body) == min(after, 14)
    assert len(before) == OPENING[kind] + min(after, 14)
    assert error_in(kind, last.value)
    assert not [frame for frame in before if frame.name == LAST.get(kind)]


@ALL
def test_a_failure_comes_after_the_opening(api: httpx.Client, kind: str, side: str) -> None:
    set_fault(api, kind="failure", variant="opened")
    *before, last = frames(ask(api, kind, side, stream=True).content)
    assert len(before) == OPENING[kind]
    assert error_in(kind, last.value)


@ALL
@pytest.mark.parametrize("after", [0, 3])
def test_a_failure_is_the_answers_own_end(
    api: httpx.Client, kind: str, side: str, after: int
) -> None:
    set_fault(api, kind="failure", variant="ending", code="rate_limit", after=after)
    streamed, body = ask(api, kind, side, stream=True).content, ask(api, kind, side, stream=False)
    assert words(kind, streamed) == after
    *_, last = frames(streamed)
    if kind == CHAT:
        *_, last, done = frames(streamed)
        assert done.value == "[DONE]"
        assert error_in(kind, last.value)
        assert error_in(kind, body.json()["choices"][0])
    if kind == RESPONSES:
        assert last.name == last.value["type"] == "response.failed"
        assert last.value["response"]["error"]["code"] == "rate_limit_exceeded"
        assert body.json()["error"]["code"] == "rate_limit_exceeded"
    if kind == CLAUDE:
        assert body.json()["error"] == last.value["error"]
    else:
        ends = {CHAT: "error", RESPONSES: "failed", GEMINI: "OTHER"}
        assert finish_of(kind, last.value) == finish_of(kind, body.json()) == ends[kind]


@ALL
@pytest.mark.parametrize("after", [0, 4, 999])
def test_a_stream_is_cut_and_ends_well(api: httpx.Client, kind: str, side: str, after: int) -> None:
    set_fault(api, kind="cut", after=after)
    body = ask(api, kind, side, stream=True).content
    found = frames(body)
    assert words(kind, body) == min(after, 14)
    assert len(found) == OPENING[kind] + min(after, 14)
    assert body == b"" or body.endswith(b"\n\n")
    set_fault(api, kind="cut", variant="inside", after=after)
    half = ask(api, kind, side, stream=True).content
    assert not half.endswith(b"\n\n")
    assert words(kind, half) == min(after, 13)


@ALL
def test_a_whole_answer_is_cut_with_a_length_that_fits(
    api: httpx.Client, kind: str, side: str
) -> None:
    set_fault(api, kind="cut")
    body = ask(api, kind, side, stream=False).content
    assert body.startswith(b"{")
    with pytest.raises(ValueError, match=NO_JSON):
        json.loads(body)


ENDS = {
    "empty": {CHAT: "stop", RESPONSES: "completed", CLAUDE: "end_turn", GEMINI: "STOP"},
    "filter": {
        CHAT: "content_filter", RESPONSES: "content_filter", CLAUDE: "refusal", GEMINI: "SAFETY",
    },
    "length": {
        CHAT: "length", RESPONSES: "max_output_tokens", CLAUDE: "max_tokens", GEMINI: "MAX_TOKENS",
    },
}  # fmt: skip


def whole_text(kind: str, value: dict[str, Any]) -> str:
    """The text of a whole answer; the lists it would be in may be empty."""
    if kind == CHAT:
        return "".join(choice["message"]["content"] or "" for choice in value["choices"])
    if kind == RESPONSES:
        return "".join(part["text"] for item in value["output"] for part in item["content"])
    if kind == CLAUDE:
        return "".join(block["text"] for block in value["content"])
    return text_of(kind, value)


@ALL
@pytest.mark.parametrize(
    ("fault", "after"), [("empty", 0), ("filter", 0), ("filter", 3), ("length", 0), ("length", 6)]
)
def test_a_whole_stream_has_its_last_word_and_this_much(
    api: httpx.Client, kind: str, side: str, fault: str, after: int
) -> None:
    set_fault(api, kind=fault, **({"after": after} if after else {}))
    body = ask(api, kind, side, stream=True).content
    whole = ask(api, kind, side, stream=False).json()
    said = 1 if (fault, after) == ("length", 0) else after
    found = frames(body)
    last = found[-1].value
    if kind == CHAT:
        assert last == "[DONE]"
        last = found[-2].value
    if kind == CLAUDE:
        assert found[-1].name == "message_stop"
        last = found[-2].value
    expected = ENDS[fault][kind]
    if kind == GEMINI and fault == "filter" and not after:
        expected = "blocked: SAFETY"
        assert "candidates" not in last
        assert "candidates" not in whole
    if kind == RESPONSES:
        status = "completed" if fault == "empty" else "incomplete"
        assert found[-1].name == f"response.{status}"
        assert last["response"]["status"] == whole["status"] == status
    assert finish_of(kind, last) == finish_of(kind, whole) == expected
    assert words(kind, body) == said
    assert len(whole_text(kind, whole).split()) == said


@pytest.mark.parametrize("side", SIDES)
def test_gemini_filters_the_answer_too(api: httpx.Client, side: str) -> None:
    set_fault(api, kind="filter", variant="answer")
    for value in (
        ask(api, GEMINI, side, stream=False).json(),
        frames(ask(api, GEMINI, side, stream=True).content)[-1].value,
    ):
        assert value["candidates"][0]["finishReason"] == "SAFETY"
        assert "parts" not in value["candidates"][0]["content"]
        assert "promptFeedback" not in value


@ALL
def test_nothing_comes_at_all(api: httpx.Client, kind: str, side: str) -> None:
    set_fault(api, kind="empty", variant="bare")
    assert ask(api, kind, side, stream=True).content == keep_alive(kind) * 2
    whole = ask(api, kind, side, stream=False).json()
    assert not whole_text(kind, whole)
    empty: dict[str, Any] = {CHAT: [], GEMINI: []}
    assert whole.get("choices", whole.get("candidates")) == empty.get(kind)
    set_fault(api, kind="empty", variant="blank")
    assert ask(api, kind, side, stream=True).content == b""
    assert ask(api, kind, side, stream=False).content == b""


@pytest.mark.parametrize("side", SIDES)
def test_geminis_array_is_spoiled_too(api: httpx.Client, side: str) -> None:
    def array(**fault: Any) -> bytes:
        set_fault(api, **fault)
        sent = asked(GEMINI, side, stream=True)
        answer = api.request(**sent | {"url": sent["url"].removesuffix("?alt=sse")})
        assert answer.status_code == 200
        return answer.content

    assert [*json.loads(array(kind="failure", after=2))[-1]] == ["error"]
    assert len(json.loads(array(kind="failure"))) == 1
    cut = array(kind="cut", after=3)
    assert len(json.loads(cut + b"]")) == 3
    with pytest.raises(ValueError, match=NO_JSON):
        json.loads(array(kind="cut", after=3, variant="inside"))
    assert array(kind="empty", variant="bare") == b"[]"
    assert array(kind="empty", variant="blank") == b""


@ALL
@pytest.mark.parametrize("stream", [False, True])
def test_a_tool_call_fails_and_is_cut_like_a_text(
    api: httpx.Client, kind: str, side: str, stream: bool
) -> None:
    tool = tool_fields(kind)
    api.delete("/_sim/faults")
    healthy = ask(api, kind, side, stream=stream, **tool).content
    assert b"weather" in healthy
    set_fault(api, kind="failure", after=1)
    failed = ask(api, kind, side, stream=stream, **tool).content
    assert (b"weather" in failed) == stream
    set_fault(api, kind="cut", after=1)
    cut = ask(api, kind, side, stream=stream, **tool).content
    assert healthy[:20] == cut[:20]
    assert len(cut) < len(healthy)
    set_fault(api, kind="empty")
    assert b"weather" not in ask(api, kind, side, stream=stream, **tool).content
