"""One media request, the cheapest that the model documents, sent once and never again.

A create has no idempotency key: sent twice, it is made and billed twice. Where no answer came, a
task may have begun nevertheless, and that is said instead of trying again.
"""

import asyncio
import re
from typing import Any
from urllib.parse import quote, urljoin

from console.gate.secret import Secret
from console.gate.untrusted import ANYTHING, UndecodableError, decode_json
from console.rollout.routemap import TASK_PATH, auth_headers, call_url, kind_of, root_of
from console.tokenlab.exchange import LIMIT_S, exchange
from console.tokenlab.models import ModelInfo
from console.tokenlab.probe import (
    MOST_ID,
    Probe,
    Target,
    error_of,
    id_of,
    refusal_of,
    told,
    without,
)
from console.tokenlab.shapes import dig

PROMPT = "a plain red cube on white"
POLL_S = 5.0
"""TokenLab asks for 5 to 10 seconds between looks at a task."""

_RESULTS = ("data.0", "video_url", "videos.0", "audio_url", "model_url", "glb_url")
_DONE = ("completed", "failed")
_BELOW = re.compile(r"[\w.:~-]+(/[\w.:~-]+)*", re.ASCII)
"""What may follow a create's path in a poll URL: names alone, so that it leads nowhere else."""
_SMALL = {"durations": "duration", "resolutions": "resolution"}


def cheapest_body(model: ModelInfo) -> dict[str, Any]:
    """Return the least that the model documents: its example, at its shortest and smallest."""
    example = model.contract.example or {}
    body: dict[str, Any] = {k: v for k, v in example.items() if k not in ("model", "prompt")}
    for name, parameter in _SMALL.items():
        offered = model.contract.limits.get(name, "")
        sizes = sorted((number, text) for text in offered.split(", ") if (number := _number(text)))
        if sizes and (parameter in body or not example):
            text = sizes[0][1]
            body[parameter] = int(text) if text.isdigit() else text
    if "n" in body:
        body["n"] = 1
    return {"model": model.id, "prompt": str(example.get("prompt") or PROMPT), **body}


async def probe_media(
    target: Target, key: Secret, model: ModelInfo, *, wait_s: float = 180.0
) -> Probe:
    """Create once, then look at the task until it is done or ``wait_s`` have passed.

    Raises Unsafe and nothing else.
    """
    headers = auth_headers(target.format, target.side, key.reveal())
    url = call_url(target.format, target.base_url, target.model)
    came = await exchange("POST", url, headers, cheapest_body(model), limit_s=LIMIT_S)
    problems = refusal_of(target.format, came, key)
    error = came.failure or ("" if not problems else error_of(target.format, came, key)[0])
    task, billing = came.task_id, came.billing_id
    if came.failure:
        problems.append("it may have been created and billed: look at the usage before another")
    if not problems:
        body = _decoded(came.data)
        task = task or str(dig(body, "task_id") or dig(body, "id") or "")
        if target.format in kind_of(target.format).asynchronous or dig(body, "poll_url"):
            problems += [f"{n} is missing" for n in ("status", "poll_url") if not dig(body, n)]
            if not task:
                problems.append("neither header x-task-id nor task_id is there")
            elif task in (".", "..") or without(key, task)[:MOST_ID] != task:
                problems.append("its task id is none")
            if not problems:
                body, problems = await _watch(target, headers, body, task, wait_s)
        problems += _odd_result(body) if not problems else []
        billing = billing or str(dig(body, "billing_transaction_id") or "")
        if not billing and not problems:
            problems.append("there is no billing transaction id")
    return Probe(
        target, False, came.status, came.latency_ms, request_id=id_of(key, came.request_id),
        billing_id=id_of(key, billing), task_id=id_of(key, task), error=error,
        problems=told(key, problems),
    )  # fmt: skip


async def _watch(
    target: Target, headers: dict[str, str], body: Any, task: str, wait_s: float
) -> tuple[Any, list[str]]:
    """Look at a task until it is done; looking again is safe."""
    place = _poll_url(target, str(dig(body, "poll_url")), task)
    waited = 0.0
    while dig(body, "status") not in _DONE and waited < wait_s:
        await asyncio.sleep(POLL_S)
        waited += POLL_S
        came = await exchange("GET", place, headers, limit_s=LIMIT_S)
        if came.status == 200:
            body = _decoded(came.data)
    status = dig(body, "status")
    if status not in _DONE:
        return body, [f"task {task} is still {status or 'unknown'} after {wait_s:.0f} s"]
    if status == "failed":
        said = dig(body, "error.message") or "no reason given"
        return body, [f"task {task} failed: {said}"]
    return body, []


def _poll_url(target: Target, said: str, task: str) -> str:
    """Return where to look at a task: where the answer says, or at its place in the contract.

    The credential goes along, so an answer cannot send it to another host, nor to another part of
    the API: only below the path that the task was created at.
    """
    root = root_of(target.base_url)
    created = call_url(target.format, target.base_url, target.model) + "/"
    try:
        place = urljoin(root + "/", said)
    except ValueError:
        place = ""
    below = place.removeprefix(created)
    if below != place and _BELOW.fullmatch(below) and not {".", ".."} & {*below.split("/")}:
        return place
    return root + TASK_PATH.format(task=quote(task, safe=""))


def _odd_result(body: Any) -> list[str]:
    return [] if any(dig(body, name) for name in _RESULTS) else ["there is no asset in the result"]


def _decoded(data: bytes) -> Any:
    try:
        return decode_json(data, ANYTHING)
    except UndecodableError:
        return {}


def _number(text: str) -> float:
    digits = "".join(sign for sign in text if sign.isdigit() or sign == ".")
    try:
        return float(digits)
    except ValueError:
        return 0.0
