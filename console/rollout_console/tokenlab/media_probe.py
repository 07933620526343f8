"""Probe a media model with one request, the cheapest it documents, and never retry it.

A create has no idempotency key: sent twice, it is executed and billed twice. Where no answer comes,
a task may have started nevertheless; the probe reports that instead of a retry.
"""

import asyncio
import re
from time import monotonic
from typing import Any
from urllib.parse import quote, urljoin

from rollout_console.tokenlab.models import ModelInfo
from rollout_console.tokenlab.probe import (
    MOST_ID,
    NO_BILLING,
    Probe,
    Target,
    error_of,
    id_of,
    refusal_of,
    told,
    without,
)
from rollout_console.tokenlab.shapes import dig
from rollout_console.tokenlab.single_request import LIMIT_S, exchange
from rollout_gate.file.formats import TASK_PATH, auth_headers, call_url, root_of
from rollout_gate.secret import Secret
from rollout_gate.untrusted import ANYTHING, UndecodableError, decode_json

PROMPT = "a plain red cube on white"
POLL_S = 5.0
"""TokenLab asks for a polling interval of 5 to 10 seconds."""

_RESULTS = (
    "data.0", "video_url", "video.url", "videos.0", "content.video_url", "content.file_url",
    "audio_url", "model_url", "glb_url", "fbx_url",
)  # fmt: skip
_DONE = ("completed", "failed")
_BELOW = re.compile(r"[\w.:~-]+(/[\w.:~-]+)*", re.ASCII)
"""What may follow a create's path in a poll URL: plain path segments, so it leads nowhere else."""
_SMALL = {"durations": "duration", "resolutions": "resolution"}


def cheapest_body(model: ModelInfo) -> dict[str, Any]:
    """Return the model's example request, at its least duration, resolution and count."""
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
    """Create once, then poll the task until it is done or ``wait_s`` seconds have passed.

    Raises Unsafe and nothing else.
    """
    headers = auth_headers(target.format, target.side, key.reveal())
    url = call_url(target.format, target.base_url, target.model)
    came = await exchange("POST", url, headers, cheapest_body(model), limit_s=LIMIT_S)
    problems = refusal_of(target.format, came, key)
    error = came.failure or ("" if not problems else error_of(target.format, came, key)[0])
    task, billing, notes = came.task_id, came.billing_id, []
    if came.failure:
        problems.append("it may have been created and billed: look at the usage before another")
    if not problems:
        body = _decoded(came.data)
        at_once = _has_result(body) and dig(body, "status") in (None, "completed")
        task = task or _text(body, "task_id") or ("" if at_once else _text(body, "id"))
        if not at_once and (task in ("", ".", "..") or without(key, task)[:MOST_ID] != task):
            problems.append("there is neither a result nor a task id that can be one")
        elif not at_once:
            body, problems = await _watch(target, key, headers, body, task, wait_s)
        if not problems and not _has_result(body):
            problems.append("there is no asset in the result")
        billing = billing or _text(body, "billing_transaction_id")
        notes = [] if billing or problems else [NO_BILLING]
    return Probe(
        target, False, came.status, came.latency_ms, request_id=id_of(key, came.request_id),
        billing_id=id_of(key, billing), task_id=id_of(key, task), error=error,
        problems=told(key, problems), notes=told(key, notes),
    )  # fmt: skip


async def _watch(
    target: Target, key: Secret, headers: dict[str, str], body: Any, task: str, wait_s: float
) -> tuple[Any, list[str]]:
    """Poll a task until it is done or ``wait_s`` have passed; a GET is safe to repeat."""
    place = _poll_url(target, _text(body, "poll_url"), task)
    end, odd = monotonic() + wait_s, ""
    while dig(body, "status") not in _DONE and (left := end - monotonic()) > 0:
        await asyncio.sleep(min(POLL_S, left))
        left = max(1.0, end - monotonic())
        came = await exchange("GET", place, headers, limit_s=min(LIMIT_S, left))
        odd = "; ".join(refusal_of(target.format, came, key))
        if not odd:
            body = _decoded(came.data)
    status = dig(body, "status")
    if status not in _DONE:
        still = f"task {task} is still {status or 'unknown'} after {wait_s:.0f} s"
        later = "it may be billed yet: look at the task later, and do not create it again"
        return body, [still, *([f"the last look: {odd}"] if odd else []), later]
    if status == "failed":
        said = _text(body, "error") or _text(body, "error.message") or "no reason given"
        return body, [f"task {task} failed: {said}"]
    return body, []


def _poll_url(target: Target, said: str, task: str) -> str:
    """Return the URL to poll a task at: the answer's, or else the contract's task path.

    The request carries the credential, so an answer's URL is accepted only below the path that the
    task was created at: never on another host, nor in another part of the API.
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


def _has_result(body: Any) -> bool:
    return any(dig(body, name) for name in _RESULTS)


def _text(body: Any, name: str) -> str:
    """Return the string at a dotted path; empty without one."""
    found = dig(body, name)
    return found if isinstance(found, str) else ""


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
