"""Healthy answers: tool calls, usage and last words are where each format has them."""

import itertools

import httpx
import pytest

from rollout_console.sim.tools import tool_fields
from tests.sim.asking import KINDS, SIDES, ask, finish_of, frames

ALL = pytest.mark.parametrize(("kind", "side"), list(itertools.product(KINDS, SIDES)))
CHAT, RESPONSES, CLAUDE, GEMINI = KINDS


@ALL
@pytest.mark.parametrize("stream", [False, True])
def test_a_healthy_answer_calls_the_tool_it_is_asked_for(
    api: httpx.Client, kind: str, side: str, stream: bool
) -> None:
    answer = ask(api, kind, side, stream=stream, **tool_fields(kind))
    ends = {CHAT: "tool_calls", RESPONSES: "completed", CLAUDE: "tool_use", GEMINI: "STOP"}
    values = [frame.value for frame in frames(answer.content)] if stream else [answer.json()]
    last = values[{CHAT: -2, CLAUDE: -2}.get(kind, -1)] if stream else values[0]
    assert finish_of(kind, last) == ends[kind]


@ALL
def test_usage_is_where_the_format_has_it(api: httpx.Client, kind: str, side: str) -> None:
    more = {"stream_options": {"include_usage": True}} if kind == CHAT else {}
    values = [f.value for f in frames(ask(api, kind, side, stream=True, **more).content)]
    if kind == CHAT:
        assert values[-2]["choices"] == []
        assert values[-2]["usage"]["completion_tokens"] == 14
        assert all(value["usage"] is None for value in values[:-2])
        without = frames(ask(api, kind, side, stream=True).content)
        assert not [f for f in without[:-1] if "usage" in f.value or not f.value["choices"]]
    if kind == RESPONSES:
        assert values[-1]["response"]["usage"]["output_tokens"] == 14
        assert [value["sequence_number"] for value in values] == list(range(len(values)))
    if kind == CLAUDE:
        assert values[0]["message"]["usage"]["input_tokens"] > 0
        assert values[-2]["usage"]["output_tokens"] == 14
    if kind == GEMINI:
        assert values[-1]["usageMetadata"]["candidatesTokenCount"] == 14
