"""The transports of the proxy, one for each route, over one connection pool."""

from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import Any

from rollout_gate.context import Subject
from rollout_gate.gate import Gate
from rollout_gate.http import network
from rollout_gate.http.attempts import DeclaredRetries
from rollout_gate.http.clients import CONNECT_S, TIMEOUT_S
from rollout_gate.http.current_log import CurrentLog
from rollout_gate.http.exchanges import Exchanges
from rollout_gate.http.id_store import flush_all
from rollout_gate.http.routing import Router
from rollout_gate.http.routing_reports import Remedies
from rollout_gate.http.transport import REDIRECTS, SYNTHESIZED, Kit, kit_of
from rollout_gate.serve.answers import OWN_HEADER, Headers, passed_on
from rollout_gate.serve.pool import ShardedPool
from rollout_gate.serve.requests import NOWHERE, Received

UPLOAD_WRITE_S = 60.0
"""How long the provider may take to read a piece of an upload: where its window stays full, that a
client has left may be hidden behind what the client has sent."""

_MOST_REDIRECTS = 20
_REMEDIES = Remedies(
    forward="serve --forward-header NAME sends it",
    org=(
        "give it in the header X-Rollout-Org, or name the header that has it as [serve] org_header"
        " in the rollout file; send X-Rollout-Org empty where there is none"
    ),
    previous_key=(
        "give the SDK the previous provider's key, or serve --previous-key-file ROUTE=PATH"
    ),
)
_NOWHERE_HOST = NOWHERE.partition("://")[2]


class Upstream:
    """Sends requests to the side that the gate decides, as ``async_client`` does; for one loop.

    ``previous_keys`` returns the previous provider's credential by route; a route without one
    passes on the credential that its application sends.
    """

    def __init__(
        self,
        gate: Gate,
        tokenlab_key: Callable[[], str],
        previous_keys: Mapping[str, Callable[[], str]],
        forward: Collection[bytes],
        access_log: str | None,
    ) -> None:
        self.kit: Kit = kit_of("httpx2")
        self._gate = gate
        self._tokenlab_key = tokenlab_key
        self._previous_keys = previous_keys
        self._forward = forward
        self._log = CurrentLog(gate, access_log)
        self._retries = DeclaredRetries()
        make = partial(network.transport, self.kit.library, {}, is_async=True)
        self._inner = _Known(self.kit, ShardedPool(self.kit.library, make))
        self._transports: dict[str, Any] = {}
        self._timeout = dict.fromkeys(("read", "write", "pool"), TIMEOUT_S)
        self._timeout["connect"] = CONNECT_S

    def log_problem(self) -> str:
        """Return why no line of the access log can be written now; empty where one can."""
        return self._log.problem()

    async def send(self, request: Received, body: Any) -> Any:
        """Send a request; the body is bytes, or an async iterator of them.

        Returns the library's response, whose stream is to be closed; raises what it raises.
        """
        library, headers, timeout = self.kit.library, request.headers, self._timeout
        if isinstance(body, bytes):
            stream = library.ByteStream(body)
        else:
            timeout = {**timeout, "write": UPLOAD_WRITE_S}
            stream = _Pieces.of(library, body)
            if not any(name == b"content-length" for name, _ in headers):
                headers = [*headers, (b"transfer-encoding", b"chunked")]
        sent = library.Request(
            request.method,
            self.kit.url(request.url),
            headers=headers,
            stream=stream,
            extensions={"timeout": timeout, REDIRECTS: _MOST_REDIRECTS},
        )
        return await self._of(request.route.name).handle_async_request(sent)

    def headers_of(self, response: Any) -> Headers:
        """Return a response's headers to pass on, with a mark where the gate has made it."""
        headers = passed_on(list(response.headers.raw), response.status_code)
        return [*headers, OWN_HEADER] if SYNTHESIZED in response.extensions else headers

    async def aclose(self) -> None:
        """Close the connections, the log and the ledger, and write the ids that are in memory."""
        for one in self._transports.values():
            await one.aclose()
        await self._inner.aclose()
        flush_all()  # a worker process ends by the signal that stopped it, and so without atexit

    def _of(self, route: str) -> Any:
        found = self._transports.get(route)
        if found is None:
            router = Router(
                self._gate, Subject(route), self._tokenlab_key, self._previous_keys.get(route),
                None, self._forward, _REMEDIES, addresses=[NOWHERE],
            )  # fmt: skip
            exchanges = Exchanges(router, self._log, None, self._retries)
            found = self.kit.async_transport(self.kit, exchanges, _Shared(self._inner))
            self._transports[route] = found
        return found


class UnknownProviderError(ConnectionError):
    """A request for a previous provider that the file names no base URL of."""


class _Known:
    """Refuses what has no address: a previous provider that the file does not name."""

    def __init__(self, kit: Kit, inner: Any) -> None:
        self._kit = kit
        self._inner = inner
        self.aclose = inner.aclose

    async def handle_async_request(self, request: Any) -> Any:
        if request.url.host == _NOWHERE_HOST:
            raise self._kit.library.ConnectError("no previous_base_url") from UnknownProviderError()
        return await self._inner.handle_async_request(request)


class _Shared:
    """A transport that others use too, so closing it is not up to one of them."""

    def __init__(self, inner: Any) -> None:
        self.handle_async_request = inner.handle_async_request

    async def aclose(self) -> None:
        """Leave it open."""


class _Pieces:
    """A body that is passed on while it arrives, once: a redirect cannot have it again."""

    _consumed: type[Exception]
    _made: type | None = None

    @classmethod
    def of(cls, library: Any, body: Any) -> Any:
        """Return a stream of the library's type."""
        if cls._made is None:
            more = {"_consumed": library.StreamConsumed}
            cls._made = type("Pieces", (cls, library.AsyncByteStream), more)
        return cls._made(body)

    def __init__(self, body: Any) -> None:
        self._body = body
        self._is_read = False

    def __aiter__(self) -> Any:
        if self._is_read:
            raise self._consumed
        self._is_read = True
        return self._body.__aiter__()

    async def aclose(self) -> None:
        """Leave what is not read to the server."""
