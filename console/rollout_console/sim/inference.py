"""The four text routes, on both sides."""

import asyncio
import difflib
import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Any

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from rollout_console.sim.answer_faults import (
    Pace,
    answer_fault,
    array_body,
    pace_of,
    serves_nothing,
    stream_pieces,
    whole_body,
)
from rollout_console.sim.catalogue import Model
from rollout_console.sim.errors import ApiFault
from rollout_console.sim.faults import Fault
from rollout_console.sim.formats import read_ask
from rollout_console.sim.request_shapes import check_shape
from rollout_console.sim.state import ApiKey, SimState
from rollout_console.sim.streams import Piece, keep_alive

_PING_S = 1.0
_SUFFIX = {"generateContent": False, "streamGenerateContent": True}


_HEADERS = {
    "/v1/messages": ("x-api-key",),
    "/v1beta/": ("x-goog-api-key",),
    "/v1/models/": ("x-goog-api-key",),  # Google's own, on the previous side
}
"""The header that a route accepts besides ``Authorization: Bearer``; others are ignored."""


def credential(request: Request) -> str:
    """Return a request's credential, from the headers (for Google also ``?key=``) of its route."""
    bearer = request.headers.get("authorization", "")
    if bearer.lower().startswith("bearer "):
        return bearer[7:].strip()
    path = request.url.path.removeprefix(request.scope.get("root_path", ""))
    names = next((taken for start, taken in _HEADERS.items() if path.startswith(start)), ())
    found = next(filter(None, (request.headers.get(name, "") for name in names)), "")
    google = "x-goog-api-key" in names
    return found or (request.query_params.get("key", "") if google else "")


async def json_body(request: Request) -> Any:
    """Parse the body; raises ApiFault 400 where it is not JSON."""
    try:
        return json.loads(await request.body())
    except (ValueError, RecursionError):
        raise ApiFault(400, "The body is not JSON.") from None


def state_of(request: Request) -> SimState:
    """Return the simulator's state."""
    state: SimState = request.app.state.sim
    return state


def spoiled_by(request: Request, *, media: bool = False) -> Fault | None:
    """Return the fault that spoils this answer, and note it in the record of the request."""
    fault = answer_fault(request.state.hits, media=media)
    request.state.fault = fault.kind if fault else ""
    return fault


def authorised(request: Request) -> ApiKey | None:
    """Authenticate a request: return its TokenLab key, None on the previous side.

    Raises ApiFault 401 where the credential is not of this side; a TokenLab credential on the
    previous side is recorded as a leak.
    """
    secret = credential(request)
    if request.state.side == "tokenlab":
        return state_of(request).key_for(secret)
    if secret.startswith(("sk-sim-", "mt-")):
        request.state.leak = True
        raise ApiFault(401, "A TokenLab credential was sent to another provider.")
    if not secret:
        raise ApiFault(401)
    return None


async def chat_completions(request: Request) -> Response:
    """POST /v1/chat/completions."""
    return await _answer(request, "openai_chat_completions")


async def responses(request: Request) -> Response:
    """POST /v1/responses."""
    return await _answer(request, "openai_responses")


async def messages(request: Request) -> Response:
    """POST /v1/messages."""
    return await _answer(request, "anthropic_messages")


async def gemini(request: Request) -> Response:
    """POST /v1beta/models/{model}:generateContent and :streamGenerateContent."""
    model, _, method = request.path_params["call"].rpartition(":")
    if method not in _SUFFIX or not model:
        raise ApiFault(404, f"There is no method {method!r}.")
    return await _answer(request, "gemini_generate_content", model, _SUFFIX[method])


