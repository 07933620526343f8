"""GET /v1/models and /v1/models/{id}: public, filtered by the key where one is sent."""

import difflib

from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from rollout_console.sim.catalogue import CATEGORIES, SCENES, Model
from rollout_console.sim.errors import ApiFault
from rollout_console.sim.inference import credential, state_of

_PARAMETERS = {
    "category": CATEGORIES,
    "recommended_for": SCENES,
    "view": ("full", "compact"),
}


async def list_models(request: Request) -> Response:
    """GET /v1/models with every query parameter of the contract."""
    query = request.query_params
    for name, allowed in _PARAMETERS.items():
        if name in query and query[name] not in allowed:
            listed = ", ".join(allowed)
            problem = {"field": name, "message": f"must be one of {listed}"}
            raise ApiFault(
                400, f"{name} must be one of {listed}.", param=name, validation_errors=[problem]
            )
    scene = query.get("recommended_for")
    found = [model for model in _visible(request) if _matches(model, query, scene)]
    if scene:
        found.sort(key=lambda model: (not model.ready, model.rank or 0, model.id))
    if query.get("view") == "compact":
        data = [model.compact(scene) for model in found]
        body = {"object": "list", "view": "compact", "count": len(data), "data": data}
        return JSONResponse(body)
    return JSONResponse({"object": "list", "data": [model.full(scene) for model in found]})


async def get_model(request: Request) -> Response:
    """GET /v1/models/{id}."""
    name = request.path_params["model"]
    model = state_of(request).model(name)
    if model is None:
        near = difflib.get_close_matches(name, state_of(request).catalogue, 1)
        extra = {"did_you_mean": near[0]} if near else {}
        raise ApiFault(404, f"The model {name!r} does not exist.", "model_not_found", **extra)
    return JSONResponse(model.full(None, detail=True))


def _visible(request: Request) -> list[Model]:
    sim = state_of(request)
    secret = credential(request)
    models = [model for model in sim.catalogue.values() if model.stage != "retired"]
    if not secret:
        return models
    allowed = sim.key_for(secret).models
    return [model for model in models if not allowed or model.id in allowed]


def _matches(model: Model, query: QueryParams, scene: str | None) -> bool:
    get = query.get
    return (
        get("category") in (None, model.category)
        and scene in (None, model.category)
        and get("provider") in (None, model.provider)
        and (get("tag") is None or get("tag") in model.tags)
    )
