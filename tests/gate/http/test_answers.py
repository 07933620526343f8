"""Each answer's outcome in the access log, through the gate's clients; its bytes pass untouched."""

import asyncio
import gzip
import json
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import httpx2
import hypothesis
import pytest
from hypothesis import strategies as st

from rollout_console.health.log.lines import decoded
from rollout_gate import subject
from rollout_gate.http import async_client, client
from tests.gate.answers.shapes import SHAPES, Shape
from tests.gate.answers.written import encodings, pieces_of, streams
from tests.support.loopback import TOKENLAB, Reply, TwoSides
from tests.support.sdks import anthropic, openai
from tests.support.waiting import PATIENCE_S

PATHS = {
    "openai_chat_completions": "/v1/chat/completions",
    "openai_responses": "/v1/responses",
    "anthropic_messages": "/v1/messages",
    "gemini_generate_content": "/v1beta/models/m:streamGenerateContent?alt=sse",
    "image": "/v1/images/generations",
}
OF_A_STREAM = "text/event-stream; charset=utf-8"


def configure(sides: TwoSides, percent: int) -> None:
    routes = "".join(
        f'[routes.{name}]\nformat = "{name}"\nmodel = "new"\ndefault_percent = {percent}\n'
        f'previous_base_url = "{sides.previous.url}/{"" if "anthropic" in name else "v1"}"\n'
        for name in PATHS
    )
    sides.put(f'[tokenlab]\nbase_url = "{sides.tokenlab.url}"\n{routes}')
    sides.gate.refresh()
    sides.gate.refresh()


def url_of(sides: TwoSides, shape: Shape) -> str:
    return sides.previous.url + PATHS[shape.format]


def reply(shape: Shape) -> Reply:
    kind = OF_A_STREAM if shape.streamed else "application/json"
    return Reply(200, shape.body, {"Content-Type": kind, "x-request-id": "r-1"})


def body_of(shape: Shape) -> dict[str, Any]:
    return {"model": "m", "messages": [], "stream": shape.streamed}


def check(shape: Shape, line: dict[str, Any], what: str) -> None:
    said = {name: line.get(name) for name in ("outcome", "error", "finish_reason")}
    expected = {
        "outcome": shape.outcome,
        "error": shape.error,
        "finish_reason": shape.finish_reason,
    }
    assert (line["status"], said) == (200, expected), what
    assert (line.get("input_tokens"), line.get("output_tokens")) == shape.tokens, what
    assert ("ttft_ms" in line) <= shape.streamed, what


@pytest.mark.parametrize("library", [httpx2, httpx], ids=["httpx2", "httpx"])
@pytest.mark.parametrize("percent", [100, 0], ids=["tokenlab", "previous"])
def test_the_outcome_of_every_shape_is_in_the_log(
    sides: TwoSides, percent: int, library: Any
) -> None:
    configure(sides, percent)
    origin = sides.tokenlab if percent else sides.previous
    options: Any = {"org": "acme", "tokenlab_key": TOKENLAB, "library": library.__name__}
    clients = {name: client(sides.gate, name, **options) for name in PATHS}
    for shape in SHAPES.values():
        origin.answer = lambda _, shape=shape: reply(shape)  # type: ignore[misc]
        answer = clients[shape.format].post(url_of(sides, shape), json=body_of(shape))
        assert answer.content == shape.body
    for http in clients.values():
        http.close()
    lines = sides.lines()
    assert len(lines) == len(SHAPES)
    for (what, shape), line in zip(SHAPES.items(), lines, strict=True):
        assert line["side"] == ("tokenlab" if percent else "previous")
        check(shape, line, what)


async def test_so_it_is_with_async_clients(sides: TwoSides) -> None:
    configure(sides, 100)
    for name in PATHS:
        shapes = {what: shape for what, shape in SHAPES.items() if shape.format == name}
        options: Any = {"org": "acme", "tokenlab_key": TOKENLAB}
        async with async_client(sides.gate, name, **options) as http:
            for shape in shapes.values():
                sides.tokenlab.answer = lambda _, shape=shape: reply(shape)  # type: ignore[misc]
                url = url_of(sides, shape)
                async with http.stream("POST", url, json=body_of(shape)) as answer:
                    passed = b"".join([piece async for piece in answer.aiter_raw()])
                assert passed == shape.body
        for (what, shape), line in zip(shapes.items(), sides.lines()[-len(shapes) :], strict=True):
            check(shape, line, what)


