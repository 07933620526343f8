"""Images and videos as the OpenAI SDK makes them, through the gate, sync and async."""

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from rollout_console.jobs.job_book import JobBook
from rollout_console.sim.server import SimServer
from rollout_console.sim.state import DEMO_KEY
from rollout_gate import Gate, subject
from rollout_gate.http import async_client, client
from rollout_gate.http.create_records import Create
from tests.jobs.ledgers import FILE
from tests.sim.asking import set_fault
from tests.support.sdks import openai

ASYNC = {"async": True}
IMAGE = {"model": "openai-image-1", "prompt": "a red cube"}
VIDEO = {"model": "google-video-1", "prompt": "a red cube"}


@pytest.fixture
def gate(tmp_path: Path, sim: SimServer) -> Iterator[Gate]:
    path = tmp_path / "rollout.toml"
    text = FILE.format(url=sim.base_url).replace(
        "/_previous", sim.previous_base_url.removeprefix(sim.base_url)
    )
    path.write_text(text.replace("[routes.image]", 'dedupe = "10m"\n[routes.image]'))
    with Gate(path, poll_s=60) as made:
        yield made


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rollout_console.sim.media.QUEUED_S", 0.0)
    monkeypatch.setattr("rollout_console.sim.media.WORKING_S", 0.0)


def options(route: str) -> dict[str, Any]:
    return {
        "route": route, "org": "acme", "tokenlab_key": DEMO_KEY, "previous_key": "prev",
        "library": "httpx",
    }  # fmt: skip


def sdk(gate: Gate, sim: SimServer, route: str) -> "openai.OpenAI":
    return openai.OpenAI(
        base_url=f"{sim.previous_base_url}/v1", api_key="prev", max_retries=2,
        http_client=client(gate, **options(route)),
    )  # fmt: skip


def creates(gate: Gate) -> list[Create]:
    rows = JobBook(gate.path.parent / "rollout-jobs.sqlite3").rows(time.time())
    return sorted((row.create for row in rows), key=lambda one: one.sent_at)


@pytest.mark.usefixtures("quick")
def test_an_image_at_once_and_as_a_task(gate: Gate, sim: SimServer) -> None:
    with sdk(gate, sim, "image") as api:
        at_once = api.images.generate(**IMAGE)  # type: ignore[call-overload]
        assert at_once.data[0].url
        assert creates(gate) == []
        with subject(job_id="order-1"):
            made = [
                api.images.generate(**IMAGE, extra_body=ASYNC)  # type: ignore[call-overload]
                for _ in range(2)
            ]
        assert {one.model_extra["task_id"] for one in made} == {creates(gate)[0].task_id}
        polled = api.get(
            made[0].model_extra["poll_url"].removeprefix("/v1"), cast_to=httpx.Response
        )
        assert polled.json()["status"] == "completed"
    (job,) = creates(gate)
    assert (job.state, job.side, job.job_id, job.polls) == ("completed", "tokenlab", "order-1", 1)
    assert job.billing_transaction_id


@pytest.mark.usefixtures("quick")
async def test_the_async_sdk_makes_each_job_once(gate: Gate, sim: SimServer) -> None:
    tasks = len(sim.state.tasks)
    async with openai.AsyncOpenAI(
        base_url=f"{sim.previous_base_url}/v1", api_key="prev", max_retries=0,
        http_client=async_client(gate, **options("image")),
    ) as api:  # fmt: skip

        async def make(job_id: str) -> str:
            with subject(job_id=job_id):
                try:
                    made = await api.images.generate(**IMAGE, extra_body=ASYNC)  # type: ignore[call-overload]
                except openai.ConflictError:  # the first is in flight, its task not known yet
                    return ""
                return str(made.model_extra["task_id"])

        found = await asyncio.gather(*(make(f"order-{i % 4}") for i in range(12)))
        assert len({one for one in found if one}) == 4
    assert len(sim.state.tasks) == tasks + 4


@pytest.mark.usefixtures("quick")
def test_a_video_and_the_sdks_own_retries(gate: Gate, sim: SimServer, api: httpx.Client) -> None:
    tasks = len(sim.state.tasks)
    with sdk(gate, sim, "video") as client:
        made = client.post("/videos/generations", body=VIDEO, cast_to=httpx.Response).json()
        again = client.post("/videos/generations", body=VIDEO, cast_to=httpx.Response).json()
        assert again == made, "the same request is the same job on this route"
        assert client.get(f"/tasks/{made['id']}", cast_to=httpx.Response).json()["video_url"]
        set_fault(api, kind="error", status=504, path="/v1/videos")
        with pytest.raises(openai.ConflictError, match="its answer is not known"):
            client.post(
                "/videos/generations", body={**VIDEO, "prompt": "another"}, cast_to=httpx.Response
            )  # the SDK repeats a 504 by itself, and is answered that nobody knows
    assert len(sim.state.tasks) == tasks + 1
    assert [one.state for one in creates(gate)] == ["completed", "unknown"]
    asked = [one for one in sim.state.requests if one.path == "/v1/videos/generations"]
    assert len(asked) >= 2
