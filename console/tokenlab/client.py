"""The console's own calls to the TokenLab API, over httpx."""

import asyncio
import ipaddress
from decimal import Decimal, InvalidOperation
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

import httpx
import msgspec

from console.gate.secret import Secret
from console.tokenlab.errors import Garbage, Refused, Unreachable, Unsafe
from console.tokenlab.types import Balance

MAX_ANSWER = 2 * 1024 * 1024
"""A management answer of more bytes than this is refused as garbage."""

_MOST_MESSAGE = 200


class _BalanceAnswer(msgspec.Struct):
    organization_id: str
    balance_decimal: str
    total_recharge_decimal: str
    total_used_decimal: str


class _ErrorBody(msgspec.Struct):
    message: str = ""
    code: str | None = None
    retry_after: float | None = None


class _ErrorAnswer(msgspec.Struct):
    error: _ErrorBody


class ManagementClient:
    """Calls the management API with a management token.

    ``base_url`` is TokenLab's without ``/v1`` (one given with it is understood). Each call takes
    at most ``timeout_s`` seconds to connect and again between bytes, and three times that in
    all. Redirects are not followed: they could carry the token to another host.

    Raises Unsafe for a token that is not ``mt-``, or plain HTTP to anything but loopback.
    """

    def __init__(self, base_url: str, token: Secret, *, timeout_s: float = 5.0) -> None:
        if token.prefix != "mt-":
            raise Unsafe("the management API takes a management token (mt-...); nothing was sent")
        root = base_url.rstrip("/").removesuffix("/v1")
        local = _is_loopback(root)
        scheme = urlsplit(root).scheme
        if scheme != "https" and not (scheme == "http" and local):
            raise Unsafe(f"{root} is not https; the management token was not sent")
        self._whole_s = 3 * timeout_s
        self._client = httpx.AsyncClient(
            base_url=root,
            timeout=timeout_s,
            follow_redirects=False,
            # A proxy from the environment must not be handed what is meant for loopback.
            trust_env=not local,
            headers={"Authorization": f"Bearer {token.reveal()}", "Accept": "application/json"},
        )

    async def balance(self) -> Balance:
        """Return the balance; raises Unreachable, Refused or Garbage."""
        data = await self._get("/v1/management/balance")
        try:
            answer = msgspec.json.decode(data, type=_BalanceAnswer)
            amounts = [
                Decimal(text)
                for text in (
                    answer.balance_decimal,
                    answer.total_recharge_decimal,
                    answer.total_used_decimal,
                )
            ]
        except (msgspec.DecodeError, InvalidOperation, RecursionError, ValueError):
            raise Garbage("the balance answer is not what the API's contract says") from None
        if not all(amount.is_finite() for amount in amounts):
            raise Garbage("the balance answer holds an amount that is not a number")
        return Balance(answer.organization_id, *amounts)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def _get(self, path: str) -> bytes:
        try:
            data = bytearray()
            async with (
                asyncio.timeout(self._whole_s),
                self._client.stream("GET", path) as response,
            ):
                async for chunk in response.aiter_bytes():
                    data += chunk
                    if len(data) > MAX_ANSWER:
                        raise Garbage("the API's answer does not end; it was cut off at 2 MiB")
        except (httpx.TimeoutException, TimeoutError):
            raise Unreachable("the API did not answer in time") from None
        except httpx.HTTPError as error:
            raise Unreachable(f"the API cannot be reached: {type(error).__name__}") from None
        if response.status_code != 200:
            raise _refused(response, bytes(data))
        return bytes(data)


def _refused(response: httpx.Response, data: bytes) -> Refused:
    message, code, retry_after = response.reason_phrase or "no reason given", "", None
    try:
        body = msgspec.json.decode(data, type=_ErrorAnswer).error
        message, code = body.message[:_MOST_MESSAGE] or message, body.code or ""
        retry_after = body.retry_after
    except (msgspec.DecodeError, RecursionError):
        pass
    header = response.headers.get("Retry-After", "")
    if header.isascii() and header.isdigit() and len(header) < 7:
        retry_after = float(header)
    return Refused(response.status_code, message, code, retry_after)


def _is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
