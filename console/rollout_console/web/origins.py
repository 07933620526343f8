"""Which Host and Origin headers are served: against DNS rebinding and cross-site WebSockets.

A page of another site can make a browser connect to loopback. The browser then names that site: as
the Origin of a WebSocket, which no same-origin policy protects, or as the Host, where the site's
name was made to resolve to this address (DNS rebinding). The port of Host is not compared: it is
another one behind a tunnel (ssh -L) or a proxy, and an attacker's name is none of those here.
"""

from collections.abc import Iterable
from urllib.parse import SplitResult, urlsplit

_LOOPBACK = frozenset(("localhost", "127.0.0.1", "::1"))
_DEFAULT_PORTS = {"http": 80, "https": 443}


class Origins:
    """The names under which the view is served, and the one of a reverse proxy in front."""

    def __init__(self, names: Iterable[str], public_url: str = "") -> None:
        public = _split(public_url) if public_url else None
        self._public = _origin(public) if public is not None else None
        named = {(public.hostname or "") if public is not None else "", *names} - {""}
        self._names = _LOOPBACK | {name.lower().rstrip(".") for name in named}

    def serves_host(self, host: str, local_ip: str) -> bool:
        """Return whether a Host header names this server; ``local_ip`` is the connection's own."""
        found = _split(f"//{host}")
        if found is None or not found.hostname or found.netloc != host:
            return False
        return found.hostname.rstrip(".") in self._names | {local_ip.partition("%")[0]}

    def serves_origin(self, origin: str, host: str) -> bool:
        """Return whether an Origin header is of this page: the public one, or that of ``host``."""
        found = _split(origin)
        if found is None or found.scheme not in _DEFAULT_PORTS:
            return False
        return _origin(found) in (self._public, _origin(_split(f"{found.scheme}://{host}")))


def _split(url: str) -> SplitResult | None:
    try:
        found = urlsplit(url)
        _ = found.port
    except ValueError:
        return None
    return found if found.username is None and "\\" not in url else None


def _origin(url: SplitResult | None) -> tuple[str, str, int | None] | None:
    """Return scheme, host and port, with the scheme's default port filled in."""
    if url is None:
        return None
    return url.scheme, url.hostname or "", url.port or _DEFAULT_PORTS.get(url.scheme)
