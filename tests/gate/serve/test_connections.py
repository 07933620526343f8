"""Connections of clients: what is on the wire, whole or not, and what is taken for a request."""

import asyncio
import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from uvicorn.server import ServerState

from rollout_gate.serve.connection import MOST_HEAD, ClientConnection
from tests.gate.serve.test_streams import (
    BODY,
    CHUNK,
    STOP,
    file_of,
    read_to_end,
    read_until,
)
from tests.gate.serve.test_streams import lines as lines_of
from tests.support.loopback import TwoSides
from tests.support.serving import ASK, HEADERS, Proxy, request_bytes, serving
from tests.support.streaming import Streamer
from tests.support.waiting import until

HEAD = request_bytes(headers=HEADERS).partition(b"\r\n\r\n")[0] + b"\r\n"
BARE = HEAD.replace(b"Content-Length: %d\r\n" % len(ASK), b"")
CHUNKED = b"Transfer-Encoding: chunked\r\n"
OFFER = (
    b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
    b"HTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABkAAQBAAAAAAUAAEAA\r\n"
)


def in_chunks(body: bytes) -> bytes:
    return b"%x\r\n%s\r\n%x\r\n%s\r\n0\r\n" % (5, body[:5], len(body) - 5, body[5:])


@pytest.mark.parametrize("is_chunked", [False, True])
@pytest.mark.parametrize("is_split", [False, True])
def test_an_upgrade_that_is_not_taken(
    sides: TwoSides, proxy: Proxy, is_chunked: bool, is_split: bool
) -> None:
    """Java's HttpClient offers HTTP/2 with its first request, and sends it as HTTP/1.1."""
    body = in_chunks(ASK) + b"\r\n" if is_chunked else ASK
    head = (BARE + CHUNKED if is_chunked else HEAD) + OFFER + b"\r\n"
    with proxy.connect() as one:
        for _ in range(2):
            if is_split:
                one.sendall(head[:-20])
                one.sendall(head[-20:])
                one.sendall(body)
            else:
                one.sendall(head + body)
            assert read_until(one, b'"total_tokens": 2}}').startswith(b"HTTP/1.1 200")
        one.sendall((head + body) * 2)  # pipelined
        data = read_until(one, b'"total_tokens": 2}}')
        while data.count(b'"total_tokens": 2}}') < 2:
            data += one.recv(65_536)
    bodies = [json.loads(it.body)["messages"] for it in sides.tokenlab.received]
    assert bodies == [json.loads(ASK)["messages"]] * 4
    assert not any(it.header("Upgrade") for it in sides.tokenlab.received)
    assert proxy.said == []


def test_trailers_are_no_headers(sides: TwoSides, proxy: Proxy) -> None:
    """A field behind the body decides nothing, and is sent to nobody (RFC 9110, 6.5.1)."""
    trailers = b"X-Rollout-Org: other\r\nX-Rollout-Key: k\r\nHost: evil.example\r\nX-New: 1\r\n\r\n"
    with proxy.connect() as one:
        one.sendall(BARE + CHUNKED + b"\r\n" + in_chunks(ASK) + trailers)
        assert b" 200 " in one.recv(65_536).partition(b"\r\n")[0]
    until(sides.lines)
    assert sides.lines()[0]["org"] == "acme"
    (new,) = sides.tokenlab.received
    assert "X-New" not in new.everything
    assert proxy.said == []


