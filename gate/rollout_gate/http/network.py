"""The transport that a client of the gate sends with: proxies, TLS, limits, keep-alive.

What the SDKs of OpenAI and Anthropic set for their own clients is set here too: 1,000 connections,
TCP keep-alive, the proxies of the environment. A proxy or mount is chosen by the URL that a
request really goes to, so these belong below the gate's transport; given to the client above it,
they would bypass the gate.
"""

import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import cache, partial
from typing import TYPE_CHECKING, Any, Self

from rollout_gate.fork_lock import Locked

if TYPE_CHECKING:
    import asyncio

MAX_CONNECTIONS = 1000
MAX_KEEPALIVE = 100

_SETTINGS = ("verify", "cert", "trust_env", "http1", "http2", "limits", "socket_options")
_CHOICES = ("proxy", "mounts")
SETTINGS = _SETTINGS + _CHOICES
"""The network arguments of a client; none has an effect on a client with a given transport."""

_KEEPALIVE = (
    ("SOL_SOCKET", "SO_KEEPALIVE", 1),
    ("IPPROTO_TCP", "TCP_KEEPIDLE", 60),
    ("IPPROTO_TCP", "TCP_KEEPINTVL", 60),
    ("IPPROTO_TCP", "TCP_KEEPCNT", 5),
)
"""Keep-alive times in seconds, and a probe count: a long response survives a NAT's idle timeout."""


