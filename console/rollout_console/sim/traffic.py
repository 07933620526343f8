"""Load generator: simulates an application that sends its orgs' requests through the gate."""

import asyncio
import contextlib
import random
import time
from pathlib import Path

import httpx

from rollout_console.sim.job_traffic import JobTraffic
from rollout_console.sim.tools import tool_fields
from rollout_gate import Gate, subject
from rollout_gate.file.formats import auth_headers, call_url, text_body
from rollout_gate.file.model import TEXT_FORMATS, RolloutFile, Route
from rollout_gate.http import async_client

ORGS = (
    "acme", "globex.eu", "initech", "hooli", "umbrella", "stark", "wayne", "soylent",
    "cyberdyne", "tyrell", "wonka", "aperture",
)  # fmt: skip
MEDIA_ORGS = ["acme", "globex.eu", "hooli", "wonka"]
"""Those that make videos, where the file has a route for them."""
ROUTES = ("chat", "responses", "claude", "gemini")
_WEIGHTS = {"chat": 5, "responses": 2, "claude": 3, "gemini": 2}
_OTHERS_WEIGHT = 5
"""How often a route is asked for; others of the file, with a text format, as often as chat."""
STREAMED = 0.3
TOOLS = 0.15
"""The share of requests that ask for a tool call."""
TIMEOUT_S = 30.0

_MOST_AT_ONCE = 400
_MARKS = ("X-Sim-Org", "X-Sim-Route")
"""Headers that tell the simulator the org and route, for incidents limited to one of them."""


class Traffic:
    """Sends a Poisson stream of ``rate`` requests a second, at most 400 at once, until stopped.

    Beside it async jobs are created on each media route of the file, at a rate of their own.
    """

    def __init__(
        self,
        file: Path,
        *,
        api_key: str,
        previous_key: str = "prev-demo",
        rate: float,
        seed: int = 1,
    ) -> None:
        self._gate = Gate(file, poll_s=0.1)
        self._api_key = api_key
        self._previous_key = previous_key
        self._rate = rate
        self._random = random.Random(seed)
        # Zipf-like weights: a few large customers and many small ones, as in production.
        self._weights = [1 / (i + 1.5) for i in range(len(ORGS))]
        self._jobs = JobTraffic(self._gate, previous_key, _MARKS, seed=seed)

    async def run(self, stop: asyncio.Event) -> None:
        """Send requests until ``stop`` is set, then wait for those in flight."""
        # httpcore polls every idle connection for each request: few are kept alive.
        limits = httpx.Limits(max_connections=_MOST_AT_ONCE, max_keepalive_connections=8)
        running: set[asyncio.Task[None]] = set()
        async with async_client(
            self._gate,
            tokenlab_key=self._api_key,
            library="httpx",  # the console depends on it already, unlike httpx2
            forward_headers=_MARKS,
            limits=limits,
            timeout=TIMEOUT_S,
            trust_env=False,
        ) as client:
            jobs = asyncio.create_task(self._jobs.run(client, MEDIA_ORGS, stop))
            due = time.monotonic()
            while not stop.is_set():
                due += self._random.expovariate(self._rate)
                await _until(stop, due - time.monotonic())
                if stop.is_set():
                    break
                if len(running) < _MOST_AT_ONCE:
                    task = asyncio.create_task(self._one(client))
                    running.add(task)
                    task.add_done_callback(running.discard)
            await asyncio.gather(jobs, *running)
        self._gate.close()

    async def _one(self, client: httpx.AsyncClient) -> None:
        org = self._random.choices(ORGS, self._weights)[0]
        file = self._gate.file
        names = [*ROUTES, *(_others(file) if file else ())]
        weights = [_WEIGHTS.get(name, _OTHERS_WEIGHT) for name in names]
        name = self._random.choices(names, weights)[0]
        user = f"user-{self._random.randrange(4000)}"
        stream = self._random.random() < STREAMED
        route = file.routes.get(name) if file else None
        if route is None:
            return
        with subject(org=org, key=user, route=name):
            await self._ask(client, route, org, stream)

    async def _ask(self, client: httpx.AsyncClient, route: Route, org: str, stream: bool) -> None:
        """Address the previous provider, as before a rollout; the gate's client reroutes it."""
        kind, model = route.format, route.model
        url = call_url(kind, route.previous_base_url, model, stream=stream)
        body = text_body(kind, model, "Say something short about rollouts.", stream=stream)
        if self._random.random() < TOOLS:
            body |= tool_fields(kind)
        auth = auth_headers(kind, "previous", self._previous_key)
        marks = dict(zip(_MARKS, (org, route.name), strict=True))
        # Failures are in the access log already.
        with contextlib.suppress(httpx.HTTPError, httpx.InvalidURL):
            await client.post(url, headers={**auth, **marks}, json=body)


def _others(file: RolloutFile) -> list[str]:
    return [
        name
        for name, route in file.routes.items()
        if name not in ROUTES and route.format in TEXT_FORMATS
    ]


async def _until(stop: asyncio.Event, seconds: float) -> None:
    if seconds <= 0:
        await asyncio.sleep(0)
        return
    try:
        await asyncio.wait_for(stop.wait(), seconds)
    except TimeoutError:
        return