def lines_of(sides: TwoSides, *replies: Reply, **asked: Any) -> list[dict[str, Any]]:
    with client(sides.gate, "chat", org="acme", tokenlab_key=TOKENLAB) as http:
        for one in replies:
            sides.tokenlab.answer = lambda _, one=one: one  # type: ignore[misc]
            http.post(f"{sides.previous.url}/v1/chat/completions", json={"model": "m", **asked})
    return sides.lines()


CHAT_SHAPE = SHAPES["chat: a stream"]


def test_an_event_stream_by_another_name_is_read_as_one(sides: TwoSides) -> None:
    text = {"Content-Type": "text/plain"}
    good, cut, page = lines_of(
        sides,
        Reply(200, CHAT_SHAPE.body, text),
        Reply(200, SHAPES["chat: cut"].body, text),
        Reply(200, b"<html>we are back soon</html>", {"Content-Type": "text/html"}),
        stream=True,
    )
    assert (good["outcome"], cut["outcome"]) == ("ok", "truncated")
    assert (page["status"], page["outcome"], page["error"]) == (0, "error", "protocol")


def test_an_error_object_in_place_of_a_stream_is_an_error(sides: TwoSides) -> None:
    body = b'{"error": {"type": "overloaded_error", "message": "no"}}'
    (line,) = lines_of(sides, Reply(200, body), stream=True)
    assert (line["status"], line["outcome"], line["error"]) == (200, "error", "overloaded_error")


def test_compressed_streams_have_outcome_and_time_to_first_content(sides: TwoSides) -> None:
    packed = {"Content-Type": OF_A_STREAM, "Content-Encoding": "gzip"}
    (line,) = lines_of(sides, Reply(200, gzip.compress(CHAT_SHAPE.body), packed), stream=True)
    assert (line["outcome"], line["finish_reason"], line["output_tokens"]) == ("ok", "stop", 2)
    assert 0 < line["ttft_ms"] <= line["latency_ms"]
    assert line["cached_input_tokens"] == 3


def test_what_nobody_can_decompress_has_no_outcome(sides: TwoSides) -> None:
    raw = {"Content-Type": OF_A_STREAM, "Content-Encoding": "snappy"}
    (line,) = lines_of(sides, Reply(200, CHAT_SHAPE.body, raw), stream=True)
    assert line["status"] == 200
    assert "outcome" not in line
    assert "error" not in line


def test_statuses_have_outcomes_too(sides: TwoSides) -> None:
    lines = lines_of(sides, Reply(429, {"error": {"code": "rate_limit_exceeded"}}), Reply(503, b""))
    assert [(line["outcome"], line["error"]) for line in lines] == [
        ("error", "rate_limit_exceeded"),
        ("error", "protocol"),
    ]


def test_each_line_proves_its_routing(sides: TwoSides) -> None:
    configure(sides, 50)
    with client(sides.gate, "image", org="acme", tokenlab_key=TOKENLAB) as http:
        for number in range(20):
            with subject(key=f"user-{number}"):
                http.post(f"{sides.previous.url}/v1/images/generations", json={"model": "m"})
    file = sides.gate.file
    assert file is not None
    for number, line in enumerate(sides.lines()):
        decided = sides.gate.decide("image", "acme", key=f"user-{number}")
        assert (line["bucket"], line["side"]) == (decided.bucket, decided.side)
        assert line["side"] == ("tokenlab" if line["bucket"] < 5000 else "previous")
        assert line["revision"] == file.revision[:12]
        assert line["host"] == os.uname().nodename


