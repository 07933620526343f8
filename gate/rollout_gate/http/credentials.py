"""Filter headers and query by side, so that each side gets its own credentials and no others.

A request is made for the previous provider, so all of it may go there, except TokenLab's key.
For TokenLab there is an allowlist of what is known to hold no credential: a denylist would never
be complete, as every gateway has credential headers of its own.
"""

import re
from base64 import b64decode
from collections.abc import Callable, Collection, Iterable, Mapping
from itertools import chain
from urllib.parse import parse_qsl, unquote, unquote_plus, urlencode

from rollout_gate.context import HEADERS as SUBJECT_HEADERS

Headers = list[tuple[bytes, bytes]]
"""Header names and values as they are on the wire."""

Credential = str | Callable[[], str]
"""A credential, or a function that returns it for each request, so that it can be rotated."""

LEAST_SECRET = 8
"""A shorter credential is not searched for: it would be found in words."""

_COMMON = frozenset((
    b"accept", b"accept-charset", b"accept-encoding", b"accept-language", b"cache-control",
    b"connection", b"content-encoding", b"content-language", b"content-length", b"content-type",
    b"date", b"expect", b"pragma", b"prefer", b"range", b"te", b"transfer-encoding", b"user-agent",
    b"idempotency-key", b"x-idempotency-key", b"request-id", b"x-request-id",
    b"x-client-request-id", b"x-correlation-id", b"traceparent", b"tracestate",
    b"anthropic-version", b"anthropic-beta", b"anthropic-dangerous-direct-browser-access",
    b"openai-beta", b"x-goog-api-client", b"x-goog-request-params", b"x-server-timeout",
))  # fmt: skip
_STAINLESS = frozenset(b"x-stainless-" + name for name in (
    b"arch", b"async", b"custom-poll-interval", b"helper", b"helper-method", b"lang", b"os",
    b"package-version", b"poll-helper", b"raw-response", b"read-timeout", b"retry-count",
    b"runtime", b"runtime-version", b"stream-helper", b"timeout",
))  # fmt: skip
"""Telemetry headers in which the SDKs of OpenAI and Anthropic describe themselves."""

_ALLOWED = _COMMON | _STAINLESS

_ADDRESS = frozenset((b"host",)) | SUBJECT_HEADERS.keys()
"""Headers that are regenerated for another address, or are the gate's own."""

_CREDENTIALS = frozenset((
    b"authorization", b"proxy-authorization", b"cookie", b"x-api-key", b"api-key",
    b"x-goog-api-key", b"x-goog-user-project", b"openai-organization", b"openai-project",
))  # fmt: skip
"""Well-known credential headers of a provider, which are dropped for another without a report."""

_KEYS = frozenset((b"authorization", b"x-api-key", b"api-key", b"x-goog-api-key"))
"""The headers in which an SDK sends its key; cookies come by themselves with any request."""

_LONG = 16
"""The minimum length of a secret that is matched as a substring: none occurs by chance."""

_ANONYMOUS = frozenset((
    b"accept", b"accept-charset", b"accept-encoding", b"accept-language", b"range", b"user-agent",
))  # fmt: skip

_NAMED = re.compile(rb"auth|key|token|secret|passw|credential|cookie|session|jwt|signature")
"""What the name of a header or of a parameter has that holds a credential, in lower case."""
_COOKIE = re.compile(rb"=([^;]+)")

_WORD = re.compile(r"[a-z]{0,12}")
_PATHS = re.compile(r"[a-z_.,]{0,200}")
_NUMBER = re.compile(r"\d{0,12}")
_ITEM = re.compile(r"[a-z]{1,12}_[A-Za-z0-9]{1,80}")
"""The id of an item, after which the next page of a list begins: without it the list has no end."""
_QUERY = {
    "alt": _WORD, "$alt": _WORD, "beta": _WORD, "prettyPrint": _WORD, "stream": _WORD,
    "variant": _WORD, "include": _PATHS, "include[]": _PATHS, "include_obfuscation": _WORD,
    "starting_after": _NUMBER, "limit": _NUMBER, "order": _WORD, "after": _ITEM,
}  # fmt: skip
"""Allowlist of the query parameters that TokenLab is sent; a value must match the pattern."""
_QUERY_OF_PREVIOUS = frozenset(("key", "api-version"))
"""Google's credential in a URL, and Azure's API version: dropped for TokenLab without a report."""


