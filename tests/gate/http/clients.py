"""The official clients as an application makes them, and one call in each format."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from rollout_gate.file.formats import sdk_base_url
from tests.support.sdks import anthropic, genai, openai, types

KEY = "sk-sim-demo"
TEXT = "The request was understood and this is the short simulated answer to it ."
SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
    "required": ["city", "days"],
}
WEATHER = {"name": "weather", "description": "the weather", "parameters": SCHEMA}


@dataclass(frozen=True)
class Answer:
    """What an SDK understood, whichever it is."""

    text: str
    model: str
    tokens_in: int
    tokens_out: int
    finish: str
    tool: tuple[str, Any] | None = None


@contextmanager
def open_openai(base_url: str, key: str = KEY) -> "Iterator[openai.OpenAI]":
    url = sdk_base_url("openai_chat_completions", base_url)
    with openai.OpenAI(base_url=url, api_key=key, max_retries=0) as client:
        yield client


@contextmanager
def open_anthropic(base_url: str, key: str = KEY) -> "Iterator[anthropic.Anthropic]":
    url = sdk_base_url("anthropic_messages", base_url)
    with anthropic.Anthropic(base_url=url, api_key=key, max_retries=0) as client:
        yield client


@contextmanager
def open_genai(base_url: str, key: str = KEY) -> "Iterator[genai.Client]":
    """The SDK's own key header is Google's; TokenLab's guide wants a Bearer token beside it."""
    options = types.HttpOptions(
        base_url=sdk_base_url("gemini_generate_content", base_url),
        api_version="v1beta",
        headers={"Authorization": f"Bearer {key}"},
    )
    client = genai.Client(api_key=key, http_options=options)
    try:
        yield client
    finally:
        client.close()


def chat(base_url: str, *, stream: bool, tool: bool = False, key: str = KEY) -> Answer:
    extra: dict[str, Any] = {}
    if tool:
        extra = {"tools": [{"type": "function", "function": WEATHER}], "tool_choice": "required"}
    ask: dict[str, Any] = {
        "model": "gpt-5.4",
        "messages": [{"role": "user", "content": "hi"}],
        **extra,
    }
    with open_openai(base_url, key) as client:
        if stream:
            with client.chat.completions.stream(
                **ask, stream_options={"include_usage": True}
            ) as events:
                done = events.get_final_completion()
        else:
            done = client.chat.completions.create(**ask)
    choice, usage = done.choices[0], done.usage
    assert usage is not None
    calls = choice.message.tool_calls
    called = (calls[0].function.name, calls[0].function.arguments) if calls else None
    return Answer(
        choice.message.content or "", done.model, usage.prompt_tokens, usage.completion_tokens,
        choice.finish_reason, called,
    )  # fmt: skip


def responses(base_url: str, *, stream: bool, tool: bool = False, key: str = KEY) -> Answer:
    extra: dict[str, Any] = {}
    if tool:
        extra = {"tools": [{"type": "function", **WEATHER}], "tool_choice": "required"}
    with open_openai(base_url, key) as client:
        if stream:
            with client.responses.stream(model="gpt-5.4", input="hi", **extra) as events:
                done: Any = events.get_final_response()
        else:
            done = client.responses.create(model="gpt-5.4", input="hi", **extra)
    item = done.output[0]
    called = (item.name, item.arguments) if item.type == "function_call" else None
    usage = done.usage
    return Answer(
        done.output_text, done.model, usage.input_tokens, usage.output_tokens, done.status, called
    )


def messages(base_url: str, *, stream: bool, tool: bool = False, key: str = KEY) -> Answer:
    ask: dict[str, Any] = {
        "model": "claude-sonnet-4-6",
        "max_tokens": 64,
        "messages": [{"role": "user", "content": "hi"}],
    }
    if tool:
        named = {"name": "weather", "description": "the weather", "input_schema": SCHEMA}
        ask |= {"tools": [named], "tool_choice": {"type": "tool", "name": "weather"}}
    with open_anthropic(base_url, key) as client:
        if stream:
            with client.messages.stream(**ask) as events:
                done: Any = events.get_final_message()
        else:
            done = client.messages.create(**ask)
    block = done.content[0]
    called = (block.name, block.input) if block.type == "tool_use" else None
    return Answer(
        "" if called else block.text, done.model, done.usage.input_tokens,
        done.usage.output_tokens, done.stop_reason, called,
    )  # fmt: skip


def gemini(base_url: str, *, stream: bool, tool: bool = False, key: str = KEY) -> Answer:
    config = None
    if tool:
        declared = types.FunctionDeclaration(
            name="weather",
            description="the weather",
            parameters=types.Schema(
                type=types.Type.OBJECT,
                properties={
                    "city": types.Schema(type=types.Type.STRING),
                    "days": types.Schema(type=types.Type.INTEGER),
                },
                required=["city", "days"],
            ),
        )
        calling = types.FunctionCallingConfig(mode=types.FunctionCallingConfigMode.ANY)
        config = types.GenerateContentConfig(
            tools=[types.Tool(function_declarations=[declared])],
            tool_config=types.ToolConfig(function_calling_config=calling),
        )
    ask: dict[str, Any] = {"model": "gemini-3.5-flash", "contents": "hi", "config": config}
    with open_genai(base_url, key) as client:
        if stream:
            pieces = list(client.models.generate_content_stream(**ask))
        else:
            pieces = [client.models.generate_content(**ask)]
    last = pieces[-1]
    calls = [call for piece in pieces for call in piece.function_calls or []]
    assert last.usage_metadata is not None
    assert last.candidates is not None
    reason = last.candidates[0].finish_reason
    return Answer(
        "" if calls else "".join(piece.text or "" for piece in pieces),
        last.model_version or "",
        last.usage_metadata.prompt_token_count or 0,
        last.usage_metadata.candidates_token_count or 0,
        reason.value if reason else "",
        (calls[0].name or "", calls[0].args) if calls else None,
    )


CALLS: dict[str, Callable[..., Answer]] = {
    "openai_chat_completions": chat,
    "openai_responses": responses,
    "anthropic_messages": messages,
    "gemini_generate_content": gemini,
}
