"""The played application: what the simulator served is what the access log says, line for line."""

import asyncio
import gc
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from rollout_console.common.assets import asset_folder
from rollout_console.sim.formats import Ask, read_ask
from rollout_console.sim.incidents import start_incident
from rollout_console.sim.server import SimServer
from rollout_console.sim.state import DEMO_KEY
from rollout_console.sim.traffic import ORGS, ROUTES, STREAMED, TOOLS, Traffic

ERRORS = {
    "5xx storm": {(502, "upstream_error"), (503, "all_channels_failed")},
    "rate limit": {(429, "rate_limit_exceeded")},
    "wrong key": {(401, "invalid_api_key")},
    "garbage": {(0, "protocol")},
}
GOOGLE = {502: "INTERNAL", 503: "UNAVAILABLE", 429: "RESOURCE_EXHAUSTED", 401: "UNAUTHENTICATED"}


def write(sim: SimServer, folder: Path, *, base_url: str = "") -> Path:
    """The demo's file without its videos, with half of everything on TokenLab."""
    text = (asset_folder("sample_configs") / "demo.toml").read_text().partition("[routes.clips]")[0]
    text = text.replace("[routes.gemini.orgs]", "default_percent = 50\n[routes.gemini.orgs]")
    text = text.replace('base_url = "BASE_URL"', f'base_url = "{base_url or "BASE_URL"}"')
    path = folder / "rollout.toml"
    path.write_text(text.replace("BASE_URL", sim.base_url))
    return path


async def play(file: Path, *, least: int = 200, rate: float = 60.0) -> list[dict[str, Any]]:
    """Play until the log has so many lines, however fast this machine is just now.

    At a rate that it keeps up with: for each request the client's pool looks at all in flight.
    """
    stop = asyncio.Event()
    log = file.parent / "access.jsonl"
    playing = asyncio.create_task(Traffic(file, api_key=DEMO_KEY, rate=rate).run(stop))
    async with asyncio.timeout(60):
        while not log.exists() or log.read_bytes().count(b"\n") < least:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    stop.set()
    await asyncio.wait_for(playing, 20)
    return [json.loads(line) for line in log.read_text().splitlines()]


def counted(rows: Any, *names: str) -> Counter[tuple[Any, ...]]:
    return Counter(
        tuple(row[name] if isinstance(row, dict) else getattr(row, name) for name in names)
        for row in rows
    )


def played(sim: SimServer) -> list[Any]:
    """What the simulator was asked by the traffic, and not by a test before that ends late."""
    return [one for one in sim.state.requests if one.route]


async def test_every_request_is_one_line(sim: SimServer, tmp_path: Path) -> None:
    sim.state.requests.clear()
    leaks = sim.state.credential_leaks
    lines = await play(write(sim, tmp_path), least=400)
    said = ("route", "org", "side", "model", "status", "stream")
    assert counted(lines, *said) == counted(played(sim), *said)
    assert {line["route"] for line in lines} == set(ROUTES)
    assert {line["org"] for line in lines} <= set(ORGS)
    assert {line["side"] for line in lines} == {"tokenlab", "previous"}
    assert {line["status"] for line in lines} == {200}
    share = sum(line["stream"] for line in lines) / len(lines)
    assert STREAMED - 0.15 < share < STREAMED + 0.15
    assert all(("ttft_ms" in line) == line["stream"] for line in lines)
    assert all(("request_id" in line) == (line["side"] == "tokenlab") for line in lines)
    assert {line["attempt"] for line in lines} == {1}
    assert sim.state.credential_leaks == leaks


@pytest.mark.parametrize("incident", ERRORS)
async def test_an_incident_is_in_the_log(sim: SimServer, tmp_path: Path, incident: str) -> None:
    start_incident(sim.base_url, incident)
    lines = await play(write(sim, tmp_path))
    wrong = [line for line in lines if line["status"] != 200]
    assert {line["side"] for line in wrong} == {"tokenlab"}
    google = [line for line in wrong if line["route"] == "gemini" and line["status"]]
    others = [line for line in wrong if line not in google]
    assert others
    assert {(line["status"], line["error"]) for line in others} <= ERRORS[incident]
    assert all(line["error"] == GOOGLE[line["status"]] for line in google)
    assert all("error" not in line for line in lines if line["status"] == 200)


