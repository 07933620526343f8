"""Media probes: made once, watched to the end, never sent again."""

import asyncio

import msgspec
import pytest

from console.rollout.model import MEDIA_FORMATS
from console.sim.server import SimServer
from console.tokenlab import media_probe
from console.tokenlab.catalogue import CatalogueClient
from console.tokenlab.media_probe import cheapest_body, probe_media
from console.tokenlab.models import Contract, ModelInfo
from tests.tokenlab.test_probe import KEY, MADE, target_of


@pytest.mark.parametrize("kind", MEDIA_FORMATS)
async def test_media_is_made_once_and_watched_to_its_end(
    sim: SimServer, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(media_probe, "POLL_S", 0.5)
    monkeypatch.setattr("console.sim.media.WORKING_S", 1.0)
    monkeypatch.setattr("console.sim.media.QUEUED_S", 0.5)
    async with CatalogueClient(sim.base_url) as client:
        model = await client.model(MADE[kind])
    assert model is not None
    before = len(sim.state.usage)
    done = await probe_media(target_of(sim, kind), KEY, model)
    assert done.problems == ()
    assert done.billing_id
    assert bool(done.task_id) == (kind != "image")
    assert len(sim.state.usage) == before + 1


@pytest.mark.parametrize("fault", [{"kind": "drop"}, {"kind": "slow", "latency_ms": 30_000}])
async def test_a_create_without_an_answer_is_never_sent_again(
    sim: SimServer, monkeypatch: pytest.MonkeyPatch, fault: dict[str, object]
) -> None:
    monkeypatch.setattr(media_probe, "LIMIT_S", 1.0)
    sim.state.faults.add(fault)
    before = sum(sim.state.counts.values())
    done = await probe_media(target_of(sim, "video"), KEY, ModelInfo("runway-video-1"))
    assert any("may have been created" in problem for problem in done.problems)
    await asyncio.sleep(0.2)
    assert sum(sim.state.counts.values()) <= before + 1


async def test_a_task_that_does_not_end_is_told(
    sim: SimServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(media_probe, "POLL_S", 0.2)
    done = await probe_media(target_of(sim, "video"), KEY, ModelInfo("runway-video-1"), wait_s=0.4)
    (problem,) = done.problems
    assert done.task_id in problem
    assert "still" in problem


def test_the_cheapest_documented_request() -> None:
    contract = Contract(
        example={"model": "x", "prompt": "a cat", "duration": 10, "resolution": "1080p"},
        limits={"durations": "10, 5", "resolutions": "1080p, 480p, 720p"},
    )
    model = msgspec.structs.replace(ModelInfo("v"), contract=contract)
    assert cheapest_body(model) == {
        "model": "v", "prompt": "a cat", "duration": 5, "resolution": "480p",
    }  # fmt: skip
    assert cheapest_body(ModelInfo("v")) == {"model": "v", "prompt": media_probe.PROMPT}
