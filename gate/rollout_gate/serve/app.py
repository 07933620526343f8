"""The proxy as an ASGI application: one request in, one exchange of the gate, one answer out.

It is plain ASGI without a web framework, as it has no routing of its own: all but two paths are
passed on. Source: ASGI's HTTP specification, version 2.3 and later.
"""

import asyncio
import errno
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import Any

from rollout_gate.context import said_twice
from rollout_gate.gate import Gate
from rollout_gate.serve.answers import error_body, own_headers
from rollout_gate.serve.callers import ASKED, Callers, Refusal
from rollout_gate.serve.requests import Received, format_of, received
from rollout_gate.serve.upstream import UnknownProviderError, Upstream

log = logging.getLogger("rollout_gate")

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]

HEALTHY, READY = "/-/healthy", "/-/ready"
"""The paths of health and readiness; no route is named ``-``, as none of them could be asked."""

GONE = "rollout_gate.gone"
"""An extension of a request's scope: a future that is done once its connection is lost."""

WATCH_S = 0.05
_REDIRECTS = range(300, 400)
_STATUSES = range(200, 600)


class BrokenAnswerError(Exception):
    """An answer broke after it had begun: the server is to close the client's connection."""


class ProxyApp:
    """Passes requests on; made in the event loop that serves it.

    ``most_bytes`` is the limit of a body that is read whole, which all but uploads are.
    """

    def __init__(
        self,
        gate: Gate,
        upstream: Upstream,
        callers: Callers,
        *,
        most_bytes: int,
        on_start: Callable[[], None] = lambda: None,
    ) -> None:
        self._gate = gate
        self._upstream = upstream
        self._callers = callers
        self._most_bytes = most_bytes
        self._on_start = on_start
        self._is_ending = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or the lifespan of the process."""
        if scope["type"] == "http":
            await self._serve(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self._live(receive, send)
        else:
            await send({"type": "websocket.close", "code": 1008, "reason": "no websockets"})

    async def _live(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                await send({"type": "lifespan.startup.complete"})
                self._on_start()
            else:
                self._is_ending = True
                await self._upstream.aclose()
                self._gate.close()
                await send({"type": "lifespan.shutdown.complete"})
                return

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = dict(scope["headers"])
        if scope["path"] in (HEALTHY, READY):
            await self._tell_health(scope["path"] == READY, send)
            return
        refused = self._callers.refusal(headers) or _unsupported(scope, headers)
        file = self._gate.file
        if refused is None and file is None:
            refused = Refusal(
                503, "no rollout file is in force: where to send a request is unknown"
            )
        if refused is not None or file is None:
            shape = format_of(scope, file) if file is not None else ""
            await _refuse(refused or Refusal(503, ""), shape, send)
            return
        request = received(scope, file)
        if isinstance(request, Refusal):
            await _refuse(request, format_of(scope, file), send)
            return
        body: bytes | AsyncIterator[bytes]
        if request.in_pieces:
            pieces = _Body(receive, scope.get("extensions", {}).get(GONE))
            body = aiter(pieces)
            await self._exchange(request, body, pieces.left, send)
            return
        found = await self._whole(headers, receive)
        if isinstance(found, Refusal):
            await _refuse(found, request.route.format, send)
        elif found is not None:
            await self._exchange(request, found, _Body(receive, is_read=True).left, send)

    async def _whole(self, headers: dict[bytes, bytes], receive: Receive) -> bytes | Refusal | None:
        """Return the body; None where the client left before it was sent."""
        length = headers.get(b"content-length", b"")
        if not length and b"transfer-encoding" not in headers:
            return b""
        too_long = Refusal(
            413, f"the body is longer than {self._most_bytes // 2**20} MB: see --max-body"
        )
        if length.isdigit() and int(length) > self._most_bytes:
            return too_long
        pieces, size = [], 0
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return None
            piece = message.get("body", b"")
            pieces.append(piece)
            size += len(piece)
            if size > self._most_bytes:
                return too_long
            if not message.get("more_body"):
                return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    async def _exchange(
        self, request: Received, body: Any, left: Callable[[], Awaitable[None]], send: Send
    ) -> None:
        """Pass a request on and its answer back; a client that leaves cancels both."""
        client = _Client(left)
        try:
            await self._pass(request, body, send, client)
        except asyncio.CancelledError:
            if not client.has_left:
                if not client.has_answer:
                    stops = Refusal(503, "the proxy is being stopped")
                    await _refuse(stops, request.route.format, send)
                raise
            client.task.uncancel()
        finally:
            client.forget()

    async def _pass(self, request: Received, body: Any, send: Send, client: "_Client") -> None:
        try:
            response = await self._upstream.send(request, body)
        except Exception as error:  # noqa: BLE001 - each has an answer; none ends the connection
            await _refuse(self._why(request, error), request.route.format, send)
            return
        status: int = response.status_code
        headers = self._upstream.headers_of(response)
        try:
            if status not in _STATUSES:
                why = f"the provider answered with the status {status}, which HTTP does not have"
                await _refuse(Refusal(502, why), request.route.format, send)
                return
            if status in _REDIRECTS and any(name == b"location" for name, _ in headers):
                # A client would follow it round the gate, with the other side's credential.
                why = "a redirect to another host is not followed"
                await _refuse(Refusal(502, why), request.route.format, send)
                return
            client.has_answer = True
            await send({"type": "http.response.start", "status": status, "headers": headers})
            try:
                async for piece in response.stream:
                    await send({"type": "http.response.body", "body": piece, "more_body": True})
            except Exception as error:  # noqa: BLE001 - of the library, or of a decoder
                raise BrokenAnswerError(type(error).__name__) from None
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            # A cancellation in the middle of this would leave the connection in its pool for good.
            client.forget()
            with suppress(Exception):
                await response.stream.aclose()

    def _why(self, request: Received, error: Exception) -> Refusal:
        """Return the answer to an error before a response, which the exchange has logged."""
        library = self._upstream.kit.library
        if _is_out_of_files(error):
            self._gate.report(("files",), f"{_NO_FILES}: requests fail")
            return Refusal(503, _NO_FILES)
        if isinstance(error.__cause__, UnknownProviderError):
            return Refusal(
                502,
                f"route {request.route.name} has no previous_base_url in the rollout file, so the"
                " previous provider cannot be reached",
            )
        if isinstance(error, library.PoolTimeout):
            return Refusal(503, "the proxy has no free connection to the provider")
        if isinstance(error, library.ConnectTimeout):
            return Refusal(504, "no connection to the provider within the time limit")
        if isinstance(error, library.TimeoutException):
            return Refusal(504, "the provider did not answer within the time limit")
        if isinstance(error, library.TransportError):
            is_away = isinstance(error, library.ConnectError)
            why = "cannot be reached" if is_away else "broke off, or sent no HTTP"
            return Refusal(502, f"the provider {why}")
        if isinstance(error, library.StreamConsumed):
            return Refusal(
                502,
                "the provider redirected an upload, whose body is passed on once: send it where"
                " that leads",
            )
        if isinstance(error, library.InvalidURL):
            return Refusal(400, "the path or query is none that can be sent, or is too long")
        if isinstance(error, ValueError | OSError):
            # Not all of an OSError: its text may name a file.
            text = error.strerror if isinstance(error, OSError) else str(error)
            return Refusal(503, f"the request cannot be sent: {text or type(error).__name__}")
        log.error("a request on route %s failed: %s", request.route.name, type(error).__name__)
        return Refusal(500, f"the request could not be prepared: {type(error).__name__}")

    async def _tell_health(self, is_ready: bool, send: Send) -> None:
        file, status = self._gate.file, 200
        shown: dict[str, Any] = {"healthy": True}
        if is_ready:
            ready = file is not None and not self._is_ending
            shown = {"ready": ready, "revision": file.revision[:12] if file is not None else None}
            shown["trouble"] = self._gate.trouble
            shown["access_log"] = self._upstream.log_problem()
            status = 200 if ready else 503
        body = json.dumps(shown).encode()
        await send({"type": "http.response.start", "status": status, "headers": own_headers(body)})
        await send({"type": "http.response.body", "body": body})


class _Body:
    """A request's body while it arrives, and what tells that its client has left."""

    def __init__(
        self,
        receive: Receive,
        lost: "asyncio.Future[None] | None" = None,
        *,
        is_read: bool = False,
    ) -> None:
        self._receive = receive
        self._lost = lost
        self._read = asyncio.Event()
        self._gone = False
        if is_read:
            self._read.set()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                self._gone = True
                self._read.set()
                raise ConnectionAbortedError("the client left before its request was sent")
            if piece := message.get("body", b""):
                yield piece
            if not message.get("more_body"):
                self._read.set()
                return

    async def left(self) -> None:
        """Return once the client has left; before its body is read the connection alone tells."""
        if self._lost is not None:
            self._lost.add_done_callback(self._leave)
        try:
            await self._read.wait()
        finally:
            if self._lost is not None:
                self._lost.remove_done_callback(self._leave)
        while not self._gone:
            self._gone = (await self._receive())["type"] == "http.disconnect"

    def _leave(self, _: "asyncio.Future[None]") -> None:
        self._gone = True
        self._read.set()


