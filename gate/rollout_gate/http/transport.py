"""The transports and response streams of a client, for httpx or httpx2.

Both libraries have the same classes, so one implementation is subclassed for each, with its own
bases.
"""

from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from functools import cache, lru_cache, partial
from importlib import import_module
from typing import TYPE_CHECKING, Any, Self, TypeVar

from rollout_gate.answers.status_class import UNSENDABLE, UNSENT
from rollout_gate.context import by_lower_name
from rollout_gate.http.exchanges import Exchanges
from rollout_gate.http.own_errors import is_of_request, is_own
from rollout_gate.http.request_lifecycle import Exchange
from rollout_gate.http.request_shape import MOST_REMEMBERED, is_remembered

if TYPE_CHECKING:  # not at run time: it loads sqlite3, which only media jobs need
    from rollout_gate.http.job_answers import Answer

_T = TypeVar("_T")
_SSE = "?alt=sse"
_ENCODING = "content-encoding"
_MOST_FORM = 64 * 1024
"""Limit in bytes of a body in pieces that is put together, to be searched before it is sent."""
_SIZES = frozenset((b"content-length", b"transfer-encoding"))
REDIRECTS = "rollout_redirects"
"""A request's extension: the limit of redirects, or None; a response's: the redirects followed."""
SYNTHESIZED = "rollout_synthesized"
"""A response's extension: it is the gate's own, and no request was sent for it."""
_SERVER, _TARGET = "sni_hostname", "target"
"""Extensions of a request: the host of its TLS, and what is sent in place of path and query."""
_ELSEWHERE = "rollout_elsewhere"
"""A response's extension: whether it is from TokenLab, or another origin than the client's URL."""


class _Passing:
    """A pass-through response stream that reports each chunk to the exchange.

    A stream that is never closed, or even read, is recorded when it is garbage-collected.
    """

    def __init__(self, stream: Any, exchange: Exchange, name_of: Callable[..., str]) -> None:
        self._stream = stream
        self._exchange = exchange
        self._name_of = name_of

    def __iter__(self) -> Iterator[bytes]:
        passed = self._exchange.passed
        try:
            for piece in self._stream:
                passed(piece)
                yield piece
        except GeneratorExit:
            raise
        except BaseException as error:
            self._exchange.failed(self._broken(error), sent=True)
            raise
        self._exchange.ended()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        passed = self._exchange.passed
        try:
            async for piece in self._stream:
                passed(piece)
                yield piece
        except GeneratorExit:
            raise
        except BaseException as error:
            self._exchange.failed(self._broken(error), sent=True)
            raise
        await _off_loop(self._exchange.waits_for_disk, self._exchange.ended)

    def _broken(self, error: BaseException) -> str:
        """Return the name for the log of an error in mid-stream: never "connect".

        Whether a broken connection shows as end of stream or as a reset is a race.
        """
        name = self._name_of(error)
        return "protocol" if name == "connect" else name

    def __del__(self) -> None:
        self._exchange.dropped()

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


class _GateClient:
    """A client that leaves redirects to its transport, which knows the URL that responded."""

    follow_redirects: bool
    max_redirects: int

    def send(self, request: Any, **more: Any) -> Any:
        return _answered(super().send(request, **self._told(request, more)))  # type: ignore[misc]

    def _told(self, request: Any, more: dict[str, Any]) -> dict[str, Any]:
        """Pass the limit of redirects to the transport, and let the library follow none."""
        asked = more.get("follow_redirects")
        follow = asked if isinstance(asked, bool) else self.follow_redirects
        request.extensions = {
            **request.extensions,
            REDIRECTS: self.max_redirects if follow else None,
        }
        return {**more, "follow_redirects": False}


class _AsyncGateClient(_GateClient):
    async def send(self, request: Any, **more: Any) -> Any:
        library: Any = super(_GateClient, self)
        return _answered(await library.send(request, **self._told(request, more)))


def _answered(response: Any) -> Any:
    response.history += response.extensions.pop(REDIRECTS, [])
    if response.extensions.pop(_ELSEWHERE, False):
        # The library builds next_request from the URL and the credentials of the other side.
        response.next_request = None
    return response


