"""Every screen in every theme and size, as text with its styles; --snapshot-update renews them."""

import json
import random
import re
from collections.abc import Iterator
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import time_machine
from syrupy.assertion import SnapshotAssertion
from syrupy.extensions.single_file import SingleFileSnapshotExtension, WriteMode
from textual.pilot import Pilot
from textual.widgets import DataTable, Static

from rollout_console.changes.switch import Switch
from rollout_console.common.folders import state_folder
from rollout_console.credentials.vault.environment import Given
from rollout_console.guard.monitor import Monitor
from rollout_console.history.actor import Actor
from rollout_console.history.history import History
from rollout_console.reconcile.store import Listing, UsageStore, store_path
from rollout_console.sim.server import SimServer
from rollout_console.sim.state import ApiKey
from rollout_console.tokenlab.types import ApiKey as ApiKeyListed
from rollout_console.tokenlab.types import UsageRecord
from rollout_console.ui.app import ConsoleApp
from rollout_console.ui.screens.home.screen import HomeScreen
from rollout_console.ui.settings import Settings
from rollout_console.ui.widgets.line import TextLine
from rollout_console.ui.widgets.line_table import LineTable
from rollout_console.ui.widgets.rollout_table import RolloutTable
from rollout_gate import AccessLine, AccessLog, timestamp
from rollout_gate.file.formats import root_of
from tests.credentials.vault.test_vault import vault_of
from tests.jobs.ledgers import create, write
from tests.support.waiting import resize, until_shown

NOW = datetime.fromisoformat("2026-10-01T02:20:00+00:00")
SIZES = ((80, 24), (120, 40), (200, 60), (40, 12))
LINES = 2400


class Picture(SingleFileSnapshotExtension):
    """A file for each picture, which reads as the screen did."""

    _file_extension = "txt"
    _write_mode = WriteMode.TEXT


class World(NamedTuple):
    """The console, and the clock of its process."""

    app: ConsoleApp
    clock: time_machine.Traveller


