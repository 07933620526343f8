"""Turn what the proxy receives into the request that a client of the gate would have made."""

import re
from typing import Any
from urllib.parse import unquote

import msgspec

from rollout_gate.context import FLAGS, said_twice
from rollout_gate.context import HEADERS as SUBJECT_HEADERS
from rollout_gate.file.formats import root_of
from rollout_gate.file.model import RolloutFile, Route, SubjectHeaders
from rollout_gate.serve.answers import Headers, without_hops
from rollout_gate.serve.callers import TOKEN_HEADER, Refusal

NOWHERE = "http://previous.invalid"
"""The base URL of a previous provider that the file does not name (RFC 6761, 6.4)."""

_VERSION = re.compile(r"/v\d+(?:alpha|beta)?\d?(?:/|$)")
_NOT_SENT = frozenset((
    b"expect", b"host", b"proxy-authorization", b"x-rollout-route", TOKEN_HEADER,
))  # fmt: skip
"""Of the connection to the proxy: ``Expect`` is answered by the proxy, which reads the body."""
_IN_PIECES = (b"multipart/", b"audio/", b"video/", b"image/", b"application/octet-stream")
_SUBJECT_NAMES = {name: header for header, name in SUBJECT_HEADERS.items()}


class Received(msgspec.Struct, frozen=True):
    """A request as it came in, for a route of the file.

    ``url`` is what an SDK of the previous provider would have asked for, and ``headers`` have
    lower-case names. ``in_pieces`` is whether the body is passed on while it arrives.
    """

    method: str
    route: Route
    url: str
    headers: Headers
    in_pieces: bool


def format_of(scope: Any, file: RolloutFile) -> str:
    """Return the format of the route that a path begins with; empty where it has none."""
    route = file.routes.get(_parts(scope)[0])
    return route.format if route is not None else ""


def received(scope: Any, file: RolloutFile) -> Received | Refusal:
    """Return the request of an ASGI scope, or why it is refused: its path begins with a route."""
    name, rest = _parts(scope)
    route = file.routes.get(name)
    if route is None:
        listed = ", ".join(file.routes) if len(file.routes) <= 20 else f"{len(file.routes)} others"
        return Refusal(
            404,
            f"the path begins with {name[:100]!r}, which is no route of the rollout file (it has"
            f" {listed}); the base URL is this proxy's, the route, and the provider's own path:"
            " /ROUTE/v1/...",
        )
    # Some servers resolve a dot segment, encoded or not, and so leave the provider's base path.
    if any(part in (".", "..") for part in re.split(r"[/\\]", unquote(rest))):
        return Refusal(400, "the path has a . or .. segment, which is not passed on")
    base = route.previous_base_url or NOWHERE
    base = root_of(base) if _VERSION.match(rest) else base.rstrip("/")
    query = scope["query_string"].decode("ascii", "replace")
    headers = without_hops(scope["headers"])
    if (refused := _two_meanings(headers, file.subject_headers)) is not None:
        return refused
    headers = _with_subject(headers, file.subject_headers)
    return Received(
        scope["method"],
        route,
        f"{base}{rest}{'?' if query else ''}{query}",
        [pair for pair in headers if pair[0] not in _NOT_SENT],
        _is_in_pieces(scope["headers"]),
    )


def _parts(scope: Any) -> tuple[str, str]:
    """Return the name of the route that a path begins with, decoded, and the rest of the path."""
    path = scope["raw_path"].decode("ascii", "replace")
    first, slash, below = path.removeprefix("/").partition("/")
    return unquote(first), slash + below


def _two_meanings(headers: Headers, named: SubjectHeaders) -> Refusal | None:
    """Return the refusal of a request that says who asks twice, and not the same."""
    if len(dict(headers)) == len(headers):
        return None
    theirs = [name.encode() for name in msgspec.structs.astuple(named) if name]
    lists = {FLAGS, named.flags.encode()}
    for name in said_twice(headers, {*_SUBJECT_NAMES.values(), *theirs} - lists):
        return Refusal(400, f"the header {name.decode()} has two values: send one")
    return None


def _with_subject(headers: Headers, named: SubjectHeaders) -> Headers:
    """Add the gate's own header for each that the file names another for, unless it is there."""
    if named == _NONE:
        return headers
    known = dict(headers)
    if (flags := named.flags.encode()) in known:
        known[flags] = b",".join(value for name, value in headers if name == flags)
    more: Headers = []
    for field, name in zip(named.__struct_fields__, msgspec.structs.astuple(named), strict=True):
        own, value = _SUBJECT_NAMES[field], known.get(name.encode())
        says_none = value == b"" and field == "org"  # as an empty X-Rollout-Org does
        if name and value is not None and (value or says_none) and own not in known:
            more.append((own, value))
    return headers + more


def _is_in_pieces(headers: Headers) -> bool:
    """Return whether there is a body that is an upload, which the gate does not read, and may be
    large."""
    known = dict(headers)
    if b"content-length" not in known and b"transfer-encoding" not in known:
        return False
    return known.get(b"content-type", b"").lower().lstrip().startswith(_IN_PIECES)


_NONE = SubjectHeaders()
