"""Classify a request by its method and path: a call of a route's format, a task, or neither.

An SDK appends the paths of its API to whatever base URL it was given, so only the end of a path is
certain: https://api.openai.com/v1 and https://x.openai.azure.com/openai/deployments/gpt-5 both
have /chat/completions below them.
"""

import re
from contextlib import suppress
from functools import lru_cache
from ipaddress import ip_address
from urllib.parse import unquote, urlsplit

from msgspec import Struct

from rollout_gate.file.formats import kind_of

_SLASHES = re.compile(r"/{2,}")
_GEMINI = re.compile(
    r"(?P<before>.*?)(?:/(?P<version>v1|v1beta|v1alpha))?"
    r"/models/(?P<model>[^/]+)(?P<call>:generateContent|:streamGenerateContent)"
)
_TASK = re.compile(r"/(?:tasks|images|videos|music|3d)/(?:generations/)?([^/]+)(?:/content)?$")
_ESCAPE = re.compile("%([0-9A-Fa-f]{2})")
_UNRESERVED = re.compile(r"[A-Za-z0-9._~-]", re.ASCII)
PORTS = {"http": 80, "https": 443}
"""The schemes that a request can have, and their default ports."""
MOST_REMEMBERED = 256
"""Memoization limit of what is known of a URL: an application asks few, again and again."""
_LONGEST = 512
"""The length in characters of the longest URL that is memoized."""
_NO_PORT = -1
"""In place of a port that is none: such a URL is of no side, and the library says what is wrong."""
_COLON = re.compile("%3a", re.IGNORECASE)
_SIGNED = re.compile(r"(?:^|[&;])(?:[\w.-]*signature|sig|sign)=", re.IGNORECASE)
_PLAIN = re.compile(r"[A-Za-z_.:-]{1,32}|v\d{1,2}(?:alpha|beta)?\d?|3d")


class Call(Struct, frozen=True):
    """A request of a route's format.

    ``path`` is the standard path of the call, below a host that serves the format as its maker
    does, and ``as_usual`` whether the request's own path ends with it. ``model`` and ``stream``
    are those in the path, None where the body has them. ``written`` is the model in the path as
    it is there, percent-encoded.
    """

    path: str
    as_usual: bool
    model: str | None = None
    stream: bool | None = None
    written: str = ""


def call_of(route_format: str, method: str, url: str) -> Call | None:
    """Parse a request as a call of this format; None for one that is not of the format."""
    # Without the query, which decides nothing.
    bare = url.partition("?")[0]
    found = _remembered_call if is_remembered(bare) else _call_of
    return found(route_format, method, bare)


def is_remembered(url: str) -> bool:
    """Return whether what is known of a URL may be memoized, which keeps the URL in memory.

    Not of one with a query, a fragment or userinfo, as any of them may be a credential (a signed
    URL), nor of a long one.
    """
    return len(url) <= _LONGEST and not ("?" in url or "@" in url or "#" in url)


def _call_of(route_format: str, method: str, url: str) -> Call | None:
    if method.upper() != "POST":
        return None
    path = path_of(url)
    if route_format == "gemini_generate_content":
        found = _GEMINI.fullmatch(_COLON.sub(":", path))
        if found is None:
            return None
        usual = f"/{found['version'] or 'v1beta'}/models/{found['model']}{found['call']}"
        stream = found["call"] == ":streamGenerateContent"
        written = found["model"]
        return Call(usual, bool(found["version"]), unquote(written), stream, written)
    usual = kind_of(route_format).paths[route_format]
    if not path.endswith(usual.removeprefix("/v1")):
        return None
    return Call(usual, path.endswith(usual))


_remembered_call = lru_cache(MOST_REMEMBERED)(_call_of)


def task_of(method: str, url: str) -> tuple[str, str] | None:
    """Return the id of the task that a request asks about, and the path of the request to send.

    None where it asks about none.
    """
    path = path_of(url)
    found = _TASK.search(path) if method.upper() in ("GET", "HEAD", "DELETE") else None
    return (unquote(found[1]), f"/v1{found[0]}") if found else None


def is_signed(url: str) -> bool:
    """Return whether a URL has a signature in its query, which is all the credential it needs."""
    query = urlsplit(url).query
    return bool(query) and _SIGNED.search(query) is not None


def shape_of(method: str, url: str) -> str:
    """Return method and path, with ``{}`` for each part that may be an id or a secret."""
    parts = path_of(url).split("/")[:8]
    shown = "/".join(part if not part or _PLAIN.fullmatch(part) else "{}" for part in parts)
    return f"{method.upper()[:16]} {shown or '/'}"


def path_of(url: str) -> str:
    """Return a URL's path normalized as servers do (RFC 3986, 6.2.2): without empty segments and a
    trailing slash, and with unreserved characters percent-decoded."""
    path = urlsplit(url).path
    if "%" in path:
        path = _ESCAPE.sub(_unescaped, path)
    return _SLASHES.sub("/", path).rstrip("/")


def same_origin(one: str, other: str) -> bool:
    """Return whether two URLs have the same origin, normalized: scheme, host and port."""
    return origin_of(one) == origin_of(other)


def origin_of(url: str) -> tuple[str, str, int | None]:
    """Return a URL's scheme, host and port; raises ValueError for an invalid port."""
    bare = url.partition("?")[0]
    return (_remembered_origin if is_remembered(bare) else _origin_of)(bare)


def _origin_of(url: str) -> tuple[str, str, int | None]:
    parts = urlsplit(url)
    host = _host_of((parts.hostname or "").rstrip("."))
    try:
        port = parts.port or PORTS.get(parts.scheme)
    except ValueError:
        port = _NO_PORT
    return parts.scheme, host, port


def _host_of(name: str) -> str:
    """Return a host as it is on the wire: a name in ASCII (IDNA), an IPv6 address in short."""
    if ":" in name:
        with suppress(ValueError):
            return ip_address(name).compressed
    if name.isascii():
        return name
    from idna import encode  # a dependency of httpx and httpx2, which encode a host with it

    try:
        return encode(name).decode("ascii")
    except UnicodeError:  # the libraries send nothing to such a host
        return name


_remembered_origin = lru_cache(MOST_REMEMBERED)(_origin_of)


def _unescaped(found: re.Match[str]) -> str:
    char = chr(int(found[1], 16))
    return char if _UNRESERVED.match(char) else found[0]
