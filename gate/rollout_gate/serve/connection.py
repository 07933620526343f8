"""One HTTP/1.1 connection of a client: uvicorn's, with what it lacks where others can connect.

- An upgrade that is not taken is ignored (RFC 9110, 7.8). httptools skips the body of a request
  that offers one, as Java's HttpClient does by default (h2c): its head is read again without it.
- Whitespace around a field value is no part of it (RFC 9110, 5.5): llhttp leaves what is behind it.
- Trailers are dropped: httptools reports them as headers, among them those that decide a request.
- Heads have a limit in size and time (slowloris); llhttp has none.
- A client that leaves is noticed also while nothing is read from it, as its provider reads nothing.
- A client that pipelines, and leaves, ends the request in progress and not the last one alone.
- What is no HTTP gets an answer that is marked as the proxy's own.
- An answer before the end of its request is not lost with a close (nginx sends all of it first).
- A client of HTTP/1.0 (nginx's proxy_pass by default, ab) knows no chunks and no interim
  responses: a body without a known length ends with the connection (RFC 9112, 6.1 and 6.3).
"""

import asyncio
import select
import socket
import struct
from collections.abc import Iterable
from contextlib import suppress
from functools import cache, partial
from http import HTTPStatus
from logging import getLogger
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from rollout_gate.context import OPTIONAL_SPACE
from rollout_gate.serve.answers import error_body, own_headers
from rollout_gate.serve.app import GONE

log = getLogger("rollout_gate")

MOST_HEAD = 64 * 1024
"""Limit in bytes of a request's line and headers, and of what comes without any body."""
MOST_WAITING = 16
"""How many requests of a connection may wait for the one in progress."""


class ClientConnection(HttpToolsProtocol):
    """Parses requests and runs the application for each."""

    head_s = 60.0
    """How long a head may take, and the rest of a request that was refused."""
    look_s = 0.5
    """How often a connection that is not read is looked at for its end."""

    def __init__(self, *given: Any, **more: Any) -> None:
        super().__init__(*given, **more)
        self._in_head = True
        self._size = 0  # of what was parsed since the last progress
        self._refused: tuple[int, str] | None = None
        self._offered = b""
        self._running: RequestResponseCycle | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self._gone: asyncio.Future[None] = self.loop.create_future()
        self._look: asyncio.TimerHandle | None = None
        self._lingers = False  # closed once the rest of its request has come

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin: the first head has to come in time."""
        super().connection_made(transport)
        self._expect()

    def connection_lost(self, exc: Exception | None) -> None:
        """End the request in progress; uvicorn ends the last of those that were pipelined."""
        self._forget_deadline()
        if self._look is not None:
            self._look.cancel()
        self._gone.set_result(None)
        running = self._running
        if running is not None and not running.response_complete:
            running.disconnected = True
        super().connection_lost(exc)
        if running is not None:
            running.message_event.set()

    def data_received(self, data: bytes) -> None:
        """Parse what has come."""
        self._unset_keepalive_if_required()
        self._size += len(data)
        try:
            while data:
                data = self._parse(data)
        except httptools.HttpParserError:
            if self._refused is None:
                _say_no_http()
            self._refuse(*(self._refused or (400, "this is no HTTP/1.1 request")))
            return
        if self._size > MOST_HEAD:
            self._refuse(*_TOO_LARGE)
        elif self._in_head and self._size and not self._is_running:
            self._expect()
        if self.flow.read_paused and self._look is None:
            self._look = self.loop.call_later(self.look_s, self._look_for_end)

    def _look_for_end(self) -> None:
        """Close where the client has left: the event loop tells nothing of what it does not read.

        An end that is behind data which the receive window has no room for cannot be seen.
        """
        self._look = None
        if not self.flow.read_paused or self.transport.is_closing():
            return
        if _has_ended(self.transport):
            self.transport.abort()
        else:
            self._look = self.loop.call_later(self.look_s, self._look_for_end)

    def _parse(self, data: bytes) -> bytes:
        """Return what is to be parsed next: a head without its offer to upgrade, and the rest."""
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as offer:
            version = self.parser.get_http_version().encode()
            head = [self.parser.get_method(), b" ", self.url, b" HTTP/", version, b"\r\n"]
            for name, value in self.headers:
                if name == b"upgrade":
                    self._offered = value
                else:
                    head += [name, b": ", value, b"\r\n"]
            self.parser = httptools.HttpRequestParser(self)
            self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn's
            return b"".join([*head, b"\r\n", data[offer.args[0] :]])
        return b""

    def on_message_begin(self) -> None:
        """Begin a request."""
        super().on_message_begin()
        self.scope["extensions"] = {GONE: self._gone}  # type: ignore[dict-item]
        self._in_head = True

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header without the whitespace around its value; a trailer is none."""
        if self._in_head:
            super().on_header(name, value.strip(OPTIONAL_SPACE))

    def on_headers_complete(self) -> None:
        """Start the application, unless the head is refused or read again."""
        self._in_head = False
        self._size = 0
        self._forget_deadline()
        if self.parser.get_http_version() not in _VERSIONS:
            self._refused = 400, "this is no HTTP/1.1 request"
            raise ValueError
        if self.parser.get_method() == b"CONNECT":
            self._refused = 501, "CONNECT is not passed on"
            raise ValueError
        size = sum(len(name) + len(value) + 4 for name, value in self.headers)
        if size + len(self.url) > MOST_HEAD:
            self._refused = _TOO_LARGE
            raise ValueError
        if _is_old(self.parser.get_http_version()) and _has_coding(self.headers):
            self._refused = 400, "HTTP/1.0 has no Transfer-Encoding (RFC 9112, 6.1)"
            raise ValueError
        if self.parser.should_upgrade():
            return
        if self._offered:
            self.headers.append((b"upgrade", self._offered))
            self._offered = b""
        super().on_headers_complete()
        if not self.pipeline:
            self._running = self.cycle
        elif len(self.pipeline) < MOST_WAITING:
            self.flow.resume_reading()  # else nothing tells that the client leaves

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        if _is_old(cycle.scope["http_version"]):
            cycle.waiting_for_100_continue = False
            cycle.keep_alive = _asks_to_stay(cycle.scope["headers"])
            app = partial(self._serve_framed, app, cycle)
        elif not cycle.keep_alive:
            app = partial(self._serve_framed, app, cycle)
        super()._start_asgi_task(cycle, app)

    async def _serve_framed(
        self, app: Any, cycle: RequestResponseCycle, scope: Any, receive: Any, send: Any
    ) -> None:
        """Run the application where the connection may end with the answer.

        HTTP/1.0: without a length the end of the body is the connection's, and one that breaks off
        would look complete after a FIN, so it is reset. A connection is kept where the client asks
        for that and the answer has a length.
        """
        is_old = _is_old(scope["http_version"])
        is_open_ended = False

        async def send_framed(message: Any) -> None:
            nonlocal is_open_ended
            if message["type"] == "http.response.start":
                if is_old and all(name != b"content-length" for name, _ in message["headers"]):
                    is_open_ended = True
                    cycle.chunked_encoding = cycle.keep_alive = False
                elif is_old and cycle.keep_alive:
                    headers = [*message["headers"], (b"connection", b"keep-alive")]
                    message = {**message, "headers": headers}
            elif is_open_ended:
                cycle.expected_content_length = len(message.get("body", b""))
            elif not message.get("more_body") and cycle.more_body and not cycle.keep_alive:
                # Lingering close (RFC 9112, 9.6): a close would reset what is still being sent,
                # and with it the answer.
                self._lingers = cycle.keep_alive = True
            await send(message)

        try:
            await app(scope, receive, send_framed)
        except BaseException:
            if is_open_ended and not cycle.response_complete:
                _reset(cycle.transport)
            raise

    def on_body(self, body: bytes) -> None:
        """Pass a piece of a body on."""
        self._size = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """End a request; one that is read again has not come to its end."""
        if self.parser.should_upgrade():
            return
        self._in_head = True
        self._size = 0
        self._forget_deadline()
        super().on_message_complete()
        if self._lingers:
            self.transport.close()

    def on_response_complete(self) -> None:
        """Go on with the next request; what is left of a refused one has to come in time."""
        if self.pipeline:
            self._running = self.pipeline[-1][0]
        elif not self._in_head:
            self._expect()
        super().on_response_complete()

    @property
    def _is_running(self) -> bool:
        return self._running is not None and not self._running.response_complete

    def _expect(self) -> None:
        if self._deadline is None:
            self._deadline = self.loop.call_later(self.head_s, self._expire)

    def _forget_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _expire(self) -> None:
        self._deadline = None
        self.transport.close()

    def _refuse(self, status: int, sentence: str) -> None:
        """Close the connection, with an answer unless it would be taken for another request's."""
        running = self._running
        if running is not None and not running.response_complete:
            is_its_own = running is self.cycle and running.more_body
            answers = is_its_own and not running.response_started
            running.disconnected = True
            running.message_event.set()
        else:
            answers = not self._lingers
        if answers and not self.transport.is_closing():
            self.transport.write(_answer(status, sentence))
        self.transport.close()


