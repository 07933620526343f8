"""The simulator as one ASGI app: TokenLab at the root, the previous provider under /_previous."""

import contextlib
from collections.abc import Callable
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rollout_console.sim import inference, management, media, models_api
from rollout_console.sim.control import control_routes
from rollout_console.sim.errors import ApiFault, error_response
from rollout_console.sim.faults import DRIP_MS, PACES, Fault
from rollout_console.sim.provider_metadata import HEADERS, with_metadata
from rollout_console.sim.state import Served, SimState

PREVIOUS = "/_previous"
_TASK_KINDS = ("videos", "music", "3d")
RATE_LIMIT = 10_000


def build_app(state: SimState) -> ASGIApp:
    """Return the app that serves ``state``."""
    text = [
        Route("/v1/chat/completions", inference.chat_completions, methods=["POST"]),
        Route("/v1/responses", inference.responses, methods=["POST"]),
        Route("/v1/messages", inference.messages, methods=["POST"]),
        Route("/v1beta/models/{call:path}", inference.gemini, methods=["POST"]),
    ]
    media_calls = [
        Route("/v1/images/generations", media.create_image, methods=["POST"]),
        Route("/v1/videos/generations", media.create_video, methods=["POST"]),
        Route("/v1/music/generations", media.create_music, methods=["POST"]),
        Route("/v1/3d/generations", media.create_3d, methods=["POST"]),
        Route("/v1/tasks/{task}", media.get_task),
        # Older aliases in the contract.
        *(Route(f"/v1/{kind}/generations/{{task}}", media.get_task) for kind in _TASK_KINDS),
        Route("/v1/images/{task}", media.get_task),
    ]
    # Google serves more versions of its path than TokenLab, and its SDK asks for this one.
    google = Route("/v1/models/{call:path}", inference.gemini, methods=["POST"])
    tokenlab = [
        Route("/v1/models", models_api.list_models),
        Route("/v1/models/{model:path}", models_api.get_model),
        Route("/v1/tasks/{task}", media.cancel_task, methods=["DELETE"]),
        Route("/v1/management/balance", management.balance),
        Route("/v1/management/api-keys", management.list_keys),
        Route("/v1/management/api-keys", management.create_key, methods=["POST"]),
        Route("/v1/management/api-keys/{key}", management.patch_key, methods=["PATCH"]),
        Route("/v1/management/api-keys/{key}/usage", management.key_usage),
        Route("/v1/management/api-keys/{key}/billing", management.key_billing),
    ]
    app = Starlette(
        routes=[
            *control_routes(),
            Mount(PREVIOUS, routes=[*text, *media_calls, google]),
            *text,
            *media_calls,
            *tokenlab,
        ],
        exception_handlers={ApiFault: _on_fault, 404: _on_missing, 405: _on_missing},
    )
    app.state.sim = state
    return _Served(app, state)


async def _on_fault(request: Request, error: Exception) -> Response:
    assert isinstance(error, ApiFault)
    return _in_its_shape(request, error)


async def _on_missing(request: Request, error: Exception) -> Response:
    fault = ApiFault(404, f"There is no route {request.method} {request.url.path}.")
    return _in_its_shape(request, fault)


def _in_its_shape(request: Request, fault: ApiFault) -> Response:
    native = request.url.path.startswith(PREVIOUS + "/")
    path, as_list = _own_path(request.url.path), native and _wants_list(request.scope)
    return error_response(fault, path, native=native, as_list=as_list)


def _wants_list(scope: Scope) -> bool:
    """Return whether a Gemini stream is requested as a JSON array, without ``alt=sse``."""
    streams = scope["path"].endswith(":streamGenerateContent")
    return streams and b"alt=sse" not in scope.get("query_string", b"")


def _own_path(path: str) -> str:
    return path.removeprefix(PREVIOUS) or "/"


