"""The simulator's control API: fault injection, the request record, and a health check."""

from dataclasses import asdict, replace

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from rollout_console.sim.errors import ApiFault
from rollout_console.sim.inference import json_body, state_of
from rollout_console.sim.state import Settlement


def control_routes() -> list[Route]:
    """Return the routes under /_sim."""
    return [
        Route("/_sim/health", _health),
        Route("/_sim/faults", _list_faults),
        Route("/_sim/faults", _add_fault, methods=["POST"]),
        Route("/_sim/faults", _clear_faults, methods=["DELETE"]),
        Route("/_sim/faults/{id:int}", _clear_fault, methods=["DELETE"]),
        Route("/_sim/settlement", _settlement),
        Route("/_sim/settlement", _settle, methods=["POST"]),
        Route("/_sim/settlement", _settle_at_once, methods=["DELETE"]),
        Route("/_sim/requests", _requests),
        Route("/_sim/requests", _forget_requests, methods=["DELETE"]),
    ]


async def _health(request: Request) -> Response:
    return JSONResponse({"ok": True, "models": len(state_of(request).catalogue)})


async def _list_faults(request: Request) -> Response:
    return JSONResponse({"faults": state_of(request).faults.as_json()})


async def _add_fault(request: Request) -> Response:
    try:
        fault = state_of(request).faults.add(await json_body(request))
    except ValueError as error:
        raise ApiFault(400, str(error)) from None
    return JSONResponse(asdict(fault), 201)


async def _clear_faults(request: Request) -> Response:
    return JSONResponse({"cleared": state_of(request).faults.clear()})


async def _clear_fault(request: Request) -> Response:
    return JSONResponse({"cleared": state_of(request).faults.clear(request.path_params["id"])})


async def _settlement(request: Request) -> Response:
    return JSONResponse(asdict(state_of(request).settlement))


async def _settle(request: Request) -> Response:
    body, sim = await json_body(request), state_of(request)
    names = asdict(sim.settlement)
    if not isinstance(body, dict) or not all(
        name in names and _is_figure(value, 86_400 if name == "late_s" else 1)
        for name, value in body.items()
    ):
        raise ApiFault(400, f"a settlement has {', '.join(names)}: shares from 0 to 1, seconds")
    sim.settlement = replace(sim.settlement, **body)
    return JSONResponse(asdict(sim.settlement))


async def _settle_at_once(request: Request) -> Response:
    state_of(request).settlement = Settlement()
    return JSONResponse(asdict(Settlement()))


def _is_figure(value: object, most: float) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= most


async def _requests(request: Request) -> Response:
    sim = state_of(request)
    text = request.query_params.get("limit", "100")
    limit = int(text) if text.isascii() and text.isdigit() else 100
    with sim.lock:
        newest = list(sim.requests)[-limit:] if limit else []
        counts = dict(sim.counts)
    sides = {"tokenlab": 0, "previous": 0}
    for (side, _, _), count in counts.items():
        sides[side] += count
    rows = [
        {"side": side, "route": route, "status": status, "count": count}
        for (side, route, status), count in sorted(counts.items())
    ]
    return JSONResponse(
        {
            "total": sides,
            "counts": rows,
            "credential_leaks": sim.credential_leaks,
            "requests": [asdict(served) for served in newest],
        }
    )


async def _forget_requests(request: Request) -> Response:
    sim = state_of(request)
    with sim.lock:
        sim.requests.clear()
        sim.counts.clear()
        sim.credential_leaks = 0
    return JSONResponse({"ok": True})
