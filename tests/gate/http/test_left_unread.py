"""A status that is an error is the answer, whoever reads its body: its class is never "left"."""

import asyncio
import contextlib
import gc
import gzip
import os
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import httpx
import httpx2
import pytest

from rollout_gate.answers.status_class import StatusClass, class_of_answer, was_not_sent
from rollout_gate.http import async_client, client
from tests.support.loopback import TOKENLAB, Reply, TwoSides
from tests.support.sdks import openai
from tests.support.waiting import PATIENCE_S

CODED = b'{"error": {"code": "server_error", "message": "no"}}'
CHAT = b'{"choices": [{"message": {"content": "hi"}, "finish_reason": "stop"}]}'
EVENTS = b'data: {"choices": [{"index": 0, "delta": {"content": "hi"}}]}\n\n'
CLASSES = {
    400: StatusClass.CONTRACT, 401: StatusClass.AUTH, 402: StatusClass.BALANCE,
    429: StatusClass.RATE_LIMIT, 500: StatusClass.GATEWAY, 503: StatusClass.GATEWAY,
}  # fmt: skip
libraries = pytest.mark.parametrize("library", [httpx2, httpx], ids=["httpx2", "httpx"])


def refused(status: int, gives: bytes = CODED) -> Reply:
    return Reply(status, gives, {"Content-Type": "application/json"})


def raised_at_once(http: Any, url: str) -> None:
    with http.stream("POST", url, json={"model": "m", "stream": True}) as answer:
        answer.raise_for_status()


def half_read(http: Any, url: str) -> None:
    with http.stream("POST", url, json={"model": "m"}) as answer:
        next(answer.iter_raw(4))
        answer.raise_for_status()


def raised_by_a_hook(http: Any, url: str) -> None:
    http.event_hooks = {"response": [lambda answer: answer.raise_for_status()]}
    http.post(url, json={"model": "m"})


def dropped(http: Any, url: str) -> None:
    answer = http.send(http.build_request("POST", url, json={"model": "m"}), stream=True)
    answer.raise_for_status()


def read(http: Any, url: str) -> None:
    http.post(url, json={"model": "m"}).raise_for_status()


LEAVING = (raised_at_once, half_read, raised_by_a_hook, dropped, read)


@contextlib.contextmanager
def gate_client(sides: TwoSides, library: Any) -> Iterator[Any]:
    given: Any = {"library": library.__name__, "timeout": 5.0}
    with client(sides.gate, "chat", org="acme", tokenlab_key=TOKENLAB, **given) as http:
        yield http


def class_of(line: dict[str, Any]) -> StatusClass:
    return class_of_answer(line["status"], line.get("outcome"), line.get("error"))


@libraries
@pytest.mark.parametrize("leaves", LEAVING, ids=lambda leaves: leaves.__name__)
def test_an_error_counts_by_its_status_however_it_is_left(
    sides: TwoSides, library: Any, leaves: Callable[[Any, str], None]
) -> None:
    sides.decide(100)
    url = f"{sides.previous.url}/v1/chat/completions"
    for status in CLASSES:
        sides.tokenlab.answer = lambda _, status=status: refused(status)  # type: ignore[misc]
        with gate_client(sides, library) as http:
            with pytest.raises(library.HTTPStatusError):
                leaves(http, url)
            gc.collect()
    lines = sides.lines()
    assert [line["status"] for line in lines] == [*CLASSES]
    assert {line["outcome"] for line in lines} == {"error"}
    assert [class_of(line) for line in lines] == [*CLASSES.values()]
    known = {"server_error"} if leaves is read else {None, "server_error"}
    assert {line.get("error") for line in lines} <= known, "what was not read is not known"


def answering(library: Any, status: int, stream: Any) -> Any:
    """A transport that answers with a body of which the test says how it comes."""
    headers = {"Content-Type": "application/json"}
    return library.MockTransport(
        lambda _: library.Response(status, headers=headers, stream=stream())
    )


