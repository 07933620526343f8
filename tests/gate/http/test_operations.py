"""Every operation of a route is seen: it has a line, and goes to the side that it belongs to."""

import asyncio
from typing import Any

import anthropic
import httpx2
import openai
import pytest

from rollout_gate.http import async_client, client
from rollout_gate.http.operations import operation_of
from tests.support.loopback import PREVIOUS, TOKENLAB, Received, Reply, TwoSides

CHAT, RESPONSES = "openai_chat_completions", "openai_responses"
MESSAGES, GEMINI = "anthropic_messages", "gemini_generate_content"

NAMED: list[tuple[str, str, str, str, bool]] = [
    (CHAT, "POST", "/v1/embeddings", "embeddings", False),
    (CHAT, "POST", "/openai/deployments/d/embeddings", "embeddings", False),
    (CHAT, "POST", "/v1/audio/speech", "speech", False),
    (CHAT, "POST", "/v1/audio/transcriptions", "transcriptions", False),
    (CHAT, "POST", "/v1/audio/translations", "translations", False),
    (CHAT, "POST", "/v1/moderations", "moderations", False),
    (CHAT, "GET", "/v1/files", "files", False),
    (CHAT, "GET", "/v1/files/file-1/content", "files", False),
    (CHAT, "POST", "/v1/batches/b-1/cancel", "batches", False),
    (CHAT, "GET", "/v1/chat/completions/c-1", "retrieve", False),
    (RESPONSES, "GET", "/v1/responses/resp_1", "retrieve", False),
    (RESPONSES, "POST", "/v1/responses/resp_1/cancel", "cancel", False),
    (RESPONSES, "DELETE", "/v1/responses/resp_1", "delete", False),
    (RESPONSES, "POST", "/v1/responses/input_tokens", "count_tokens", False),
    (RESPONSES, "POST", "/v1/responses/compact", "compact", True),
    (RESPONSES, "POST", "/v1/conversations", "conversations", False),
    (MESSAGES, "POST", "/v1/messages/count_tokens", "count_tokens", True),
    (MESSAGES, "POST", "/v1/messages/batches", "batches", False),
    (MESSAGES, "GET", "/v1/messages/batches/b-1/results", "batches", False),
    (MESSAGES, "GET", "/v1/files/f-1", "files", False),
    (GEMINI, "POST", "/v1beta/models/g:countTokens", "count_tokens", True),
    (GEMINI, "POST", "/v1beta/models/g:embedContent", "embeddings", False),
    (GEMINI, "POST", "/v1beta/models/g:batchGenerateContent", "batches", False),
    (GEMINI, "POST", "/v1beta/cachedContents", "cached_contents", False),
    (GEMINI, "GET", "/v1beta/files/f-1", "files", False),
    ("image", "POST", "/v1/images/edits", "edits", True),
    ("image", "POST", "/v1/images/variations", "variations", True),
]
NO_OPERATION = [
    (CHAT, "POST", "/v1/chat/completions"), (CHAT, "GET", "/v1/models"),
    (CHAT, "POST", "/v1/responses"), (RESPONSES, "POST", "/v1/responses"),
    (MESSAGES, "POST", "/v1/messages"), (MESSAGES, "GET", "/v1/models/m"),
    (GEMINI, "POST", "/v1beta/models/g:generateContent"), (GEMINI, "GET", "/v1beta/models"),
    ("image", "POST", "/v1/images/generations"), ("video", "GET", "/v1/tasks/t-1"),
    ("", "POST", "/v1/embeddings"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "method", "path", "name", "decided"), NAMED)
def test_an_operation_is_known_by_its_path(
    kind: str, method: str, path: str, name: str, decided: bool
) -> None:
    found = operation_of(kind, method, f"https://x{path}")
    assert found is not None
    assert (found.name, found.decided) == (name, decided)


@pytest.mark.parametrize(("kind", "method", "path"), NO_OPERATION)
def test_what_is_none_is_left_to_others(kind: str, method: str, path: str) -> None:
    assert operation_of(kind, method, f"https://x{path}") is None


def configure(sides: TwoSides, percent: int, kind: str) -> None:
    below = "" if kind in (MESSAGES, GEMINI) else "/v1"
    sides.put(
        f'[tokenlab]\nbase_url = "{sides.tokenlab.url}"\n[routes.chat]\nformat = "{kind}"\n'
        f'model = "new"\nprevious_base_url = "{sides.previous.url}{below}"\n'
        f"[routes.chat.orgs]\nacme = {percent}\n"
    )
    sides.gate.refresh()
    sides.gate.refresh()


