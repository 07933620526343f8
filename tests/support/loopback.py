"""HTTP servers on loopback that keep what they were sent, byte for byte, and answer as told."""

import http.client
import json
import os
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from rollout_gate import Gate

PREVIOUS = "canary-of-previous-1f3a"
TOKENLAB = "canary-of-tokenlab-9c2b"
CHAT = {
    "id": "chat-1", "object": "chat.completion", "created": 1, "model": "m",
    "choices": [
        {"index": 0, "message": {"role": "assistant", "content": "ok"}, "finish_reason": "stop"}
    ],
    "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
}  # fmt: skip


@dataclass(frozen=True)
class Received:
    """One request as it came."""

    method: str
    target: str
    headers: tuple[tuple[str, str], ...]
    body: bytes

    @property
    def everything(self) -> str:
        """All of it as one text, to look for what must not be there."""
        return f"{self.method} {self.target} {self.headers} {self.body!r}"

    def header(self, name: str) -> str | None:
        return next((value for one, value in self.headers if one.lower() == name.lower()), None)


@dataclass(frozen=True)
class Reply:
    """An answer; ``body`` is sent as JSON unless it is bytes."""

    status: int = 200
    body: Any = None
    headers: Mapping[str, str] | None = None


Answer = Callable[[Received], Reply]


def well(_: Received) -> Reply:
    """Answer as a provider that is well."""
    return Reply(200, CHAT)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 512


class Origin:
    """One server: ``received`` is what it got, ``answer`` what it says to that."""

    def __init__(self, answer: Answer = well, tls: ssl.SSLContext | None = None) -> None:
        self.answer = answer
        self.received: list[Received] = []
        origin = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = -1  # head and body in one packet, or each answer waits for an ACK
            disable_nagle_algorithm = True  # the same of an answer of several packets

            def handle_one_request(self) -> None:
                try:
                    super().handle_one_request()
                except OSError:
                    self.close_connection = True

            def parse_request(self) -> bool:
                parsed = super().parse_request()
                if parsed:
                    length = int(self.headers.get("content-length") or 0)
                    body = self.rfile.read(length)
                    if "chunked" in self.headers.get("transfer-encoding", ""):
                        body = b"".join(self.chunks())
                    pairs = tuple((name, value) for name, value in self.headers.items())
                    self.one = Received(self.command, self.path, pairs, body)
                    setattr(self, f"do_{self.command}", self.reply)
                return parsed

            def chunks(self) -> Iterator[bytes]:
                while line := self.rfile.readline():
                    if size := int(line, 16):
                        yield self.rfile.read(size)
                    self.rfile.readline()
                    if not size:
                        return
                raise ConnectionAbortedError  # a client has broken off

            def reply(self) -> None:
                origin.received.append(self.one)
                reply = origin.answer(self.one)
                raw = (
                    reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body).encode()
                )
                self.send_response(reply.status)
                headers = {"Content-Type": "application/json", **(reply.headers or {})}
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(raw)))
                self.end_headers()
                self.wfile.write(raw)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                pass

        self._server = _Server(("127.0.0.1", 0), Handler)
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        scheme = "https" if tls is not None else "http"
        self.url = f"{scheme}://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))

    def __enter__(self) -> "Origin":
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@contextmanager
def forward_proxy() -> Iterator[Origin]:
    """A plain HTTP proxy, which sends on what it is given."""

    def forward(one: Received) -> Reply:
        url = urlsplit(one.target)
        connection = http.client.HTTPConnection(url.netloc, timeout=10)
        try:
            path = url.path + (f"?{url.query}" if url.query else "")
            sent = {name: value for name, value in one.headers if not name.startswith("Proxy-")}
            connection.request(one.method, path, one.body, sent)
            answer = connection.getresponse()
            headers = {
                name: value
                for name, value in answer.getheaders()
                if name.lower() not in ("content-length", "transfer-encoding", "server", "date")
            }
            return Reply(answer.status, answer.read(), headers)
        finally:
            connection.close()

    with Origin(forward) as proxy:
        yield proxy


class TwoSides:
    """Both sides and a third party on loopback, a rollout file, and the gate on it."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.tokenlab = stack.enter_context(Origin())
        self.previous = stack.enter_context(Origin())
        self.third = stack.enter_context(Origin())
        self.proxy = stack.enter_context(forward_proxy())
        self.path = folder / "rollout.toml"
        self.log = folder / "access.jsonl"
        self.write(100)
        self.gate = stack.enter_context(Gate(self.path, poll_s=60))

    def write(self, percent: int, more: str = "") -> None:
        self.put(
            f'[tokenlab]\nbase_url = "{self.tokenlab.url}"\n'
            f'[routes.chat]\nformat = "openai_chat_completions"\nmodel = "new"\n'
            f'previous_base_url = "{self.previous.url}/v1"\n'
            f"[routes.chat.orgs]\nacme = {percent}\n{more}"
        )

    def put(self, text: str) -> None:
        """Replace the file, as a rename of one that was written a moment ago."""
        new = self.path.with_suffix(".new")
        new.write_text(f'schema = 1\nalgorithm = "fractional-v3"\n{text}')
        os.utime(new, ns=(new.stat().st_mtime_ns - 10_000_000,) * 2)
        new.replace(self.path)

    def decide(self, percent: int, more: str = "") -> None:
        self.write(percent, more)
        self.gate.refresh()
        self.gate.refresh()

    def lines(self) -> list[dict[str, Any]]:
        if not self.log.exists():
            return []
        return [json.loads(line) for line in self.log.read_text().splitlines()]

    @property
    def crossings(self) -> list[str]:
        """What reached somebody whose it is not."""
        foreign = [(self.tokenlab, PREVIOUS), (self.previous, TOKENLAB)]
        foreign += [(self.third, PREVIOUS), (self.third, TOKENLAB)]
        return [
            f"{secret} in {one.everything}"
            for origin, secret in foreign
            for one in origin.received
            if secret in one.everything
        ]
