"""The jobs screen's polling, cancelling and forgetting, on tasks of the simulator."""

import asyncio
import sqlite3
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from rollout_console.sim.server import SimServer
from rollout_console.ui.screens.home.screen import HomeScreen
from rollout_console.ui.screens.jobs.screen import JobsScreen
from tests.cli.test_jobs import make
from tests.jobs.ledgers import create, write
from tests.sim.asking import set_fault
from tests.support.waiting import until_shown
from tests.ui.jobs_screens import (
    LOST_ANSWER,
    asked_of,
    confirmed,
    is_polling,
    line,
    opened,
    read_often,
    rollout_in,
    rows,
    shown,
    standings,
)


@pytest.fixture
def rollout(tmp_path: Path, sim: SimServer) -> Path:
    return rollout_in(tmp_path, sim)


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    read_often(monkeypatch)


@pytest.mark.slow
async def test_it_follows_tasks_to_their_end_and_creates_none(
    rollout: Path, sim: SimServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rollout_console.sim.media.QUEUED_S", 0.0)
    monkeypatch.setattr("rollout_console.sim.media.WORKING_S", 3_600.0)
    make(rollout, sim, "order-1", None)
    tasks, served = len(sim.state.tasks), len(asked_of(sim))
    async with shown(rollout) as pilot:
        await until_shown(pilot, lambda: standings(pilot) == ["open", "open"])
        await until_shown(pilot, lambda: "polling: next in" in line(pilot, "notice"))
        monkeypatch.setattr("rollout_console.sim.media.WORKING_S", 0.0)
        await until_shown(pilot, lambda: standings(pilot) == ["completed", "completed"])
        assert "2 completed" in line(pilot, "counts")
        asked = asked_of(sim)[served:]
        assert len(asked) == 4, "each once while it ran, and once at its end"
        assert all(path.startswith("/v1/tasks/") for path in asked)
    assert len(sim.state.tasks) == tasks


async def test_a_rate_limit_is_told_and_kept_when_the_screen_is_opened_again(
    rollout: Path, sim: SimServer, api: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rollout_console.sim.errors.RETRY_AFTER_S", 100)
    make(rollout, sim, "order-1", "order-2")
    set_fault(api, kind="error", status=429, path="/v1/tasks")
    served = len(asked_of(sim))
    async with shown(rollout) as pilot:
        await until_shown(pilot, lambda: "polling waits" in line(pilot, "notice"))
        assert "429" in line(pilot, "notice")
        assert len(asked_of(sim)) - served == 1, "the others wait as well"
        poller = pilot.app.screen._poller  # type: ignore[attr-defined]
        poller._paused_until = time.monotonic() + 300
        await pilot.press("escape")
        await until_shown(pilot, lambda: not is_polling(pilot))
        await opened(pilot)
        await until_shown(pilot, lambda: "polling waits 29" in line(pilot, "notice"))
        assert len(asked_of(sim)) - served == 1


@pytest.mark.parametrize("way", ["escape", "p", "q"])
async def test_polling_ends_in_the_middle_of_a_request(
    rollout: Path, sim: SimServer, api: httpx.Client, way: str
) -> None:
    make(rollout, sim, "order-1")
    set_fault(api, kind="slow", latency_ms=20_000, path="/v1/tasks")
    began = time.monotonic()
    async with shown(rollout) as pilot:
        await until_shown(pilot, lambda: "0 answers" in line(pilot, "notice"))
        await pilot.press(way)
        if way != "q":
            await until_shown(pilot, lambda: not is_polling(pilot))
            assert pilot.app.is_running
    assert time.monotonic() - began < 19, "it waited for the answer"


@pytest.mark.slow
async def test_it_polls_only_while_it_is_switched_on(
    rollout: Path, sim: SimServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rollout_console.sim.media.WORKING_S", 3_600.0)
    make(rollout, sim, "order-1")
    async with shown(rollout) as pilot:
        await until_shown(pilot, lambda: "next in" in line(pilot, "notice"))
        await pilot.press("p")
        await until_shown(pilot, lambda: "not polled; p polls" in line(pilot, "notice"))
        served = len(asked_of(sim))
        await pilot.press("escape")
        await until_shown(pilot, lambda: isinstance(pilot.app.screen, HomeScreen))
        await opened(pilot)
        await until_shown(pilot, lambda: "not polled; p polls" in line(pilot, "notice"))
        assert len(asked_of(sim)) == served, "the choice is kept"
        await pilot.press("p")
        await until_shown(pilot, lambda: "next in" in line(pilot, "notice"))
        await until_shown(pilot, lambda: len(asked_of(sim)) > served)


async def test_a_missing_key_is_told_once(rollout: Path) -> None:
    write(rollout.parent, create("a", now=time.time()))
    async with shown(rollout, (120, 40), key="") as pilot:
        await until_shown(pilot, lambda: "a key: no API key for profile" in line(pilot, "notice"))
        assert "not polled; a on the keys screen (2) gives" in line(pilot, "notice")
        await pilot.press("escape")
        quiet = "not polled: no API key; p looks for one again"
        await until_shown(pilot, lambda: quiet in line(pilot, "notice"))
        await pilot.press("escape")
        await until_shown(pilot, lambda: isinstance(pilot.app.screen, HomeScreen))
        await opened(pilot)
        await until_shown(pilot, lambda: quiet in line(pilot, "notice"))
        await pilot.press("p")
        await until_shown(pilot, lambda: "gives a key" in line(pilot, "notice"))
        assert type(pilot.app.screen) is JobsScreen, "nothing asks for a passphrase"


async def test_a_queued_task_is_cancelled_with_a_confirm(
    rollout: Path, sim: SimServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rollout_console.sim.media.QUEUED_S", 3_600.0)
    make(rollout, sim, "order-1")
    async with shown(rollout) as pilot:
        await until_shown(pilot, lambda: standings(pilot) == ["open"])
        await pilot.press("x")
        asked = await confirmed(pilot, "enter")
        assert "cancel ldtask_" in asked
        assert "of video / acme at TokenLab" in asked
        await until_shown(pilot, lambda: "nothing was cancelled" in line(pilot, "notice"))
        assert standings(pilot) == ["open"], "enter alone confirmed"
        await pilot.press("x")
        await confirmed(pilot, "y")
        await until_shown(pilot, lambda: standings(pilot) == ["cancelled"])
        await until_shown(pilot, lambda: "is cancelled" in line(pilot, "notice"))
        await pilot.press("x")
        assert "it cannot be cancelled: it is cancelled" in line(pilot, "notice")


async def test_a_task_that_runs_is_refused_by_the_api_in_words(
    rollout: Path, sim: SimServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rollout_console.sim.media.QUEUED_S", 0.0)
    monkeypatch.setattr("rollout_console.sim.media.WORKING_S", 3_600.0)
    make(rollout, sim, "order-1")
    async with shown(rollout, (200, 60)) as pilot:
        await until_shown(pilot, lambda: standings(pilot) == ["open"])
        await pilot.press("x")
        await confirmed(pilot, "y")
        await until_shown(
            pilot, lambda: "it is not queued any more; it goes on" in line(pilot, "notice")
        )
        assert "409" in line(pilot, "notice")
        assert standings(pilot) == ["open"]


@pytest.mark.parametrize(
    ("given", "key", "why"),
    [
        ({"side": "previous"}, "x", "it is open, on the previous side"),
        (LOST_ANSWER, "x", "it has no known task"),
        ({"state": "completed"}, "x", "it is completed"),
        ({"state": "completed"}, "f", "what became of its create is known"),
        ({**LOST_ANSWER, "status": None}, "f", "its answer may still come"),
    ],
)
async def test_what_cannot_be_done_says_why_before_any_confirm(
    rollout: Path, given: dict[str, Any], key: str, why: str
) -> None:
    write(rollout.parent, create("a", now=time.time(), ago=20, **given))
    async with shown(rollout, (120, 40), key="") as pilot:
        await until_shown(pilot, lambda: rows(pilot))
        await pilot.press(key)
        assert why in line(pilot, "notice")
        assert isinstance(pilot.app.screen, JobsScreen)


@pytest.mark.slow
async def test_a_forgotten_job_may_be_created_again(
    rollout: Path, sim: SimServer, api: httpx.Client
) -> None:
    set_fault(api, kind="error", status=504, path="/v1/videos")
    make(rollout, sim, "order-2", None, status=504)
    await asyncio.to_thread(api.delete, "/_sim/faults")
    make(rollout, sim, "order-2", status=409)
    tasks = len(sim.state.tasks)
    async with shown(rollout) as pilot:
        await until_shown(pilot, lambda: standings(pilot) == ["unknown", "unknown"])
        await pilot.press("slash", *"order", "enter")
        await until_shown(pilot, lambda: len(rows(pilot)) == 1)
        await pilot.press("f")
        asked = await confirmed(pilot, "n")
        assert "job order-2 of video / acme may be created again" in asked
        assert "look for its task at tokenlab first" in asked
        assert standings(pilot) == ["unknown"]
        await pilot.press("f")
        await confirmed(pilot, "y")
        await until_shown(pilot, lambda: "done: job order-2" in line(pilot, "notice"))
        await pilot.press("escape")
        await until_shown(pilot, lambda: standings(pilot) == ["unknown"])
        assert len(sim.state.tasks) == tasks, "forgetting made one"
        make(rollout, sim, "order-2")
        await until_shown(pilot, lambda: standings(pilot) == ["unknown", "open"])
        await pilot.press("g", "f")
        assert "nothing prevents that it is created again" in await confirmed(pilot, "y")
        await until_shown(pilot, lambda: standings(pilot) == ["open"])


@pytest.mark.slow
async def test_a_ledger_that_is_locked_is_not_forgotten_from(rollout: Path) -> None:
    path = write(rollout.parent, create("a", now=time.time(), ago=60, **LOST_ANSWER))
    other = sqlite3.connect(path, isolation_level=None)
    async with shown(rollout, (120, 40), key="") as pilot:
        await until_shown(pilot, lambda: standings(pilot) == ["unknown"])
        other.execute("begin immediate")
        await pilot.press("f")
        await confirmed(pilot, "y")
        await until_shown(pilot, lambda: "nothing was forgotten" in line(pilot, "notice"))
        other.execute("rollback")
        assert standings(pilot) == ["unknown"]
    other.close()