@pytest.mark.parametrize(
    ("alias", "logged"),
    [
        ("batch", "batch"),
        (None, None),
        ("", None),
        ("sk-live-0123456789abcdef", "sk-…"),
        ("a" * 1000, "a" * 200),
    ],
)
@pytest.mark.parametrize("percent", [100, 0], ids=["tokenlab", "previous"])
def test_a_line_names_the_key_alias_and_never_a_key(
    sides: TwoSides, percent: int, alias: str | None, logged: str | None
) -> None:
    configure(sides, percent)
    options: Any = {"org": "acme", "tokenlab_key": TOKENLAB}
    with client(sides.gate, "image", **options) as http, subject(key_alias=alias):
        http.post(f"{sides.previous.url}/v1/images/generations", json={"model": "m"})
    (line,) = sides.lines()
    assert line.get("key_alias", "") == (logged or "")
    assert ("key_alias" in line) is (logged is not None)


def test_the_credential_of_the_request_is_no_key_alias(sides: TwoSides) -> None:
    configure(sides, 100)
    options: Any = {"org": "acme", "tokenlab_key": TOKENLAB}
    with client(sides.gate, "image", **options) as http, subject(key_alias=f"of {TOKENLAB}"):
        http.post(f"{sides.previous.url}/v1/images/generations", json={"model": "m"})
    (line,) = sides.lines()
    assert line["key_alias"] == "redacted"


@pytest.mark.parametrize(("status", "cached"), [("HIT", True), ("MISS", None), ("hit-stale", True)])
def test_an_answer_from_the_cache_is_marked(
    sides: TwoSides, status: str, cached: bool | None
) -> None:
    headers = {"X-Cache-Status": status, "Content-Type": "application/json"}
    (line,) = lines_of(sides, Reply(200, SHAPES["chat: a body"].body, headers))
    assert line.get("cached") is cached


def test_a_failure_inside_a_200_is_an_attempt_and_its_repetition_is_decided_anew(
    sides: TwoSides,
) -> None:
    bad = Reply(200, SHAPES["chat: an error object"].body)
    with client(sides.gate, "chat", org="acme", tokenlab_key=TOKENLAB) as http:
        sides.tokenlab.answer = lambda _: bad
        for percent in (100, 0):
            sides.decide(percent)
            http.post(f"{sides.previous.url}/v1/chat/completions", json={"model": "m"})
    assert [(line["side"], line["attempt"]) for line in sides.lines()] == [
        ("tokenlab", 1),
        ("previous", 2),
    ]


def live(events: list[bytes]) -> httpx2.BaseTransport:
    """A transport that gives one event at a time, and notes how many were asked for."""

    class Stream(httpx2.SyncByteStream):
        def __iter__(self) -> Iterator[bytes]:
            for event in events:
                given.append(event)
                yield event

    given: list[bytes] = []
    transport = httpx2.MockTransport(
        lambda _: httpx2.Response(200, headers={"Content-Type": OF_A_STREAM}, stream=Stream())
    )
    transport.given = given  # type: ignore[attr-defined]
    return transport


def test_each_chunk_passes_at_once(sides: TwoSides) -> None:
    events = [event + b"\n\n" for event in CHAT_SHAPE.body.split(b"\n\n")[:-1]]
    inner = live(events)
    with (
        client(sides.gate, "chat", org="acme", tokenlab_key=TOKENLAB, inner=inner) as http,
        http.stream("POST", "https://x/v1/chat/completions", json={"stream": True}) as answer,
    ):
        for number, piece in enumerate(answer.iter_raw(), 1):
            assert piece == events[number - 1]
            assert len(inner.given) == number  # type: ignore[attr-defined]
    (line,) = sides.lines()
    assert line["outcome"] == "ok"


