"""The played application's async jobs: each is created, polled to its end, and in the ledger."""

import asyncio
import json
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from rollout_console.common.assets import asset_folder
from rollout_console.jobs.job_book import JobBook, JobRow
from rollout_console.sim.incidents import start_incident
from rollout_console.sim.server import SimServer
from rollout_console.sim.state import DEMO_KEY
from rollout_console.sim.traffic import MEDIA_ORGS, Traffic
from rollout_gate.paths import LEDGER_NAME
from tests.sim.test_traffic import counted, played

SIDES = ("tokenlab", "previous")


@pytest.fixture(autouse=True)
def in_a_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Twenty jobs a second that take a third of one."""
    monkeypatch.setattr("rollout_console.sim.media.QUEUED_S", 0.1)
    monkeypatch.setattr("rollout_console.sim.media.WORKING_S", 0.3)
    monkeypatch.setattr("rollout_console.sim.job_traffic.POLL_S", 0.1)
    monkeypatch.setattr("rollout_console.sim.job_traffic.JOB_RATE_PER_S", 20.0)


def write(sim: SimServer, folder: Path) -> Path:
    """The demo's file, with its videos alone."""
    text = (asset_folder("sample_configs") / "demo.toml").read_text()
    head, videos = text.partition("[routes.chat]")[0], text.partition("[routes.clips]")[2]
    path = folder / "rollout.toml"
    path.write_text(f"{head}[routes.clips]{videos}".replace("BASE_URL", sim.base_url))
    return path


async def play(file: Path, enough: Callable[[list[JobRow]], bool]) -> list[JobRow]:
    """Play until there are enough jobs in the ledger; return them all."""
    stop, book = asyncio.Event(), JobBook(file.parent / LEDGER_NAME)

    def rows() -> list[JobRow]:
        is_there = (file.parent / LEDGER_NAME).exists()
        return list(book.rows(time.time(), since=0.0, most=10_000)) if is_there else []

    playing = asyncio.create_task(Traffic(file, api_key=DEMO_KEY, rate=5.0).run(stop))
    async with asyncio.timeout(60):
        while not enough(rows()):  # noqa: ASYNC110
            await asyncio.sleep(0.1)
    stop.set()
    await asyncio.wait_for(playing, 20)
    return rows()


def ended(rows: list[JobRow], state: str, side: str = "tokenlab") -> int:
    return sum((one.create.state, one.create.side) == (state, side) for one in rows)


async def test_jobs_of_both_sides_come_to_their_assets(sim: SimServer, tmp_path: Path) -> None:
    sim.state.requests.clear()
    file = write(sim, tmp_path)
    rows = await play(
        file, lambda rows: min(ended(rows, "completed", side) for side in SIDES) >= 20
    )
    creates = [one.create for one in rows]
    assert {one.org for one in creates} == set(MEDIA_ORGS)
    assert {one.state for one in creates} <= {"open", "completed"}
    assert {one.side for one in creates if one.org == "wonka"} == {"previous"}, "it has no share"
    assert {one.org for one in creates if one.side == "tokenlab"} == {"acme", "globex.eu", "hooli"}
    assert not JobBook(tmp_path / LEDGER_NAME).repeated(since=0.0, window_s=600.0)
    lines = [json.loads(line) for line in (tmp_path / "access.jsonl").read_text().splitlines()]
    said = ("route", "org", "side", "status")
    assert counted(lines, *said) == counted(played(sim), *said), "each poll is a line too"
    assert {line["status"] for line in lines} == {200}


async def test_failed_jobs_are_an_incident_of_their_own(sim: SimServer, tmp_path: Path) -> None:
    start_incident(sim.base_url, "failed jobs")
    rows = await play(write(sim, tmp_path), lambda rows: ended(rows, "failed") >= 15)
    assert ended(rows, "completed") > 3
    assert ended(rows, "failed", "previous") == 0
    assert {one.create.status for one in rows} == {200}


def test_where_times_are_realistic_each_video_takes_its_own() -> None:
    with SimServer(seed=4, realistic=True) as sim, httpx.Client(trust_env=False) as api:
        for number in range(40):
            body = {"model": "any", "prompt": f"take {number}"}
            headers = {"Authorization": "Bearer prev"}
            url = f"{sim.previous_base_url}/v1/videos/generations"
            assert api.post(url, json=body, headers=headers).status_code == 200
        took = sorted(one.takes_s for one in sim.state.tasks.values())
    assert len({*took}) == 40
    assert 4 < took[0] < took[20] < 20 < took[-1] <= 56
