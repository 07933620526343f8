"""Streams through the proxy: at once, untouched, as slow as their reader, and ended with it."""

import gzip
import json
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.support.serving import HEADERS, Proxy, request_bytes, serving
from tests.support.streaming import Streamer
from tests.support.waiting import until

BODY = b'{"model": "old", "stream": true, "messages": []}'
CHUNK = (
    b'data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m",'
    b'"choices":[{"index":0,"delta":{"content":"word "},"finish_reason":null}]}\n\n'
)
STOP = CHUNK.replace(b'"finish_reason":null', b'"finish_reason":"stop"') + b"data: [DONE]\n\n"


@pytest.fixture
def proxy(provider: Streamer, tmp_path: Path) -> Iterator[Proxy]:
    with serving(file_of(provider, tmp_path)) as found:
        yield found


def file_of(provider: Streamer, folder: Path) -> Path:
    path = folder / "rollout.toml"
    path.write_text(
        f'schema = 1\nalgorithm = "fractional-v3"\n[tokenlab]\nbase_url = "{provider.url}"\n'
        '[routes.chat]\nformat = "openai_chat_completions"\nmodel = "new"\ndefault_percent = 100\n'
        f'previous_base_url = "{provider.url}/previous/v1"\n'
    )
    return path


def lines(folder: Path) -> list[dict[str, Any]]:
    path = folder / "access.jsonl"
    text = path.read_text() if path.exists() else ""
    return [json.loads(line) for line in text.splitlines()]


def read_until(connection: socket.socket, wanted: bytes) -> bytes:
    data = b""
    while wanted not in data:
        piece = connection.recv(65_536)
        assert piece, data
        data += piece
    return data


def read_to_end(connection: socket.socket) -> bytes:
    data = b""
    with suppress(ConnectionError):
        while piece := connection.recv(65_536):
            data += piece
    return data


def test_each_event_passes_before_the_next_is_made(
    provider: Streamer, proxy: Proxy, tmp_path: Path
) -> None:
    with proxy.connect() as client:
        client.sendall(request_bytes(body=BODY))
        upstream = provider.next()
        upstream.begin()
        data = read_until(client, b"\r\n\r\n")  # the head alone, before any event
        for number in range(3):
            event = CHUNK.replace(b"word", b"word%d" % number)
            upstream.say(event)
            data += read_until(client, event)
        upstream.say(STOP)
        upstream.end()
        data += read_until(client, b"\r\n0\r\n\r\n")
        assert b"text/event-stream" in data
    until(lambda: lines(tmp_path))
    (line,) = lines(tmp_path)
    assert (line["stream"], line["outcome"], line["finish_reason"]) == (True, "ok", "stop")


def test_a_client_that_leaves_ends_the_request(
    provider: Streamer, proxy: Proxy, tmp_path: Path
) -> None:
    """In the middle of a stream, and before there is any answer."""
    for begins in (True, False):
        client = proxy.connect()
        client.sendall(request_bytes(body=BODY))
        upstream = provider.next()
        if begins:
            upstream.begin()
            upstream.say(CHUNK)
            read_until(client, CHUNK)
        client.close()
        assert upstream.hears_end()
    until(lambda: len(lines(tmp_path)) == 2)
    assert [line.get("error") for line in lines(tmp_path)] == ["cancelled"] * 2
    assert proxy.ask("/-/healthy", None, {}, "GET").status == 200
    assert "".join(proxy.said) == ""


def test_a_broken_stream_is_broken_for_the_client_too(
    provider: Streamer, proxy: Proxy, tmp_path: Path
) -> None:
    """It must not look complete: no last chunk, and the connection ends."""
    with proxy.connect() as client:
        client.sendall(request_bytes(body=BODY))
        upstream = provider.next()
        upstream.begin()
        upstream.say(CHUNK)
        data = read_until(client, CHUNK)
        upstream.close()
        while piece := client.recv(65_536):
            data += piece
    assert not data.endswith(b"0\r\n\r\n")
    until(lambda: lines(tmp_path))
    assert lines(tmp_path)[0]["error"] == "protocol"
    assert "".join(proxy.said) == ""


def test_an_answer_shorter_than_it_says(provider: Streamer, proxy: Proxy) -> None:
    with proxy.connect() as client:
        client.sendall(request_bytes())
        upstream = provider.next()
        head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n"
        upstream.connection.sendall(head + b'{"id"')
        upstream.close()
        data = b""
        while piece := client.recv(65_536):
            data += piece
    assert data.endswith(b'{"id"')