class _GateTransport:
    """Sends each request to the side decided, and logs it when the response is over."""

    def __init__(self, kit: "Kit", exchanges: Exchanges, inner: Any) -> None:
        self._kit = kit
        self._exchanges = exchanges
        self._inner = inner

    def handle_request(self, request: Any) -> Any:
        is_form = self._kit.is_short_in_pieces(request)
        if is_form or self._kit.is_json_in_pieces(request):
            try:
                request.read()
            except BaseException as error:
                self._unread(request, error)
                raise
        begun, body = self._begin(request, is_form)
        self._find(begun)
        sent = self._outgoing(request, begun, body)
        try:
            answer = begun.claim()
        except BaseException as error:
            begun.withdraw(self._kit.name_of(error))
            raise
        if answer is not None:
            return self._kit.known(answer)
        history: list[Any] = []
        try:
            response = self._inner.handle_request(sent)
            found = self._kit.headers_of(response)
            while self._is_sent_on(begun, request, response, found):
                response.close()
                sent = self._follow(begun, request, body, response, history)
                response = self._inner.handle_request(sent)
                found = self._kit.headers_of(response)
        except BaseException as error:
            name = self._kit.name_of(error, hops=len(history))
            begun.failed(name, sent=self._kit.was_sent(error))
            raise
        begun.answered(response.status_code, found)
        return self._kit.passing(response, begun, self._kit.stream, history, found)

    async def handle_async_request(self, request: Any) -> Any:
        is_form = self._kit.is_short_in_pieces(request)
        if is_form or self._kit.is_json_in_pieces(request):
            try:
                await request.aread()
            except BaseException as error:
                self._unread(request, error)
                raise
        begun, body = self._begin(request, is_form)
        if begun.looks_up:
            try:
                await _off_loop(True, begun.find)
            except BaseException as error:
                begun.failed(self._kit.name_of(error), sent=False)
                raise
        sent = self._outgoing(request, begun, body)
        waits = begun.waits_for_disk
        try:
            answer = await _off_loop(waits, begun.claim)
        except BaseException as error:
            begun.withdraw(self._kit.name_of(error))
            raise
        if answer is not None:
            return self._kit.known(answer)
        history: list[Any] = []
        try:
            response = await self._inner.handle_async_request(sent)
            found = self._kit.headers_of(response)
            while self._is_sent_on(begun, request, response, found):
                await response.aclose()
                sent = self._follow(begun, request, body, response, history)
                response = await self._inner.handle_async_request(sent)
                found = self._kit.headers_of(response)
        except BaseException as error:
            # A cancelled request counts as sent: nothing can be awaited then, nor needs to be.
            was_sent = self._kit.was_sent(error)
            name = self._kit.name_of(error, hops=len(history))
            failed = partial(begun.failed, name, sent=was_sent)
            await _off_loop(waits and not was_sent, failed)
            raise
        try:
            await _off_loop(waits, begun.answered, response.status_code, found)
        except BaseException as error:
            begun.failed(self._kit.name_of(error), sent=True)
            await response.aclose()
            raise
        return self._kit.passing(response, begun, self._kit.async_stream, history, found)

    def _is_sent_on(
        self, begun: Exchange, request: Any, response: Any, headers: dict[str, str]
    ) -> bool:
        """Whether a response is a redirect that is to be followed."""
        follows = request.extensions.get(REDIRECTS) is not None
        return follows and begun.sent_on(response.status_code, headers.get("location"))

    def _follow(
        self, begun: Exchange, request: Any, body: bytes | None, response: Any, history: list[Any]
    ) -> Any:
        """Return the request that follows the redirect; raises TooManyRedirects, as the library."""
        if len(history) >= request.extensions[REDIRECTS] or not begun.follow():
            raise self._kit.library.TooManyRedirects(
                "Exceeded maximum allowed redirects.", request=request
            )
        history.append(self._kit.hop(response, request))
        return self._kit.outgoing(request, begun, body)

    def __enter__(self) -> Self:
        self._inner.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._inner.__exit__(*error)
        self._exchanges.close()

    async def __aenter__(self) -> Self:
        await self._inner.__aenter__()
        return self

    async def __aexit__(self, *error: Any) -> None:
        await self._inner.__aexit__(*error)
        await _off_loop(self._exchanges.waits_for_disk, self._exchanges.close)

    def close(self) -> None:
        self._inner.close()
        self._exchanges.close()

    async def aclose(self) -> None:
        await self._inner.aclose()
        await _off_loop(self._exchanges.waits_for_disk, self._exchanges.close)

    def _begin(self, request: Any, is_form: bool) -> tuple[Exchange, bytes | None]:
        target = request.extensions.get(_TARGET)
        if target is not None and not self._exchanges.may_target(bytes(target)):
            kept = {name: one for name, one in request.extensions.items() if name != _TARGET}
            request.extensions = kept
        headers = request.headers.raw
        by_name = by_lower_name(headers)
        body = self._kit.body_of(request, by_name)
        url, form = str(request.url), None
        if is_form:
            form, body = body, None
        return self._exchanges.begin(request.method, url, headers, by_name, body, form), body

    def _unread(self, request: Any, error: BaseException) -> None:
        """Log a request whose body raised while it was read: nothing of it was sent."""
        headers = request.headers.raw
        by_name = {name.lower(): value for name, value in headers}
        name = UNSENDABLE if isinstance(error, Exception) else "cancelled"
        self._exchanges.unread(request.method, str(request.url), headers, by_name, name)

    def _find(self, begun: Exchange) -> None:
        try:
            begun.find()
        except BaseException as error:
            begun.failed(self._kit.name_of(error), sent=False)
            raise

    def _outgoing(self, request: Any, begun: Exchange, body: bytes | None) -> Any:
        try:
            return self._kit.outgoing(request, begun, body)
        except BaseException as error:  # a URL that the library does not accept
            begun.failed(self._kit.name_of(error), sent=False)
            raise