class _Client:
    """Cancels the current task once its client has left.

    It looks from WATCH_S on: most answers come before, and a task for each would cost more.
    """

    def __init__(self, left: Callable[[], Awaitable[None]]) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.task = task
        self.has_left = False
        self.has_answer = False
        self._left = left
        self._watch: asyncio.Future[None] | None = None
        self._timer = asyncio.get_running_loop().call_later(WATCH_S, self._look)

    def forget(self) -> None:
        """Cancel nothing any more."""
        self._timer.cancel()
        if self._watch is not None:
            self._watch.remove_done_callback(self._leave)
            self._watch.cancel()

    def _look(self) -> None:
        self._watch = asyncio.ensure_future(self._left())
        self._watch.add_done_callback(self._leave)

    def _leave(self, watch: "asyncio.Future[None]") -> None:
        if not watch.cancelled():
            self.has_left = True
            self.task.cancel()


_NO_FILES = "the proxy may not open more files: raise its limit (ulimit -n, LimitNOFILE)"


def _is_out_of_files(error: BaseException | None) -> bool:
    """Return whether an error comes of this process's, or the system's, limit of open files."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
            return True
        error = error.__cause__ or error.__context__
    return False


def _unsupported(scope: Scope, headers: dict[bytes, bytes]) -> Refusal | None:
    pairs = scope["headers"]
    if len(pairs) != len(headers) and [name for name, _ in pairs].count(b"host") > 1:
        return Refusal(400, "a request has one Host (RFC 9112, 3.2)")
    if len(pairs) != len(headers) and (twice := said_twice(pairs, ASKED)):
        return Refusal(400, f"the header {next(iter(twice)).decode()} has two values: send one")
    # One list, whose lines are joined (RFC 9110, 5.3).
    codings = [value.strip().lower() for name, value in pairs if name == b"transfer-encoding"]
    if codings not in ([], [b"chunked"]):
        return Refusal(501, "a transfer coding other than chunked is not passed on")
    if b"websocket" in headers.get(b"upgrade", b"").lower():
        return Refusal(501, "websockets are not passed on (a realtime API has no route)")
    if scope["method"] in ("CONNECT", "TRACE"):
        return Refusal(501, f"{scope['method']} is not passed on")
    return None


async def _refuse(refusal: Refusal, route_format: str, send: Send) -> None:
    body = error_body(route_format, refusal.status, refusal.sentence)
    headers = own_headers(body)
    await send({"type": "http.response.start", "status": refusal.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