OPTIONS: Any = {"org": "acme", "tokenlab_key": TOKENLAB}
SECRET = {"Authorization": f"Bearer {PREVIOUS}", "x-api-key": PREVIOUS}


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
@pytest.mark.parametrize("percent", [100, 0])
@pytest.mark.parametrize(
    ("kind", "method", "path", "name", "decided"),
    [row for row in NAMED if "deployments" not in row[2]],
)
def test_it_goes_where_it_belongs_and_has_a_line(
    sides: TwoSides, kind: str, method: str, path: str, name: str, decided: bool, percent: int,
    is_async: bool,
) -> None:  # fmt: skip
    configure(sides, percent, kind)
    url, body = sides.previous.url + path, {"model": "old", "input": "x"}

    async def run() -> Any:
        async with async_client(sides.gate, "chat", **OPTIONS) as http:
            return await http.request(method, url, json=body, headers=SECRET)

    if is_async:
        asyncio.run(run())
    else:
        with client(sides.gate, "chat", **OPTIONS) as http:
            http.request(method, url, json=body, headers=SECRET)
    side = "tokenlab" if decided and percent else "previous"
    (there,) = (sides.tokenlab if side == "tokenlab" else sides.previous).received
    (line,) = sides.lines()
    assert (line["side"], line["operation"], line["outcome"]) == (side, name, "ok")
    assert ("bucket" in line, "revision" in line) == (decided, decided)
    asked = path.replace("/g:", "/new:") if side == "tokenlab" else path
    assert there.target == asked
    assert sides.crossings == []
    wants = "new" if side == "tokenlab" and kind != GEMINI else "old"
    assert there.body == (b'{"model":"%s","input":"x"}' % wants.encode())


def test_the_generation_names_no_operation(sides: TwoSides) -> None:
    with client(sides.gate, "chat", **OPTIONS) as http:
        http.post(f"{sides.previous.url}/v1/chat/completions", json={"model": "m"})
    assert "operation" not in sides.lines()[0]


def test_of_what_is_no_generation_the_status_says_it_all(sides: TwoSides) -> None:
    """Speech is no JSON, and a 404 of a file that is gone has its code."""
    sound = Reply(200, b"\x00\x01RIFF", {"Content-Type": "audio/mpeg"})
    gone = Reply(404, {"error": {"code": "not_found"}})
    with client(sides.gate, "chat", **OPTIONS) as http:
        sides.previous.answer = lambda _: sound
        answer = http.post(f"{sides.previous.url}/v1/audio/speech", json={"model": "tts"})
        assert answer.content == b"\x00\x01RIFF"
        sides.previous.answer = lambda _: gone
        http.get(f"{sides.previous.url}/v1/files/f-1")
    said = [(line["outcome"], line.get("error"), line["status"]) for line in sides.lines()]
    assert said == [("ok", None, 200), ("error", "not_found", 404)]


def test_a_form_goes_to_the_previous_side(sides: TwoSides) -> None:
    configure(sides, 100, "image")
    with client(sides.gate, "chat", **OPTIONS) as http:
        url = f"{sides.previous.url}/v1/images/edits"
        http.post(url, files={"image": b"png"}, data={"prompt": "x"})
    (line,) = sides.lines()
    assert (line["side"], line["operation"]) == ("previous", "edits")
    assert sides.tokenlab.received == []


def test_the_key_of_tokenlab_stays_away_from_what_the_previous_side_does(sides: TwoSides) -> None:
    with client(sides.gate, "chat", **OPTIONS) as http:
        url = f"{sides.previous.url}/v1/embeddings?key={TOKENLAB}"
        leaking = {"Authorization": f"Bearer {TOKENLAB}"}
        http.post(url, json={"model": "m", "user": TOKENLAB}, headers=leaking)
    assert sides.crossings == []


def answer(received: Received) -> Reply:
    path = received.target
    if "embeddings" in path:
        data = [{"object": "embedding", "index": 0, "embedding": [0.1, 0.2]}]
        usage = {"prompt_tokens": 1, "total_tokens": 1}
        return Reply(200, {"object": "list", "model": "e", "data": data, "usage": usage})
    if "count_tokens" in path:
        return Reply(200, {"input_tokens": 7})
    return Reply(200, {"object": "list", "data": [], "has_more": False})


def test_the_sdks_operations_go_through_their_client(sides: TwoSides) -> None:
    sides.tokenlab.answer = sides.previous.answer = answer
    http = client(sides.gate, "chat", **OPTIONS)
    base = sides.previous.url
    with openai.OpenAI(api_key=PREVIOUS, base_url=f"{base}/v1", http_client=http) as sdk:
        assert sdk.embeddings.create(model="e", input="x", encoding_format="float").data
        assert sdk.files.list().data == []
        assert sdk.batches.list().data == []
    configure(sides, 100, MESSAGES)
    http = client(sides.gate, "chat", **OPTIONS)
    with anthropic.Anthropic(api_key=PREVIOUS, base_url=base, http_client=http) as theirs:
        said: Any = [{"role": "user", "content": "hi"}]
        assert theirs.messages.count_tokens(model="old", messages=said).input_tokens == 7
        assert theirs.messages.batches.list().data == []
    assert [(line["operation"], line["side"]) for line in sides.lines()] == [
        ("embeddings", "previous"),
        ("files", "previous"),
        ("batches", "previous"),
        ("count_tokens", "tokenlab"),
        ("batches", "previous"),
    ]
    assert sides.crossings == []


def test_a_file_passes_chunk_by_chunk(sides: TwoSides) -> None:
    given: list[bytes] = []

    class Stream(httpx2.SyncByteStream):
        def __iter__(self) -> Any:
            for piece in (b"a" * 1000, b"b" * 1000):
                given.append(piece)
                yield piece

    inner = httpx2.MockTransport(lambda _: httpx2.Response(200, stream=Stream()))
    with (
        client(sides.gate, "chat", **OPTIONS, inner=inner) as http,
        http.stream("GET", "https://x/v1/files/f/content") as response,
    ):
        for number, _ in enumerate(response.iter_raw(), 1):
            assert len(given) == number
    assert sides.lines()[0]["operation"] == "files"
