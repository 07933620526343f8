"""Who may send requests through the proxy: it holds keys that cost money.

Without a token it listens on loopback or a unix socket alone, where every local user can connect;
and a web page in a browser on that machine could, too (cross-site request forgery, DNS
rebinding). So without a token a request's Host must be a loopback name, and its Origin, if it has
one, as well.
"""

import hmac
from collections.abc import Callable, Mapping
from ipaddress import ip_address
from urllib.parse import urlsplit

import msgspec

TOKEN_HEADER = b"x-rollout-token"
"""The header with the proxy's token; it is sent to no provider."""
ASKED = (TOKEN_HEADER, b"origin", b"sec-fetch-site")
"""Headers that decide who may use the proxy, each of which has one value."""


class Refusal(msgspec.Struct, frozen=True):
    """Why a request is not passed on: an HTTP status, and a sentence."""

    status: int
    sentence: str


class Callers:
    """Tells which requests to refuse. ``token`` returns the token, and is None where none is asked
    for; ``has_origins`` is false for a unix socket, which no browser can reach."""

    def __init__(self, token: Callable[[], str] | None, *, has_origins: bool = True) -> None:
        self._token = token
        self._has_origins = has_origins

    def refusal(self, headers: Mapping[bytes, bytes]) -> Refusal | None:
        """Return why a request with these headers (lower-case names) is refused; None if not."""
        if self._token is not None:
            given = headers.get(TOKEN_HEADER, b"")
            if hmac.compare_digest(given, self._token().encode()):
                return None
            what = "is not the one of this proxy" if given else "is missing"
            return Refusal(401, f"the header X-Rollout-Token {what}")
        if not self._has_origins:
            return None
        host = headers.get(b"host", b"").decode("latin-1")
        if not is_loopback(_name_of(f"//{host}")):
            return Refusal(
                403,
                f"this proxy has no token, so it answers to loopback names such as localhost"
                f" alone, not to the Host {host[:100]!r}; start it with --token-file",
            )
        origin = headers.get(b"origin")
        if origin is not None and not is_loopback(_name_of(origin.decode("latin-1"))):
            return Refusal(
                403, "a web page of another site may not use this proxy; start it with --token-file"
            )
        if headers.get(b"sec-fetch-site") in (b"cross-site", b"same-site"):
            return Refusal(403, "a web page of another site may not use this proxy")
        return None


def is_loopback(host: str) -> bool:
    """Return whether a host, a name or an address, is of this machine alone."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _name_of(url: str) -> str:
    try:
        return (urlsplit(url).hostname or "").rstrip(".")
    except ValueError:
        return ""