async def _answer(
    request: Request, kind: str, model_name: str = "", stream: bool = False
) -> Response:
    sim, side = state_of(request), request.state.side
    key = authorised(request)
    body = await json_body(request)
    if key is not None:
        check_shape(kind, body)
    ask = read_ask(kind, body, model_name, stream)
    request.state.model, request.state.stream = ask.model, ask.stream
    ask = replace(ask, id=request.state.request_id, created=int(sim.clock()))
    headers: dict[str, str] = {}
    model = None
    if key is None:
        _check_native(request, kind, ask.model)
    else:
        model = _model_for(sim, kind, ask.model)
        sim.check_spend(key, model, model.output_per_1m * 1000 / 1_000_000)
    if kind == "openai_responses":
        _check_response_id(sim, side, body)
        sim.responses.append((side, f"resp_{ask.id}"))
    await asyncio.sleep(sim.latency_s(side))
    fault = spoiled_by(request)
    if key is not None and model is not None and not serves_nothing(fault):
        record = sim.settle(key, model, request.state.request_id, ask.tokens_in, ask.tokens_out)
        # No billing id on a stream: the real API bills it after its headers are sent.
        if not ask.stream:
            headers["X-Billing-Transaction-ID"] = record.billing_id
            ask = replace(ask, billing_id=record.billing_id)
    native = key is None
    if not ask.stream:
        return _json(whole_body(kind, ask, fault, native=native), headers)
    if kind == "gemini_generate_content" and request.query_params.get("alt") != "sse":
        return _json(array_body(kind, ask, fault, native=native), headers)
    pieces = stream_pieces(kind, ask, fault, native=native)
    paced = _paced(sim, kind, pieces, pace_of(request.state.hits))
    return StreamingResponse(paced, media_type="text/event-stream")


def _json(body: bytes, headers: dict[str, str]) -> Response:
    return Response(body, headers=headers, media_type="application/json")


def _model_for(sim: SimState, kind: str, name: str) -> Model:
    """Return TokenLab's model; raises ApiFault if it is unknown or does not accept the format."""
    model = sim.model(name)
    if model is None or model.category != "chat":
        raise _unknown_model(sim, name)
    if kind not in model.formats:
        accepted = ", ".join(model.formats)
        raise ApiFault(400, f"{model.id} does not accept {kind}; it accepts {accepted}.")
    return model


_MADE_BY = {
    "openai_chat_completions": "",
    "openai_responses": "",
    "anthropic_messages": "claude-",
    "gemini_generate_content": "gemini-",
}
_OTHERS = ("claude-", "gemini-")


def _check_native(request: Request, kind: str, model: str) -> None:
    """Refuse what the provider's own API refuses: a foreign model, a missing version header."""
    if kind == "anthropic_messages" and not request.headers.get("anthropic-version"):
        raise ApiFault(400, "anthropic-version: header is required")
    mine = _MADE_BY[kind]
    strange = not model.startswith(mine) if mine else model.startswith(_OTHERS)
    if strange:
        raise ApiFault(404, f"The model {model!r} does not exist here.")


def _check_response_id(sim: SimState, side: str, body: Any) -> None:
    """Refuse a ``previous_response_id`` that this side did not create."""
    before = body.get("previous_response_id")
    if before is not None and (side, before) not in sim.responses:
        raise ApiFault(
            400, f"Previous response with id {before!r} not found.", param="previous_response_id"
        )


def _unknown_model(sim: SimState, name: str) -> ApiFault:
    near = difflib.get_close_matches(name, sim.catalogue, 3)
    extra: dict[str, Any] = {"param": "model", "model": name}
    if near:
        extra |= {"did_you_mean": near[0], "suggestions": [{"id": n} for n in near]}
    return ApiFault(400, f"The model {name!r} does not exist.", "model_not_found", **extra)


async def _paced(
    sim: SimState, kind: str, pieces: Sequence[Piece], pace: Pace
) -> AsyncIterator[bytes]:
    pause = 0.01 if sim.realistic else 0.0005
    begun = False
    for piece in pieces:
        if piece.content and not begun:
            begun = True
            async for ping in _stalled(kind, pace.first_s):
                yield ping
        elif piece.content:
            await asyncio.sleep(pace.between_s)
        yield piece.data
        await asyncio.sleep(pause)


async def _stalled(kind: str, seconds: float) -> AsyncIterator[bytes]:
    """Yield pings while the first content is not there: at once, then one a second."""
    ping = keep_alive(kind)
    while seconds > 0:
        if ping:
            yield ping
        await asyncio.sleep(min(seconds, _PING_S))
        seconds -= _PING_S
