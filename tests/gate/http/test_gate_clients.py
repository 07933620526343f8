"""The official SDKs through the gate's clients: one line to adopt, over loopback."""

import asyncio
import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import httpx2
import pytest

from rollout_console.sim.server import SimServer
from rollout_console.sim.state import DEMO_KEY
from rollout_gate import Gate, subject
from rollout_gate.file.formats import sdk_base_url
from rollout_gate.file.model import TEXT_FORMATS
from rollout_gate.http import async_client, client
from tests.support.sdks import anthropic, genai, openai, types
from tests.support.waiting import until

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]

PREVIOUS_KEY = "prev-of-somebody"
MODELS = {
    "openai_chat_completions": "gpt-5.4",
    "openai_responses": "gpt-5.4",
    "anthropic_messages": "claude-sonnet-4-6",
    "gemini_generate_content": "gemini-3.5-flash",
    "video": "kling-v3",
}
SAID = [{"role": "user", "content": "hi"}]


class World:
    """A rollout file on the simulator, the gate on it, and the log that its clients write."""

    def __init__(self, folder: Path, sim: SimServer) -> None:
        self.sim = sim
        self.path = folder / "rollout.toml"
        self.log = folder / "access.jsonl"
        self.write(0)
        self.gate = Gate(self.path, poll_s=60)

    def write(self, percent: float, *, rolled_back: bool = False, model: str | None = None) -> None:
        lines = [
            "schema = 1",
            'algorithm = "fractional-v3"',
            f"rolled_back = {str(rolled_back).lower()}",
            f'[tokenlab]\nbase_url = "{self.sim.base_url}"',
        ]
        for kind, name in MODELS.items():
            base = sdk_base_url(kind, self.sim.previous_base_url)
            lines += [
                f'[routes.{kind}]\nformat = "{kind}"\nmodel = "{model or name}"',
                f'previous_base_url = "{base}"',
                f"[routes.{kind}.orgs]\nacme = {percent}",
            ]
        self.path.write_text("\n".join(lines) + "\n")

    def set(self, percent: float, **more: Any) -> None:
        self.write(percent, **more)
        self.gate.refresh()
        self.gate.refresh()

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.read_text().splitlines()]

    def options(self, **more: Any) -> dict[str, Any]:
        return {"org": "acme", "tokenlab_key": DEMO_KEY, **more}


@pytest.fixture
def world(tmp_path: Path, sim: SimServer) -> Iterator[World]:
    made = World(tmp_path, sim)
    yield made
    made.gate.close()


def by_openai(world: World, http: Any, kind: str, stream: bool, **more: Any) -> None:
    url = sdk_base_url(kind, world.sim.previous_base_url)
    with openai.OpenAI(base_url=url, api_key=PREVIOUS_KEY, http_client=http, **more) as sdk:
        if kind == "openai_responses":
            made: Any = sdk.responses.create(model="gpt-5.4", input="hi", stream=stream)
        else:
            made = sdk.chat.completions.create(
                model="gpt-5.4",
                messages=SAID,  # type: ignore[arg-type]
                stream=stream,
            )
        assert list(made) if stream else made.id


def by_anthropic(world: World, http: Any, kind: str, stream: bool, **more: Any) -> None:
    url = sdk_base_url(kind, world.sim.previous_base_url)
    ask: dict[str, Any] = {"model": "claude-sonnet-4-6", "max_tokens": 64, "messages": SAID}
    with anthropic.Anthropic(base_url=url, api_key=PREVIOUS_KEY, http_client=http, **more) as sdk:
        if stream:
            with sdk.messages.stream(**ask) as events:
                assert events.get_final_message().content
        else:
            assert sdk.messages.create(**ask).content


def by_genai(world: World, http: Any, kind: str, stream: bool) -> None:
    options = types.HttpOptions(
        base_url=world.sim.previous_base_url, api_version="v1beta", httpx_client=http
    )
    sdk = genai.Client(api_key=PREVIOUS_KEY, http_options=options)
    ask: dict[str, Any] = {"model": "gemini-3.5-flash", "contents": "hi"}
    if stream:
        assert list(sdk.models.generate_content_stream(**ask))[-1].candidates
    else:
        assert sdk.models.generate_content(**ask).candidates
    sdk.close()


