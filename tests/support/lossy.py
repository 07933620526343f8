"""A link to an etcd member that loses answers, loses requests, or delivers them too late.

It carries no watch: who is behind it reads.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx


class Link:
    """``lose`` is what becomes of the next transactions that write, each once: ``answer``,
    ``request``, ``late``, which is ``request`` at first and arrives once ``released`` is set, or
    ``held``, which is answered once ``released`` is set; ``has_held`` is set when one is held."""

    def __init__(self, member: str) -> None:
        self.member = member
        self.lose: list[str] = []
        self.is_cut = self.is_over = False
        self.delivered = threading.Event()
        self.has_held = threading.Event()
        self.released = threading.Event()
        self.writes = 0
        self.url = ""


@contextmanager
def lossy(member: str) -> Iterator[Link]:
    """Run a link to a member's URL."""
    link = Link(member)

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            writes = self.path.endswith("/txn") and b"request_put" in body
            link.writes += writes
            fate = link.lose.pop(0) if writes and link.lose else ""
            if link.is_cut or fate == "request" or self.path.endswith("/watch"):
                self.close_connection = True
                return
            if fate == "late":
                threading.Thread(target=self._deliver_late, args=(body,), daemon=True).start()
                self.close_connection = True
                return
            if fate == "held":
                link.has_held.set()
                link.released.wait()
            answer = self._deliver(body)
            if fate == "answer":
                self.close_connection = True
                return
            self.send_response(answer.status_code)
            self.send_header("Content-Length", str(len(answer.content)))
            self.end_headers()
            self.wfile.write(answer.content)

        def _deliver_late(self, body: bytes) -> None:
            link.released.wait()
            if not link.is_over:
                self._deliver(body)

        def _deliver(self, body: bytes) -> httpx.Response:
            found = httpx.post(f"{link.member}{self.path}", content=body, trust_env=False)
            link.delivered.set()
            return found

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    link.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield link
    finally:
        link.is_over = True
        link.released.set()
        server.shutdown()
        server.server_close()