async def test_a_caller_that_is_cancelled_while_an_error_is_read_hides_nothing(
    sides: TwoSides,
) -> None:
    reached = asyncio.Event()

    class Stalls(httpx2.AsyncByteStream):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            yield CODED[:9]
            reached.set()
            await asyncio.sleep(3600)

    sides.decide(100)
    given: Any = {"org": "acme", "tokenlab_key": TOKENLAB}
    async with async_client(
        sides.gate, "chat", inner=answering(httpx2, 503, Stalls), **given
    ) as http:
        url = f"{sides.previous.url}/v1/chat/completions"
        task = asyncio.create_task(http.post(url, json={"model": "m"}))
        await asyncio.wait_for(reached.wait(), PATIENCE_S)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    (line,) = sides.lines()
    assert (line["status"], line["outcome"], line.get("error")) == (503, "error", None)


@libraries
@pytest.mark.parametrize("status", CLASSES)
def test_an_error_whose_body_breaks_has_its_status(
    sides: TwoSides, library: Any, status: int
) -> None:
    class Breaks(library.SyncByteStream):  # type: ignore[misc]
        def __iter__(self) -> Iterator[bytes]:
            yield CODED[:9]
            raise library.ReadError("reset by peer")

    sides.decide(100)
    given: Any = {"library": library.__name__, "inner": answering(library, status, Breaks)}
    url = f"{sides.previous.url}/v1/chat/completions"
    with (
        client(sides.gate, "chat", org="acme", tokenlab_key=TOKENLAB, **given) as http,
        pytest.raises(library.ReadError),
    ):
        http.post(url, json={"model": "m"})
    (line,) = sides.lines()
    assert (line["status"], line.get("error"), class_of(line)) == (status, None, CLASSES[status])


def test_errors_that_an_sdk_retries_unread_are_counted(sides: TwoSides) -> None:
    sides.decide(100)
    soon = {"x-should-retry": "true", "retry-after-ms": "1"}
    sides.tokenlab.answer = lambda _: Reply(503, CODED, soon)
    with gate_client(sides, httpx) as http:
        sdk = openai.OpenAI(
            api_key="sk-previous-0001", base_url=f"{sides.previous.url}/v1", http_client=http,
            max_retries=2,
        )  # fmt: skip
        with pytest.raises(openai.InternalServerError):
            sdk.chat.completions.create(model="m", messages=[], stream=True)
    assert [class_of(line) for line in sides.lines()] == [StatusClass.GATEWAY] * 3


@libraries
@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd"])
@pytest.mark.parametrize("body", [CHAT, EVENTS], ids=["whole", "stream"])
def test_a_200_that_is_not_of_its_encoding_is_no_answer(
    sides: TwoSides, library: Any, encoding: str, body: bytes
) -> None:
    sides.decide(100)
    kind = "text/event-stream" if body is EVENTS else "application/json"
    packed = {"Content-Type": kind, "Content-Encoding": encoding}
    sides.tokenlab.answer = lambda _: Reply(200, body, packed)
    with gate_client(sides, library) as http, pytest.raises(library.DecodingError):
        http.post(f"{sides.previous.url}/v1/chat/completions", json={"model": "m", "stream": True})
    (line,) = sides.lines()
    assert (line["status"], line["outcome"], line["error"]) == (0, "error", "protocol")


def test_what_is_cut_by_who_leaves_is_not_corrupt(sides: TwoSides) -> None:
    sides.decide(100)
    packed = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    long = CHAT.replace(b"hi", os.urandom(200_000).hex().encode())
    sides.tokenlab.answer = lambda _: Reply(200, gzip.compress(long), packed)
    with gate_client(sides, httpx2) as http:
        url = f"{sides.previous.url}/v1/chat/completions"
        with http.stream("POST", url, json={"model": "m"}) as answer:
            next(answer.iter_raw(20))
    (line,) = sides.lines()
    assert (line["status"], line["outcome"], line["error"]) == (200, "abandoned", "abandoned")


