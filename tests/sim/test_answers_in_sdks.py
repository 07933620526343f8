"""What the official SDKs make of answers that are none: the same as of the real ones."""

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from rollout_console.sim.server import SimServer
from tests.gate.http.clients import CALLS, KEY, TEXT, open_anthropic, open_genai, open_openai
from tests.sim.asking import KINDS, SIDES, set_fault
from tests.support.sdks import anthropic, errors, openai

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]
CHAT, RESPONSES, CLAUDE, GEMINI = KINDS
WHOLE_AND_STREAMED = pytest.mark.parametrize("stream", [False, True])
BOTH = pytest.mark.parametrize("side", SIDES)
Said = tuple[str, str | None]
"""The text and the finish reason."""


def target(sim: SimServer, side: str) -> tuple[str, str]:
    if side == "tokenlab":
        return sim.base_url, KEY
    return sim.previous_base_url, "prev-of-somebody"


def chat(base: str, key: str, *, stream: bool) -> Said:
    ask: dict[str, Any] = {"model": "gpt-5.4", "messages": [{"role": "user", "content": "hi"}]}
    with open_openai(base, key) as client:
        if not stream:
            done = client.chat.completions.create(**ask)
            choice = done.choices[0] if done.choices else None
            return (choice.message.content or "", choice.finish_reason) if choice else ("", None)
        chunks = list(client.chat.completions.create(**ask, stream=True))
    choices = [chunk.choices[0] for chunk in chunks if chunk.choices]
    text = "".join(choice.delta.content or "" for choice in choices)
    return text, choices[-1].finish_reason if choices else None


def responses(base: str, key: str, *, stream: bool) -> Said:
    ask: dict[str, Any] = {"model": "gpt-5.4", "input": "hi"}
    with open_openai(base, key) as client:
        if not stream:
            whole = client.responses.create(**ask)
            details = whole.incomplete_details
            return whole.output_text, details.reason if details else whole.status
        events: list[Any] = list(client.responses.create(**ask, stream=True))
    text = "".join(e.delta for e in events if e.type == "response.output_text.delta")
    last = events[-1] if events else None
    response = getattr(last, "response", None)
    if response is None:
        return text, last.type if last else None
    details = response.incomplete_details
    return text, details.reason if details else response.status


def messages(base: str, key: str, *, stream: bool) -> Said:
    turn: Any = [{"role": "user", "content": "hi"}]
    ask: dict[str, Any] = {"model": "claude-sonnet-4-6", "max_tokens": 64, "messages": turn}
    with open_anthropic(base, key) as client:
        if not stream:
            whole = client.messages.create(**ask)
            return "".join(getattr(b, "text", "") for b in whole.content), whole.stop_reason
        events: list[Any] = list(client.messages.create(**ask, stream=True))
    text = "".join(e.delta.text for e in events if e.type == "content_block_delta")
    reasons = [e.delta.stop_reason for e in events if e.type == "message_delta"]
    return text, reasons[-1] if reasons else None


def gemini(base: str, key: str, *, stream: bool) -> Said:
    ask: dict[str, Any] = {"model": "gemini-3.5-flash", "contents": "hi"}
    with open_genai(base, key) as client:
        if stream:
            pieces = list(client.models.generate_content_stream(**ask))
        else:
            pieces = [client.models.generate_content(**ask)]
    text = "".join(piece.text or "" for piece in pieces)
    feedback = pieces[-1].prompt_feedback if pieces else None
    if feedback and feedback.block_reason:
        return text, f"blocked: {feedback.block_reason.value}"
    candidates = pieces[-1].candidates if pieces else None
    reason = candidates[0].finish_reason if candidates else None
    return text, reason.value if reason else None


SAY: dict[str, Callable[..., Said]] = {
    CHAT: chat, RESPONSES: responses, CLAUDE: messages, GEMINI: gemini,
}  # fmt: skip


@BOTH
@pytest.mark.parametrize("after", [0, 3])
@pytest.mark.parametrize("kind", [CHAT, CLAUDE, GEMINI])
def test_a_failure_in_a_stream_is_raised(
    sim: SimServer, api: httpx.Client, kind: str, side: str, after: int
) -> None:
    set_fault(api, kind="failure", code="overloaded", after=after)
    raised_as = (openai.APIError, anthropic.APIStatusError, errors.APIError)
    with pytest.raises(raised_as) as raised:
        SAY[kind](*target(sim, side), stream=True)
    error: Any = raised.value
    if kind == CLAUDE:
        assert error.body["error"]["type"] == "overloaded_error"
    elif kind == GEMINI:
        assert (error.code, error.status) == (503, "UNAVAILABLE")
    else:
        assert error.body["message"]