@pytest.mark.parametrize("library", [httpx2, httpx], ids=["httpx2", "httpx"])
def test_however_a_stream_is_written_its_bytes_pass_as_they_are(
    sides: TwoSides, library: Any
) -> None:
    configure(sides, 100)
    options: Any = {"org": "acme", "tokenlab_key": TOKENLAB, "library": library.__name__}

    @hypothesis.settings(max_examples=50)
    @hypothesis.given(data=st.data(), fails=st.booleans(), coded=encodings)
    def check(data: st.DataObject, fails: bool, coded: Any) -> None:
        one, (encoding, pack) = data.draw(streams(fails)), coded
        packed = pack(one.body)
        pieces = data.draw(pieces_of(packed))

        class Stream(library.SyncByteStream):  # type: ignore[misc]
            def __iter__(self) -> Iterator[bytes]:
                yield from pieces

        headers = [("Content-Type", OF_A_STREAM)]
        headers += [("Content-Encoding", name) for name in encoding.split(", ") if name]
        inner = library.MockTransport(
            lambda _: library.Response(200, headers=headers, stream=Stream())
        )
        url = sides.previous.url + PATHS[one.format]
        with (
            client(sides.gate, one.format, inner=inner, **options) as http,
            http.stream("POST", url, json={"model": "m", "stream": True}) as answer,
        ):
            assert b"".join(answer.iter_raw()) == packed
        line = sides.lines()[-1]
        assert (line["status"], line["outcome"]) == (200, "error" if fails else "ok")

    check()


def test_a_stream_that_is_left_and_one_that_was_done(sides: TwoSides) -> None:
    for end, outcome in ((1, "abandoned"), (4, "ok")):
        events = [event + b"\n\n" for event in CHAT_SHAPE.body.split(b"\n\n")[:-1]]
        options: Any = {"org": "acme", "tokenlab_key": TOKENLAB, "inner": live(events)}
        with (
            client(sides.gate, "chat", **options) as http,
            http.stream("POST", "https://x/v1/chat/completions", json={"stream": True}) as answer,
        ):
            pieces = answer.iter_raw()
            for _ in range(end):
                next(pieces)
        assert sides.lines()[-1]["outcome"] == outcome


async def test_a_task_that_is_cancelled_in_a_stream(sides: TwoSides) -> None:
    """After the last word of an answer nothing of it is lost."""
    events = [event + b"\n\n" for event in CHAT_SHAPE.body.split(b"\n\n")[:-1]]

    class Stream(httpx2.AsyncByteStream):
        def __init__(self, said: int) -> None:
            self.said = said

        async def __aiter__(self) -> AsyncIterator[bytes]:
            for event in events[: self.said]:
                yield event
            reached.set()
            await asyncio.sleep(3600)

    for said, found in ((1, (0, "abandoned", "cancelled")), (4, (200, "ok", None))):
        reached = asyncio.Event()
        stream = Stream(said)
        options: Any = {
            "org": "acme", "tokenlab_key": TOKENLAB,
            "inner": httpx2.MockTransport(
                lambda _, body=stream: httpx2.Response(
                    200, headers={"Content-Type": OF_A_STREAM}, stream=body
                )
            ),
        }  # fmt: skip
        async with async_client(sides.gate, "chat", **options) as http:
            task = asyncio.create_task(
                http.post("https://x/v1/chat/completions", json={"stream": True})
            )
            await asyncio.wait_for(reached.wait(), PATIENCE_S)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        line = sides.lines()[-1]
        assert (line["status"], line["outcome"], line.get("error")) == found