def checked(credential: str, name: str) -> str:
    """Validate a credential, and strip the whitespace that a file or a shell leaves around it.

    Raises ValueError, without the credential in it, for one that no header can carry.
    """
    text = credential.strip() if isinstance(credential, str) else ""
    if not text or not text.isascii() or not text.isprintable() or " " in text:
        raise ValueError(f"{name} is empty, or has a character that no HTTP header can carry")
    return text


def checked_names(names: Iterable[str]) -> frozenset[bytes]:
    """Validate the names of additional headers to forward to TokenLab; returns them lower-case.

    Raises ValueError for one that carries the previous provider's credential, and TypeError for a
    single string.
    """
    if isinstance(names, str | bytes):
        raise TypeError("forward_headers is a list of names, not one text")
    names = [name.strip() for name in names]
    found = frozenset(name.lower().encode("latin-1", "replace") for name in names)
    wrong = sorted(name.decode("latin-1") for name in found & (_CREDENTIALS | _ADDRESS))
    if wrong:
        raise ValueError(
            f"forward_headers has {', '.join(wrong)}, which TokenLab is never sent:"
            " its own credential is tokenlab_key"
        )
    return found


def credentials_in(headers: Headers, query: str = "", also: Collection[bytes] = ()) -> list[str]:
    """Return the credentials that a request carries in its headers and query.

    ``also`` are headers that TokenLab is to get, so that they are none.
    """
    found = [
        secret
        for name, value in headers
        if (lowered := name.lower()) not in _ALLOWED
        for secret in _secrets_in(lowered, value, also)
    ]
    return [secret.decode("latin-1") for secret in found] + credentials_in_query(query)


def credentials_in_query(query: str) -> list[str]:
    """Return the values of a URL's parameters that are named like a credential."""
    if not query:
        return []
    pairs = parse_qsl(query)
    return [value for name, value in pairs if _NAMED.search(name.lower().encode())]


def has_key(headers: Headers, query: str) -> bool:
    """Return whether a request comes with a key as SDKs send it, in a header or Google's query."""
    if any(name.lower() in _KEYS and value for name, value in headers):
        return True
    return bool(query) and any(name == "key" for name, _ in parse_qsl(query))


def _secrets_in(name: bytes, value: bytes, also: Collection[bytes]) -> list[bytes]:
    """Return the credentials in a header that is not in the allowlist.

    In a well-known one it is what follows the scheme, such as Bearer; of Basic it is the password,
    too, and of cookies the value of each. Any other header has one if its name says so.
    """
    words = value.split()
    if not words:
        return []
    if name not in _CREDENTIALS:
        is_one = name not in also and name not in _ADDRESS and _NAMED.search(name) is not None
        return [words[-1]] if is_one and len(words[-1]) >= _LONG else []
    if name == b"cookie":
        return [words[-1], *(one for one in _COOKIE.findall(value) if len(one) >= _LONG)]
    if words[0].lower() == b"basic":
        password = _readable(value).rpartition(":")[2].encode("latin-1")
        return [words[-1], password] if b":" not in words[-1] and password else [words[-1]]
    return [words[-1]]


def for_tokenlab(
    headers: Headers, also: Collection[bytes] = (), more: Collection[str] = ()
) -> tuple[Headers, list[str]]:
    """Return the headers that may go to TokenLab, and the names of those dropped that are not
    well-known credentials, to be reported to whoever set them.

    ``more`` are credentials that the request has elsewhere than in its headers.
    """
    kept, left, others = [], [], []
    found = [one.encode("utf-8", "replace") for one in more]
    for pair in headers:
        name = pair[0].lower()
        if name not in _ALLOWED:
            found += _secrets_in(name, pair[1], also)
        if name not in _CREDENTIALS:
            others.append((name, pair))
    secrets = [secret for secret in found if len(secret) >= LEAST_SECRET]
    # One search of all values spares that of each: mostly none repeats a credential.
    values = b"\n".join([pair[1] for _, pair in others])
    secrets = [secret for secret in secrets if secret in values]
    for name, pair in others:
        if secrets and any(secret in pair[1] for secret in secrets):
            left.append(name.decode("latin-1"))
        elif name in _ALLOWED or name in also:
            kept.append(pair)
        elif name not in _ADDRESS:
            left.append(name.decode("latin-1"))
    return kept, left


