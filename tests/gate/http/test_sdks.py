"""The simulator is faithful if the official SDKs take its answers for the real ones."""

import asyncio
import json
from typing import Any

import httpx
import httpx2
import pytest

from rollout_console.sim.server import SimServer
from rollout_gate.file.model import TEXT_FORMATS
from tests.gate.http.clients import CALLS, KEY, SCHEMA, TEXT, Answer, open_anthropic, open_openai
from tests.support.sdks import anthropic, errors, genai, openai, types

# The SDKs' own, of no concern here.
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]

MODEL = {
    "openai_chat_completions": "gpt-5.4",
    "openai_responses": "gpt-5.4",
    "anthropic_messages": "claude-sonnet-4-6",
    "gemini_generate_content": "gemini-3.5-flash",
}
END = {
    "openai_chat_completions": ("stop", "tool_calls"),
    "openai_responses": ("completed", "completed"),
    "anthropic_messages": ("end_turn", "tool_use"),
    "gemini_generate_content": ("STOP", "STOP"),
}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("kind", TEXT_FORMATS)
@pytest.mark.parametrize("side", ["tokenlab", "previous"])
def test_an_answer(sim: SimServer, kind: str, stream: bool, side: str) -> None:
    previous = (sim.previous_base_url, "prev-of-somebody")
    url, key = (sim.base_url, KEY) if side == "tokenlab" else previous
    answer = CALLS[kind](url, stream=stream, key=key)
    assert answer == Answer(TEXT, MODEL[kind], answer.tokens_in, 14, END[kind][0])
    assert answer.tokens_in > 0


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("kind", TEXT_FORMATS)
def test_a_tool_call(sim: SimServer, kind: str, stream: bool) -> None:
    answer = CALLS[kind](sim.base_url, stream=stream, tool=True)
    assert answer.tool is not None
    name, given = answer.tool
    arguments = json.loads(given) if isinstance(given, str) else given
    assert name == "weather"
    assert set(arguments) == set(SCHEMA["required"])
    assert isinstance(arguments["city"], str)
    assert isinstance(arguments["days"], int)
    assert answer.finish == END[kind][1]


RAISED = {
    400: ("BadRequestError", "BadRequestError", "ClientError"),
    401: ("AuthenticationError", "AuthenticationError", "ClientError"),
    402: ("APIStatusError", "APIStatusError", "ClientError"),
    403: ("PermissionDeniedError", "PermissionDeniedError", "ClientError"),
    404: ("NotFoundError", "NotFoundError", "ClientError"),
    409: ("ConflictError", "ConflictError", "ClientError"),
    413: ("APIStatusError", "APIStatusError", "ClientError"),
    429: ("RateLimitError", "RateLimitError", "ClientError"),
    500: ("InternalServerError", "InternalServerError", "ServerError"),
    502: ("InternalServerError", "InternalServerError", "ServerError"),
    503: ("InternalServerError", "APIStatusError", "ServerError"),
    504: ("InternalServerError", "APIStatusError", "ServerError"),
}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("status", RAISED)
@pytest.mark.parametrize("kind", TEXT_FORMATS)
def test_an_error_status(
    sim: SimServer, api: httpx.Client, kind: str, status: int, stream: bool
) -> None:
    api.post("/_sim/faults", json={"status": status}).raise_for_status()
    of_openai, of_anthropic, of_google = RAISED[status]
    sdk, name = {
        "anthropic_messages": (anthropic, of_anthropic),
        "gemini_generate_content": (errors, of_google),
    }.get(kind, (openai, of_openai))
    with pytest.raises(getattr(sdk, name)) as raised:
        CALLS[kind](sim.base_url, stream=stream)
    error: Any = raised.value
    assert (error.code if kind == "gemini_generate_content" else error.status_code) == status
    assert error.message
    if kind.startswith("openai_"):
        assert error.type
        assert error.request_id
    if kind == "anthropic_messages":
        assert error.body["error"]["type"]
        assert error.body["type"] == "error"
    if kind == "gemini_generate_content":
        assert error.status
    if status in (429, 503) and kind != "gemini_generate_content":
        assert float(error.response.headers["retry-after"]) > 0


