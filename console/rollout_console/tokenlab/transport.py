"""HTTP transport bound to one host and one credential, used by the console's API clients."""

import asyncio
import ipaddress
from collections.abc import Container, Mapping
from types import TracebackType
from typing import Any, Literal, Self
from urllib.parse import urlsplit

import httpx

from rollout_console.common.connection_errors import failure_words
from rollout_console.tokenlab.body import ACCEPT_ENCODING, MAX_ANSWER, TooLongError, read_body
from rollout_console.tokenlab.errors import (
    ApiError,
    Garbage,
    Refused,
    Uncertain,
    Unreachable,
    Unsafe,
)
from rollout_console.tokenlab.shapes import dig
from rollout_console.tokenlab.tls import tls_context
from rollout_console.tokenlab.types import RateLimit
from rollout_gate.secret import Secret, redacted
from rollout_gate.untrusted import ANYTHING, UndecodableError, as_utf8, decode_json

_MOST_MESSAGE = 200
_MOST_WAIT_S = 86_400.0

Method = Literal["GET", "POST", "PATCH", "DELETE"]


class Transport:
    """Sends requests to one base URL with one credential, or with none.

    ``base_url`` is TokenLab's without ``/v1`` (a trailing one is removed). ``timeout_s`` seconds
    limit the connect and each read; a call takes at most twice that in all. Redirects are not
    followed: they could carry the credential to another host.

    ``rate_limit`` is what the last answer said of it, None where it said nothing.

    Raises Unsafe for a credential of another kind than ``prefix``, or plain HTTP to anything but
    loopback; nothing is sent then.
    """

    def __init__(
        self,
        base_url: str,
        secret: Secret | None,
        prefix: str,
        timeout_s: float,
        *,
        most_bytes: int = MAX_ANSWER,
    ) -> None:
        if secret is not None and secret.prefix != prefix:
            raise Unsafe(_WRONG_KIND[prefix])
        root = base_url.rstrip("/").removesuffix("/v1")
        try:
            scheme, local = _scheme(root), is_loopback(root)
        except (ValueError, httpx.InvalidURL):
            raise Unsafe(f"{root[:80]!r} is no URL; nothing was sent") from None
        if scheme != "https" and not (scheme == "http" and local):
            raise Unsafe(f"{printable(root)} is not https; the credential was not sent")
        self.rate_limit: RateLimit | None = None
        self._secret = secret
        self._most_bytes = most_bytes
        self._host = place_of(root)
        headers = {"Accept": "application/json", "Accept-Encoding": ACCEPT_ENCODING}
        if secret is not None:
            headers["Authorization"] = f"Bearer {secret.reveal()}"
        self._whole_s = 2 * timeout_s
        self._client = httpx.AsyncClient(
            base_url=root,
            timeout=timeout_s,
            follow_redirects=False,
            # Loopback traffic must not go through a proxy from the environment.
            trust_env=not local,
            verify=tls_context(root, trust_env=not local),
            headers=headers,
        )

    async def call(
        self,
        method: Method,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
        expect: int | Container[int] = 200,
        changes: bool = False,
    ) -> bytes:
        """Return the complete body; raises Unreachable, Uncertain, Refused or Garbage.

        Uncertain is for a call that ``changes`` something and whose outcome is unknown: no answer,
        a 2xx other than ``expect``, a 5xx, or a body that is too long.
        """

        def lost(sentence: str, other: type[ApiError] = Unreachable) -> ApiError:
            return Uncertain(sentence) if changes else other(sentence)

        try:
            async with (
                asyncio.timeout(self._whole_s),
                self._client.stream(method, path, params=query, json=body) as response,
            ):
                data = await read_body(response, self._most_bytes)
        except TooLongError:
            raise lost(
                f"the answer of {self._host} is too long, or does not end", Garbage
            ) from None
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            raise Unreachable(f"{self._host} cannot be reached: {failure_words(error)}") from None
        except (httpx.TimeoutException, TimeoutError):
            raise lost(f"{self._host} did not answer in time") from None
        except httpx.HTTPError as error:
            raise lost(f"{self._host} cannot be reached: {failure_words(error)}") from None
        self.rate_limit = _rate_limit(response.headers)
        status = response.status_code
        if status == expect if isinstance(expect, int) else status in expect:
            return data
        if changes and 200 <= status < 300:
            raise Uncertain(f"{self._host} answered {status}, where {expect} was expected")
        refused = self._refused(response, data)
        if changes and status >= 500:
            raise Uncertain(str(refused))
        raise refused

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    def redacted(self, text: str) -> str:
        """Redact this credential, and anything that looks like one, in a text from outside."""
        return redacted(text if self._secret is None else text.replace(self._secret.reveal(), "…"))

    def _refused(self, response: httpx.Response, data: bytes) -> Refused:
        message, code, retry_after = response.reason_phrase or "no reason given", "", None
        try:
            answer = decode_json(as_utf8(data), ANYTHING)
        except UndecodableError:
            answer = None
        # Google wraps a stream's error in a list of one, and uses a number as the code.
        body = dig(answer[0] if isinstance(answer, list) and answer else answer, "error")
        if isinstance(body, dict):
            said, named, wait = body.get("message"), body.get("code"), body.get("retry_after")
            message = said if isinstance(said, str) and said else message
            code = named if isinstance(named, str) else ""
            retry_after = _seconds(wait)
        header = response.headers.get("Retry-After", "")
        if header.isascii() and header.isdigit() and len(header) < 7:
            retry_after = _seconds(int(header))
        if 300 <= response.status_code < 400:
            message = "a redirect, which is not followed: it could carry the credential elsewhere"
        return Refused(
            response.status_code,
            printable(self.redacted(message)[:_MOST_MESSAGE]).rstrip("."),
            printable(self.redacted(code))[:60],
            retry_after,
        )


