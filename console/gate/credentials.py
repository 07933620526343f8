"""What of a request belongs to whom: each side gets its own credentials and nothing else.

A request is made for the previous provider, so all of it may go there, save TokenLab's key. Of
what is for TokenLab only what is known to be no credential goes along: a list of credentials would
never be complete, as every gateway has headers of its own for them.
"""

import re
from collections.abc import Callable, Collection, Iterable
from urllib.parse import parse_qsl, unquote_plus, urlencode

from console.gate.subject import HEADERS as SUBJECT_HEADERS

Headers = list[tuple[bytes, bytes]]
"""Header names and values as they are on the wire."""

Credential = str | Callable[[], str]
"""A credential, or what gives it each time: for one that is rotated while the process runs."""

_COMMON = frozenset((
    b"accept", b"accept-charset", b"accept-encoding", b"accept-language", b"cache-control",
    b"connection", b"content-encoding", b"content-language", b"content-length", b"content-type",
    b"date", b"expect", b"pragma", b"prefer", b"range", b"te", b"transfer-encoding", b"user-agent",
    b"idempotency-key", b"x-idempotency-key", b"request-id", b"x-request-id",
    b"x-client-request-id", b"x-correlation-id", b"traceparent", b"tracestate",
    b"anthropic-version", b"anthropic-beta", b"anthropic-dangerous-direct-browser-access",
    b"openai-beta", b"x-goog-api-client", b"x-goog-request-params", b"x-server-timeout",
))  # fmt: skip
_STAINLESS = b"x-stainless-"
"""The SDKs of OpenAI and Anthropic describe themselves in headers of this family."""

_ADDRESS = frozenset((b"host",)) | SUBJECT_HEADERS.keys()
"""Headers that are made anew for another address, or are the gate's own."""

_CREDENTIALS = frozenset((
    b"authorization", b"proxy-authorization", b"cookie", b"x-api-key", b"api-key",
    b"x-goog-api-key", b"x-goog-user-project", b"openai-organization", b"openai-project",
))  # fmt: skip
"""The usual credentials of a provider, which nobody expects to reach another."""

_ANONYMOUS = frozenset((
    b"accept", b"accept-charset", b"accept-encoding", b"accept-language", b"range", b"user-agent",
))  # fmt: skip

_QUERY = frozenset((
    "alt", "beta", "include", "include[]", "include_obfuscation", "stream", "starting_after",
    "prettyPrint", "$alt", "variant",
))  # fmt: skip
_QUERY_OF_PREVIOUS = frozenset(("key", "api-version"))
"""The credential of Google in a URL, and Azure's version: nobody expects TokenLab to see them."""

BODY_CREDENTIALS = frozenset((
    "api_key", "api_base", "api_token", "access_token", "aws_access_key_id",
    "aws_secret_access_key", "aws_session_token", "aws_bearer_token_bedrock", "azure_ad_token",
    "azure_password", "client_secret", "extra_headers", "user_config", "vertex_credentials",
))  # fmt: skip
"""Fields of a body in which a gateway such as LiteLLM's proxy takes a provider's credentials."""


def checked(credential: str, name: str) -> str:
    """Return a credential without blanks around it, as a file or a shell leaves them.

    Raises ValueError, without the credential in it, for one that no header can carry.
    """
    text = credential.strip()
    if not text or not text.isascii() or not text.isprintable() or " " in text:
        raise ValueError(f"{name} is empty, or has a character that no HTTP header can carry")
    return text


def checked_names(names: Iterable[str]) -> frozenset[bytes]:
    """Return the header names that a client is to pass on to TokenLab as well.

    Raises ValueError for one that carries the previous provider's credential.
    """
    found = frozenset(name.lower().encode("latin-1", "replace") for name in names)
    wrong = sorted(name.decode("latin-1") for name in found & (_CREDENTIALS | _ADDRESS))
    if wrong:
        raise ValueError(
            f"forward_headers has {', '.join(wrong)}, which TokenLab is never sent:"
            " its own credential is tokenlab_key"
        )
    return found


def for_tokenlab(headers: Headers, also: Collection[bytes] = ()) -> tuple[Headers, list[str]]:
    """Return what may go to TokenLab, and the names of what is left out though it is no usual
    credential: whoever set those headers ought to hear of it."""
    kept, left = [], []
    for pair in headers:
        name = pair[0].lower()
        if name in _COMMON or name in also or name.startswith(_STAINLESS):
            kept.append(pair)
        elif name not in _CREDENTIALS and name not in _ADDRESS:
            left.append(name.decode("latin-1"))
    return kept, left


def for_previous(
    headers: Headers, tokenlab_key: str, *, own: bool, moved: bool
) -> tuple[Headers, list[str]]:
    """Return what may go to the previous provider, and the names of what has TokenLab's key.

    With ``own`` the provider's credential is given by the client, in place of the request's;
    ``moved`` is whether it goes to another host than the request was made for.
    """
    kept, left = [], []
    dropped = _ADDRESS if moved else SUBJECT_HEADERS.keys()
    for pair in headers:
        name = pair[0].lower()
        if name in dropped or (own and name in _CREDENTIALS):
            continue
        if tokenlab_key and _has(pair[1].decode("latin-1"), tokenlab_key):
            left.append(name.decode("latin-1"))
        else:
            kept.append(pair)
    return kept, left


def anonymous(headers: Headers) -> Headers:
    """Return what may go to an address that is of neither side: nothing that says who asks."""
    return [pair for pair in headers if pair[0].lower() in _ANONYMOUS]


def query_for_tokenlab(query: str) -> tuple[str, list[str]]:
    """Return a URL's query as TokenLab may see it, and the names that are left out of it.

    The credential of Google and the API version of Azure are left out without a word.
    """
    pairs = parse_qsl(query, keep_blank_values=True)
    left = [name for name, _ in pairs if name not in _QUERY | _QUERY_OF_PREVIOUS]
    if all(name in _QUERY for name, _ in pairs):
        return query, []
    return urlencode([pair for pair in pairs if pair[0] in _QUERY]), left


def query_for_previous(query: str, tokenlab_key: str) -> tuple[str, list[str]]:
    """Return a URL's query without what has TokenLab's key, and the names that are left out."""
    if not query or not tokenlab_key or not _has(unquote_plus(query), tokenlab_key):
        return query, []
    pairs = parse_qsl(query, keep_blank_values=True)
    left = [pair for pair in pairs if _has("=".join(pair), tokenlab_key)]
    return urlencode([pair for pair in pairs if pair not in left]), [name for name, _ in left]


def _has(text: str, secret: str) -> bool:
    """Return whether a secret stands in a text by itself, not as part of a longer one."""
    return secret in text and bool(re.search(rf"(?<![\w-]){re.escape(secret)}(?![\w-])", text))
