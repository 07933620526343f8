"""Transports and clients for httpx and httpx2 that send each request to the side decided.

``client(gate, "chat")`` is given to an SDK as its ``http_client``. Neither library is imported
before it is asked for: httpx2, on which the official SDKs of OpenAI, Anthropic and Google are
built since August 2026, unless ``library="httpx"``.
"""

import os
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, TypeVar

from console.gate.exchange import Answer, Exchange, Exchanges
from console.gate.gate import Gate
from console.gate.ledger import TaskLedger
from console.gate.recorder import LogOf
from console.gate.routing import Credential, Router
from console.gate.subject import Subject
from console.rollout.model import Side

_T = TypeVar("_T")
Library = Literal["httpx2", "httpx"]
TIMEOUT_S = 600.0
"""Seconds that a client waits for the next byte; SDKs give times of their own with a request."""

_CONNECT_S = 10.0
_SIZES = frozenset(("content-length", "transfer-encoding"))


def client(
    gate: Gate,
    route: str | None = None,
    *,
    org: str | None = None,
    key: str | None = None,
    key_alias: str | None = None,
    flags: tuple[str, ...] | None = None,
    tokenlab_key: Credential | None = None,
    previous_key: Credential | None = None,
    models: Mapping[Side, str] | None = None,
    access_log: str | Path | None = None,
    ledger: TaskLedger | None = None,
    library: Library = "httpx2",
    inner: Any = None,
    **more: Any,
) -> Any:
    """Return an ``httpx2.Client`` that sends each request to the side that the gate decides.

    Whom a request is for: the arguments here, or ``console.gate.subject(...)`` around a block, or
    the request's own ``X-Rollout-`` headers, of which the last named wins.

    ``tokenlab_key`` is TokenLab's API key or a function that returns it; without it
    ``$TOKENLAB_API_KEY``. The previous provider gets the credential that the SDK sends, or
    ``previous_key``; neither side ever gets the other's. ``models`` names the model for a side
    where it is not the one of the file (TokenLab) or of the request (previous). ``inner`` is a
    transport to send with (a proxy, other limits), and ``more`` goes to the client.

    Raises ValueError where there is no key for TokenLab, and ModuleNotFoundError (an ImportError)
    where the library is not installed.
    """
    kit = _kit(library)
    subject = Subject(route, org, key, key_alias, flags)
    exchanges = _exchanges(gate, subject, tokenlab_key, previous_key, models, access_log, ledger)
    transport = kit.transport(kit, exchanges, inner or kit.library.HTTPTransport())
    return kit.library.Client(transport=transport, **_settings(kit.library, more))


def async_client(
    gate: Gate,
    route: str | None = None,
    *,
    org: str | None = None,
    key: str | None = None,
    key_alias: str | None = None,
    flags: tuple[str, ...] | None = None,
    tokenlab_key: Credential | None = None,
    previous_key: Credential | None = None,
    models: Mapping[Side, str] | None = None,
    access_log: str | Path | None = None,
    ledger: TaskLedger | None = None,
    library: Library = "httpx2",
    inner: Any = None,
    **more: Any,
) -> Any:
    """As ``client``, an ``httpx2.AsyncClient``."""
    kit = _kit(library)
    subject = Subject(route, org, key, key_alias, flags)
    exchanges = _exchanges(gate, subject, tokenlab_key, previous_key, models, access_log, ledger)
    transport = kit.async_transport(kit, exchanges, inner or kit.library.AsyncHTTPTransport())
    return kit.library.AsyncClient(transport=transport, **_settings(kit.library, more))


def _exchanges(
    gate: Gate,
    subject: Subject,
    tokenlab_key: Credential | None,
    previous_key: Credential | None,
    models: Mapping[Side, str] | None,
    access_log: str | Path | None,
    ledger: TaskLedger | None,
) -> Exchanges:
    credential = tokenlab_key or os.environ.get("TOKENLAB_API_KEY")
    if not credential:
        raise ValueError(
            "there is no API key for TokenLab; give tokenlab_key, or set TOKENLAB_API_KEY"
        )
    router = Router(gate, subject, credential, previous_key, models)
    return Exchanges(router, LogOf(gate, access_log), ledger)


def _settings(library: Any, more: Mapping[str, Any]) -> dict[str, Any]:
    timeout = library.Timeout(TIMEOUT_S, connect=_CONNECT_S)
    return {"timeout": timeout, "follow_redirects": True, **more}


class _Passing:
    """An answer's bytes as they come, watched."""

    def __init__(self, stream: Any, exchange: Exchange, name_of: Callable[..., str]) -> None:
        self._stream = stream
        self._exchange = exchange
        self._name_of = name_of

    def __iter__(self) -> Iterator[bytes]:
        try:
            for piece in self._stream:
                self._exchange.passed(piece)
                yield piece
        except GeneratorExit:
            raise
        except BaseException as error:
            self._exchange.failed(self._name_of(error), sent=True)
            raise
        self._exchange.ended()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for piece in self._stream:
                self._exchange.passed(piece)
                yield piece
        except GeneratorExit:
            raise
        except BaseException as error:
            self._exchange.failed(self._name_of(error), sent=True)
            raise
        await _off_loop(self._exchange, self._exchange.ended)

    def close(self) -> None:
        try:
            self._stream.close()
        finally:
            self._exchange.closed()

    async def aclose(self) -> None:
        try:
            await self._stream.aclose()
        finally:
            self._exchange.closed()


