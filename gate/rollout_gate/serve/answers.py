"""The proxy's own answers: errors in the shape that a route's SDK understands, and its health."""

import json
import re
from typing import Any

from rollout_gate.file.formats import Envelope, kind_of

Headers = list[tuple[bytes, bytes]]

HOP_BY_HOP = frozenset((
    b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-connection", b"te", b"trailer",
    b"transfer-encoding", b"upgrade",
))  # fmt: skip
"""Headers of one connection, which a proxy does not pass on (RFC 9110, 7.6.1)."""

OWN_HEADER = (b"x-rollout-answer", b"proxy")
"""Marks an answer that is the proxy's own, and of neither side."""

_NO_BODY = (204, 304)
_CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_FRAMING = b"content-length"

_TYPES = {400: "invalid_request_error", 401: "authentication_error", 403: "permission_error",
          404: "not_found_error", 413: "request_too_large"}  # fmt: skip
_GOOGLE = {400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED",
           404: "NOT_FOUND", 413: "INVALID_ARGUMENT", 501: "UNIMPLEMENTED",
           504: "DEADLINE_EXCEEDED"}  # fmt: skip


def error_body(route_format: str, status: int, sentence: str) -> bytes:
    """Return an error in the shape of a format's provider; that of OpenAI for an unknown one."""
    envelope: Envelope = kind_of(route_format).envelope if route_format else "openai"
    kind = _TYPES.get(status, "api_error")
    told = f"rollout-gate: {sentence}"
    shown: dict[str, Any]
    if envelope == "anthropic":
        shown = {"type": "error", "error": {"type": kind, "message": told}}
    elif envelope == "google":
        named = _GOOGLE.get(status, "UNAVAILABLE")
        shown = {"error": {"code": status, "message": told, "status": named}}
    else:
        shown = {"error": {"message": told, "type": kind, "param": None, "code": "rollout_gate"}}
    return json.dumps(shown).encode()


def own_headers(body: bytes, *, kind: bytes = b"application/json") -> Headers:
    """Return the headers of an answer of the proxy's own."""
    return [(b"content-type", kind), (b"content-length", b"%d" % len(body)), OWN_HEADER]


def passed_on(headers: Headers, status: int) -> Headers:
    """Return an answer's headers without those of its connection.

    Left out are also a length that is not that of the body (RFC 9112, 6.3), the mark of the
    proxy's own answers, and what has control characters, which no server sends on.
    """
    lowered = [(name.lower(), value) for name, value in headers]
    names = {name for name, _ in lowered}
    if b"transfer-encoding" in names or status in _NO_BODY:
        lowered = [pair for pair in lowered if pair[0] != _FRAMING]
    if OWN_HEADER[0] in names or _CONTROL.search(b"".join([value for _, value in lowered])):
        lowered = [
            pair for pair in lowered if pair[0] != OWN_HEADER[0] and not _CONTROL.search(pair[1])
        ]
    return without_hops(lowered)


def without_hops(headers: Headers) -> Headers:
    """Return headers (lower-case names) without those of their connection."""
    named = frozenset(
        one.strip().lower()
        for name, value in headers
        if name == b"connection"
        for one in value.split(b",")
    )
    gone = HOP_BY_HOP | named if named - HOP_BY_HOP - {b"close", b""} else HOP_BY_HOP
    return [pair for pair in headers if pair[0] not in gone]
