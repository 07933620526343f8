"""Uploads to a provider that accepts, and reads nothing: they end with their client."""

import asyncio
import socket
import struct
from pathlib import Path
from typing import Any

import pytest

from rollout_gate.serve import upstream
from rollout_gate.serve.server import Options, app_of
from tests.gate.serve.test_streams import file_of, lines
from tests.support.loopback import TOKENLAB, Received, Reply, TwoSides
from tests.support.serving import HEADERS, request_bytes, serving
from tests.support.streaming import Streamer
from tests.support.waiting import PATIENCE_S, soon, until

UPLOAD = {**HEADERS, "Content-Type": "multipart/form-data; boundary=b"}
UNSENT = request_bytes("/chat/v1/files", b"", UPLOAD)


@pytest.mark.parametrize("is_unix", [True, False], ids=["unix", "reset"])
def test_a_client_that_leaves(provider: Streamer, tmp_path: Path, is_unix: bool) -> None:
    """The provider's window is full, so nothing is read from the client either."""
    at = f"unix:{tmp_path / 'socket'}" if is_unix else "127.0.0.1:0"
    with serving(file_of(provider, tmp_path), listen=at) as proxy:
        client = _connected(at) if is_unix else proxy.connect()
        length = b"Content-Length: %d\r\n" % 2**30
        client.sendall(UNSENT.replace(b"Content-Length: 0\r\n", length))
        upstream, _ = provider._socket.accept()
        client.settimeout(1)
        with upstream, client:
            with pytest.raises(TimeoutError):
                client.sendall(b"x" * 2**25)
            if not is_unix:  # an end behind data which the window has no room for is not sent yet
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.close()
            with soon():
                until(lambda: lines(tmp_path))
    assert [line["error"] for line in lines(tmp_path)] == ["cancelled"]


def _connected(at: str) -> socket.socket:
    one = socket.socket(socket.AF_UNIX)
    one.connect(at.removeprefix("unix:"))
    return one


def test_a_provider_that_never_reads(
    provider: Streamer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has a limit of time of its own, as the end of a client may be hidden behind its data."""
    monkeypatch.setattr(upstream, "UPLOAD_WRITE_S", 0.2)
    pairs = [(name.lower().encode(), value.encode()) for name, value in UPLOAD.items()]
    scope = {
        "type": "http", "method": "POST", "path": "/chat/v1/files", "raw_path": b"/chat/v1/files",
        "query_string": b"", "http_version": "1.1",
        "headers": [(b"host", b"localhost"), (b"content-length", b"%d" % 2**30), *pairs],
    }  # fmt: skip
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        await asyncio.sleep(0)
        return {"type": "http.request", "body": b"x" * 65_536, "more_body": True}

    async def stop() -> dict[str, Any]:
        return {"type": "lifespan.shutdown"}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    async def main() -> None:
        app = app_of(Options(path=str(file_of(provider, tmp_path)), tokenlab_key=TOKENLAB))
        await app(scope, receive, send)
        await app({"type": "lifespan"}, stop, send)

    with soon():
        asyncio.run(main())
    assert sent[0]["status"] == 504
    assert [line["error"] for line in lines(tmp_path)] == ["timeout"]


@pytest.mark.parametrize("chunked", [False, True])
def test_an_upload_that_is_redirected_is_not_sent_again_without_its_body(
    sides: TwoSides, chunked: bool
) -> None:
    """Its body is passed on while it arrives, and cannot be had again."""

    def redirecting(one: Received) -> Reply:
        to = {"Location": "/v1/files/"}
        return Reply(200, {"id": "file-1"}) if one.target.endswith("/") else Reply(307, {}, to)

    sides.decide(100)
    sides.previous.answer = redirecting
    body = b'--b\r\nContent-Disposition: form-data; name="file"\r\n\r\nhello\r\n--b--\r\n'
    with serving(sides.path) as proxy, proxy.connect() as client:
        client.settimeout(PATIENCE_S)
        if chunked:
            head = request_bytes("/chat/v1/files", b"", {**UPLOAD, "Connection": "close"})
            head = head.replace(b"Content-Length: 0\r\n", b"Transfer-Encoding: chunked\r\n")
            client.sendall(head + b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body))
        else:
            client.sendall(request_bytes("/chat/v1/files", body, {**UPLOAD, "Connection": "close"}))
        said = b"".join(iter(lambda: client.recv(65_536), b""))
        assert said.startswith(b"HTTP/1.1 502 ")
        assert b"redirected an upload" in said
    until(lambda: sides.lines())
    (line,) = sides.lines()
    assert (line["status"], line["outcome"], line["error"]) == (0, "error", "redirect")
    assert [len(one.body) for one in sides.previous.received if not one.target.endswith("/")] == [
        len(body)
    ]
    again = [one for one in sides.previous.received if one.target.endswith("/")]
    assert all(one.header("content-length") == str(len(body)) for one in again), "broken off"