class _GateTransport:
    """Sends each request to the side decided, and writes its line when the answer is over."""

    def __init__(self, kit: "_Kit", exchanges: Exchanges, inner: Any) -> None:
        self._kit = kit
        self._exchanges = exchanges
        self._inner = inner

    def handle_request(self, request: Any) -> Any:
        begun, body = self._begin(request)
        sent = self._kit.outgoing(request, begun, body)
        if (answer := begun.claim()) is not None:
            return self._kit.known(answer)
        try:
            response = self._inner.handle_request(sent)
        except BaseException as error:
            begun.failed(self._kit.name_of(error), sent=self._kit.was_sent(error))
            raise
        begun.answered(response.status_code, response.headers)
        return self._kit.passing(response, begun, self._kit.stream)

    async def handle_async_request(self, request: Any) -> Any:
        begun, body = self._begin(request)
        sent = self._kit.outgoing(request, begun, body)
        if (answer := await _off_loop(begun, begun.claim)) is not None:
            return self._kit.known(answer)
        try:
            response = await self._inner.handle_async_request(sent)
        except BaseException as error:
            begun.failed(self._kit.name_of(error), sent=self._kit.was_sent(error))
            raise
        await _off_loop(begun, begun.answered, response.status_code, response.headers)
        return self._kit.passing(response, begun, self._kit.async_stream)

    def close(self) -> None:
        self._inner.close()
        self._exchanges.close()

    async def aclose(self) -> None:
        await self._inner.aclose()
        self._exchanges.close()

    def _begin(self, request: Any) -> tuple[Exchange, bytes | None]:
        body = self._kit.body_of(request)
        headers = request.headers.multi_items()
        return self._exchanges.begin(request.method, str(request.url), headers, body), body


class _Kit:
    """What of httpx or httpx2 is used: both have the same classes, each with its own bases."""

    def __init__(self, name: str) -> None:
        self.library = library = _library(name)
        self.stream: Any = type("PassingStream", (_Passing, library.SyncByteStream), {})
        self.async_stream: Any = type("AsyncPassingStream", (_Passing, library.AsyncByteStream), {})
        self.transport: Any = type("GateTransport", (_GateTransport, library.BaseTransport), {})
        self.async_transport: Any = type(
            "AsyncGateTransport", (_GateTransport, library.AsyncBaseTransport), {}
        )

    def body_of(self, request: Any) -> bytes | None:
        """Return a JSON body that is there as a whole; what is streamed goes on as it is."""
        is_json = "json" in request.headers.get("content-type", "")
        whole = isinstance(request.stream, self.library.ByteStream)
        return bytes(request.read()) if is_json and whole else None

    def outgoing(self, request: Any, exchange: Exchange, body: bytes | None) -> Any:
        """Return the request to send in place of one."""
        out, content = exchange.out, {"stream": request.stream}
        headers = out.headers
        if body is not None:
            content = {"content": body if out.body is None else out.body}
            headers = [(name, value) for name, value in headers if name.lower() not in _SIZES]
        return self.library.Request(
            out.method, out.url, headers=headers, extensions=request.extensions, **content
        )

    def passing(self, response: Any, exchange: Exchange, stream: Any) -> Any:
        """Return a response whose bytes are watched."""
        decision, headers = exchange.out.decision, response.headers.raw
        if decision is not None and decision.side == "tokenlab":
            # To the client it came from the previous provider, which would be sent it next time.
            headers = [pair for pair in headers if pair[0].lower() != b"set-cookie"]
        return self.library.Response(
            response.status_code,
            headers=headers,
            stream=stream(response.stream, exchange, self.name_of),
            extensions=response.extensions,
        )

    def known(self, answer: Answer) -> Any:
        """Return a response that needed no request."""
        return self.library.Response(answer.status, headers=answer.headers, content=answer.body)

    def name_of(self, error: BaseException) -> str:
        """Return what the access log calls an error."""
        if isinstance(error, self.library.TimeoutException):
            return "timeout"
        if isinstance(error, self.library.NetworkError):
            return "connect"
        return "protocol" if isinstance(error, self.library.HTTPError) else "cancelled"

    def was_sent(self, error: BaseException) -> bool:
        """Return whether a request may have reached the other end, with this error."""
        library = self.library
        unsent = (library.ConnectError, library.ConnectTimeout, library.PoolTimeout)
        return not isinstance(error, unsent)


async def _off_loop(exchange: Exchange, call: Callable[..., _T], *given: Any) -> _T:
    """Call in a thread what waits for the disk, so that the event loop does not."""
    if not exchange.waits_for_disk:
        return call(*given)
    from anyio.to_thread import run_sync  # httpx and httpx2 bring it

    return await run_sync(call, *given)


@cache
def _kit(name: str) -> _Kit:
    return _Kit(name)


def _library(name: str) -> Any:
    """Import it; ModuleNotFoundError says what to install where it is not there."""
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise  # it is there, and something that it needs is not
        raise ModuleNotFoundError(
            f"the clients of console.gate.http need {name}, which is not installed;"
            f" install {name}, or the gate with its extra: rollout-gate[{name}]",
            name=name,
        ) from None