@pytest.fixture
def world(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """The console at a time that stands still, an incident and a rollback behind it."""
    monkeypatch.chdir(file.parent)
    file = Path(file.name)  # named the same wherever the test runs
    with time_machine.travel(NOW, tick=False) as clock, SimServer(seed=5) as sim:
        sim.state.add_key(ApiKey("key_batch", "batch jobs", "sk-sim-batch-12345678"))
        file.write_text(file.read_text().replace("https://api.tokenlab.sh", sim.base_url))
        _traffic(file)
        history = History(file.parent / "h.sqlite3")
        past = Switch(
            file, history, Actor("kim", "gw-01"), clock=lambda: NOW - timedelta(minutes=9)
        )
        past.open()
        past.apply(past.planner.plan_set("chat", "acme", 5000), reason="the bake time is over")
        past.apply(past.planner.plan_rollback("claude", "acme", "5xx 40%"), reason="5xx 40%")
        switch = Switch(file, history, Actor("jo", "gw-01"))
        monitor = Monitor(file, switch.open().file)
        vault = vault_of(tmp_path, Given(variables={"management_token": "mt-sim-demo"}))
        app = ConsoleApp(switch, monitor, Settings(), user="jo", host="gw-01", vault=vault)
        yield World(app, clock)


def _traffic(file: Path) -> None:
    """Five minutes on both sides of two routes; one org has errors in the last of them."""
    drawn = random.Random(3)
    log = AccessLog(file.parent / "access.jsonl")
    for number in range(LINES):
        ago = 300 * (1 - number / LINES)
        org = drawn.choice(("acme", "globex.eu", "initech", "stark"))
        side = drawn.choice(("tokenlab", "previous"))
        sick = side == "tokenlab" and org == "globex.eu" and ago < 60 and drawn.random() < 0.6
        log.append(
            AccessLine(
                ts=timestamp(NOW - timedelta(seconds=ago)), route=drawn.choice(("chat", "claude")),
                org=org, side=side, model="m", status=503 if sick else 200,
                latency_ms=drawn.uniform(200, 900), host="gw-01",
                error="all_channels_failed" if sick else None, request_id=f"req-{number}",
            )
        )  # fmt: skip
    log.close()


async def _home(pilot: Pilot[None]) -> None:
    await until_shown(pilot, lambda: isinstance(pilot.app.screen, HomeScreen))


async def _begun(pilot: Pilot[None], world: World) -> None:
    """Wait until all was read, and for the second after it."""
    app = world.app
    await until_shown(pilot, lambda: app._monitor.lines == LINES and not app._monitor.reads_older)
    await until_shown(pilot, lambda: "$" in app.screen.query_one("#status", TextLine).text)
    await until_shown(pilot, lambda: "globex.eu" in app.screen.query_one("#alarm", TextLine).text)
    world.clock.shift(2)
    await until_shown(pilot, lambda: "live 2 s" in app.screen.query_one("#status", TextLine).text)
    table = app.screen.query_one(RolloutTable)
    await until_shown(pilot, lambda: all("▁" in table.render_line(y).text for y in range(1, 5)))


async def _listed(pilot: Pilot[None]) -> None:
    def rows() -> bool:
        lines = pilot.app.screen.query(LineTable)
        listed = pilot.app.screen.query(DataTable)
        return any(table.rows for table in lines) or any(table.row_count for table in listed)

    await until_shown(pilot, rows)


async def _live(pilot: Pilot[None]) -> None:
    await until_shown(pilot, lambda: bool(pilot.app.screen.query("#live-event")))


async def _history(pilot: Pilot[None]) -> None:
    await _listed(pilot)
    details = "#change Static"
    await until_shown(pilot, lambda: bool(pilot.app.screen.query(details)))
    shown = pilot.app.screen.query(details).first(Static)
    await until_shown(pilot, lambda: "rolled_back = true" in str(shown.render()))


async def _jobs(pilot: Pilot[None]) -> None:
    """Write the ledger only now: the jobs in it are an alarm on the other screens."""
    now = NOW.timestamp()
    lost: dict[str, Any] = {"state": "unknown", "task_id": None, "status": 504}
    write(
        Path(),
        create("u", now=now, ago=700, job_id="order-1", model="m", host="gw-01", **lost),
        create("l", now=now, ago=800, polls=0, progress=40, model="m", host="gw-02"),
        create("t", now=now, ago=2_000, side="previous", progress=80, org="globex.eu"),
        create("o", now=now, ago=30, route="image", progress=7, job_id="order-2"),
        create("s", now=now, ago=5, state="unknown", task_id=None, status=None),
        create("f", now=now, ago=90, state="failed", error="moderation", ended_at=now - 60),
        create("x", now=now, ago=95, state="cancelled", ended_at=now - 80),
        create("c", now=now, ago=99, state="completed", ended_at=now - 57, job_id="order-9"),
    )
    await until_shown(pilot, lambda: bool(pilot.app.screen.query("#jobs-notice")))
    await pilot.press("f5")  # the clock stands still, so that no read is ever due
    await _listed(pilot)
    notice = pilot.app.screen.query_one("#jobs-notice", TextLine)
    await until_shown(pilot, lambda: "a key: no API key" in notice.text)


def _pull(pilot: Pilot[None], *, gaps: bool) -> None:
    """Keep usage records as a pull does: of lines of the log, and with gaps of no line."""
    lines = [json.loads(one) for one in Path("access.jsonl").read_text().splitlines()]
    answered = [one for one in lines if one["side"] == "tokenlab" and one["status"] == 200]
    records = [
        UsageRecord(
            one["request_id"], f"btx-{number}", f"model-{number % 3}", "chat", "token", "1200",
            1_000 + number, 200, Decimal(number + 1) ** 3 / 10**6, datetime.fromisoformat(one["ts"])
        )
        for number, one in enumerate(answered[::9])
    ]  # fmt: skip
    for number in range(7 if gaps else 0):
        made = NOW - timedelta(hours=2, minutes=number)
        records.append(
            UsageRecord(f"req-x-{number}", None, "model-2", "chat", "token", "9", 4, 5,
                        Decimal("0.0125"), made)
        )  # fmt: skip
    app = pilot.app
    assert isinstance(app, ConsoleApp)
    file, until = app._monitor.file, int(NOW.timestamp())
    with UsageStore(store_path(state_folder(), file.profile, root_of(file.base_url))) as store:
        made = NOW - timedelta(days=30)
        keys = (("key_demo", "demo"), ("key_batch", "batch jobs"))
        store.keep_keys(
            ApiKeyListed(key, name, "sk-sim", "active", None, Decimal(0), (), None, None, made)
            for key, name in keys
        )
        for key, some in (("key_demo", records[::2]), ("key_batch", records[1::2])):
            store.commit(key, Listing(until - 8 * 86_400, until, until, some, len(some), None))


async def _loaded(pilot: Pilot[None], words: str) -> None:
    await until_shown(pilot, lambda: bool(pilot.app.screen.query("#money-title")))
    await pilot.press("f5")
    title = pilot.app.screen.query_one("#money-title", TextLine)
    await until_shown(pilot, lambda: words in title.text and "looking" not in title.text)
    head = pilot.app.screen.query_one("#money-head", Static)
    await until_shown(pilot, lambda: "balance $" in str(head.render()))
    await _listed(pilot)


async def _money(pilot: Pilot[None]) -> None:
    _pull(pilot, gaps=False)
    await _loaded(pilot, "by route")


async def _piles(pilot: Pilot[None]) -> None:
    _pull(pilot, gaps=True)
    await _loaded(pilot, "gap")
    await pilot.press("m")


SCREENS = {
    "home": ("1", _home),
    "keys": ("2", _listed),
    "models": ("3", _listed),
    "routes": ("4", _listed),
    "live": ("5", _live),
    "history": ("6", _history),
    "jobs": ("7", _jobs),
    "money": ("8", _money),
    "piles": ("8", _piles),
}


async def _settled(pilot: Pilot[None]) -> str:
    """Return the picture once it stays the same, and nothing is being read."""
    before, steady = "", 0
    while steady < 2:
        await pilot.pause(0.1)
        now = picture(pilot)
        reads = re.search(r"\breading\b.*…", now) is not None
        before, steady = now, steady + 1 if now == before and not reads else 0
    assert pilot.app._exception is None
    return before


def picture(pilot: Pilot[None]) -> str:
    """Return what is on the screen: its lines, and under them the runs of styles of each."""
    strips = pilot.app.screen._compositor.render_strips()
    text = "\n".join(strip.text.rstrip() for strip in strips)
    numbers: dict[str, int] = {}
    runs = []
    for strip in strips:
        line: list[tuple[int, int]] = []
        for segment in strip:
            style = re.sub(r"not \w+ ?", "", str(segment.style))
            number = numbers.setdefault(style, len(numbers))
            before = line.pop() if line and line[-1][0] == number else (number, 0)
            line.append((number, before[1] + segment.cell_length))
        runs.append(" ".join(f"{number}*{length}" for number, length in line))
    styles = "\n".join(f"{number} {style}" for style, number in numbers.items())
    text = re.sub(r"127\.0\.0\.1:\d{5}", "127.0.0.1:00000", text)
    text = re.sub(r"\b[0-9a-f]{12}\b", "0" * 12, text)  # a revision, of a text with the port in it
    return "\n\n".join((text, styles, "\n".join(runs))) + "\n"


@pytest.mark.slow
async def test_screens_and_sizes(world: World, snapshot: SnapshotAssertion) -> None:
    pictures = snapshot.use_extension(Picture)
    async with world.app.run_test(size=SIZES[0]) as pilot:
        await _begun(pilot, world)
        for screen, (key, ready) in SCREENS.items():
            await pilot.press(key)
            await ready(pilot)
            for width, height in SIZES:
                await resize(pilot, width, height)
                assert await _settled(pilot) == pictures(name=f"{screen} {width}x{height}")
            await resize(pilot, *SIZES[0])
            await pilot.press("1")


@pytest.mark.slow
async def test_screens_and_themes(world: World, snapshot: SnapshotAssertion) -> None:
    pictures = snapshot.use_extension(Picture)
    async with world.app.run_test(size=SIZES[0]) as pilot:
        await _begun(pilot, world)
        for screen, (key, ready) in SCREENS.items():
            await pilot.press(key)
            await ready(pilot)
            for theme in sorted(world.app.own_themes):
                world.app.theme = theme
                assert await _settled(pilot) == pictures(name=f"{screen} {theme}")
            await pilot.press("1")
