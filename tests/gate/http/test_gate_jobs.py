"""Media jobs through the gate's clients over loopback: created, asked for, on either side."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from msgspec.structs import replace

from rollout_console.sim.server import SimServer
from rollout_console.sim.state import DEMO_KEY
from rollout_gate import Gate, subject
from rollout_gate.http import async_client, client

CREATE = "https://before.example/v1/videos/generations"
ASK = {"model": "kling-video-1", "prompt": "a lighthouse"}
SIDES = [(100, "tokenlab"), (0, "previous")]
LIBRARIES = ["httpx2", "httpx"]


class World:
    """A rollout file on the simulator, and a gate on it."""

    def __init__(self, folder: Path, sim: SimServer, percent: int) -> None:
        self.path = folder / "rollout.toml"
        self.log = folder / "access.jsonl"
        self.sim = sim
        self.write(percent)
        self.gate = Gate(self.path, poll_s=60)

    def write(self, percent: int, base_url: str | None = None) -> None:
        self.path.write_text(
            f'schema = 1\nalgorithm = "fractional-v3"\n'
            f'[tokenlab]\nbase_url = "{base_url or self.sim.base_url}"\n'
            f'[routes.video]\nformat = "video"\n'
            f'previous_base_url = "{self.sim.previous_base_url}"\n'
            f"[routes.video.orgs]\nacme = {percent}\n"
        )

    def options(self, library: str) -> dict[str, Any]:
        return {
            "org": "acme", "tokenlab_key": DEMO_KEY, "previous_key": "prev-of-somebody",
            "library": library,
        }  # fmt: skip

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.read_text().splitlines()]


@pytest.fixture
def world(tmp_path: Path, sim: SimServer, percent: int) -> Iterator[World]:
    made = World(tmp_path, sim, percent)
    yield made
    made.gate.close()


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize(("percent", "side"), SIDES)
def test_a_job_is_created_once_and_asked_for_where_it_is(
    world: World, percent: int, side: str, library: str
) -> None:
    with client(world.gate, "video", **world.options(library)) as http, subject(job_id="order-1"):
        first = http.post(CREATE, json=ASK)
        again = http.post(CREATE, json=ASK)
        assert again.json()["id"] == first.json()["id"]
        assert again.headers["x-rollout-resumed"] == "true"
        world.write(100 - percent)  # it is asked for where it was created, whatever the file says
        world.gate.refresh()
        world.gate.refresh()
        task = http.get(f"https://before.example/v1/tasks/{first.json()['id']}")
    assert task.status_code == 200
    assert task.json()["status"] in ("pending", "processing", "completed")
    line, poll = world.lines()
    assert (line["side"], line["status"], line["job_id"]) == (side, 200, "order-1")
    assert line["stream"] is False
    assert (poll["side"], poll["operation"], poll["outcome"]) == (side, "task", "ok")
    assert poll["bound"] is True


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize(("percent", "side"), SIDES)
def test_so_it_is_without_threads(world: World, side: str, library: str) -> None:
    async def run() -> tuple[Any, Any]:
        async with async_client(world.gate, "video", **world.options(library)) as http:
            with subject(job_id="order-1"):
                created = await http.post(CREATE, json=ASK)
            asked = await http.get(f"https://before.example/v1/tasks/{created.json()['id']}")
            return created, asked

    created, asked = asyncio.run(run())
    assert (created.status_code, asked.status_code) == (200, 200)
    found = [(line["side"], line.get("operation")) for line in world.lines()]
    assert found == [(side, None), (side, "task")]


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize(("percent", "side"), SIDES)
def test_what_nobody_can_read_goes_to_the_previous_provider_and_is_told(
    world: World, api: httpx.Client, side: str, library: str
) -> None:
    """A form, and a body in pieces, may hold whatever credential; no provider takes them here."""

    def pieces() -> Iterator[bytes]:
        yield b"one"
        yield b"two"

    api.delete("/_sim/requests").raise_for_status()
    with client(world.gate, "video", **world.options(library)) as http:
        form = http.post(CREATE, data={"model": "kling-video-1"}, files={"image": b"\x89PNG"})
        streamed = http.post(CREATE, content=pieces())
    assert (form.status_code, streamed.status_code) == (400, 400)
    assert [line["side"] for line in world.lines()] == ["previous"] * 2
    seen = api.get("/_sim/requests").json()["requests"]
    there = [one for one in seen if one["path"].endswith("/v1/videos/generations")]
    assert [(one["side"], one["status"]) for one in there] == [("previous", 400)] * 2
    told = [about for about in world.gate._about if about == ("unreadable", "video")]
    assert len(told) == (side == "tokenlab")


@pytest.mark.parametrize("percent", [100])
def test_an_address_that_no_library_takes_is_no_file_and_leaves_a_line(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    world.gate.subscribe(on_trouble=told.append)
    world.write(100, "http://gateway:port")
    world.gate.refresh()
    world.gate.refresh()
    assert "is no URL" in told[-1]
    with client(world.gate, "video", **world.options("httpx2")) as http:
        assert http.post(CREATE, json=ASK).status_code == 200, "the last good file is in force"
        file = world.gate.file
        assert file is not None
        world.gate.take(replace(file, base_url="http://gateway\x7f.example"))
        with pytest.raises(Exception, match="Invalid"):
            http.post(CREATE, json=ASK)
    good, bad = world.lines()
    assert (good["status"], bad["status"], bad["error"]) == (200, 0, "protocol")