class _Mounted:
    """Sends each request with the transport that the library chooses for its URL."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self._transport_for = client._transport_for_url

    def handle_request(self, request: Any) -> Any:
        return self._transport_for(request.url).handle_request(request)

    async def handle_async_request(self, request: Any) -> Any:
        return await self._transport_for(request.url).handle_async_request(request)

    def __enter__(self) -> Self:
        self._client.__enter__()  # it enters each of its transports
        return self

    def __exit__(self, *error: Any) -> None:
        self._client.__exit__(*error)

    async def __aenter__(self) -> Self:
        await self._client.__aenter__()
        return self

    async def __aexit__(self, *error: Any) -> None:
        await self._client.__aexit__(*error)

    def close(self) -> None:
        self._client.close()

    async def aclose(self) -> None:
        await self._client.aclose()


class _PerProcess(Locked):
    """Sends each request with the transport of the process that it is made in.

    A forked child inherits its parent's pooled connections: two processes that write to one would
    read each other's answers. The child leaves them open, as they are its parent's to close.
    """

    def __init__(self, first: Any, make: Callable[[], Any]) -> None:
        super().__init__()
        self._made = os.getpid(), first
        self._make = make
        self._inherited: list[Any] = []
        """Kept, as their finalizers would close the connections."""

    def handle_request(self, request: Any) -> Any:
        process, transport = self._made
        if process != os.getpid():
            transport = self._own()
        return transport.handle_request(request)

    def _own(self) -> Any:
        with self._lock:
            process, transport = self._made
            if process != os.getpid():
                self._inherited.append(transport)
                transport = self._make()
                self._made = os.getpid(), transport
            return transport

    def __enter__(self) -> Self:
        return self  # the library's transports need not be entered

    def __exit__(self, *error: Any) -> None:
        self.close()

    def close(self) -> None:
        process, transport = self._made
        if process == os.getpid():
            transport.close()


class _PerLoop(Locked):
    """Sends each request with the transport of the event loop, and process, that it is made in.

    A pooled connection is of the loop that opened it, so after a second ``asyncio.run`` a client
    with one pool fails with "Event loop is closed". Of a forked child see ``_PerProcess``.
    """

    def __init__(self, first: Any, make: Callable[[], Any]) -> None:
        super().__init__()
        self._spare = [first]
        self._make = make
        self._transports: dict[asyncio.AbstractEventLoop | None, Any] = {}
        self._process = os.getpid()
        self._inherited: list[Any] = []

    async def handle_async_request(self, request: Any) -> Any:
        if self._process != os.getpid():
            self._leave_inherited()
        loop = _running_loop()
        transport = self._transports.get(loop)
        if transport is None:
            with self._lock:
                for one in [one for one in self._transports if one and one.is_closed()]:
                    del self._transports[one]
                transport = self._spare.pop() if self._spare else self._make()
                self._transports[loop] = transport
        return await transport.handle_async_request(request)

    def _leave_inherited(self) -> None:
        with self._lock:
            if self._process != os.getpid():
                self._inherited.append(self._transports)
                self._transports, self._process = {}, os.getpid()

    async def __aenter__(self) -> Self:
        return self  # no transport to enter before the first request

    async def __aexit__(self, *error: Any) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        if self._process != os.getpid():
            self._leave_inherited()
        with self._lock:
            transports, self._transports = self._transports, {}
        here = _running_loop()
        for loop, transport in transports.items():
            if loop is here:
                await transport.aclose()
            elif loop is not None and loop.is_running():
                import asyncio

                with suppress(RuntimeError):  # race: the loop is closing
                    asyncio.run_coroutine_threadsafe(transport.aclose(), loop)


def _running_loop() -> "asyncio.AbstractEventLoop | None":
    """Return the running asyncio event loop, None under another one (trio's)."""
    import asyncio  # lazy import: the library has loaded it

    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def keepalive_options() -> list[tuple[int, int, int]]:
    """Return the socket options that turn on TCP keep-alive, those that this system supports."""
    import socket  # lazy import: the library has loaded it, and a plain Gate does not need it

    return [
        (getattr(socket, level), getattr(socket, name), value)
        for level, name, value in _KEEPALIVE
        if hasattr(socket, name)
    ]


def transport(library: Any, given: Mapping[str, Any], *, is_async: bool) -> Any:
    """Return a transport of httpx or httpx2 for the ``SETTINGS`` that are given.

    Each has the meaning and the default that it has for a client of the SDKs. Raises what the
    library raises for a setting that it does not accept.
    """
    most = library.Limits(max_connections=MAX_CONNECTIONS, max_keepalive_connections=MAX_KEEPALIVE)
    settings: dict[str, Any] = {"limits": most, "socket_options": keepalive_options()}
    settings |= {name: given[name] for name in _SETTINGS if name in given}
    trust_env = settings.get("trust_env", True)
    settings["verify"] = _ssl_context(
        library, settings.get("verify", True), settings.pop("cert", None), trust_env
    )
    make = partial(_transport, library, settings, given, trust_env, is_async)
    first = make()
    if given.get("mounts"):
        return first  # a given mount owns its connection pool
    return _PerLoop(first, make) if is_async else _PerProcess(first, make)


def _ssl_context(library: Any, verify: Any, cert: Any, trust_env: bool) -> Any:
    if verify is not True or cert is not None:
        return library.create_ssl_context(verify, cert, trust_env)
    files = [os.environ.get(name) for name in ("SSL_CERT_FILE", "SSL_CERT_DIR")]
    return _default_ssl_context(library, trust_env, *files)


@cache
def _default_ssl_context(
    library: Any, trust_env: bool, _file: str | None, _folder: str | None
) -> Any:
    """Load the CA bundle once a process: it takes tens of ms, and some make a client a request."""
    return library.create_ssl_context(True, None, trust_env)


def _transport(
    library: Any,
    settings: dict[str, Any],
    given: Mapping[str, Any],
    trust_env: bool,
    is_async: bool,
) -> Any:
    new = library.AsyncHTTPTransport if is_async else library.HTTPTransport
    client = library.AsyncClient if is_async else library.Client
    default = new(**settings)
    # A client of the library, used only for its choice of a proxy by URL; it sends nothing.
    chooser = client(transport=default, trust_env=False, http2=settings.get("http2", False))
    mounts = {
        pattern: None if proxy is None else new(proxy=proxy, **settings)
        for pattern, proxy in chooser._get_proxy_map(given.get("proxy"), trust_env).items()
    }
    mounts |= given.get("mounts") or {}
    if not any(mounts.values()):
        return default
    return _Mounted(client(transport=default, mounts=mounts, trust_env=False))
