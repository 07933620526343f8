"""The four text routes, on both sides."""

import asyncio
import difflib
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from console.sim.errors import ApiFault
from console.sim.formats import Ask, read_ask, streamed, whole
from console.sim.state import ApiKey, SimState

_SUFFIX = {"generateContent": False, "streamGenerateContent": True}


def credential(request: Request) -> str:
    """Return the credential of a request, from whichever header its format uses."""
    bearer = request.headers.get("authorization", "")
    if bearer.lower().startswith("bearer "):
        return bearer[7:].strip()
    return (
        request.headers.get("x-api-key")
        or request.headers.get("x-goog-api-key")
        or request.query_params.get("key", "")
    )


async def json_body(request: Request) -> Any:
    """Return the body; raises ApiFault 400 where it is not JSON."""
    try:
        return json.loads(await request.body())
    except (ValueError, RecursionError):
        raise ApiFault(400, "The body is not JSON.") from None


def state_of(request: Request) -> SimState:
    """Return what the simulator remembers."""
    state: SimState = request.app.state.sim
    return state


def authorised(request: Request) -> ApiKey | None:
    """Return TokenLab's key that a request may use, None on the previous side.

    Raises ApiFault 401 where the credential is not of this side; one of TokenLab's on the previous
    side is noted as a leak.
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
    ask = read_ask(kind, await json_body(request), model_name, stream)
    request.state.model, request.state.stream = ask.model, ask.stream
    ask = replace(ask, id=request.state.request_id, created=int(sim.clock()))
    headers: dict[str, str] = {}
    model = None
    if key is not None:
        model = sim.model(ask.model)
        if model is None or model.category != "chat":
            raise _unknown_model(sim, ask.model)
        if kind not in model.formats:
            accepted = ", ".join(model.formats)
            raise ApiFault(400, f"{model.id} does not accept {kind}; it accepts {accepted}.")
        sim.check_spend(key, model, model.output_per_1m * 1000 / 1_000_000)
    await asyncio.sleep(sim.latency_s(side))
    if key is not None and model is not None:
        record = sim.settle(key, model, request.state.request_id, ask.tokens_in, ask.tokens_out)
        # A streamed answer is settled later: its headers have gone out by then.
        if not ask.stream:
            headers["X-Billing-Transaction-ID"] = record.billing_id
            ask = replace(ask, billing_id=record.billing_id)
    if (
        ask.stream
        and kind == "gemini_generate_content"
        and request.query_params.get("alt") != "sse"
    ):
        pieces = [json.loads(piece[6:]) for piece in streamed(kind, ask)]
        return JSONResponse(pieces, headers=headers)
    if ask.stream:
        return StreamingResponse(_paced(sim, kind, ask), media_type="text/event-stream")
    body = whole(kind, ask)
    if not ask.billing_id:
        body.pop("billing_transaction_id", None)
    return JSONResponse(body, headers=headers)


def _unknown_model(sim: SimState, name: str) -> ApiFault:
    near = difflib.get_close_matches(name, sim.catalogue, 3)
    extra: dict[str, Any] = {"param": "model", "model": name}
    if near:
        extra |= {"did_you_mean": near[0], "suggestions": [{"id": n} for n in near]}
    return ApiFault(400, f"The model {name!r} does not exist.", "model_not_found", **extra)


async def _paced(sim: SimState, kind: str, ask: Ask) -> AsyncIterator[bytes]:
    pause = 0.01 if sim.realistic else 0.0005
    for piece in streamed(kind, ask):
        yield piece
        await asyncio.sleep(pause)