def for_previous(
    headers: Headers, tokenlab_keys: Collection[str], *, own: bool, moved: bool
) -> tuple[Headers, list[str]]:
    """Return the headers that may go to the previous provider, and the names of those dropped
    because they hold TokenLab's key.

    With ``own`` the client supplies the provider's credential, in place of the request's;
    ``moved`` is whether it goes to another origin than the request was made for.
    """
    kept, left = [], []
    dropped = _ADDRESS if moved else SUBJECT_HEADERS.keys()
    # One search of all headers spares that of each: mostly none holds a key.
    lowered = b"\n".join(chain.from_iterable(headers)).lower()
    is_sought = b"basic" in lowered or any(key.lower().encode() in lowered for key in tokenlab_keys)
    for pair in headers:
        name = pair[0].lower()
        if name in dropped or (own and name in _CREDENTIALS):
            continue
        if is_sought and _is_with(pair, tokenlab_keys):
            left.append(name.decode("latin-1"))
        else:
            kept.append(pair)
    return kept, left


def _is_with(header: tuple[bytes, bytes], keys: Collection[str]) -> bool:
    """Return whether a header holds one of these keys, in its name in any case."""
    name, value = header[0].decode("latin-1").lower(), _readable(header[1])
    return any(_has(value, key) or _has(name, key.lower()) for key in keys)


def _readable(value: bytes) -> str:
    """Return a header's value, with Basic credentials (RFC 7617) decoded from Base64 appended."""
    text = value.decode("latin-1")
    scheme, _, rest = text.strip().partition(" ")
    if scheme.lower() != "basic":
        return text
    # Servers are lenient: without the padding, and in the alphabet of URLs, it is one as well.
    letters = rest.strip().rstrip("=").replace("-", "+").replace("_", "/")
    try:
        return f"{text} {b64decode(letters + '=' * (-len(letters) % 4)).decode('latin-1')}"
    except ValueError:
        return text


def add_missing(headers: Headers, auth: Mapping[str, str]) -> None:
    """Add the headers that carry a side's credential to those filtered for the side.

    A header beside the credential, such as an API's version, stays as it is where there is one.
    """
    for name, value in auth.items():
        lowered = name.lower().encode()
        is_dropped = lowered in _CREDENTIALS  # the filter has left none
        if is_dropped or all(lowered != one.lower() for one, _ in headers):
            headers.append((name.encode(), value.encode()))


def anonymous(headers: Headers) -> Headers:
    """Return the headers that may go to a host of neither side: none that identify the sender."""
    return [pair for pair in headers if pair[0].lower() in _ANONYMOUS]


def query_for_tokenlab(query: str, secrets: Collection[str] = ()) -> tuple[str, list[str]]:
    """Filter a URL's query for TokenLab; returns it and the names of the parameters dropped.

    The credential of Google and the API version of Azure are dropped without being named.
    """
    pairs = parse_qsl(query, keep_blank_values=True)
    kept = [
        (name, value)
        for name, value in pairs
        if name in _QUERY and _QUERY[name].fullmatch(value) and value not in secrets
    ]
    if kept == pairs:
        return query, []
    left = [pair[0] for pair in pairs if pair not in kept and pair[0] not in _QUERY_OF_PREVIOUS]
    return urlencode(kept), left


def query_without(query: str, keys: Collection[str]) -> tuple[str, list[str]]:
    """Drop the query parameters that hold one of ``keys``; returns the query and their names."""
    if not query or not any(_has(unquote_plus(unquote_plus(query)), key) for key in keys):
        return query, []
    pairs = parse_qsl(query, keep_blank_values=True)
    left = [pair for pair in pairs if any(_has(unquote_plus("=".join(pair)), key) for key in keys)]
    return urlencode([pair for pair in pairs if pair not in left]), [name for name, _ in left]


def holds(text: str, keys: Collection[str]) -> bool:
    """Return whether a text has one of these keys in it."""
    return any(_has(text, key) for key in keys)


def path_holds(path: str, keys: Collection[str]) -> bool:
    """Return whether a URL's path has one of these keys in it, percent-encoded once or twice."""
    return holds(unquote(unquote(path)) if "%" in path else path, keys)


def _has(text: str, secret: str) -> bool:
    """Return whether a text contains a secret; a short one only as a word of its own."""
    if len(secret) >= _LONG:
        return secret in text
    return secret in text and bool(re.search(rf"(?<![\w-]){re.escape(secret)}(?![\w-])", text))