def test_a_refusal_that_is_no_fault(sim: SimServer) -> None:
    """A model that is not there, a format that a model does not take, a key of the wrong kind."""
    with open_openai(sim.base_url) as client, pytest.raises(openai.BadRequestError) as missing:
        client.chat.completions.create(
            model="gpt-5.44", messages=[{"role": "user", "content": "x"}]
        )
    assert missing.value.code == "model_not_found"
    with open_anthropic(sim.base_url) as claude, pytest.raises(anthropic.BadRequestError) as wrong:
        claude.messages.create(
            model="gpt-5.4", max_tokens=9, messages=[{"role": "user", "content": "x"}]
        )
    assert "does not accept anthropic_messages" in str(wrong.value)
    with pytest.raises(openai.AuthenticationError):
        CALLS["openai_responses"](sim.base_url, stream=False, key="mt-sim-demo")


@pytest.mark.parametrize("kind", TEXT_FORMATS)
@pytest.mark.parametrize("fault", ["truncate", "drop"])
def test_a_stream_that_breaks_is_not_taken_for_whole(
    sim: SimServer, api: httpx.Client, kind: str, fault: str
) -> None:
    api.post("/_sim/faults", json={"kind": fault}).raise_for_status()
    broken = (
        openai.APIError, anthropic.APIError, httpx2.HTTPError, errors.APIError,
        errors.UnknownApiResponseError, ValueError, AssertionError,
    )  # fmt: skip
    with pytest.raises(broken):
        CALLS[kind](sim.base_url, stream=True)


@pytest.mark.slow
def test_the_sdks_wait_as_they_are_told(sim: SimServer, api: httpx.Client) -> None:
    """Their own retry takes Retry-After: one answer after one refusal, no sooner than 2 s."""
    api.post("/_sim/faults", json={"status": 429}).raise_for_status()
    asked: list[float] = []

    def once(request: httpx2.Request) -> None:
        asked.append(asyncio.run(_now()))
        if len(asked) == 2:
            api.delete("/_sim/faults").raise_for_status()

    with openai.OpenAI(
        base_url=f"{sim.base_url}/v1",
        api_key=KEY,
        max_retries=1,
        http_client=openai.DefaultHttpxClient(event_hooks={"request": [once]}),
    ) as client:
        done = client.responses.create(model="gpt-5.4", input="hi")
    assert done.output_text == TEXT
    assert len(asked) == 2
    assert asked[1] - asked[0] >= 2


async def _now() -> float:
    return asyncio.get_running_loop().time()


async def test_the_async_clients_at_the_same_time(sim: SimServer) -> None:
    google = genai.Client(
        api_key=KEY,
        http_options=types.HttpOptions(
            base_url=sim.base_url,
            api_version="v1beta",
            headers={"Authorization": f"Bearer {KEY}"},
        ),
    )
    async with (
        openai.AsyncOpenAI(base_url=f"{sim.base_url}/v1", api_key=KEY) as chat,
        anthropic.AsyncAnthropic(base_url=sim.base_url, api_key=KEY) as claude,
        google.aio as gemini,
    ):
        found = await asyncio.gather(
            chat.chat.completions.create(
                model="gpt-5.4", messages=[{"role": "user", "content": "hi"}]
            ),
            chat.responses.create(model="gpt-5.4", input="hi"),
            claude.messages.create(
                model="claude-sonnet-4-6",
                max_tokens=9,
                messages=[{"role": "user", "content": "hi"}],
            ),
            gemini.models.generate_content(model="gemini-3.5-flash", contents="hi"),
        )
    one, two, three, four = found
    assert one.choices[0].message.content == two.output_text == TEXT
    assert getattr(three.content[0], "text", "") == four.text == TEXT


def test_the_catalogue_and_an_image_through_the_openai_sdk(sim: SimServer) -> None:
    with open_openai(sim.base_url) as client:
        ids = [model.id for model in client.models.list()]
        assert len(ids) >= 150
        assert client.models.retrieve("gpt-5.4").id == "gpt-5.4"
        with pytest.raises(openai.NotFoundError):
            client.models.retrieve("gpt-5.44")
        image = client.images.generate(model="openai-image-1", prompt="a red cube")
    assert image.data is not None
    assert image.data[0].url