class _Served:
    """ASGI middleware: request ids, rate-limit headers, fault injection, record of each request."""

    def __init__(self, app: ASGIApp, sim: SimState) -> None:
        self._app = app
        self._sim = sim

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].startswith("/_sim"):
            await self._app(scope, receive, send)
            return
        side = "previous" if scope["path"].startswith(PREVIOUS + "/") else "tokenlab"
        path = _own_path(scope["path"])
        headers = {k.decode("latin-1"): v.decode("latin-1") for k, v in scope["headers"]}
        route, org = headers.get("x-sim-route", ""), headers.get("x-sim-org", "")
        request_id = self._sim.new_id("req_")
        hits = self._sim.faults.hits(route=route, path=path, side=side, org=org)
        known: dict[str, Any] = {"side": side, "request_id": request_id, "hits": hits}
        scope["state"] = {**scope.get("state", {}), **known, "model": "", "stream": False}
        started = self._sim.clock()

        def record(status: int) -> None:
            state = scope["state"]
            self._sim.served(
                Served(
                    request_id, side, path, route, org, str(state.get("model", "")), status,
                    bool(state.get("stream")), self._sim.clock(), started,
                    bool(state.get("leak")), str(state.get("fault", "")),
                )
            )  # fmt: skip

        sender = _Sender(send, side, request_id, hits, self._sim, record)
        self._sim.in_flight += 1
        try:
            for fault in hits:
                if fault.kind not in (*PACES, "drip"):
                    await self._sim.faults.delay(fault, fault.latency_ms / 1000)
            failing = next((fault for fault in hits if fault.kind == "error"), None)
            if failing is not None:
                native, as_list = side == "previous", _wants_list(scope)
                refusal = ApiFault(failing.status)
                response = error_response(refusal, path, native=native, as_list=as_list)
                await response(scope, receive, sender)
            elif any(fault.kind == "garbage" for fault in hits):
                await Response("<html>it works!\x00", media_type="text/html")(
                    scope, receive, sender
                )
            else:
                await self._app(scope, receive, sender)
        finally:
            self._sim.in_flight -= 1
            sender.finish()


def _pause_s(drip: Fault) -> float:
    return (drip.latency_ms or DRIP_MS) / 1000


class _Broken(Exception):
    """Aborts a response midway, whereupon the server closes the connection."""


class _Sender:
    """An ASGI send wrapper: adds headers, applies faults to the body, and records the request.

    It is recorded before the last of the body is sent: whoever has the answer finds the record.
    """

    def __init__(
        self,
        send: Send,
        side: str,
        request_id: str,
        hits: list[Fault],
        sim: SimState,
        record: Callable[[int], None],
    ) -> None:
        self._sim = sim
        self._record: Callable[[int], None] | None = record
        self._send = send
        self._side = side
        self._request_id = request_id
        self._kinds = {fault.kind for fault in hits}
        drips = (fault for fault in hits if fault.kind == "drip")
        self._drip = max(drips, key=_pause_s, default=None)
        self.status = 0
        self.broken = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            if "lost" in self._kinds:  # what was asked for is done and charged
                self.broken = True
                raise _Broken
            message = {**message, "headers": self._headers(message)}
        elif message["type"] == "http.response.body" and "metadata" in self._kinds:
            message = {**message, "body": with_metadata(message.get("body", b""))}
        elif message["type"] == "http.response.body" and self._kinds & {"truncate", "drop", "drip"}:
            await self._break(message)
            return
        await self._pass_on(message)

    def finish(self) -> None:
        """Record the request, unless that was done; its status is 0 where it was broken off."""
        record, self._record = self._record, None
        if record is not None:
            record(0 if self.broken else self.status)

    async def _pass_on(self, message: Message) -> None:
        if message["type"] == "http.response.body" and not message.get("more_body"):
            self.finish()
        await self._send(message)

    def _headers(self, message: Message) -> list[tuple[bytes, bytes]]:
        headers = list(message.get("headers", []))
        if "metadata" in self._kinds:
            headers = [pair for pair in headers if pair[0] != b"content-length"] + HEADERS
        if self._side == "tokenlab":
            headers += [
                (b"x-request-id", self._request_id.encode()),
                (b"x-ratelimit-limit", str(RATE_LIMIT).encode()),
                (b"x-ratelimit-remaining", str(0 if self.status == 429 else RATE_LIMIT).encode()),
                (b"x-ratelimit-reset", str(int(self._sim.clock() // 60 + 1) * 60).encode()),
            ]
        return headers

    async def _break(self, message: Message) -> None:
        body: bytes = message.get("body", b"")
        if self._drip is not None:
            for byte in body:
                await self._send({**message, "body": bytes((byte,)), "more_body": True})
                await self._sim.faults.delay(self._drip, _pause_s(self._drip))
            if not message.get("more_body"):
                await self._pass_on({"type": "http.response.body", "body": b""})
            return
        self.broken = True
        if "truncate" in self._kinds:
            with contextlib.suppress(Exception):
                await self._send({**message, "body": body[: len(body) // 2], "more_body": True})
        raise _Broken
