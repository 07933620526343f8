"""A server that answers what a test tells it to, as a Prometheus or a proxy before it might."""

import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

Answer = Callable[["Odd", Mapping[str, str]], None]


class Odd(BaseHTTPRequestHandler):
    """One request; ``answer`` of the server's owner answers it."""

    protocol_version = "HTTP/1.1"

    def _handle(self) -> None:
        length = int(self.headers.get("Content-Length", 0))
        text = self.rfile.read(length).decode() if length else urlsplit(self.path).query
        asked = {name: values[0] for name, values in parse_qs(text).items()}
        owner: OddServer = self.server.owner  # type: ignore[attr-defined]
        owner.seen.append((self.path, dict(self.headers), asked))
        with suppress(BrokenPipeError, ConnectionResetError):
            owner.answer(self, asked)

    do_GET = do_POST = _handle

    def say(self, body: bytes, status: int = 200, **headers: str) -> None:
        """Answer with a body."""
        self.send_response_only(status)
        for name, value in {
            "Date": formatdate(usegmt=True), "Content-Length": str(len(body)), **headers,
        }.items():  # fmt: skip
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def matrix(self, *series: tuple[Mapping[str, str], list[Any]], **more: Any) -> None:
        """Answer with series."""
        result = [{"metric": labels, "values": values} for labels, values in series]
        data = {"resultType": "matrix", "result": result}
        self.say(json.dumps({"status": "success", "data": data, **more}).encode())

    def log_message(self, *_: Any) -> None:
        pass


class OddServer:
    """Answers by ``answer``, and keeps the path, the headers and the parameters of requests."""

    def __init__(self, answer: Answer, tls: Path | None = None) -> None:
        self.answer = answer
        self.seen: list[tuple[str, dict[str, str], dict[str, str]]] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Odd)
        self._server.owner = self  # type: ignore[attr-defined]
        self._server.daemon_threads = True
        self._server.block_on_close = False
        scheme = "http"
        if tls is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(tls)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
            scheme = "https"
        self.url = f"{scheme}://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@contextmanager
def odd_server(answer: Answer, tls: Path | None = None) -> Iterator[OddServer]:
    server = OddServer(answer, tls)
    try:
        yield server
    finally:
        server.close()


def unused_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])
