"""Clients of HTTP/1.0, which know no chunks: raw ones, curl, ab, and nginx by default."""

import http.client
import json
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.gate.serve.test_streams import BODY, CHUNK, STOP, file_of, lines, read_until
from tests.support.loopback import TwoSides
from tests.support.parts import need
from tests.support.serving import ASK, HEADERS, Proxy, request_bytes, serving
from tests.support.streaming import Streamer
from tests.support.waiting import PATIENCE_S, until


def old(request: bytes, *more: bytes) -> bytes:
    """Return a request as one of HTTP/1.0, with more lines in its head."""
    head, _, body = request.partition(b"\r\n\r\n")
    lines = [head.replace(b" HTTP/1.1", b" HTTP/1.0"), *more]
    return b"\r\n".join([*lines, b"", body])


def to_end(client: socket.socket) -> tuple[bytes, bytes]:
    """Return the head and the body of the only answer on a connection."""
    data = b""
    while piece := client.recv(65_536):
        data += piece
    head, _, body = data.partition(b"\r\n\r\n")
    return head.lower(), body


@pytest.fixture
def streams(provider: Streamer, tmp_path: Path) -> Iterator[Proxy]:
    """A proxy whose provider is written by the test."""
    with serving(file_of(provider, tmp_path)) as found:
        yield found


def test_a_stream_ends_with_the_connection(
    provider: Streamer, streams: Proxy, tmp_path: Path
) -> None:
    with streams.connect() as client:
        client.sendall(old(request_bytes(body=BODY), b"Connection: keep-alive"))
        upstream = provider.next()
        upstream.begin()
        upstream.say(CHUNK)
        data = read_until(client, CHUNK)  # at once
        upstream.say(STOP)
        upstream.end()
        while piece := client.recv(65_536):
            data += piece
    head, _, body = data.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 ")  # the server's own version (RFC 9110, 2.5)
    assert b"transfer-encoding" not in head.lower()
    assert b"connection: close" in head
    assert body == CHUNK + STOP
    until(lambda: lines(tmp_path))
    assert lines(tmp_path)[0]["outcome"] == "ok"
    assert streams.said == []


def test_a_broken_stream_does_not_look_complete(provider: Streamer, streams: Proxy) -> None:
    """It is reset: of a body without a length, the end of the connection is its end."""
    with streams.connect() as client:
        client.sendall(old(request_bytes(body=BODY)))
        upstream = provider.next()
        upstream.begin()
        upstream.say(CHUNK)
        read_until(client, CHUNK)
        upstream.close()
        with pytest.raises(ConnectionResetError):
            to_end(client)
    assert streams.said == []


def test_a_connection_stays_where_the_length_is_known(sides: TwoSides, proxy: Proxy) -> None:
    for path, status in (("/chat/v1/chat/completions", 200), ("/nope/v1/x", 404)):
        with proxy.connect() as client:
            for _ in range(2):
                client.sendall(old(request_bytes(path), b"Connection: Keep-Alive"))
                head = read_until(client, b"}}").lower()
                assert head.startswith(b"http/1.1 %d " % status)
                assert b"connection: keep-alive" in head
            client.sendall(old(request_bytes(path)))
            head, _ = to_end(client)
            assert b"connection: close" in head
    assert len(sides.tokenlab.received) == 3


@pytest.mark.parametrize("path", ["/-/healthy", "/-/ready", "/nope/v1/x"])
def test_the_proxys_own_answers_have_a_length(proxy: Proxy, path: str) -> None:
    with proxy.connect() as client:
        client.sendall(old(request_bytes(path, b"", {}, "GET")))
        head, body = to_end(client)
    assert b"content-length: %d" % len(body) in head
    assert b"transfer-encoding" not in head


def test_no_interim_response(sides: TwoSides, proxy: Proxy) -> None:
    """``Expect`` of HTTP/1.0 is ignored (RFC 9110, 10.1.1)."""
    with proxy.connect() as client:
        client.sendall(old(request_bytes(), b"Expect: 100-continue"))
        head, _ = to_end(client)
    assert head.startswith(b"http/1.1 200 ")