NO_REQUESTS = {
    "two framings": (400, HEAD + CHUNKED + b"\r\n0\r\n\r\n"),
    "two lengths": (400, HEAD + b"Content-Length: 3\r\n\r\n" + ASK),
    "signed length": (400, BARE + b"Content-Length: +5\r\n\r\n" + ASK),
    "list of lengths": (400, BARE + b"Content-Length: 5, 5\r\n\r\n" + ASK),
    "long length": (400, BARE + b"Content-Length: 99999999999999999999999\r\n\r\n"),
    "unknown coding": (400, BARE + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"),
    "hidden coding": (400, BARE + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n"),
    "space before colon": (400, BARE + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n"),
    "coding undone": (400, BARE + CHUNKED + b"Transfer-Encoding: identity\r\n\r\n0\r\n\r\n"),
    "coding inside": (501, BARE + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
    "codings on two lines": (
        501,
        BARE + b"Transfer-Encoding: gzip\r\n" + CHUNKED + b"\r\n0\r\n\r\n",
    ),
    "long chunk": (400, BARE + CHUNKED + b"\r\n5\r\nabcdefgh\r\n0\r\n\r\n"),
    "no chunk": (400, BARE + CHUNKED + b"\r\nzz\r\n"),
    "folded header": (400, HEAD + b"X-A: b\r\n c\r\n\r\n" + ASK),
    "bare CR": (400, HEAD + b"X-A: b\rX-C: d\r\n\r\n" + ASK),
    "bare LF": (400, HEAD.replace(b"\r\n", b"\n") + b"\n" + ASK),
    "NUL": (400, HEAD + b"X-A: b\0c\r\n\r\n" + ASK),
    "HTTP/2.0": (400, HEAD.replace(b"HTTP/1.1", b"HTTP/2.0") + b"\r\n" + ASK),
    "HTTP/1.2": (400, HEAD.replace(b"HTTP/1.1", b"HTTP/1.2") + b"\r\n" + ASK),
    "HTTP/3.0": (400, HEAD.replace(b"HTTP/1.1", b"HTTP/3.0") + b"\r\n" + ASK),
    "HTTP/2": (400, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    "TLS": (400, b"\x16\x03\x01\x02\x00\x01\x00\x01"),
    "two hosts": (400, HEAD.replace(b"Host:", b"Host: evil.example\r\nHost:") + b"\r\n" + ASK),
    "two orgs": (400, HEAD + b"X-Rollout-Org: other\r\n\r\n" + ASK),
    "an org and none": (400, HEAD + b"x-rollout-org: \r\n\r\n" + ASK),
    "two keys": (400, HEAD + b"X-Rollout-Key: a\r\nX-Rollout-Key: b\r\n\r\n" + ASK),
    "two aliases": (
        400,
        HEAD + b"X-Rollout-Key-Alias: a\r\nX-Rollout-Key-Alias: b\r\n\r\n" + ASK,
    ),
    "two jobs": (400, HEAD + b"X-Rollout-Job-Id: a\r\nX-Rollout-Job-Id: b\r\n\r\n" + ASK),
    "two tokens": (400, HEAD + b"X-Rollout-Token: a\r\nX-Rollout-Token: b\r\n\r\n" + ASK),
    "tunnel": (501, b"CONNECT api.openai.com:443 HTTP/1.1\r\nHost: api.openai.com:443\r\n\r\n"),
    "long header": (431, HEAD + b"X-A: " + b"a" * MOST_HEAD + b"\r\n\r\n"),
    "long path": (431, HEAD.replace(b"/chat/", b"/chat/" + b"a" * 60_000) + b"X: " + b"a" * 6000),
    "many headers": (431, HEAD + b"X-A: b\r\n" * (MOST_HEAD // 8)),
}


@pytest.mark.parametrize("name", NO_REQUESTS)
def test_what_is_no_request(sides: TwoSides, proxy: Proxy, name: str) -> None:
    """Ambiguous requests (request smuggling) are refused, by an answer marked as the proxy's."""
    status, sent = NO_REQUESTS[name]
    with proxy.connect() as one:
        one.sendall(sent)
        head, _, _ = read_until(one, b"}}").partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status)
    assert b"x-rollout-answer: proxy" in head
    assert sides.tokenlab.received == sides.previous.received == []
    assert proxy.ask().status == 200


def test_what_is_no_http_is_said_once(proxy: Proxy) -> None:
    for _ in range(3):
        with proxy.connect() as one:
            one.sendall(b"\x16\x03\x01\x02\x00\x01\x00\x01")
            assert read_to_end(one).startswith(b"HTTP/1.1 400")
    proxy.stop()
    assert len(proxy.said) == 1
    assert "no HTTP/1.1 request" in proxy.said[0]


def test_a_head_without_an_end(proxy: Proxy) -> None:
    """Neither a header's value nor the trailers take memory without a limit."""
    for begin in (HEAD + b"X-A: ", BARE + CHUNKED + b"\r\n0\r\nX-A: "):
        with proxy.connect() as one:
            one.sendall(begin)
            data = b""
            try:
                for _ in range(100):
                    one.sendall(b"a" * MOST_HEAD)
            except ConnectionError:  # refused while it was sent
                continue
            data = read_to_end(one)
            assert data.startswith(b"HTTP/1.1 431")


async def _refuses(scope: Any, receive: Any, send: Any) -> None:
    """Answer without reading the body."""
    if scope["type"] == "http":
        headers = [(b"content-length", b"0")]
        await send({"type": "http.response.start", "status": 413, "headers": headers})
        await send({"type": "http.response.body"})


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sent", "answer"),
    [
        (b"", b""),
        (HEAD[:40], b""),
        (request_bytes() + HEAD[:40], b"HTTP/1.1 413"),
        (request_bytes()[:-1], b"HTTP/1.1 413"),
    ],
    ids=["nothing", "half a head", "half a second head", "half a body"],
)
def test_a_head_and_what_is_refused_have_to_come_in_time(sent: bytes, answer: bytes) -> None:
    """Clients that send a byte now and then, or nothing, hold no connection (slowloris)."""

    class Quick(ClientConnection):
        head_s = 0.2

    async def main() -> bytes:
        config = uvicorn.Config(_refuses, log_config=None, ws="none")
        config.load()
        loop = asyncio.get_running_loop()
        make = partial(Quick, config, ServerState(), {}, loop)
        server = await loop.create_server(make, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.write(sent)
        found = await asyncio.wait_for(reader.read(), 60)
        writer.close()
        server.close()
        return found

    assert asyncio.run(main())[: len(answer) or None] == answer


def test_pipelined_requests_are_answered_in_order(sides: TwoSides, proxy: Proxy) -> None:
    with proxy.connect() as one:
        one.sendall(request_bytes() + request_bytes("/nope/v1/x") + request_bytes())
        data = b""
        while data.count(b"}}") < 3:
            data += one.recv(65_536)
    found = [part[:3] for part in data.split(b"HTTP/1.1 ")[1:] if part[:3].isdigit()]
    assert found == [b"200", b"404", b"200"]
    assert len(sides.tokenlab.received) == 2


def test_a_client_that_pipelines_and_leaves(provider: Streamer, tmp_path: Path) -> None:
    """The answer in progress ends as well, not the last request alone."""
    with serving(file_of(provider, tmp_path)) as proxy:
        client = proxy.connect()
        client.sendall(request_bytes(body=BODY))
        upstream = provider.next()
        upstream.begin()
        upstream.say(CHUNK)
        read_until(client, CHUNK)
        client.sendall(request_bytes(body=BODY))
        client.close()
        assert upstream.hears_end()
        until(lambda: lines_of(tmp_path))
        assert [one["error"] for one in lines_of(tmp_path)] == ["cancelled"]
        assert proxy.said == []


def test_garbage_behind_a_request_is_not_answered_in_its_stream(
    provider: Streamer, tmp_path: Path
) -> None:
    with serving(file_of(provider, tmp_path)) as proxy, proxy.connect() as client:
        client.sendall(request_bytes(body=BODY))
        upstream = provider.next()
        upstream.begin()
        upstream.say(CHUNK)
        data = read_until(client, CHUNK)
        client.sendall(b"GARBAGE\r\n\r\n")
        data += read_to_end(client)
        assert upstream.hears_end()
    assert data.count(b"HTTP/1.1") == 1
    assert not data.endswith(STOP)