class Kit:
    """An adapter to httpx or httpx2: the gate's classes on the bases of that library."""

    def __init__(self, name: str) -> None:
        self.library = library = _library(name)
        self.stream: Any = type("PassingStream", (_Passing, library.SyncByteStream), {})
        self.async_stream: Any = type("AsyncPassingStream", (_Passing, library.AsyncByteStream), {})
        self.client: Any = type("GateClient", (_GateClient, library.Client), {})
        self.async_client: Any = type(
            "AsyncGateClient", (_AsyncGateClient, library.AsyncClient), {}
        )
        self._remembered_url = lru_cache(MOST_REMEMBERED)(self._url)
        self.transport: Any = type("GateTransport", (_GateTransport, library.BaseTransport), {})
        self.async_transport: Any = type(
            "AsyncGateTransport", (_GateTransport, library.AsyncBaseTransport), {}
        )

    def is_json_in_pieces(self, request: Any) -> bool:
        """Whether a request's body is JSON from an iterator, to be buffered before it is sent."""
        whole = isinstance(request.stream, self.library.ByteStream)
        return not whole and b"json" in request.headers.get("content-type", "").lower().encode()

    def is_short_in_pieces(self, request: Any) -> bool:
        """Whether a request's body is a form, or from an iterator, is no JSON, and short.

        Of a stream of another's class, such as a proxy's, the pieces pass as they arrive.
        """
        stream, headers = request.stream, request.headers
        if isinstance(stream, self.library.ByteStream):
            return False
        if type(stream).__module__.partition(".")[0] != self.library.__name__:
            return False
        length = headers.get("content-length", "")
        is_short = length.isdecimal() and len(length) < 6 and int(length) <= _MOST_FORM
        return is_short and not self.is_json_in_pieces(request)

    def body_of(self, request: Any, by_name: Mapping[bytes, bytes]) -> bytes | None:
        """Return a body that is in memory and not compressed; None for one to pass unchanged.

        ``by_name`` are the request's headers by their lower-case names.
        """
        whole = isinstance(request.stream, self.library.ByteStream)
        compressed = b"content-encoding" in by_name
        return bytes(request.read()) if whole and not compressed else None

    def outgoing(self, request: Any, exchange: Exchange, body: bytes | None) -> Any:
        """Return the request to send in place of the client's."""
        out, stream, headers = exchange.out, request.stream, exchange.out.headers
        url, host = self._found(out.url)
        content = (body or None) if out.body is None else out.body
        names = [name.lower() for name, _ in headers]
        if content is not None:
            stream = self.library.ByteStream(content)
            pairs = zip(names, headers, strict=True)
            headers = [pair for name, pair in pairs if name not in _SIZES]
            if content:
                headers.append((b"Content-Length", b"%d" % len(content)))
        if b"host" not in names:
            headers = [(b"Host", host), *headers]
        extensions = {name: one for name, one in request.extensions.items() if name != REDIRECTS}
        if _SERVER in extensions and exchange.is_elsewhere:
            del extensions[_SERVER]
        if _TARGET in extensions and not (
            out.keeps_target and out.side != "tokenlab" and out.url == str(request.url)
        ):
            del extensions[_TARGET]  # it is that of another URL
        return self.library.Request(
            out.method, url, headers=headers, stream=stream, extensions=extensions
        )

    def url(self, text: str) -> Any:
        """Return the library's URL of a text."""
        return self._found(text)[0]

    def _found(self, text: str) -> tuple[Any, bytes]:
        # Google's marker of a stream is all of its URL's query, and no credential.
        is_short = is_remembered(text.removesuffix(_SSE))
        return (self._remembered_url if is_short else self._url)(text)

    def _url(self, text: str) -> tuple[Any, bytes]:
        """Return the library's URL, which is immutable and slow to make, and its host and port."""
        url = self.library.URL(text)
        return url, url.netloc

    def headers_of(self, response: Any) -> dict[str, str]:
        """Return a response's headers by their lower-case names; of repeated ones, the last.

        Several ``Content-Encoding`` are one list (RFC 9110, section 5.3), as the library decodes
        them all.
        """
        raw = response.headers.raw
        found = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in raw}
        if _ENCODING in found:
            coded = [value for name, value in raw if name.lower() == _ENCODING.encode()]
            found[_ENCODING] = b", ".join(coded).decode("latin-1")
        return found

    def passing(
        self,
        response: Any,
        exchange: Exchange,
        stream: Any,
        history: list[Any],
        headers: dict[str, str],
    ) -> Any:
        """Return a response whose stream reports to the exchange."""
        elsewhere = exchange.is_elsewhere
        extensions = {**response.extensions, REDIRECTS: history, _ELSEWHERE: elsewhere}
        watched = stream(response.stream, exchange, self.name_of)
        cookie = elsewhere and "set-cookie" in headers
        if not response.is_closed and not cookie:
            response.stream, response.extensions = watched, extensions
            return response
        # Strip Set-Cookie: the client's cookie jar would send it to the previous provider.
        kept = [
            pair for pair in response.headers.raw if not cookie or pair[0].lower() != b"set-cookie"
        ]
        return self.library.Response(
            response.status_code, headers=kept, stream=watched, extensions=extensions
        )

    def hop(self, response: Any, request: Any) -> Any:
        """Return a redirect response without its body, for the history of the final response."""
        return self.library.Response(
            response.status_code, headers=response.headers.raw, content=b"", request=request
        )

    def known(self, answer: "Answer") -> Any:
        """Return a synthesized response, for which no request was sent."""
        return self.library.Response(
            answer.status, headers=answer.headers, content=answer.body,
            extensions={SYNTHESIZED: True},
        )  # fmt: skip

    def name_of(self, error: BaseException, hops: int = 0) -> str:
        """Return the access log's name of an error after a number of redirects.

        "unsent" is a request that was not tried for want of this host's resources, or of free
        connections in the client's pool; "unsendable" is one that HTTP does not allow, or whose
        body was consumed before. No side is at fault, and another side would be asked in vain.
        """
        library = self.library
        if isinstance(error, (library.ConnectError, OSError)) and is_own(error):
            return UNSENT
        if isinstance(error, library.PoolTimeout):
            return UNSENT
        if isinstance(error, library.LocalProtocolError) and is_of_request(error):
            return UNSENDABLE
        if isinstance(error, library.TimeoutException):
            return "timeout"
        if isinstance(error, library.NetworkError):
            return "connect"
        if isinstance(error, library.TooManyRedirects):
            return "redirect"
        if isinstance(error, library.StreamConsumed):  # a body that can be sent once alone
            return "redirect" if hops else UNSENDABLE
        theirs = (library.HTTPError, library.InvalidURL)
        return "protocol" if isinstance(error, theirs) else "cancelled"

    def was_sent(self, error: BaseException) -> bool:
        """Return whether a request that failed with this error may have been sent and executed."""
        library = self.library
        unsent = (
            library.ConnectError, library.ConnectTimeout, library.PoolTimeout,
            library.TooManyRedirects,
        )  # fmt: skip
        return not isinstance(error, unsent)


async def _off_loop(waits: bool, call: Callable[..., _T], *given: Any) -> _T:
    """Call in a worker thread if ``waits``, so that disk I/O does not block the event loop."""
    if not waits:
        return call(*given)
    from anyio.to_thread import run_sync  # a dependency of httpx and httpx2

    return await run_sync(call, *given)


@cache
def kit_of(name: str) -> Kit:
    """Return the adapter to a library (cached); raises ModuleNotFoundError if not installed."""
    return Kit(name)


def _library(name: str) -> Any:
    """Import a library; the ModuleNotFoundError of a missing one names what to install."""
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise  # it is installed, a dependency of it is not
        raise ModuleNotFoundError(
            f"the clients of rollout_gate.http need {name}, which is not installed;"
            f" install {name}, or the gate with its extra: rollout-gate[{name}]",
            name=name,
        ) from None
