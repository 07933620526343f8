"""One host, one credential: the HTTP under every call of the console's own."""

import asyncio
import ipaddress
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Literal, Self
from urllib.parse import urlsplit

import httpx
import msgspec

from console.gate.secret import Secret, redacted
from console.gate.untrusted import UndecodableError, as_utf8, decode_json
from console.tokenlab.errors import Garbage, Refused, Uncertain, Unreachable, Unsafe

MAX_ANSWER = 8 * 1024 * 1024
"""An answer of more bytes than this is refused as garbage."""

_MOST_MESSAGE = 200

Method = Literal["GET", "POST", "PATCH"]


class _ErrorBody(msgspec.Struct):
    message: str = ""
    code: str | None = None
    retry_after: float | None = None


class _ErrorAnswer(msgspec.Struct):
    error: _ErrorBody


_error_answer_of = msgspec.json.Decoder(_ErrorAnswer)


class Transport:
    """Sends requests to one base URL with one credential, or with none.

    ``base_url`` is TokenLab's without ``/v1`` (one given with it is understood). Each call takes
    at most ``timeout_s`` seconds to connect and again between bytes, and three times that in
    all. Redirects are not followed: they could carry the credential to another host.

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
        self._secret = secret
        self._most_bytes = most_bytes
        headers = {"Accept": "application/json"}
        if secret is not None:
            headers["Authorization"] = f"Bearer {secret.reveal()}"
        self._whole_s = 3 * timeout_s
        self._client = httpx.AsyncClient(
            base_url=root,
            timeout=timeout_s,
            follow_redirects=False,
            # A proxy from the environment must not be handed what is meant for loopback.
            trust_env=not local,
            headers=headers,
        )

    async def call(
        self,
        method: Method,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
        expect: int = 200,
    ) -> bytes:
        """Return the whole answer; raises Unreachable, Uncertain, Refused or Garbage.

        Uncertain is for a change that may have been made although no answer came.
        """
        data = bytearray()
        lost = Uncertain if method != "GET" else Unreachable
        try:
            async with (
                asyncio.timeout(self._whole_s),
                self._client.stream(method, path, params=query, json=body) as response,
            ):
                async for chunk in response.aiter_bytes():
                    data += chunk
                    if len(data) > self._most_bytes:
                        most = self._most_bytes // 1048576
                        raise Garbage(
                            f"the API's answer does not end; it was cut off at {most} MiB"
                        )
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            raise Unreachable(f"the API cannot be reached: {type(error).__name__}") from None
        except (httpx.TimeoutException, TimeoutError):
            raise lost("the API did not answer in time") from None
        except httpx.HTTPError as error:
            raise lost(f"the API cannot be reached: {type(error).__name__}") from None
        if response.status_code != expect:
            raise self._refused(response, bytes(data))
        return bytes(data)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    def redacted(self, text: str) -> str:
        """Return a text from outside without anything that looks like a credential."""
        return redacted(text if self._secret is None else text.replace(self._secret.reveal(), "…"))

    def _refused(self, response: httpx.Response, data: bytes) -> Refused:
        message, code, retry_after = response.reason_phrase or "no reason given", "", None
        try:
            body = decode_json(as_utf8(data), _error_answer_of).error
            message, code = body.message[:_MOST_MESSAGE] or message, body.code or ""
            retry_after = body.retry_after
        except UndecodableError:
            pass
        header = response.headers.get("Retry-After", "")
        if header.isascii() and header.isdigit() and len(header) < 7:
            retry_after = float(header)
        if 300 <= response.status_code < 400:
            message = "a redirect, which is not followed: it could carry the credential elsewhere"
        return Refused(
            response.status_code,
            printable(self.redacted(message)).rstrip("."),
            printable(self.redacted(code))[:60],
            retry_after,
        )


class Client:
    """What every client has: its transport, and an end."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

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
    """Return a text from outside with ``·`` for every sign that a terminal obeys or hides."""
    return "".join(sign if sign.isprintable() else "·" for sign in text)


def _scheme(url: str) -> str:
    """Return a URL's scheme; raises for a host or a port that no request could go to."""
    parts, host = urlsplit(url), httpx.URL(url).host
    if parts.port == 0 or not host.isprintable():
        raise ValueError
    return parts.scheme


def host_of(url: str) -> str:
    """Return a URL's host, empty for what is no URL."""
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def is_loopback(url: str) -> bool:
    """Return whether a URL's host is this machine."""
    host = host_of(url)
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
