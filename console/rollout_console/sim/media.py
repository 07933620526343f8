"""Media creates and their tasks, on both sides.

The previous provider accepts any model, and has its own task ids below its own base path. It lacks
TokenLab's extensions: billing ids, the X-Task-ID header, cancelling.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from rollout_console.sim.answer_faults import media_body, serves_nothing, starts_no_task
from rollout_console.sim.catalogue import Model
from rollout_console.sim.errors import ApiFault
from rollout_console.sim.faults import FATES
from rollout_console.sim.inference import (
    authorised,
    credential,
    json_body,
    spoiled_by,
    state_of,
)
from rollout_console.sim.request_shapes import check_shape
from rollout_console.sim.state import ApiKey

QUEUED_S, WORKING_S = 1.0, 3.0
_USUAL_S = 14.0
"""The median time to an asset in seconds where times are realistic."""
_DEFAULT_MODEL = {"music": "suno-music-1", "3d": "tripo-3d-1"}
"""The default models; the contract names older ones of the same vendors."""
_RESULT: dict[str, dict[str, Any]] = {
    "image": {"data": [{"url": "https://assets.invalid/image.png"}]},
    "video": {"video_url": "https://assets.invalid/video.mp4"},
    "music": {"audio_url": "https://assets.invalid/track.mp3", "title": "Simulated"},
    "3d": {
        "model_url": "https://assets.invalid/cube.glb",
        "glb_url": "https://assets.invalid/c.glb",
    },
}


@dataclass(slots=True)
class Task:
    """An asynchronous create; times in epoch seconds. Only ``owner`` may poll or cancel it.

    ``takes_s`` is how long it works, in seconds; 0: as WORKING_S says.
    """

    id: str
    kind: str
    model: str
    side: str
    owner: str
    poll_url: str
    created: float
    billing_id: str = ""
    fate: str = ""
    takes_s: float = 0.0
    cancelled_at: float | None = None

    def status(self, now: float) -> str:
        """Return the status at ``now``."""
        if self.cancelled_at is not None:
            return "failed"
        age = now - self.created
        if age < QUEUED_S:
            return "pending"
        if age < self._working_s or self.fate == "task_stuck":
            return "processing"
        return "failed" if self.fate == "task_failed" else "completed"

    def as_json(self, now: float) -> dict[str, Any]:
        """Serialize the task as its routes answer it."""
        status = self.status(now)
        body: dict[str, Any] = {
            "id": self.id, "task_id": self.id, "status": status, "model": self.model,
            "created": int(self.created), "poll_url": self.poll_url,
        }  # fmt: skip
        if status == "processing" and self.fate != "task_stuck":
            body["progress"] = int(100 * (now - self.created) / self._working_s)
        if status == "failed":
            body["error"] = {"code": "generation_failed", "message": "The generation failed."}
        if status == "completed":
            body |= {"progress": 100} | self.billing() | _RESULT[self.kind]
        if self.cancelled_at is not None:
            body |= {"cancelled": True, "cancellation_status": "cancelled"}
            body["error"] = {"code": "cancelled", "message": "The task was cancelled."}
        return body

    @property
    def _working_s(self) -> float:
        return self.takes_s or WORKING_S

    def billing(self) -> dict[str, Any]:
        """Return the billing id as a JSON field; empty on a side without one."""
        return {"billing_transaction_id": self.billing_id} if self.billing_id else {}


async def create_image(request: Request) -> Response:
    """POST /v1/images/generations: a task with ``async: true``, else the images themselves."""
    body = await json_body(request)
    if isinstance(body, dict) and body.get("async") is True and request.state.side == "tokenlab":
        return await _create_task(request, "image")
    task = await _create(request, "image", is_task=False)
    headers = {"X-Billing-Transaction-ID": task.billing_id} if task.billing_id else {}
    body = {"created": int(task.created), **_RESULT["image"], **task.billing()}
    return _answered(request, body, ("data",), headers)


async def create_video(request: Request) -> Response:
    """POST /v1/videos/generations."""
    return await _create_task(request, "video")


async def create_music(request: Request) -> Response:
    """POST /v1/music/generations."""
    return await _create_task(request, "music")


async def create_3d(request: Request) -> Response:
    """POST /v1/3d/generations."""
    return await _create_task(request, "3d")


async def get_task(request: Request) -> Response:
    """GET /v1/tasks/{id}."""
    task = _task(request)
    return _answered(request, task.as_json(state_of(request).clock()), _RESULT[task.kind])


async def cancel_task(request: Request) -> Response:
    """DELETE /v1/tasks/{id}: only a queued video can be cancelled."""
    sim, task = state_of(request), _task(request)
    if task.kind != "video":
        raise ApiFault(400, "Only video tasks can be cancelled.", "unsupported_task_cancel")
    if task.status(sim.clock()) != "pending":
        raise ApiFault(409, "The task is not queued any more.", "task_not_cancellable")
    task.cancelled_at = sim.clock()
    return JSONResponse(task.as_json(sim.clock()))


async def _create_task(request: Request, kind: str) -> Response:
    task = await _create(request, kind)
    made = task.id in state_of(request).tasks and task.side == "tokenlab"
    headers = {"X-Task-ID": task.id} if made else {}
    return _answered(request, task.as_json(task.created), ("id", "task_id", "poll_url"), headers)


def _answered(
    request: Request,
    body: dict[str, Any],
    result: Iterable[str],
    headers: Mapping[str, str] | None = None,
) -> Response:
    native, fault = request.state.side == "previous", spoiled_by(request, media=True)
    said = media_body(body, fault, result, native=native)
    return Response(said, headers=headers, media_type="application/json")


async def _create(request: Request, kind: str, *, is_task: bool = True) -> Task:
    sim, key = state_of(request), authorised(request)
    body = await json_body(request)
    if key is not None:
        check_shape(kind, body)
    if isinstance(body, dict) and kind in _DEFAULT_MODEL:
        body.setdefault("model", _DEFAULT_MODEL[kind])
    if not isinstance(body, dict) or not isinstance(body.get("model"), str):
        raise ApiFault(400, "model is required.", param="model")
    if not body.get("prompt") and not body.get("image"):
        raise ApiFault(400, "prompt is required.", param="prompt")
    request.state.model = name = body["model"]
    billing_id = ""
    fault = spoiled_by(request, media=True)
    fate = next((one.kind for one in request.state.hits if one.kind in FATES and is_task), "")
    if key is not None:
        model = _model_for(request, key, kind, name)
        name = model.id
        if not serves_nothing(fault) and not fate:  # what was reserved for a failure is released
            record = sim.settle(key, model, request.state.request_id, 0, 0)
            billing_id = record.billing_id
    side = request.state.side
    task_id = sim.new_task_id() if side == "tokenlab" else sim.new_id("gen_")
    poll_url = f"{request.scope['root_path']}/v1/tasks/{task_id}"
    owner = _owner(request, key)
    task = Task(task_id, kind, name, side, owner, poll_url, sim.clock(), billing_id, fate)
    if sim.realistic:  # log-normal, as generations are
        task.takes_s = min(_USUAL_S * sim.random.lognormvariate(0, 0.3), 4 * _USUAL_S)
    if is_task and not starts_no_task(fault):
        sim.tasks[task.id] = task
    return task


def _model_for(request: Request, key: ApiKey, kind: str, name: str) -> Model:
    """Return TokenLab's model; raises ApiFault for a bad one, or for too little credit."""
    sim = state_of(request)
    model = sim.model(name)
    if model is None or model.category != kind:
        raise ApiFault(400, f"{name!r} is no {kind} model.", "model_not_found")
    sim.check_spend(key, model, model.per_request)
    return model


def _owner(request: Request, key: ApiKey | None) -> str:
    return credential(request) if key is None else key.id


def _task(request: Request) -> Task:
    key = authorised(request)
    task: Task | None = state_of(request).tasks.get(request.path_params["task"])
    if task is None or task.side != request.state.side:
        raise ApiFault(404, "There is no such task.", "async_task_not_found")
    if task.owner != _owner(request, key):
        raise ApiFault(403, "The task belongs to another key.", "task_not_owned")
    return task
