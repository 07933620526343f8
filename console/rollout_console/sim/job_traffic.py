"""Load generator of async media jobs: an application that creates videos and asks for them."""

import asyncio
import contextlib
import random
from typing import Any

import httpx

from rollout_gate import Gate, subject
from rollout_gate.file.formats import auth_headers, call_url, root_of
from rollout_gate.file.model import ALWAYS_ASYNC, RolloutFile, Route

JOB_RATE_PER_S = 0.6
"""How many jobs are created a second on each media route: each of them is asked about for long."""
POLL_S = 2.0
ENDED = ("completed", "failed", "cancelled")


class JobTraffic:
    """Creates jobs on each media route of the rollout file, and polls each until it has ended.

    ``marks`` are the names of the headers that have org and route.
    """

    def __init__(
        self, gate: Gate, previous_key: str, marks: tuple[str, str], *, seed: int = 1
    ) -> None:
        self._gate = gate
        self._previous_key = previous_key
        self._marks = marks
        self._random = random.Random(seed)

    async def run(self, client: httpx.AsyncClient, orgs: list[str], stop: asyncio.Event) -> None:
        """Create jobs until ``stop`` is set; those that are open then are left alone."""
        running: set[asyncio.Task[None]] = set()
        while not await _stopped(stop, self._random.expovariate(JOB_RATE_PER_S)):
            for route in media_routes(self._gate.file):
                org = self._random.choices(orgs, [1 / (i + 1.5) for i in range(len(orgs))])[0]
                task = asyncio.create_task(self._one(client, route, org, stop))
                running.add(task)
                task.add_done_callback(running.discard)
        await asyncio.gather(*running)

    async def _one(
        self, client: httpx.AsyncClient, route: Route, org: str, stop: asyncio.Event
    ) -> None:
        """Address the previous provider, as before a rollout; the gate's client reroutes it."""
        headers = auth_headers(route.format, "previous", self._previous_key)
        headers |= dict(zip(self._marks, (org, route.name), strict=True))
        # Two alike within ten minutes would be one job that was perhaps made twice.
        prompt = f"A clip about rollouts, take {self._random.randrange(10**9)}"
        url = call_url(route.format, route.previous_base_url, route.model)
        body = {"model": route.model, "prompt": prompt}
        user = f"user-{self._random.randrange(4000)}"
        with subject(org=org, key=user, route=route.name):
            made = await _answer(client.post(url, headers=headers, json=body))
            task = made.get("id")
            url = f"{root_of(route.previous_base_url)}/v1/tasks/{task}"
            while task and made.get("status") not in ENDED and not await _stopped(stop, POLL_S):
                # A poll that fails says nothing of the task.
                made = await _answer(client.get(url, headers=headers)) or made


def media_routes(file: RolloutFile | None) -> list[Route]:
    """Return the routes of which every create makes a job."""
    return [one for one in file.routes.values() if one.format in ALWAYS_ASYNC] if file else []


async def _answer(asked: Any) -> dict[str, Any]:
    """Return the JSON object of an answer; an empty one where there is none.

    Failures are in the access log already.
    """
    with contextlib.suppress(httpx.HTTPError, httpx.InvalidURL, ValueError):
        answer: httpx.Response = await asked
        said = answer.json()
        if answer.is_success and isinstance(said, dict):
            return said
    return {}


async def _stopped(stop: asyncio.Event, seconds: float) -> bool:
    """Wait for so long; return whether ``stop`` is set."""
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(stop.wait(), seconds)
    return stop.is_set()