OUTCOMES = {
    "failure": "error",
    "cut": "truncated",
    "empty": "empty",
    "filter": "filtered",
    "length": "ok",
    "stall": "ok",
    "": "ok",
}
INSIDE: dict[str, dict[str, Any]] = {
    "failure": {"kind": "failure", "share": 0.5},
    "failure late": {"kind": "failure", "share": 0.5, "after": 3, "code": "rate_limit"},
    "failure at the end": {"kind": "failure", "share": 0.5, "variant": "ending", "after": 2},
    "cut": {"kind": "cut", "share": 0.5, "after": 3},
    "cut at once": {"kind": "cut", "share": 0.5},
    "cut inside": {"kind": "cut", "share": 0.5, "after": 2, "variant": "inside"},
    "empty": {"kind": "empty", "share": 0.5},
    "empty, bare": {"kind": "empty", "share": 0.5, "variant": "bare"},
    "empty, blank": {"kind": "empty", "share": 0.5, "variant": "blank"},
    "filter": {"kind": "filter", "share": 0.5},
    "length": {"kind": "length", "share": 0.5, "after": 3},
    "stall": {"kind": "stall", "share": 0.5, "latency_ms": 50},
}


OTHERS = dict(zip(INSIDE, [*list(INSIDE)[6:], *list(INSIDE)[:6]], strict=True))
"""For each fault of one side, that of the other side meanwhile: each is played on both."""


@pytest.mark.parametrize("name", INSIDE)
async def test_what_came_inside_a_200_is_in_the_log_line_for_line(
    sim: SimServer, tmp_path: Path, name: str
) -> None:
    """The simulator keeps which answers it spoiled; the gate must have seen the same."""
    faults = {"tokenlab": INSIDE[name], "previous": INSIDE[OTHERS[name]]}
    for side, fault in faults.items():
        sim.state.faults.add({**fault, "side": side})
    sim.state.requests.clear()
    lines = await play(write(sim, tmp_path), least=120)  # 60 of them are spoiled
    assert {line["status"] for line in lines} == {200}
    for side, fault in faults.items():
        said = Counter(
            (one.route, one.stream, OUTCOMES[one.fault]) for one in played(sim) if one.side == side
        )
        of_side = [line for line in lines if line["side"] == side]
        logged = counted(of_side, "route", "stream", "outcome")
        if (fault["kind"], fault.get("variant")) in (
            ("empty", "blank"),
            ("empty", "bare"),
            ("cut", None),
        ):
            # A Gemini stream without a single event is cut and empty at once.
            said = Counter(place for place in said.elements() if place[0] != "gemini")
            logged = Counter(place for place in logged.elements() if place[0] != "gemini")
        assert logged == said, side
        wanted = OUTCOMES[fault["kind"]]
        assert (wanted == "ok") or any(line["outcome"] == wanted for line in of_side)


async def test_what_is_under_way_at_the_stop_ends(tmp_path: Path) -> None:
    with SimServer(seed=3) as own:  # none that is left of another test is counted
        own.state.faults.add({"kind": "slow", "latency_ms": 600})
        lines = await play(write(own, tmp_path), least=20, rate=100)
        assert min(line["latency_ms"] for line in lines) > 600
        assert {line["status"] for line in lines} == {200}
        assert len(lines) == len(own.state.requests) > 10


@pytest.mark.parametrize("base_url", ["http://127.0.0.1:1", "http://nowhere.invalid"])
async def test_a_wrong_address_in_the_file_ends_no_traffic(
    sim: SimServer, tmp_path: Path, base_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    lines = await play(write(sim, tmp_path, base_url=base_url))
    assert sum(line["side"] == "previous" and line["status"] == 200 for line in lines) > 20
    assert not [line for line in lines if line["side"] == "tokenlab" and line["status"]]
    gc.collect()  # asyncio tells of a task's exception when the task is collected
    assert not [record for record in caplog.records if record.name == "asyncio"]


async def test_requests_that_ask_for_a_tool_are_answered_by_its_call(
    sim: SimServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, str]] = []

    def noted(kind: str, *rest: Any) -> Ask:
        ask = read_ask(kind, *rest)
        asked.append((kind, ask.tool))
        return ask

    monkeypatch.setattr("rollout_console.sim.inference.read_ask", noted)
    lines = await play(write(sim, tmp_path), least=400)
    tools = [kind for kind, tool in asked if tool]
    assert set(tools) == {kind for kind, _ in asked}
    assert len(set(tools)) == 4
    assert TOOLS / 2 < len(tools) / len(asked) < 2 * TOOLS
    assert {line["status"] for line in lines} == {200}
