"""Odd, broken and hostile answers of providers: what the client gets, and what is logged."""

import json
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.gate.serve.test_streams import BODY, CHUNK, STOP, file_of, lines, read_to_end, read_until
from tests.support.loopback import CHAT, TOKENLAB
from tests.support.serving import HEADERS, Proxy, request_bytes, serving
from tests.support.streaming import Streamer
from tests.support.waiting import until

JSON = json.dumps(CHAT).encode()
TYPE = b"Content-Type: application/json\r\n"
LENGTH = b"Content-Length: %d\r\n" % len(JSON)
OK = b"HTTP/1.1 200 OK\r\n" + TYPE
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n"
CHUNKS = b"%x;name=value\r\n%s\r\n0\r\n" % (len(JSON), JSON)


@pytest.fixture
def proxy(provider: Streamer, tmp_path: Path) -> Iterator[Proxy]:
    with serving(file_of(provider, tmp_path)) as found:
        yield found


def answered(provider: Streamer, proxy: Proxy, sent: bytes) -> tuple[bytes, bytes]:
    """Return head and body of the proxy's answer, on a connection that goes on."""
    with proxy.connect() as client:
        client.sendall(request_bytes())
        upstream = provider.next()
        upstream.connection.sendall(sent)
        head = read_until(client, b"\r\n\r\n")
        upstream.close()
        client.sendall(b"GET /-/healthy HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        data = head + read_to_end(client)
    head, _, rest = data.partition(b"\r\n\r\n")
    body, second, _ = rest.rpartition(b"HTTP/1.1 200 OK\r\n")
    assert second, "the connection did not go on"
    return head, body


WHOLE = {
    "early hints": (
        b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n"
        + OK + LENGTH + b"\r\n" + JSON
    ),
    "shorter length and chunks": CHUNKED + b"Content-Length: 5\r\n\r\n" + CHUNKS + b"\r\n",
    "longer length and chunks": CHUNKED + b"Content-Length: 5000\r\n\r\n" + CHUNKS + b"\r\n",
    "trailers": CHUNKED + b"Trailer: X-T\r\n\r\n" + CHUNKS + b"X-T: 1\r\n\r\n",
    "the same length twice": OK + LENGTH * 2 + b"\r\n" + JSON,
    "a control character": OK + b"X-A: a\x01b\r\n" + LENGTH + b"\r\n" + JSON,
    "the proxy's mark": OK + b"X-Rollout-Answer: proxy\r\n" + LENGTH + b"\r\n" + JSON,
    "cookies": OK + b"Set-Cookie: a=b\r\nSet-Cookie: c=d\r\n" + LENGTH + b"\r\n" + JSON,
}  # fmt: skip


@pytest.mark.parametrize("name", WHOLE)
def test_an_answer_that_is_whole(
    provider: Streamer, proxy: Proxy, tmp_path: Path, name: str
) -> None:
    head, body = answered(provider, proxy, WHOLE[name])
    assert head.startswith(b"HTTP/1.1 200 OK")
    assert JSON in body
    for gone in (b"x-a:", b"x-rollout-answer", b"set-cookie", b"content-length: 5\r\n"):
        assert gone not in head + b"\r\n"
    until(lambda: lines(tmp_path))
    (line,) = lines(tmp_path)
    assert (line["side"], line["status"], line["outcome"]) == ("tokenlab", 200, "ok")
    assert proxy.said == []


@pytest.mark.parametrize("status", [204, 304])
def test_an_answer_without_a_body_that_has_a_length(
    provider: Streamer, proxy: Proxy, tmp_path: Path, status: int
) -> None:
    head, body = answered(provider, proxy, b"HTTP/1.1 %d Odd\r\nContent-Length: 5\r\n\r\n" % status)
    assert head.startswith(b"HTTP/1.1 %d" % status)
    assert body == b""
    until(lambda: lines(tmp_path))
    assert [line["status"] for line in lines(tmp_path)] == [status]
    assert proxy.said == []


BROKEN: dict[str, tuple[bytes, tuple[int, str | None]]] = {
    "no status of HTTP": (b"HTTP/1.1 999 Odd\r\n" + LENGTH + b"\r\n" + JSON, (999, None)),
    "switched protocols": (
        b"HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n", (0, "protocol")
    ),
    "two lengths": (OK + LENGTH + b"Content-Length: 3\r\n\r\n" + JSON, (0, "protocol")),
    "a long header": (OK + b"X-A: " + b"a" * 200_000 + b"\r\n\r\n", (0, "protocol")),
    "NUL in a header": (OK + b"X-A: a\0b\r\n" + LENGTH + b"\r\n" + JSON, (0, "protocol")),
    "no HTTP": (b"\0\0\0\x04\0\0\0\0\0\r\n\r\n", (0, "protocol")),
    "a redirect elsewhere": (
        b"HTTP/1.1 302 Found\r\nLocation: http://evil.example/x\r\nContent-Length: 0\r\n\r\n",
        (302, "redirect"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_an_answer_that_cannot_be_passed_on(
    provider: Streamer, proxy: Proxy, tmp_path: Path, name: str
) -> None:
    """The client gets the proxy's own 502; the log has what the provider did."""
    sent, logged = BROKEN[name]
    head, body = answered(provider, proxy, sent)
    assert head.startswith(b"HTTP/1.1 502 ")
    assert b"x-rollout-answer: proxy" in head
    assert "rollout-gate: " in json.loads(body)["error"]["message"]
    until(lambda: lines(tmp_path))
    assert [(line["status"], line.get("error")) for line in lines(tmp_path)] == [logged]
    assert not any("Exception" in line for line in proxy.said)
    assert TOKENLAB not in "".join(proxy.said)


@pytest.mark.parametrize("is_begun", [False, True])
def test_a_connection_that_is_reset(
    provider: Streamer, proxy: Proxy, tmp_path: Path, is_begun: bool
) -> None:
    with proxy.connect() as client:
        client.sendall(request_bytes())
        upstream = provider.next()
        if is_begun:
            upstream.connection.sendall(OK + LENGTH + b"\r\n" + JSON[:20])
            read_until(client, JSON[:20])
        linger = struct.pack("ii", 1, 0)
        upstream.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        upstream.close()
        data = read_until(client, b"}}") if not is_begun else read_to_end(client)
    if is_begun:
        assert data == b""  # and the end of the connection
    else:
        assert data.startswith(b"HTTP/1.1 502 ")
        assert b"the provider broke off" in data
    until(lambda: lines(tmp_path))
    assert [line["status"] for line in lines(tmp_path)] == [0]
    assert proxy.said == []


def test_a_connection_that_the_provider_closes_when_idle(
    provider: Streamer, proxy: Proxy, tmp_path: Path
) -> None:
    """One that was closed is not used; a request that the provider took is never sent twice."""
    with proxy.connect() as client:
        for closes_before in (True, False):
            client.sendall(request_bytes())
            upstream = provider.next()
            upstream.connection.sendall(OK + LENGTH + b"\r\n" + JSON)
            assert read_until(client, JSON).startswith(b"HTTP/1.1 200 ")
            if closes_before:
                upstream.close()
        client.sendall(request_bytes())  # on the connection of before
        assert upstream.connection.recv(65_536)
        upstream.close()
        assert read_until(client, b"}}").startswith(b"HTTP/1.1 502 ")
        client.sendall(request_bytes())
        upstream = provider.next()
        upstream.connection.sendall(OK + LENGTH + b"\r\n" + JSON)
        assert read_until(client, JSON).startswith(b"HTTP/1.1 200 ")
    until(lambda: len(lines(tmp_path)) == 4)
    assert [line["status"] for line in lines(tmp_path)] == [200, 200, 0, 200]
    assert proxy.said == []


def test_a_refusal_before_the_upload_has_ended(
    provider: Streamer, proxy: Proxy, tmp_path: Path
) -> None:
    """The client gets the provider's 413, and not an error of the connection."""
    upload = {**HEADERS, "Content-Type": "multipart/form-data; boundary=b"}
    sent = request_bytes("/chat/v1/files", b"x" * 2**20, upload)
    with proxy.connect() as client:
        sender = threading.Thread(target=client.sendall, args=(sent,))
        sender.start()
        connection, _ = provider._socket.accept()
        with connection:
            read_until(connection, b"\r\n\r\n")
            connection.sendall(b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\n{}")
            connection.shutdown(socket.SHUT_WR)
            reader = threading.Thread(target=read_to_end, args=(connection,))
            reader.start()
            answer = read_until(client, b"{}")
            sender.join()
            # The pool keeps a connection whose upload was whole, and closes it at its next use.
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RD)
            reader.join()
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"x-rollout-answer" not in answer
    until(lambda: lines(tmp_path))
    assert [line["status"] for line in lines(tmp_path)] == [413]


def test_a_key_that_the_provider_echoes_is_not_logged(
    provider: Streamer, proxy: Proxy, tmp_path: Path
) -> None:
    echo = b'{"error": {"message": "%s", "code": "%s"}}' % ((TOKENLAB.encode(),) * 2)
    answered(
        provider, proxy,
        b"HTTP/1.1 401 No\r\n" + TYPE + b"Content-Length: %d\r\n\r\n" % len(echo) + echo,
    )  # fmt: skip
    until(lambda: lines(tmp_path))
    assert lines(tmp_path)[0]["error"] == "redacted"
    assert TOKENLAB not in (tmp_path / "access.jsonl").read_text() + "".join(proxy.said)


def left(line: dict[str, Any]) -> tuple[Any, ...]:
    return line["status"], line["outcome"], line.get("error")


def test_a_client_that_leaves_after_the_last_word(
    provider: Streamer, proxy: Proxy, tmp_path: Path
) -> None:
    """SDKs stop reading at [DONE]: the answer was whole, though its connection was not closed."""
    client = proxy.connect()
    client.sendall(request_bytes(body=BODY))
    upstream = provider.next()
    upstream.begin()
    upstream.say(CHUNK)
    upstream.say(STOP)
    read_until(client, STOP)
    client.close()
    assert upstream.hears_end()
    until(lambda: lines(tmp_path))
    (line,) = lines(tmp_path)
    assert left(line) == (200, "ok", None)
    assert line["finish_reason"] == "stop"


def test_many_streams_that_are_cut_at_once(
    provider: Streamer, proxy: Proxy, tmp_path: Path
) -> None:
    """By their clients, then by their provider: each ends, has one line, and leaves no file."""
    files = Path(f"/proc/{proxy.process.pid}/fd")
    assert proxy.ask("/-/healthy", None, {}, "GET").status == 200
    before = len(list(files.iterdir()))
    for cuts_client in (True, False):
        pairs = []
        for _ in range(100):
            client = proxy.connect()
            client.sendall(request_bytes(body=BODY))
            upstream = provider.next()
            upstream.begin()
            upstream.say(CHUNK)
            pairs.append((client, upstream))
        for client, _ in pairs:
            read_until(client, CHUNK)
        for client, upstream in pairs:
            (client if cuts_client else upstream).close()
        for client, upstream in pairs:
            if cuts_client:
                assert upstream.hears_end()
            else:
                assert not read_to_end(client).endswith(b"0\r\n\r\n")
                client.close()
    until(lambda: len(lines(tmp_path)) == 200)
    found = sorted({left(line) for line in lines(tmp_path)})
    assert found == [(0, "abandoned", "cancelled"), (0, "error", "protocol")]
    until(lambda: len(list(files.iterdir())) <= before + 1)  # the access log
    assert proxy.said == []
