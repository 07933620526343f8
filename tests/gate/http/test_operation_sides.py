"""Every operation of the SDKs through the gate's clients: its side, its credential, its line."""

import asyncio
import inspect
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rollout_gate.http import async_client, client
from tests.support.loopback import PREVIOUS, TOKENLAB, Received, Reply, TwoSides
from tests.support.sdks import anthropic, genai, openai, types

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]
CHAT, RESPONSES, IMAGE = "openai_chat_completions", "openai_responses", "image"
CLAUDE, GEMINI = "anthropic_messages", "gemini_generate_content"
SAID: Any = [{"role": "user", "content": "hi"}]
PNG = b"\x89PNG"


def file(name: str) -> tuple[str, io.BytesIO]:
    return name, io.BytesIO(b"\xff\xfe\x00")


ANSWERS: dict[str, Any] = {
    "count_tokens": {"input_tokens": 3}, ":countTokens": {"totalTokens": 3},
    "input_tokens": {"object": "response.input_tokens", "input_tokens": 3},
    ":embedContent": {"embedding": {"values": [0.5]}},
    ":batchEmbedContents": {"embeddings": [{"values": [0.5]}]},
    "/cachedContents": {"name": "cachedContents/c1", "model": "models/g"},
    "/embeddings": {"object": "list", "data": [{"embedding": [0.5]}], "model": "e"},
    "/files": {"id": "file-1", "object": "file", "filename": "a"},
    "/batches": {"id": "batch_1", "object": "batch", "output_file_id": "file-out"},
    ":batchGenerateContent": {"name": "batches/b1", "metadata": {"state": "BATCH_STATE_PENDING"}},
    "/conversations": {"id": "conv_1", "object": "conversation"},
}  # fmt: skip


def answer(one: Received) -> Reply:
    path = one.target.partition("?")[0]
    body = next((found for end, found in ANSWERS.items() if path.endswith(end)), {"id": "x"})
    return Reply(200, body)


class Case:
    """A call of an SDK, and what is to become of it: ``model`` is the one that TokenLab gets."""

    def __init__(
        self, route: str, call: Callable[[Any], Any], name: str, path: str, where: str = "previous",
        model: bool = False,
    ) -> None:  # fmt: skip
        self.route, self.call, self.name, self.path = route, call, name, path
        self.where, self.model = where, model

    def __repr__(self) -> str:
        return f"{self.route}-{self.path}"