@BOTH
def test_responses_tell_a_failure_as_an_event(sim: SimServer, api: httpx.Client, side: str) -> None:
    set_fault(api, kind="failure", after=2)
    assert SAY[RESPONSES](*target(sim, side), stream=True) == ("The request", "error")
    set_fault(api, kind="failure", after=2, variant="ending", code="rate_limit")
    assert SAY[RESPONSES](*target(sim, side), stream=True) == ("The request", "failed")
    base, key = target(sim, side)
    with open_openai(base, key) as client:
        failed = client.responses.create(model="gpt-5.4", input="hi")
    assert failed.error is not None
    assert (failed.status, failed.error.code) == ("failed", "rate_limit_exceeded")


ENDS = {
    "empty": {CHAT: "stop", RESPONSES: "completed", CLAUDE: "end_turn", GEMINI: "STOP"},
    "filter": {
        CHAT: "content_filter", RESPONSES: "content_filter", CLAUDE: "refusal",
        GEMINI: "blocked: SAFETY",
    },
    "length": {
        CHAT: "length", RESPONSES: "max_output_tokens", CLAUDE: "max_tokens", GEMINI: "MAX_TOKENS",
    },
}  # fmt: skip


@BOTH
@WHOLE_AND_STREAMED
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("fault", ENDS)
def test_an_end_is_read_as_such(
    sim: SimServer, api: httpx.Client, fault: str, kind: str, stream: bool, side: str
) -> None:
    set_fault(api, kind=fault, **({"after": 5} if fault == "length" else {}))
    text = "The request was understood and" if fault == "length" else ""
    assert SAY[kind](*target(sim, side), stream=stream) == (text, ENDS[fault][kind])


@BOTH
@pytest.mark.parametrize("kind", KINDS)
def test_a_stream_that_is_cut_looks_whole_to_the_sdk(
    sim: SimServer, api: httpx.Client, kind: str, side: str
) -> None:
    """None raises: that the last word is missing is for the application, or the gate, to see."""
    set_fault(api, kind="cut", after=3)
    text, end = SAY[kind](*target(sim, side), stream=True)
    assert text == "The request was"
    assert end == ("response.output_text.delta" if kind == RESPONSES else None)


@BOTH
@pytest.mark.parametrize("variant", ["bare", "blank"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_stream_without_an_event_is_empty_to_the_sdk(
    sim: SimServer, api: httpx.Client, kind: str, variant: str, side: str
) -> None:
    set_fault(api, kind="empty", variant=variant)
    assert SAY[kind](*target(sim, side), stream=True) == ("", None)


@pytest.mark.parametrize("pace", [{"kind": "stall", "latency_ms": 300},
                                  {"kind": "trickle", "latency_ms": 10}])  # fmt: skip
@pytest.mark.parametrize("kind", KINDS)
def test_a_slow_stream_is_whole(
    sim: SimServer, api: httpx.Client, kind: str, pace: dict[str, Any]
) -> None:
    set_fault(api, **pace)
    assert CALLS[kind](sim.base_url, stream=True).text == TEXT


@pytest.mark.parametrize("kind", [CHAT, CLAUDE])
def test_a_whole_failure_is_an_answer_to_the_sdk(
    sim: SimServer, api: httpx.Client, kind: str
) -> None:
    """With status 200 the SDKs raise nothing: the error is an answer without its fields."""
    set_fault(api, kind="failure", code="auth")
    if kind == CHAT:
        with open_openai(sim.base_url) as client:
            done: Any = client.chat.completions.create(
                model="gpt-5.4", messages=[{"role": "user", "content": "hi"}]
            )
        assert done.choices is None
        assert done.error["code"] == "invalid_api_key"
        return
    with open_anthropic(sim.base_url) as claude:
        said: Any = claude.messages.create(
            model="claude-sonnet-4-6", max_tokens=9, messages=[{"role": "user", "content": "hi"}]
        )
    assert said.type == "error"
    assert said.error["type"] == "authentication_error"
