"""An application, played: orgs on routes through the gate, each request logged once."""

import asyncio
import json
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from console.gate import AccessLine, AccessLog, Gate, timestamp
from console.rollout.decision import Decision
from console.rollout.routemap import auth_headers, call_url, text_body

ORGS = (
    "acme", "globex.eu", "initech", "hooli", "umbrella", "stark", "wayne", "soylent",
    "cyberdyne", "tyrell", "wonka", "aperture",
)  # fmt: skip
ROUTES = ("chat", "responses", "claude", "gemini")
RATE_PER_S = 40.0
STREAMED = 0.3
TIMEOUT_S = 30.0

_MOST_AT_ONCE = 400
_WANTED = {
    "openai_chat_completions": b'"choices"',
    "openai_responses": b'"output"',
    "anthropic_messages": b'"content"',
    "gemini_generate_content": b'"candidates"',
}


@dataclass(frozen=True, slots=True)
class Call:
    """One request ready to be sent."""

    url: str
    headers: Mapping[str, str]
    body: Mapping[str, Any]
    stream: bool


class Traffic:
    """Sends about ``rate`` requests a second until it is stopped."""

    def __init__(
        self,
        file: Path,
        *,
        api_key: str,
        previous_key: str = "prev-demo",
        rate: float = RATE_PER_S,
        seed: int = 1,
    ) -> None:
        self._gate = Gate(file, poll_s=0.1)
        self._file = file
        self._api_key = api_key
        self._previous_key = previous_key
        self._rate = rate
        self._random = random.Random(seed)
        # A few large customers and many small ones, as it is.
        self._weights = [1 / (i + 1.5) for i in range(len(ORGS))]
        self._log: AccessLog | None = None

    async def run(self, stop: asyncio.Event) -> None:
        """Play until ``stop`` is set, then let what is under way end."""
        limits = httpx.Limits(max_connections=_MOST_AT_ONCE)
        running: set[asyncio.Task[None]] = set()
        timeout = httpx.Timeout(TIMEOUT_S)
        async with httpx.AsyncClient(limits=limits, timeout=timeout, trust_env=False) as client:
            due = time.monotonic()
            while not stop.is_set():
                due += self._random.expovariate(self._rate)
                await _until(stop, due - time.monotonic())
                if stop.is_set():
                    break
                if len(running) < _MOST_AT_ONCE:
                    task = asyncio.create_task(self._one(client))
                    running.add(task)
                    task.add_done_callback(running.discard)
            await asyncio.gather(*running)
        self._gate.close()

    async def _one(self, client: httpx.AsyncClient) -> None:
        org = self._random.choices(ORGS, self._weights)[0]
        route = self._random.choices(ROUTES, (5, 2, 3, 2))[0]
        user = f"user-{self._random.randrange(4000)}"
        stream = self._random.random() < STREAMED
        decision = self._gate.decide(route, org, key=user)
        call = self._call(decision, org, stream)
        if call is None:
            return
        started = time.perf_counter()
        outcome = await _send(client, call, decision.format)
        latency = (time.perf_counter() - started) * 1000
        self._log_of().append(
            AccessLine(
                ts=timestamp(),
                route=route,
                org=org,
                side=decision.side,
                model=decision.model,
                status=outcome.status,
                latency_ms=round(latency, 1),
                ttft_ms=outcome.ttft_ms,
                error=outcome.error,
                request_id=outcome.request_id,
                billing_transaction_id=outcome.billing_id,
                stream=stream,
            )
        )

    def _log_of(self) -> AccessLog:
        if self._log is None:
            name = self._gate.file.access_log if self._gate.file else "access.jsonl"
            self._log = AccessLog(self._file.parent / name)
        return self._log

    def _call(self, decision: Decision, org: str, stream: bool) -> Call | None:
        file = self._gate.file
        if file is None or decision.route not in file.routes:
            return None
        if decision.side == "tokenlab":
            base, key = file.base_url, self._api_key
        else:
            base, key = file.routes[decision.route].previous_base_url, self._previous_key
        kind, model = decision.format, decision.model
        url = call_url(kind, base, model, stream=stream)
        body = text_body(kind, model, "Say something short about rollouts.", stream=stream)
        auth = auth_headers(kind, decision.side, key)
        marks = {"X-Sim-Org": org, "X-Sim-Route": decision.route}
        return Call(url, {**auth, **marks}, body, stream)


@dataclass(slots=True)
class _Outcome:
    status: int = 0
    error: str | None = None
    ttft_ms: float | None = None
    request_id: str | None = None
    billing_id: str | None = None


async def _send(client: httpx.AsyncClient, call: Call, kind: str) -> _Outcome:
    outcome = _Outcome()
    started = time.perf_counter()
    data = bytearray()
    try:
        async with client.stream("POST", call.url, headers=call.headers, json=call.body) as answer:
            async for piece in answer.aiter_bytes():
                if not data and call.stream:
                    outcome.ttft_ms = round((time.perf_counter() - started) * 1000, 1)
                data += piece
        outcome.status = answer.status_code
        outcome.request_id = answer.headers.get("X-Request-ID")
        outcome.billing_id = answer.headers.get("X-Billing-Transaction-ID")
    except httpx.TimeoutException:
        outcome.error = "timeout"
    except (httpx.ConnectError, httpx.ReadError, httpx.WriteError):
        outcome.error = "connect"
    except httpx.HTTPError:
        outcome.error = "protocol"
    if outcome.status >= 400:
        outcome.error = _error_code(bytes(data))
    elif outcome.status and not _has_shape(bytes(data), call.stream, kind):
        outcome.status, outcome.error = 0, "protocol"
    return outcome


def _has_shape(data: bytes, stream: bool, kind: str) -> bool:
    """Whether a 200 is an answer at all, and not a web page from somewhere in between."""
    return data.startswith((b"data: ", b"event: ")) if stream else _WANTED[kind] in data


def _error_code(data: bytes) -> str | None:
    try:
        error = json.loads(data)["error"]
        return str(error.get("code") or error.get("type"))[:60]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return "protocol"


async def _until(stop: asyncio.Event, seconds: float) -> None:
    if seconds <= 0:
        await asyncio.sleep(0)
        return
    try:
        await asyncio.wait_for(stop.wait(), seconds)
    except TimeoutError:
        return