CASES = [
    Case(RESPONSES, lambda sdk: sdk.responses.input_tokens.count(model="old", input="hi"),
         "count_tokens", "/v1/responses/input_tokens"),
    Case(RESPONSES, lambda sdk: sdk.responses.compact(model="old", input="hi"),
         "compact", "/v1/responses/compact", "decided", True),
    Case(RESPONSES, lambda sdk: sdk.responses.retrieve("resp_0"),
         "retrieve", "/v1/responses/resp_0"),
    Case(RESPONSES, lambda sdk: sdk.responses.cancel("resp_0"),
         "cancel", "/v1/responses/resp_0/cancel"),
    Case(RESPONSES, lambda sdk: sdk.responses.delete("resp_0"), "delete", "/v1/responses/resp_0"),
    Case(RESPONSES, lambda sdk: sdk.conversations.create(), "conversations", "/v1/conversations"),
    Case(RESPONSES, lambda sdk: sdk.conversations.retrieve("conv_0"),
         "conversations", "/v1/conversations/conv_0"),
    Case(CHAT, lambda sdk: sdk.embeddings.create(model="e", input="hi"),
         "embeddings", "/v1/embeddings"),
    Case(CHAT, lambda sdk: sdk.completions.create(model="c", prompt="hi"),
         "completions", "/v1/completions"),
    Case(CHAT, lambda sdk: sdk.moderations.create(input="hi"), "moderations", "/v1/moderations"),
    Case(CHAT, lambda sdk: sdk.audio.speech.create(model="t", voice="alloy", input="hi"),
         "speech", "/v1/audio/speech"),
    Case(CHAT, lambda sdk: sdk.audio.transcriptions.create(model="w", file=file("a.wav")),
         "transcriptions", "/v1/audio/transcriptions"),
    Case(CHAT, lambda sdk: sdk.audio.translations.create(model="w", file=file("a.wav")),
         "translations", "/v1/audio/translations"),
    Case(IMAGE, lambda sdk: sdk.images.edit(model="old", image=("a.png", PNG), prompt="hi"),
         "edits", "/v1/images/edits", "form"),
    Case(IMAGE, lambda sdk: sdk.images.create_variation(model="old", image=("a.png", PNG)),
         "variations", "/v1/images/variations", "form"),
    Case(IMAGE, lambda sdk: sdk.post("/images/edits", cast_to=object,
                                     body={"model": "old", "image": "https://a/b", "prompt": "hi"}),
         "edits", "/v1/images/edits", "decided", True),
    Case(CHAT, lambda sdk: sdk.files.create(file=file("a.jsonl"), purpose="batch"),
         "files", "/v1/files", "form"),
    Case(CHAT, lambda sdk: sdk.files.content("file-0"), "files", "/v1/files/file-0/content"),
    Case(CHAT, lambda sdk: sdk.files.delete("file-0"), "files", "/v1/files/file-0"),
    Case(CHAT, lambda sdk: sdk.batches.retrieve("batch_0"), "batches", "/v1/batches/batch_0"),
    Case(CHAT, lambda sdk: sdk.batches.create(input_file_id="file-0", completion_window="24h",
                                              endpoint="/v1/chat/completions"),
         "batches", "/v1/batches"),
    Case(CHAT, lambda sdk: sdk.post("/files", cast_to=object, body={"purpose": "batch"}),
         "files", "/v1/files", "decided"),
    Case(CLAUDE, lambda sdk: sdk.messages.count_tokens(model="old", messages=SAID),
         "count_tokens", "/v1/messages/count_tokens", "decided", True),
    Case(CLAUDE, lambda sdk: sdk.messages.batches.create(requests=[
        {"custom_id": "1", "params": {"model": "old", "max_tokens": 9, "messages": SAID}}]),
         "batches", "/v1/messages/batches", "decided", True),
    Case(CLAUDE, lambda sdk: sdk.messages.batches.cancel("batch_0"),
         "batches", "/v1/messages/batches/batch_0/cancel"),
    Case(GEMINI, lambda sdk: sdk.models.count_tokens(model="old", contents="hi"),
         "count_tokens", "/v1beta/models/old:countTokens", "decided", True),
    Case(GEMINI, lambda sdk: sdk.models.embed_content(model="e", contents="hi"),
         "embeddings", "/v1beta/models/e:batchEmbedContents"),
    Case(GEMINI, lambda sdk: sdk.caches.create(model="g", config={"contents": "hi"}),
         "cached_contents", "/v1beta/cachedContents"),
    Case(GEMINI, lambda sdk: sdk.caches.get(name="cachedContents/c0"),
         "cached_contents", "/v1beta/cachedContents/c0"),
    Case(GEMINI, lambda sdk: sdk.batches.create(model="g", src=[{"contents": "hi"}]),
         "batches", "/v1beta/models/g:batchGenerateContent"),
    Case(GEMINI, lambda sdk: sdk.files.delete(name="files/f0"), "files", "/v1beta/files/f0"),
]  # fmt: skip


def write(sides: TwoSides, route: str, percent: int, latch: str = "") -> None:
    base = sides.previous.url + ("/v1" if route in (CHAT, RESPONSES, IMAGE) else "")
    sides.put(
        f'[tokenlab]\nbase_url = "{sides.tokenlab.url}"\n[routes.r]\nformat = "{route}"\n'
        f'model = "new"\nprevious_base_url = "{base}"\n{latch}'
        f"[routes.r.orgs]\nacme = {percent}\n"
    )
    sides.gate.refresh()
    sides.gate.refresh()


def sdk_of(sides: TwoSides, route: str, http: Any, *, is_async: bool = False) -> Any:
    """Return an SDK on the third party's address: neither side's, so that each is rewritten."""
    if route == GEMINI:
        name = "httpx_async_client" if is_async else "httpx_client"
        options = types.HttpOptions(base_url=sides.third.url, api_version="v1beta", **{name: http})
        sdk = genai.Client(api_key=PREVIOUS, http_options=options)
        return sdk.aio if is_async else sdk
    given = {"api_key": PREVIOUS, "http_client": http, "max_retries": 0}
    kind: Any
    if route == CLAUDE:
        kind = anthropic.AsyncAnthropic if is_async else anthropic.Anthropic
        return kind(base_url=sides.third.url, **given)
    kind = openai.AsyncOpenAI if is_async else openai.OpenAI
    return kind(base_url=f"{sides.third.url}/v1", **given)


def run(sides: TwoSides, route: str, call: Callable[[Any], Any], *, is_async: bool = False) -> Any:
    options: Any = {"org": "acme", "tokenlab_key": TOKENLAB}

    async def on_a_loop() -> Any:
        async with async_client(sides.gate, "r", **options) as http:
            return await call(sdk_of(sides, route, http, is_async=True))

    if is_async:
        return asyncio.run(on_a_loop())
    with client(sides.gate, "r", **options) as http:
        return call(sdk_of(sides, route, http))