def test_a_fault_of_the_reader_breaks_no_answer(
    sides: TwoSides, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise KeyError("a secret")

    monkeypatch.setattr("rollout_gate.http.response_recorder.StreamInspector.feed", fail)
    monkeypatch.setattr("rollout_gate.http.response_recorder.inspected", fail)
    stream = Reply(200, CHAT_SHAPE.body, {"Content-Type": OF_A_STREAM})
    lines = lines_of(sides, stream, Reply(200, SHAPES["chat: a body"].body))
    assert [(line["status"], "outcome" in line) for line in lines] == [(200, False), (200, False)]
    assert (
        caplog.messages == ["the outcome of an answer is not known: KeyError while reading it"] * 2
    )


def test_the_sdks_see_what_they_always_saw(sides: TwoSides) -> None:
    """OpenAI's and Anthropic's SDKs raise for an error event inside a 200; the log says it too."""
    configure(sides, 100)
    options: Any = {"org": "acme", "tokenlab_key": TOKENLAB}
    said: Any = [{"role": "user", "content": "hi"}]
    sides.tokenlab.answer = lambda _: reply(SHAPES["chat: an error in the stream"])
    http = client(sides.gate, "openai_chat_completions", **options)
    base = sides.previous.url
    with openai.OpenAI(api_key="k", base_url=f"{base}/v1", http_client=http) as sdk:
        stream = sdk.chat.completions.create(model="m", messages=said, stream=True)
        with pytest.raises(openai.APIError):
            list(stream)
    sides.tokenlab.answer = lambda _: reply(SHAPES["messages: overloaded in the middle"])
    http = client(sides.gate, "anthropic_messages", **options)
    with anthropic.Anthropic(api_key="k", base_url=base, http_client=http) as theirs:
        events = theirs.messages.create(model="m", max_tokens=5, messages=said, stream=True)
        with pytest.raises(anthropic.APIError):
            list(events)
    assert [(line["outcome"], line["error"]) for line in sides.lines()] == [
        ("error", "rate_limit_exceeded"),
        ("error", "overloaded_error"),
    ]


def test_many_streams_at_once_have_outcomes_of_their_own(sides: TwoSides, tmp_path: Path) -> None:
    def answer(received: Any) -> Reply:
        return reply(list(SHAPES.values())[json.loads(received.body)["number"]])

    sides.tokenlab.answer = answer
    numbers = [i for i, shape in enumerate(SHAPES.values()) if shape.format == CHAT_SHAPE.format]

    async def run() -> None:
        options: Any = {"tokenlab_key": TOKENLAB}
        async with async_client(sides.gate, "chat", **options) as http:

            async def one(number: int) -> None:
                with subject(org="acme", job_id=str(number)):
                    url = f"{sides.previous.url}/v1/chat/completions"
                    await http.post(url, json={"number": number, "stream": True})

            await asyncio.gather(*map(one, numbers))

    asyncio.run(run())
    found = {int(line["job_id"]): line["outcome"] for line in sides.lines()}
    assert found == {number: list(SHAPES.values())[number].outcome for number in numbers}


@pytest.mark.parametrize("before", [0, 20, 55, 150, 195])
def test_no_part_of_a_credential_is_left_where_a_text_is_cut(sides: TwoSides, before: int) -> None:
    """A server echoes the key in a code, a finish reason and an id, across the cut."""
    key = "0123456789abcdef" * 6
    echo = "x" * before + key
    choice = {"index": 0, "message": {"content": "hi"}, "finish_reason": echo}
    good = {"id": "c", "choices": [choice]}
    told = {"x-request-id": echo, "x-billing-transaction-id": echo}
    sides.decide(0)
    with client(sides.gate, "chat", org="acme", tokenlab_key=TOKENLAB) as http:
        for one in (
            Reply(401, {"error": {"code": echo}}, told),
            Reply(200, {"error": {"code": echo}}, told),
            Reply(200, good, told),
        ):
            sides.previous.answer = lambda _, one=one: one  # type: ignore[misc]
            url = f"{sides.previous.url}/v1/chat/completions"
            http.post(url, json={"model": "m"}, headers={"Authorization": f"Bearer {key}"})
    written = sides.log.read_text()
    assert len(sides.lines()) == 3
    assert key[:12] not in written
    assert max(len(line.get("error", "")) for line in sides.lines()) <= 60


def test_names_of_any_length_have_lines_that_the_console_reads(sides: TwoSides) -> None:
    sides.decide(100)
    orgs = ["o" * 256, "o" * 257, "o" * 5000 + "1", "o" * 5000 + "2", "\N{SNOWMAN}" * 300]
    with client(sides.gate, "chat", tokenlab_key=TOKENLAB) as http:
        for org in orgs:
            with subject(org=org):
                url = f"{sides.previous.url}/v1/chat/completions"
                http.post(url, json={"model": "m" * 1000, "messages": []})
    records, unusable = decoded((sides.gate.path.parent / "access.jsonl").read_bytes())
    assert (len(records), unusable.lines) == (len(orgs), 0)
    assert records[0].org == orgs[0]
    assert len({record.org for record in records}) == len(orgs), "a cut name is not another's"