@pytest.mark.slow
def test_backpressure(provider: Streamer, proxy: Proxy) -> None:
    """A client that reads nothing stops the provider: the proxy does not buffer the rest."""
    with proxy.connect() as client:
        client.sendall(request_bytes(body=BODY))
        upstream = provider.next()
        upstream.begin()
        upstream.connection.settimeout(2.0)
        piece, sent = b"data: " + b"x" * 65_000 + b"\n\n", 0
        with suppress(TimeoutError):
            while sent < 2**28:
                upstream.say(piece)
                sent += len(piece)
        assert sent < 2**26  # what the buffers of four sockets hold, 35 MB, and some


@pytest.mark.parametrize("encoding", ["gzip", "identity"])
def test_bytes_pass_untouched(
    provider: Streamer, proxy: Proxy, tmp_path: Path, encoding: str
) -> None:
    raw = CHUNK * 3 + STOP
    sent = gzip.compress(raw) if encoding == "gzip" else raw
    with proxy.connect() as client:
        client.sendall(request_bytes(body=BODY, headers={**HEADERS, "Accept-Encoding": "gzip"}))
        upstream = provider.next()
        assert b"accept-encoding: gzip" in upstream.request.lower()
        head = (
            "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
            f"Content-Encoding: {encoding}\r\n"
            f"X-Twice: a\r\nX-Twice: b\r\nConnection: close\r\nContent-Length: {len(sent)}\r\n\r\n"
        )
        upstream.connection.sendall(head.encode() + sent)
        data = read_until(client, sent[-20:])
    shown, _, body = data.partition(b"\r\n\r\n")
    assert body == sent
    assert shown.lower().count(b"x-twice") == 2
    assert b"connection: close" not in shown.lower()
    until(lambda: lines(tmp_path))
    assert lines(tmp_path)[0]["outcome"] == "ok"


def test_an_upload_is_passed_on_while_it_arrives(provider: Streamer, proxy: Proxy) -> None:
    headers = {**HEADERS, "Content-Type": "multipart/form-data; boundary=b"}
    body = b"--b\r\n" + b"x" * 200_000
    request = request_bytes("/chat/v1/files", body, headers)
    head, _, _ = request.partition(b"\r\n\r\n")
    with proxy.connect() as client:
        client.sendall(head + b"\r\n\r\n" + body[:100_000])
        connection, _ = provider._socket.accept()
        connection.settimeout(60)
        with connection:
            data = read_until(connection, b"--b\r\n")  # the second half was not sent yet
            client.sendall(body[100_000:])
            while len(data.partition(b"\r\n\r\n")[2]) < len(body):
                data += connection.recv(65_536)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
            assert read_until(client, b"{}").startswith(b"HTTP/1.1 200")


def test_a_rollback_while_a_stream_is_open(
    provider: Streamer, proxy: Proxy, tmp_path: Path
) -> None:
    """The open one ends where it began; the next one goes to the previous provider."""

    def revision() -> str:
        return str(json.loads(proxy.ask("/-/ready", None, {}, "GET").body)["revision"])

    with proxy.connect() as first, proxy.connect() as second:
        first.sendall(request_bytes(body=BODY))
        upstream = provider.next()
        upstream.begin()
        upstream.say(CHUNK)
        read_until(first, CHUNK)
        before = revision()
        path = tmp_path / "rollout.toml"
        new = path.with_suffix(".new")
        new.write_text(path.read_text().replace("percent = 100", "percent = 0"))
        new.replace(path)
        until(lambda: revision() != before)
        second.sendall(request_bytes(body=BODY))
        other = provider.next()
        assert other.request.startswith(b"POST /previous/v1/")
        other.begin()
        for client, one in ((first, upstream), (second, other)):
            one.say(STOP)
            one.end()
            read_until(client, b"\r\n0\r\n\r\n")
        until(lambda: len(lines(tmp_path)) == 2)
    old, new_line = lines(tmp_path)
    assert (old["side"], old["outcome"], old["revision"]) == ("tokenlab", "ok", before)
    assert (new_line["side"], new_line["outcome"]) == ("previous", "ok")


def test_many_streams_at_once(provider: Streamer, proxy: Proxy) -> None:
    """More than one pool's worth: none waits for another, and all are ended well."""
    clients = []
    for _ in range(80):
        client = proxy.connect()
        client.sendall(request_bytes(body=BODY))
        clients.append((client, provider.next()))
    for _, upstream in clients:
        upstream.begin()
        upstream.say(CHUNK)
    for client, upstream in clients:
        with client:
            read_until(client, CHUNK)
            upstream.say(STOP)
            upstream.end()
            read_until(client, b"\r\n0\r\n\r\n")