@pytest.mark.parametrize("case", CASES, ids=repr)
def test_each_operation_goes_where_it_belongs_with_a_line(sides: TwoSides, case: Case) -> None:
    sides.tokenlab.answer = sides.previous.answer = answer
    for percent in (100, 0):
        write(sides, case.route, percent)
        for is_async in (False, True):
            run(sides, case.route, case.call, is_async=is_async)
            look(sides, case, percent)
    assert len(sides.lines()) == 4


def look(sides: TwoSides, case: Case, percent: int) -> None:
    """Check where the last request went, and its line; forget what was received."""
    side = "tokenlab" if case.where == "decided" and percent else "previous"
    there, other = sides.tokenlab, sides.previous
    if side == "previous":
        there, other = other, there
    (one,) = there.received
    assert (other.received, sides.third.received) == ([], [])
    path = case.path.replace("/old:", "/new:") if side == "tokenlab" else case.path
    assert one.target.partition("?")[0] == path
    assert sides.crossings == []
    assert (TOKENLAB if side == "tokenlab" else PREVIOUS) in one.everything
    line = sides.lines()[-1]
    assert (line["side"], line["operation"], line["status"]) == (side, case.name, 200)
    assert (line["outcome"], line["org"], line.get("stream")) == ("ok", "acme", None)
    # The bucket of a request at 0% proves its side, and so does a form's, which nobody can read.
    is_proven = case.where == "decided" or (case.where == "form" and not percent)
    assert ("bucket" in line, "revision" in line) == (is_proven, is_proven)
    assert not {"bound", "moved", "finish_reason", "ttft_ms"} & set(line)
    if case.model and case.route != GEMINI:
        is_new = (b'"new"' in one.body, b'"old"' in one.body)
        assert is_new == (side == "tokenlab", side != "tokenlab")
    there.received.clear()


@pytest.mark.parametrize("status", [400, 404, 429, 500, 503])
def test_the_outcome_of_an_operation_follows_its_status(sides: TwoSides, status: int) -> None:
    error = {"error": {"code": "too_much", "message": "m", "type": "t"}}
    sides.previous.answer = lambda _: Reply(status, error)
    with client(sides.gate, "chat", org="acme", tokenlab_key=TOKENLAB) as http:
        for n in (1, 2):
            http.post(f"{sides.previous.url}/v1/embeddings", json={"model": "e"})
            line = sides.lines()[-1]
            assert (line["outcome"], line["error"], line["status"]) == ("error", "too_much", status)
            assert line["attempt"] == n


def test_what_only_looks_like_an_answer_is_not_inspected(sides: TwoSides) -> None:
    for body in (b"", b"{", b"<html>", b"data: {}\n\n", {"error": {"code": "x"}}):
        sides.previous.answer = lambda _, body=body: Reply(200, body)  # type: ignore[misc]
        with client(sides.gate, "chat", org="acme", tokenlab_key=TOKENLAB) as http:
            http.get(f"{sides.previous.url}/v1/files/f/content")
    assert {line["outcome"] for line in sides.lines()} == {"ok"}


def test_a_body_passes_at_once_and_untouched(sides: TwoSides) -> None:
    sent = bytes(range(256)) * 8_000
    sides.previous.answer = lambda _: Reply(200, sent, {"Content-Type": "audio/mpeg"})
    with client(sides.gate, "chat", org="acme", tokenlab_key=TOKENLAB) as http:
        url = f"{sides.previous.url}/v1/audio/speech"
        assert http.post(url, json={"model": "t"}).content == sent
        with http.stream("POST", url, json={"model": "t"}) as response:
            assert next(response.iter_raw())
    assert [line["outcome"] for line in sides.lines()] == ["ok", "abandoned"]


def test_an_operation_that_does_not_get_through_has_an_error(sides: TwoSides) -> None:
    sides.put(
        f'[tokenlab]\nbase_url = "{sides.tokenlab.url}"\n[routes.chat]\nformat = "{CHAT}"\n'
        'previous_base_url = "http://127.0.0.1:1/v1"\n'
    )
    sides.gate.refresh()
    with (
        client(sides.gate, "chat", org="acme", tokenlab_key=TOKENLAB) as http,
        pytest.raises(Exception, match="refused"),
    ):
        http.post("https://before.example/v1/embeddings", json={"model": "e"})
    (line,) = sides.lines()
    assert (line["status"], line["outcome"], line["error"]) == (0, "error", "connect")