class Client:
    """Base class of the API clients: owns a transport, and closes it as a context manager."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    @property
    def rate_limit(self) -> RateLimit | None:
        """What the last answer said of the rate limit, None where it said nothing."""
        return self._transport.rate_limit

    async def aclose(self) -> None:
        """Close the connections."""
        await self._transport.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()


_WRONG_KIND = {
    "mt-": "the management API takes a management token (mt-...); nothing was sent",
    "sk-": "inference takes an API key (sk-...); nothing was sent",
}


def printable(text: str) -> str:
    """Replace each non-printable character, such as a terminal escape, with ``·``."""
    if text.isprintable():  # most are: without a loop in Python
        return text
    return "".join(sign if sign.isprintable() else "·" for sign in text)


def _scheme(url: str) -> str:
    """Return a URL's scheme; raises ValueError or httpx.InvalidURL for a bad host or port."""
    parts, host = urlsplit(url), httpx.URL(url).host
    if parts.port == 0 or not host.isprintable():
        raise ValueError
    return parts.scheme


def host_of(url: str) -> str:
    """Return a URL's host; empty for an invalid URL."""
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def place_of(url: str) -> str:
    """Return ``host`` or ``host:port`` of a URL, printable, for messages."""
    try:
        port = urlsplit(url).port
    except ValueError:
        port = None
    return printable(host_of(url)) + (f":{port}" if port else "")


def _seconds(value: Any) -> float | None:
    """Validate a server's retry delay, 0 to 86,400 seconds; None if it is not one."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if 0 <= value <= _MOST_WAIT_S else None


def _rate_limit(headers: Mapping[str, str]) -> RateLimit | None:
    """Parse X-RateLimit-Remaining and -Reset, a Unix time; None without them, or where invalid."""
    names = ("X-RateLimit-Remaining", "X-RateLimit-Reset")
    found = [headers.get(name, "").strip() for name in names]
    if not all(text.isascii() and text.isdigit() and len(text) < 12 for text in found):
        return None
    return RateLimit(int(found[0]), float(found[1]))


def is_loopback(url: str) -> bool:
    """Return whether a URL's host is a loopback address or ``localhost``."""
    host = host_of(url)
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