def test_chunks_of_http_1_0_are_refused(sides: TwoSides, proxy: Proxy) -> None:
    """Its framing is faulty: a server in front may have seen another request in it."""
    bare = request_bytes(headers={"X-Rollout-Org": "acme"}).partition(b"Content-Length")[0]
    with proxy.connect() as client:
        begin = bare.replace(b"HTTP/1.1", b"HTTP/1.0") + b"Connection: keep-alive\r\n"
        client.sendall(begin + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n")
        head, _ = to_end(client)
    assert head.startswith(b"http/1.1 400 ")
    assert b"x-rollout-answer: proxy" in head
    assert sides.tokenlab.received == []


def test_curl(provider: Streamer, streams: Proxy) -> None:
    need("curl")
    words = ["curl", "-sS", "-N", "--http1.0", "-d", BODY.decode()]
    for name, value in HEADERS.items():
        words += ["-H", f"{name}: {value}"]
    url = f"{streams.url}/chat/v1/chat/completions"
    with subprocess.Popen([*words, url], stdout=subprocess.PIPE) as curl:
        upstream = provider.next()
        upstream.begin()
        upstream.say(CHUNK)
        upstream.say(STOP)
        upstream.end()
        out, _ = curl.communicate(timeout=PATIENCE_S)
    assert out == CHUNK + STOP
    assert curl.returncode == 0


def test_ab(sides: TwoSides, proxy: Proxy, tmp_path: Path) -> None:
    """Apache's benchmark speaks HTTP/1.0, and counts answers of another length as failed."""
    need("ab")
    body = tmp_path / "body.json"
    body.write_bytes(ASK)
    words = ["ab", "-q", "-n", "20", "-c", "2", "-p", str(body), "-T", "application/json"]
    for name, value in HEADERS.items():
        words += [] if name == "Content-Type" else ["-H", f"{name}: {value}"]
    for stays in ([], ["-k"]):
        out = subprocess.run(
            [*words, *stays, f"{proxy.url}/chat/v1/chat/completions"],
            capture_output=True, text=True, timeout=PATIENCE_S, check=True,
        ).stdout  # fmt: skip
        found = {line.split(":")[0]: line.split(":")[1].split()[0] for line in out.splitlines()
                 if line.count(":") == 1 and line.split(":")[1].split()}  # fmt: skip
        assert found["Complete requests"] == "20"
        assert found["Failed requests"] == "0"
        assert "Non-2xx responses" not in found
        assert found.get("Keep-Alive requests") == ("20" if stays else None)


@contextmanager
def nginx(folder: Path, proxy: Proxy) -> Iterator[tuple[str, int]]:
    """An nginx in front of the proxy, with ``proxy_pass`` and no other setting of it."""
    need("nginx")
    with socket.create_server(("127.0.0.1", 0)) as one:
        port = one.getsockname()[1]
    temporary = "".join(
        f"{name}_temp_path {folder}/{name};"
        for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (folder / "nginx.conf").write_text(
        f"daemon off; master_process off; pid {folder}/pid; error_log {folder}/errors;"
        f"events {{}} http {{ access_log off; {temporary}"
        f"server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass {proxy.url}; }} }} }}"
    )
    program = shutil.which("nginx") or "nginx"
    words = [program, "-c", str(folder / "nginx.conf"), "-e", str(folder / "errors")]
    process = subprocess.Popen(words, cwd=folder)
    try:
        until(lambda: _listens(port))
        yield "127.0.0.1", port
    finally:
        process.terminate()
        process.wait(PATIENCE_S)


def _listens(port: int) -> bool:
    with socket.socket() as one:
        return one.connect_ex(("127.0.0.1", port)) == 0


def test_nginx(provider: Streamer, streams: Proxy, tmp_path: Path) -> None:
    """A stream is whole for the client behind it, and one that broke is not."""
    with nginx(tmp_path, streams) as address:
        for is_whole in (True, False):
            client = http.client.HTTPConnection(*address, timeout=PATIENCE_S)
            client.request("POST", "/chat/v1/chat/completions", BODY, HEADERS)
            upstream = provider.next()
            upstream.begin()
            upstream.say(CHUNK)
            if is_whole:
                upstream.say(STOP)
                upstream.end()
                upstream.close()  # else the next request comes on its connection
                answer = client.getresponse()
                assert (answer.status, answer.read()) == (200, CHUNK + STOP)
            else:
                upstream.close()
                with pytest.raises((http.client.HTTPException, ConnectionError)):
                    _whole(client)
            client.close()
        client = http.client.HTTPConnection(*address, timeout=PATIENCE_S)
        client.request("GET", "/-/ready")
        assert json.loads(client.getresponse().read())["ready"] is True
        client.close()
    until(lambda: len(lines(tmp_path)) == 2)
    assert [line.get("error") for line in lines(tmp_path)] == [None, "protocol"]


def test_nginx_gets_an_answer_that_comes_before_the_end_of_a_body(
    sides: TwoSides, proxy: Proxy, tmp_path: Path
) -> None:
    """nginx sends all of a request before it reads; a connection that is closed is its 502."""
    with nginx(tmp_path, proxy) as address:
        found = []
        for _ in range(10):
            client = http.client.HTTPConnection(*address, timeout=PATIENCE_S)
            client.request("POST", "/nope/v1/x", b"x" * 900_000, HEADERS)
            found.append(client.getresponse().status)
            client.close()
    assert found == [404] * 10
    with proxy.connect() as one:
        one.sendall(request_bytes("/nope/v1/x", b"x" * 900_000, {"Connection": "close"}))
        head, _ = to_end(one)
    assert b"connection: close" in head


def _whole(client: http.client.HTTPConnection) -> bytes:
    answer = client.getresponse()
    assert answer.status == 200
    return answer.read()