def test_tokenlabs_key_in_an_operation_for_the_previous_provider_stays_behind(
    sides: TwoSides,
) -> None:
    url = f"{sides.third.url}/v1/embeddings?key={TOKENLAB}"
    headers = {"Authorization": f"Bearer {TOKENLAB}", "X-Own": TOKENLAB}
    with client(sides.gate, "chat", org="acme", tokenlab_key=TOKENLAB) as http:
        http.post(url, json={"model": "e", "api_key": TOKENLAB}, headers=headers)
    with client(
        sides.gate, "chat", org="acme", tokenlab_key=TOKENLAB, previous_key=PREVIOUS
    ) as http:
        http.post(url, json={"model": "e"}, headers=headers)
    assert sides.crossings == []
    first, second = sides.previous.received
    assert first.header("authorization") is None
    assert second.header("authorization") == f"Bearer {PREVIOUS}"


def test_a_batch_for_tokenlab_has_its_model_and_no_credential(sides: TwoSides) -> None:
    write(sides, CLAUDE, 100)
    tools = [{"name": "t", "input_schema": {"properties": {"api_key": {"type": "string"}}}}]
    params = {"model": "old", "messages": SAID, "tools": tools, "max_tokens": 9}
    requests = [
        {"custom_id": "1", "params": {**params, "api_key": PREVIOUS}},
        {"custom_id": "2", "params": params},
        {"custom_id": "3"},
    ]
    with client(sides.gate, "r", org="acme", tokenlab_key=TOKENLAB) as http:
        http.post(f"{sides.third.url}/v1/messages/batches", json={"requests": requests})
    (one,) = sides.tokenlab.received
    kept = {**params, "model": "new"}
    assert json.loads(one.body)["requests"] == [
        {"custom_id": "1", "params": kept}, {"custom_id": "2", "params": kept}, {"custom_id": "3"},
    ]  # fmt: skip


def test_where_there_is_no_other_address_it_goes_to_tokenlab_as_what_it_is(
    sides: TwoSides,
) -> None:
    sides.put(f'[tokenlab]\nbase_url = "{sides.tokenlab.url}"\n[routes.chat]\nformat = "{CHAT}"\n')
    sides.gate.refresh()
    sides.gate.refresh()  # an address is gone, so it is read twice
    bearer = {"Authorization": f"Bearer {PREVIOUS}"}
    with client(sides.gate, "chat", org="acme", tokenlab_key=TOKENLAB) as http:
        http.post(f"{sides.tokenlab.url}/v1/embeddings", json={"model": "e"}, headers=bearer)
        http.post(f"{sides.third.url}/v1/embeddings", json={"model": "e"})
    assert sides.tokenlab.received[0].header("authorization") == f"Bearer {TOKENLAB}"
    assert len(sides.third.received) == 1
    assert [line["side"] for line in sides.lines()] == ["tokenlab", "previous"]
    assert sides.crossings == []


def test_googles_upload_goes_on_at_the_address_that_it_was_given(
    sides: TwoSides, tmp_path: Path
) -> None:
    write(sides, GEMINI, 100)
    made = {"file": {"name": "files/f1", "uri": "https://g/v1beta/files/f1"}}

    def upload(one: Received) -> Reply:
        # The bytes go to where the one who takes them says, which may be another host.
        url = f"{sides.third.url}/upload/v1beta/files?upload_id=u1"
        return Reply(200, {}, {"X-Goog-Upload-URL": url, "X-Goog-Upload-Status": "active"})

    sides.previous.answer = upload
    sides.third.answer = lambda _: Reply(200, made, {"X-Goog-Upload-Status": "final"})
    path = tmp_path / "a.txt"
    path.write_text("hi")
    assert run(sides, GEMINI, lambda sdk: sdk.files.upload(file=path)).name == "files/f1"
    sides.third.received.clear()  # Google's own host, which the SDK gives its key
    found = [(line["operation"], line["side"]) for line in sides.lines()]
    assert found == [("files", "previous")] * 2
    ask = {"contents": [{"parts": [{"fileData": {"fileUri": made["file"]["uri"]}}]}]}
    with client(sides.gate, "r", org="acme", tokenlab_key=TOKENLAB) as http:
        http.post(f"{sides.third.url}/v1beta/models/g:generateContent", json=ask)
    assert sides.lines()[-1]["side"] == "previous"
    assert sides.lines()[-1]["bound"] is True
    assert sides.crossings == []


def test_an_awaitable_is_what_the_async_sdks_return() -> None:
    """What the cases above rest on."""
    assert inspect.iscoroutinefunction(openai.AsyncOpenAI(api_key="k").models.retrieve)