SDKS: dict[str, Callable[..., None]] = {
    "openai_chat_completions": by_openai,
    "openai_responses": by_openai,
    "anthropic_messages": by_anthropic,
    "gemini_generate_content": by_genai,
}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("kind", TEXT_FORMATS)
@pytest.mark.parametrize(("percent", "side"), [(0, "previous"), (100, "tokenlab")])
def test_every_sdk_goes_to_the_side_decided_and_leaves_one_line(
    world: World, api: httpx.Client, kind: str, stream: bool, percent: int, side: str
) -> None:
    api.delete("/_sim/requests")
    world.set(percent)
    SDKS[kind](world, client(world.gate, kind, **world.options()), kind, stream)
    (line,) = world.lines()
    wanted = {"route": kind, "org": "acme", "side": side, "status": 200, "model": MODELS[kind]}
    assert {name: line[name] for name in wanted} == wanted
    assert line["stream"] is stream
    assert line["attempt"] == 1
    assert "error" not in line
    assert ("ttft_ms" in line) is stream
    if side == "tokenlab":
        assert line["request_id"]
    # The simulator counts a stream when its last byte is gone, and an SDK may be done before.
    until(lambda: api.get("/_sim/requests").json()["total"][side] == 1)
    served = api.get("/_sim/requests").json()
    assert sum(served["total"].values()) == 1
    assert served["credential_leaks"] == 0


def test_the_older_httpx_works_as_well(world: World) -> None:
    world.set(100)
    with client(world.gate, "openai_responses", **world.options(library="httpx")) as http:
        assert isinstance(http, httpx.Client)
        url = f"{world.sim.previous_base_url}/v1/responses"
        answer = http.post(url, json={"model": "gpt-5.4", "input": "hi"})
        assert answer.json()["status"] == "completed"
    assert [line["side"] for line in world.lines()] == ["tokenlab"]


async def test_the_async_sdks(world: World) -> None:
    world.set(100)
    url = sdk_base_url("openai_chat_completions", world.sim.previous_base_url)
    http = async_client(world.gate, "openai_chat_completions", **world.options())
    async with openai.AsyncOpenAI(base_url=url, api_key=PREVIOUS_KEY, http_client=http) as sdk:
        made: Any = await sdk.chat.completions.create(
            model="gpt-5.4",
            messages=SAID,  # type: ignore[arg-type]
            stream=True,
        )
        assert [event async for event in made]
    http = async_client(world.gate, "anthropic_messages", **world.options())
    async with anthropic.AsyncAnthropic(
        base_url=world.sim.previous_base_url, api_key=PREVIOUS_KEY, http_client=http
    ) as claude:
        assert await claude.messages.create(
            model="claude-sonnet-4-6",
            max_tokens=64,
            messages=SAID,  # type: ignore[arg-type]
        )
    http = async_client(world.gate, "gemini_generate_content", **world.options())
    options = types.HttpOptions(
        base_url=world.sim.previous_base_url, api_version="v1beta", httpx_async_client=http
    )
    async with http:  # the SDK leaves a client that it was given open
        gemini = genai.Client(api_key=PREVIOUS_KEY, http_options=options)
        assert await gemini.aio.models.generate_content(model="gemini-3.5-flash", contents="hi")
        await gemini.aio.aclose()
    assert [line["side"] for line in world.lines()] == ["tokenlab"] * 3


def test_whom_a_request_is_for_is_said_by_client_block_or_header(
    world: World, api: httpx.Client
) -> None:
    world.set(100)
    url = f"{world.sim.previous_base_url}/v1/responses"
    body = {"model": "gpt-5.4", "input": "hi"}
    with client(world.gate, "openai_responses", **world.options()) as http:
        http.post(url, json=body)
        with subject(org="globex.eu", key="user-1"):
            http.post(url, json=body)
            http.post(url, json=body, headers={"X-Rollout-Org": "acme"})
    assert [(line["org"], line["side"]) for line in world.lines()] == [
        ("acme", "tokenlab"), ("globex.eu", "previous"), ("acme", "tokenlab"),
    ]  # fmt: skip


WITHOUT_ORG = (
    "requests on route openai_responses come without an org, so no org's share or rollback reaches"
    " them; give it with subject(org=...), client(..., org=...) or the header X-Rollout-Org, and"
    ' org="" where there is none'
)


def post_responses(http: Any, **headers: str) -> None:
    body = {"model": "gpt-5.4", "input": "hi"}
    sent = {f"X-Rollout-{name}": value for name, value in headers.items()}
    assert http.post("https://x/v1/responses", json=body, headers=sent).status_code == 200


