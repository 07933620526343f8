"""Follow redirects of one side without leaking its credentials or bodies to another origin.

httpx strips Authorization from a cross-origin redirect, and no other header (x-api-key, api-key,
x-goog-api-key); besides, it resolves the Location against the URL that the application asked for,
which need not be the one that responded. So the gate follows redirects itself: within the origin
that responded with everything; cross-origin without a credential, without a body, and only what
is no call of a route (a download), as another origin's response would not be the decided side's.
"""

from urllib.parse import urljoin, urlsplit

from msgspec.structs import replace

from rollout_gate.http.credentials import anonymous
from rollout_gate.http.request_shape import PORTS, origin_of
from rollout_gate.http.routing import Outgoing

_STATUSES = frozenset((301, 302, 303, 307, 308))
_OF_A_BODY = frozenset((b"content-length", b"content-type", b"content-encoding",
                        b"transfer-encoding", b"host"))  # fmt: skip


class RefusedError(Exception):
    """A redirect that is not followed; ``str()`` is the host, or what is wrong with the URL."""


def is_redirect(status: int, location: str | None) -> bool:
    """Return whether a response is a redirect with a Location."""
    return location is not None and status in _STATUSES


def redirected(out: Outgoing, status: int, location: str) -> Outgoing:
    """Return the request that follows a redirect; methods change as in httpx (RFC 9110, 15.4).

    Raises RefusedError where a call, or a body, would leave the origin that responded.
    """
    try:
        url = urlsplit(urljoin(out.url, location))
        host, target = url.hostname or "", origin_of(url.geturl())
    except ValueError:
        raise RefusedError("an address that is no URL") from None
    if url.scheme not in PORTS or not host:
        raise RefusedError("an address that is not http(s)")
    method = _method(out.method, status)
    is_same = target == origin_of(out.url) or _is_upgrade(origin_of(out.url), target)
    if not is_same and (out.is_call or method not in ("GET", "HEAD")):
        raise RefusedError(host if host.isprintable() and host.isascii() else "another host")
    headers = out.headers if is_same else anonymous(out.headers)
    changed = method != out.method
    dropped = _OF_A_BODY if changed else frozenset((b"host",))
    headers = [pair for pair in headers if pair[0].lower() not in dropped]
    address = url._replace(fragment="", netloc=url.netloc.rpartition("@")[2]).geturl()
    body = out.body if is_same and not changed else b""
    return replace(out, method=method, url=address, headers=headers, body=body)


def _method(method: str, status: int) -> str:
    if status == 303 and method != "HEAD":
        return "GET"
    if status == 302 and method not in ("HEAD", "QUERY"):
        return "GET"
    return "GET" if status == 301 and method == "POST" else method


def _is_upgrade(one: tuple[str, str, int | None], other: tuple[str, str, int | None]) -> bool:
    return one == ("http", other[1], 80) and other[0] == "https" and other[2] == 443
