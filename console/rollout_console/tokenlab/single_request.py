"""One HTTP exchange with one side, for probes and shadow samples.

There are no retries and no redirects: either could send a credential or a billed create twice.
"""

import asyncio
from collections.abc import Mapping
from time import perf_counter
from typing import Any, Literal

import httpx
import msgspec

from rollout_console.tokenlab.body import ACCEPT_ENCODING, MAX_ANSWER, TooLongError, plain_body
from rollout_console.tokenlab.errors import Unsafe
from rollout_console.tokenlab.shapes import StreamReader
from rollout_console.tokenlab.tls import tls_context
from rollout_console.tokenlab.transport import host_of, is_loopback

LIMIT_S = 60.0
"""The total timeout of an exchange."""

Failure = Literal["", "timeout", "connect", "protocol"]
_REQUEST_ID = ("x-request-id", "request-id")


class Exchange(msgspec.Struct):
    """The outcome of a request. ``status`` is 0 without an answer; times are in ms."""

    status: int = 0
    headers: Mapping[str, str] = msgspec.field(default_factory=dict)
    data: bytes = b""
    latency_ms: float = 0.0
    ttft_ms: float | None = None
    failure: Failure = ""

    @property
    def request_id(self) -> str:
        """The request id in the headers, unsanitized; empty without one."""
        ids = (self.headers.get(name, "") for name in _REQUEST_ID)
        return next((one for one in ids if one), "")

    @property
    def billing_id(self) -> str:
        """The billing transaction id in the headers, unsanitized; empty without one."""
        return self.headers.get("x-billing-transaction-id", "")

    @property
    def task_id(self) -> str:
        """The task id in the headers, unsanitized; empty without one."""
        return self.headers.get("x-task-id", "")


async def exchange(
    method: Literal["GET", "POST"],
    url: str,
    headers: Mapping[str, str],
    body: Any = None,
    *,
    reader: StreamReader | None = None,
    limit_s: float = LIMIT_S,
) -> Exchange:
    """Send, and read until the end or a limit; raises Unsafe before anything is sent.

    ``limit_s`` is in seconds. A streamed 200 is fed to ``reader`` chunk by chunk; a compressed one
    all at once, after it is decompressed.
    """
    local = is_loopback(url)
    if not host_of(url):
        raise Unsafe("that side's base URL is none; nothing was sent")
    if not (url.startswith("https://") or (url.startswith("http://") and local)):
        raise Unsafe("that side is not https; the credential was not sent")
    # Request no compression of a stream: a compressor buffers, which distorts the ttft.
    encoding = "identity" if reader is not None else ACCEPT_ENCODING
    asked = {**headers, "Accept-Encoding": encoding}
    tls = tls_context(url, trust_env=not local)
    found, data, started = Exchange(), bytearray(), perf_counter()
    try:
        async with (
            asyncio.timeout(limit_s),
            httpx.AsyncClient(timeout=limit_s, trust_env=not local, verify=tls) as client,
            client.stream(method, url, headers=asked, json=body) as answer,
        ):
            found.status, found.headers = answer.status_code, answer.headers
            feeds = reader if found.status == 200 else None
            packed = "content-encoding" in answer.headers
            async for piece in answer.aiter_raw():
                data += piece
                if len(data) > MAX_ANSWER:
                    raise TooLongError
                if feeds is not None and not packed:
                    feeds.feed(piece)
                    if feeds.has_text and found.ttft_ms is None:
                        found.ttft_ms = _ms_since(started)
            found.data = plain_body(answer, bytes(data))
            if feeds is not None and packed:
                feeds.feed(found.data)
    except (httpx.TimeoutException, TimeoutError):
        found.failure = "timeout"
    except (httpx.ConnectError, httpx.ReadError, httpx.WriteError):
        found.failure = "connect"
    except (httpx.HTTPError, httpx.InvalidURL, TooLongError):
        found.failure = "protocol"
    found.latency_ms = _ms_since(started)
    return found


def _ms_since(started: float) -> float:
    return round((perf_counter() - started) * 1000, 1)