def test_a_request_without_an_org_goes_on_and_is_told_once_per_route(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    told: list[str] = []

    def hear(text: str) -> None:
        told.append(text)
        raise RuntimeError("a fault of the application")

    world.set(100)
    world.gate.subscribe(on_trouble=hear)
    options = world.options(org=None, previous_key=PREVIOUS_KEY)
    with client(world.gate, "openai_responses", **options) as http:
        with subject(org="acme"):
            post_responses(http)
        post_responses(http, Org="")
        world.gate.refresh()
        assert told == []
        for _ in range(3):
            post_responses(http, Key="user-1")  # on this route an org has a line
        assert told == []  # no request waits for a callback
        world.gate.refresh()
        world.gate.refresh()
    assert told == [WITHOUT_ORG]
    with client(world.gate, "openai_responses", **options) as http:
        post_responses(http)
    world.gate.refresh()
    assert told == [WITHOUT_ORG]  # a client for each request would say it without end
    records = [one for one in caplog.records if one.getMessage() == WITHOUT_ORG]
    assert [(one.name, one.levelname) for one in records] == [("rollout_gate", "WARNING")]
    assert world.gate.trouble == ""
    assert [line["org"] for line in world.lines()] == ["acme", "", "", "", "", ""]


def test_of_many_at_once_one_says_that_the_org_is_missing(world: World) -> None:
    told: list[str] = []
    world.gate.subscribe(on_trouble=told.append)
    begin = threading.Barrier(8)
    with client(world.gate, "openai_responses", **world.options(org=None, inner=Seen())) as http:

        def run() -> None:
            begin.wait()
            post_responses(http)

        threads = [threading.Thread(target=run) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    world.gate.refresh()
    assert told == [WITHOUT_ORG]


def test_a_route_that_is_shared_by_key_alone_needs_no_org(world: World) -> None:
    told: list[str] = []
    world.path.write_text(world.path.read_text().replace("acme = 0", ""))
    world.gate.refresh()
    world.gate.refresh()
    world.gate.subscribe(on_trouble=told.append)
    options = world.options(org=None, previous_key=PREVIOUS_KEY)
    with client(world.gate, "openai_responses", **options) as http:
        post_responses(http, Key="user-1")
        world.gate.refresh()
        assert told == []
        post_responses(http, Key="")  # with neither, all of them are one subject
        world.gate.refresh()
    assert told == [WITHOUT_ORG]


def test_that_the_org_is_missing_is_told_by_the_gates_own_thread(world: World) -> None:
    told: list[tuple[str, str]] = []

    def hear(text: str) -> None:
        told.append((text, threading.current_thread().name))

    with Gate(world.path, poll_s=0.05, on_trouble=hear) as gate:
        with client(gate, "openai_responses", **world.options(org=None, inner=Seen())) as http:
            post_responses(http)
        until(lambda: told == [(WITHOUT_ORG, "rollout-gate")])


class Seen(httpx2.BaseTransport):
    """Answers by itself and keeps what it was sent."""

    def __init__(self, *statuses: int) -> None:
        self.requests: list[httpx2.Request] = []
        self.statuses = list(statuses)

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        request.read()
        self.requests.append(request)
        status = self.statuses.pop(0) if self.statuses else 200
        return httpx2.Response(status, json={"id": "x", "error": {"code": "some_error"}})


SECRETS = {
    "Authorization": "Bearer sk-previous", "x-api-key": "previous", "x-goog-api-key": "previous",
    "OpenAI-Organization": "org-previous", "Cookie": "session=previous",
    "X-Rollout-Org": "acme", "X-Rollout-Key": "user-1", "X-Rollout-Job-Id": "job",
}  # fmt: skip


@pytest.mark.parametrize("version", ["v1", "v1beta", "v1alpha"])
def test_every_version_of_googles_path_is_one_to_tokenlab(world: World, version: str) -> None:
    seen = Seen()
    with client(world.gate, "gemini_generate_content", **world.options(inner=seen)) as http:
        for percent in (100, 0):
            world.set(percent)
            http.post(f"https://x/{version}/models/a%2Fb:generateContent", json={})
    there, back = (request.url.raw_path.decode() for request in seen.requests)
    assert there == f"/v1beta/models/{MODELS['gemini_generate_content']}:generateContent"
    assert back == f"/_previous/{version}/models/a%2Fb:generateContent"


@pytest.mark.parametrize("kind", TEXT_FORMATS)
def test_neither_side_gets_the_others_credential_nor_our_headers(world: World, kind: str) -> None:
    seen = Seen()
    path = {
        "openai_chat_completions": "/v1/chat/completions",
        "openai_responses": "/v1/responses",
        "anthropic_messages": "/v1/messages",
        "gemini_generate_content": "/v1beta/models/old:generateContent?key=previous&alt=json",
    }[kind]
    with client(world.gate, kind, **world.options(inner=seen)) as http:
        for percent in (100, 0):
            world.set(percent)
            http.post("https://before.example" + path, json={"model": "old"}, headers=SECRETS)
    there, back = seen.requests
    assert str(there.url).startswith(world.sim.base_url + "/v1")
    assert "previous" not in f"{there.url}{there.headers.raw}{there.content!r}"
    assert DEMO_KEY in repr(there.headers.raw)
    assert str(back.url) == world.sim.previous_base_url + path
    assert DEMO_KEY not in repr(back.headers.raw)
    assert back.headers["x-api-key"] == "previous"
    for request in (there, back):
        assert "rollout" not in repr(request.headers.raw)
        assert request.headers["host"] == request.url.netloc.decode()


def test_the_previous_side_can_be_given_a_credential_of_its_own(world: World) -> None:
    seen = Seen()
    given = iter(["first", "second"])
    options = world.options(inner=seen, previous_key=lambda: next(given))
    with client(world.gate, "openai_responses", **options) as http:
        for _ in range(2):
            http.post("https://x/v1/responses", json={"model": "m"}, headers=SECRETS)
    assert [r.headers["authorization"] for r in seen.requests] == ["Bearer first", "Bearer second"]


def test_models_are_named_by_side(world: World) -> None:
    seen = Seen()
    body = b'{"input": [1.50, {"a": "\\u00e9"}], "model": "old", "n": 12345678901234567890}'
    json_type = {"Content-Type": "application/json"}
    with client(world.gate, "openai_responses", **world.options(inner=seen)) as http:
        world.set(100, model="new-name")
        http.post("https://x/v1/responses", content=body, headers=json_type)
        world.set(0, model="new-name")
        http.post("https://x/v1/responses", content=body, headers=json_type)
    options = world.options(inner=seen, models={"previous": "theirs"})
    with client(world.gate, "gemini_generate_content", **options) as http:
        http.post("https://x/v1beta/models/old:streamGenerateContent?alt=sse", json={})
    new, old, gemini = seen.requests
    assert json.loads(new.content) == json.loads(body) | {"model": "new-name"}
    assert b"1.50" in new.content
    assert b"12345678901234567890" in new.content
    assert old.content == body
    assert gemini.url.path.endswith("/v1beta/models/theirs:streamGenerateContent")
    assert gemini.url.query == b"alt=sse"
    assert [line["model"] for line in world.lines()] == ["new-name", "old", "theirs"]


def test_what_is_none_of_the_routes_requests_goes_where_it_was_going(world: World) -> None:
    seen = Seen()
    world.set(100)
    with client(world.gate, "openai_responses", **world.options(inner=seen)) as http:
        http.get("https://before.example/v1/models", headers=SECRETS)
        http.post("https://before.example/v1/chat/completions", json={}, headers=SECRETS)
    assert [request.url.host for request in seen.requests] == ["before.example"] * 2
    assert seen.requests[0].headers["authorization"] == "Bearer sk-previous"
    assert DEMO_KEY not in repr([request.headers.raw for request in seen.requests])
    assert not world.log.exists()


def test_a_retry_stays_on_the_side_first_chosen(world: World) -> None:
    class Turning(Seen):
        def handle_request(self, request: httpx2.Request) -> httpx2.Response:
            answer = super().handle_request(request)
            world.set(0)
            return answer

    world.set(100)
    seen = Turning(503, 429)
    http = client(world.gate, "openai_responses", **world.options(inner=seen))
    url = "https://x/v1"
    with openai.OpenAI(base_url=url, api_key="k", http_client=http, max_retries=3) as sdk:
        sdk.responses.create(model="gpt-5.4", input="hi")
        sdk.responses.create(model="gpt-5.4", input="hi")
    found = [(line["side"], line["status"], line["attempt"]) for line in world.lines()]
    assert found == [
        ("tokenlab", 503, 1), ("tokenlab", 429, 2), ("tokenlab", 200, 3), ("previous", 200, 1),
    ]  # fmt: skip
    assert world.lines()[0]["error"] == "some_error"


def test_what_asks_the_same_again_and_again_sees_a_rollback(world: World) -> None:
    world.set(100)
    seen = Seen(*[503] * 50)
    url, body = "https://x/v1/responses", {"model": "m", "input": "are you there?"}
    with client(world.gate, "openai_responses", **world.options(inner=seen)) as http:
        http.post(url, json=body)
        world.set(100, rolled_back=True)
        for _ in range(9):
            http.post(url, json=body)
        says_so = {"x-stainless-retry-count": "0"}
        world.set(100)
        http.post(url, json=body, headers=says_so)
        world.set(100, rolled_back=True)
        http.post(url, json=body, headers=says_so)
    sides = [line["side"] for line in world.lines()]
    assert sides == ["tokenlab"] * 5 + ["previous"] * 5 + ["tokenlab", "previous"]


def test_a_cookie_of_one_side_is_not_sent_to_the_other(world: World) -> None:
    class Baker(Seen):
        def handle_request(self, request: httpx2.Request) -> httpx2.Response:
            answer = super().handle_request(request)
            answer.headers["set-cookie"] = "session=there"
            return answer

    seen = Baker()
    with client(world.gate, "openai_responses", **world.options(inner=seen)) as http:
        for percent in (100, 0, 0):
            world.set(percent)
            http.post("https://before.example/v1/responses", json={"model": "m"})
    assert [request.headers.get("cookie") for request in seen.requests] == [
        None, None, None,
    ], "nor to the host that the SDK was made for"  # fmt: skip


@pytest.mark.parametrize(
    ("fault", "status", "error"),
    [
        ({"kind": "error", "status": 503}, 503, None),
        ({"kind": "drop"}, 0, "protocol"),
        ({"kind": "truncate"}, 0, "protocol"),
    ],
    ids=["error", "drop", "truncate"],
)
def test_a_fault_of_the_gateway_is_in_the_log_and_raises_what_it_always_raised(
    world: World, api: httpx.Client, fault: dict[str, Any], status: int, error: str | None
) -> None:
    world.set(100)
    api.post("/_sim/faults", json={"side": "tokenlab", **fault}).raise_for_status()
    http = client(world.gate, "openai_chat_completions", **world.options())
    with pytest.raises((openai.APIError, httpx2.HTTPError)):
        by_openai(world, http, "openai_chat_completions", stream=True, max_retries=0)
    (line,) = world.lines()
    assert (line["side"], line["status"]) == ("tokenlab", status)
    assert line["error"] == error if error else line["error"]
    assert line["stream"] is True


def test_a_side_that_is_not_there_or_stalls(world: World, api: httpx.Client) -> None:
    world.set(100)
    api.post("/_sim/faults", json={"side": "tokenlab", "kind": "slow", "latency_ms": 5000})
    body = {"model": "gpt-5.4", "input": "hi"}
    with client(world.gate, "openai_responses", **world.options()) as http:
        with pytest.raises(httpx2.ReadTimeout):
            http.post("https://x/v1/responses", json=body, timeout=0.2)
        text = world.path.read_text().replace(world.sim.base_url + '"', 'http://127.0.0.1:9"')
        world.path.write_text(text)
        world.gate.refresh()
        world.gate.refresh()
        with pytest.raises(httpx2.ConnectError):
            http.post("https://x/v1/responses", json=body)
    assert [(line["status"], line["error"]) for line in world.lines()] == [
        (0, "timeout"), (0, "connect"),
    ]  # fmt: skip


async def test_a_task_that_is_cancelled_and_a_stream_that_is_left(
    world: World, api: httpx.Client
) -> None:
    world.set(100)
    url = "https://x/v1/chat/completions"
    body = {"model": "gpt-5.4", "messages": SAID, "stream": True}
    async with async_client(world.gate, "openai_chat_completions", **world.options()) as http:
        async with http.stream("POST", url, json=body) as answer:
            async for _ in answer.aiter_bytes():
                break
        slow = {"side": "tokenlab", "kind": "slow", "latency_ms": 5000}
        await asyncio.to_thread(api.post, "/_sim/faults", json=slow)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(http.post(url, json=body), 0.2)
    assert [(line["status"], line["error"]) for line in world.lines()] == [
        (200, "abandoned"), (0, "cancelled"),
    ]  # fmt: skip


def test_without_a_good_file_all_goes_as_it_came_and_is_logged(tmp_path: Path) -> None:
    seen = Seen()
    with (
        Gate(tmp_path / "none.toml") as gate,
        client(gate, "chat", org="acme", tokenlab_key=DEMO_KEY, inner=seen) as http,
    ):
        http.post("https://x/v1/chat/completions", json={"model": "m"}, headers=SECRETS)
    assert str(seen.requests[0].url) == "https://x/v1/chat/completions"
    assert seen.requests[0].headers["authorization"] == "Bearer sk-previous"
    line = json.loads((tmp_path / "access.jsonl").read_text())
    assert (line["route"], line["side"], line["model"]) == ("chat", "previous", "m")


def test_a_log_that_cannot_be_written_fails_no_request(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.set(100)
    world.log.mkdir()
    with client(world.gate, "openai_responses", **world.options()) as http:
        for _ in range(3):
            answer = http.post("https://x/v1/responses", json={"model": "gpt-5.4", "input": "hi"})
            assert answer.status_code == 200
    assert [record.getMessage() for record in caplog.records if "lost" in record.getMessage()] == [
        f"{world.log} cannot be written to: Is a directory; 1 lines lost"
    ]


def test_a_key_for_tokenlab_is_needed(world: World) -> None:
    with pytest.raises(ValueError, match="TOKENLAB_API_KEY"):
        client(world.gate, "chat")


@pytest.mark.slow
def test_a_side_that_drips_or_sends_garbage_reaches_the_sdk_as_it_is(
    world: World, api: httpx.Client
) -> None:
    world.set(100)
    url, body = "https://x/v1/responses", {"model": "gpt-5.4", "input": "hi"}
    with client(world.gate, "openai_responses", **world.options()) as http:
        for kind in ("drip", "garbage"):
            fault = {"side": "tokenlab", "kind": kind, "latency_ms": 2}
            api.post("/_sim/faults", json=fault).raise_for_status()
            answer = http.post(url, json=body)
            api.delete("/_sim/faults")
            assert answer.status_code == 200
            assert answer.content.startswith(b"<html>") is (kind == "garbage")
    assert [line["status"] for line in world.lines()] == [200, 0]
    assert world.lines()[1]["error"] == "protocol"


@pytest.mark.parametrize("org", ["", "é", "e\u0301", "漢字", "😀", "o" * 256, 'a"b\\', "\u202e"])
def test_orgs_of_any_text(world: World, org: str) -> None:
    made = client(world.gate, "openai_responses", **world.options(inner=Seen()))
    with made as http, subject(org=org):
        assert http.post("https://x/v1/responses", json={"model": "m"}).status_code == 200
    assert world.lines()[0]["org"] == org


def test_an_interpreter_that_ends_with_requests_in_flight_ends_quietly(
    world: World, api: httpx.Client
) -> None:
    world.set(100)
    api.post("/_sim/faults", json={"kind": "slow", "latency_ms": 3000}).raise_for_status()
    script = f"""
import threading, time
from rollout_gate import Gate
from rollout_gate.http import client
http = client(Gate({str(world.path)!r}), "openai_responses", org="acme", tokenlab_key="sk-x")
def run():
    http.post("https://x/v1/responses", json={{"model": "gpt-5.4", "input": "hi"}})
for _ in range(4):
    threading.Thread(target=run, daemon=True).start()
time.sleep(0.5)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=30
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_a_forked_child_goes_on_by_itself(world: World) -> None:
    script = f"""
import os
from rollout_gate import Gate
from rollout_gate.http import client
gate = Gate({str(world.path)!r})
def post():
    http = client(gate, "openai_responses", org="acme", tokenlab_key={DEMO_KEY!r})
    answer = http.post("https://x/v1/responses", json={{"model": "gpt-5.4", "input": "hi"}})
    assert answer.status_code == 200
post()
if os.fork() == 0:
    post()
    os._exit(0)
raise SystemExit(os.waitstatus_to_exitcode(os.wait()[1]))
"""
    world.set(100)
    done = subprocess.run(
        # From 3.12 on, CPython warns of every fork of a process with threads, as this one is.
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", script],
        capture_output=True, text=True, check=False, timeout=30,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert [line["side"] for line in world.lines()] == ["tokenlab"] * 2