@pytest.mark.parametrize("word", ["cancelled", "abandoned", "unsent", "unsendable"])
def test_a_word_of_the_gate_as_the_code_of_an_api_excuses_nothing(
    sides: TwoSides, word: str
) -> None:
    sides.decide(100)
    coded = b'{"error": {"code": "%s"}}' % word.encode()
    url = f"{sides.previous.url}/v1/chat/completions"
    with gate_client(sides, httpx2) as http:
        for status in (500, 200):
            sides.tokenlab.answer = lambda _, status=status: refused(status, coded)  # type: ignore[misc]
            http.post(url, json={"model": "m"})
    lines = sides.lines()
    assert [line["error"] for line in lines] == [word] * 2
    assert [class_of(line) for line in lines] == [StatusClass.GATEWAY] * 2
    assert not any(was_not_sent(line["status"], line["outcome"], line["error"]) for line in lines)


def test_lines_of_other_writers_are_left_where_no_status_says_otherwise() -> None:
    assert class_of_answer(0, None, "cancelled") is StatusClass.ABANDONED
    assert class_of_answer(200, None, "abandoned") is StatusClass.ABANDONED
    assert class_of_answer(499, None, "cancelled") is StatusClass.ABANDONED
    assert class_of_answer(503, None, "abandoned") is StatusClass.GATEWAY
    assert class_of_answer(429, "error", "abandoned") is StatusClass.RATE_LIMIT


@libraries
def test_a_client_without_a_free_connection_blames_no_side(sides: TwoSides, library: Any) -> None:
    sides.decide(100)
    sides.tokenlab.answer = lambda _: Reply(200, CHAT, {"Content-Type": "application/json"})
    given: Any = {
        "library": library.__name__, "limits": library.Limits(max_connections=1),
        "timeout": library.Timeout(5.0, pool=0.05),
    }  # fmt: skip
    url = f"{sides.previous.url}/v1/chat/completions"
    with (
        client(sides.gate, "chat", org="acme", tokenlab_key=TOKENLAB, **given) as http,
        http.stream("POST", url, json={"model": "m"}) as answer,
    ):
        with pytest.raises(library.PoolTimeout):
            http.post(url, json={"model": "m"})
        answer.read()
    told = [(line["status"], line["outcome"], line.get("error")) for line in sides.lines()]
    assert told == [(0, "abandoned", "unsent"), (200, "ok", None)]


@libraries
@pytest.mark.parametrize("value", ["one\n", "one\r\nX-Two: 2", "\0"])
def test_a_header_that_http_does_not_allow_blames_no_side(
    sides: TwoSides, library: Any, value: str
) -> None:
    sides.decide(100)
    url = f"{sides.previous.url}/v1/chat/completions"
    with gate_client(sides, library) as http, pytest.raises(library.LocalProtocolError):
        http.post(url, json={"model": "m"}, headers={"X-Request-Id": value})
    (line,) = sides.lines()
    assert (line["status"], line["outcome"], line["error"]) == (0, "abandoned", "unsendable")
    assert sides.tokenlab.received == []


@libraries
@pytest.mark.parametrize("redirects", [False, True], ids=["sent again", "redirected"])
def test_a_body_that_can_be_sent_once_is_blamed_on_who_sends_it_again(
    sides: TwoSides, library: Any, redirects: bool
) -> None:
    sides.decide(100)
    moved = Reply(307, b"{}", {"Location": "/v1/elsewhere"})
    sides.previous.answer = lambda _: moved if redirects else Reply(200, b"{}", {})
    with gate_client(sides, library) as http:
        sent = http.build_request(
            "POST", f"{sides.previous.url}/v1/files", content=(one for one in [b"a"])
        )
        if not redirects:
            http.send(sent)
        with pytest.raises(library.StreamConsumed):
            http.send(sent, follow_redirects=True)
    last = sides.lines()[-1]
    theirs = (0, "error", "redirect")
    own = (0, "abandoned", "unsendable")
    assert (last["status"], last["outcome"], last["error"]) == (theirs if redirects else own)