_VERSIONS = ("1.1", "1.0", "0.9")
"""HTTP/2.0 has no request line (RFC 9113, 3): llhttp takes one for that of another request."""


def _is_old(version: str) -> bool:
    return version in ("1.0", "0.9")


def _has_coding(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    return any(name == b"transfer-encoding" for name, _ in headers)


def _asks_to_stay(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    given = b",".join(value for name, value in headers if name == b"connection")
    tokens = {one.strip().lower() for one in given.split(b",")}
    return b"keep-alive" in tokens and b"close" not in tokens


def _has_ended(transport: asyncio.Transport) -> bool:
    poll = select.poll()
    # Errors and hang-ups are always reported; macOS has no event for a half-closed connection.
    poll.register(transport.get_extra_info("socket").fileno(), getattr(select, "POLLRDHUP", 0))
    return bool(poll.poll(0))


def _reset(transport: asyncio.Transport) -> None:
    """Close with RST: zero linger discards what is unsent. A unix socket can only be closed."""
    with suppress(OSError):
        zero = struct.pack("ii", 1, 0)
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, zero)
    transport.abort()


_TOO_LARGE = 431, f"the line and headers of a request are longer than {MOST_HEAD // 1024} KB"


def _answer(status: int, sentence: str) -> bytes:
    body = error_body("", status, sentence)
    headers = [*own_headers(body), (b"connection", b"close")]
    head = b"".join(b"%s: %s\r\n" % pair for pair in headers)
    return b"HTTP/1.1 %d %s\r\n%s\r\n%s" % (status, HTTPStatus(status).phrase.encode(), head, body)


@cache
def _say_no_http() -> None:
    log.warning(
        "a client has sent what is no HTTP/1.1 request (TLS to a port without?): it is answered"
        " with 400; this is said once"
    )
