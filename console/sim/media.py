"""Media creates and their tasks."""

from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from console.sim.errors import ApiFault
from console.sim.inference import credential, json_body, state_of
from console.sim.state import SimState

QUEUED_S, WORKING_S = 1.0, 3.0
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
    """An asynchronous create; times in epoch seconds."""

    id: str
    kind: str
    model: str
    key_id: str
    created: float
    billing_id: str
    cancelled_at: float | None = None

    def status(self, now: float) -> str:
        """Return the status at ``now``."""
        if self.cancelled_at is not None:
            return "failed"
        age = now - self.created
        return "pending" if age < QUEUED_S else "processing" if age < WORKING_S else "completed"

    def as_json(self, now: float) -> dict[str, Any]:
        """Return the task as its routes show it."""
        status = self.status(now)
        body: dict[str, Any] = {
            "id": self.id, "task_id": self.id, "status": status, "model": self.model,
            "created": int(self.created), "poll_url": f"/v1/tasks/{self.id}",
        }  # fmt: skip
        if status == "processing":
            body["progress"] = int(100 * (now - self.created) / WORKING_S)
        if status == "completed":
            body |= {"progress": 100, "billing_transaction_id": self.billing_id}
            body |= _RESULT[self.kind]
        if self.cancelled_at is not None:
            body |= {"cancelled": True, "cancellation_status": "cancelled"}
            body["error"] = {"code": "cancelled", "message": "The task was cancelled."}
        return body


async def create_image(request: Request) -> Response:
    """POST /v1/images/generations: answered at once."""
    task = await _create(request, "image")
    return JSONResponse(
        {
            "created": int(task.created),
            "data": [{"url": "https://assets.invalid/image.png"}],
            "billing_transaction_id": task.billing_id,
        },
        headers={"X-Billing-Transaction-ID": task.billing_id},
    )


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
    return JSONResponse(_task(request).as_json(state_of(request).clock()))


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
    body = task.as_json(task.created)
    return JSONResponse(body, headers={"X-Task-ID": task.id})


async def _create(request: Request, kind: str) -> Task:
    sim = state_of(request)
    key = sim.key_for(credential(request))
    body = await json_body(request)
    if not isinstance(body, dict) or not isinstance(body.get("model"), str):
        raise ApiFault(400, "model is required.", param="model")
    if not body.get("prompt") and not body.get("image"):
        raise ApiFault(400, "prompt is required.", param="prompt")
    request.state.model = body["model"]
    model = sim.model(body["model"])
    if model is None or model.category != kind:
        raise ApiFault(400, f"{body['model']!r} is no {kind} model.", "model_not_found")
    sim.check_spend(key, model, model.per_request)
    record = sim.settle(key, model, request.state.request_id, 0, 0)
    task = Task(sim.new_id("task_"), kind, model.id, key.id, sim.clock(), record.billing_id)
    _remember(sim, task)
    return task


def _remember(sim: SimState, task: Task) -> None:
    if task.kind != "image":
        sim.tasks[task.id] = task


def _task(request: Request) -> Task:
    sim = state_of(request)
    key = sim.key_for(credential(request))
    task: Task | None = sim.tasks.get(request.path_params["task"])
    if task is None:
        raise ApiFault(404, "There is no such task.", "async_task_not_found")
    if task.key_id != key.id:
        raise ApiFault(403, "The task belongs to another key.", "task_not_owned")
    return task
