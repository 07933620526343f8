"""Pictures of the screens that matter; --snapshot-update renews those in the tree."""

import random
from datetime import datetime
from pathlib import Path
from typing import Any, cast

import pytest
from textual.pilot import Pilot
from textual.widgets import Static

from rollout_console.changes.switch import Switch
from rollout_console.history.actor import Actor
from rollout_console.history.history import History
from rollout_console.ui.app import ConsoleApp
from rollout_console.ui.dialogs.confirm import ConfirmDialog
from rollout_console.ui.screens.help import HelpScreen
from rollout_console.ui.screens.history.screen import HistoryScreen
from rollout_console.ui.screens.live.screen import LiveScreen
from rollout_console.ui.settings import Settings
from tests.support.waiting import until_shown
from tests.ui.test_home import app_of, notices
from tests.ui.test_live_screen import line, write

NOW = datetime.fromisoformat("2026-10-01T02:20:00+00:00")


@pytest.fixture
def quiet(file: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file with an empty log, named the same wherever the test runs."""
    (file.parent / "access.jsonl").write_text("")
    monkeypatch.chdir(file.parent)
    return Path(file.name)


async def _settle(pilot: Pilot[None]) -> None:
    await until_shown(pilot, lambda: "management token" in notices(pilot))
    await pilot.pause(0.2)
    # A picture of a crash would be compared with itself for ever.
    assert pilot.app.is_running
    assert pilot.app._exception is None


async def _ask(pilot: Pilot[None]) -> None:
    await _settle(pilot)
    await pilot.press("r")
    await until_shown(pilot, lambda: isinstance(pilot.app.screen, ConfirmDialog))


async def _help(pilot: Pilot[None]) -> None:
    await _settle(pilot)
    await pilot.press("question_mark")
    await until_shown(pilot, lambda: isinstance(pilot.app.screen, HelpScreen))


@pytest.mark.parametrize("size", [(80, 24), (120, 40), (20, 5)])
def test_home(quiet: Path, snap_compare: Any, size: tuple[int, int]) -> None:
    assert snap_compare(app_of(quiet), terminal_size=size, run_before=_settle)


@pytest.mark.parametrize("theme", ["sixteen", "deuteranopia", "day-ops"])
def test_themes(quiet: Path, snap_compare: Any, theme: str) -> None:
    app = app_of(quiet, settings=Settings(theme=theme))
    assert snap_compare(app, terminal_size=(80, 24), run_before=_settle)


def test_without_colours(quiet: Path, snap_compare: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    assert snap_compare(app_of(quiet), terminal_size=(80, 24), run_before=_settle)


def test_the_confirm(quiet: Path, snap_compare: Any) -> None:
    assert snap_compare(app_of(quiet), terminal_size=(80, 24), run_before=_ask)


def test_help(quiet: Path, snap_compare: Any) -> None:
    assert snap_compare(app_of(quiet), terminal_size=(80, 40), run_before=_help)


def _storm(file: Path) -> None:
    """Five minutes of both sides; errors for the last one, and a rollback in it."""
    drawn = random.Random(3)
    for ago in range(300, 0, -1):
        at = NOW.timestamp() - ago
        for side in ("tokenlab", "previous"):
            sick = side == "tokenlab" and ago < 60
            status = drawn.choice((200, 503, 503, 429, 401)) if sick else 200
            fields: dict[str, Any] = {"org": "acme" if ago % 2 else "hooli", "at": at, "side": side}
            if sick:
                fields |= {"error": "all_channels_failed", "request_id": f"req-{ago}"}
            latency = drawn.uniform(200, 400) + 40 * (sick * 10)
            write(file, {"status": status, "latency_ms": latency, **fields})
    switch = Switch(
        file, History(file.parent / "h.sqlite3"), Actor("jo", "gw-01"),
        clock=lambda: NOW.replace(minute=19, second=30),
    )  # fmt: skip
    switch.open()
    switch.apply(switch.planner.plan_rollback("chat", "acme", "5xx 40%"), reason="5xx 40%")


async def _live(pilot: Pilot[None]) -> None:
    app = cast(ConsoleApp, pilot.app)
    await until_shown(pilot, lambda: app._monitor.lines == 600)
    # The alert is seen a second after the log; it is the last event, and the rollback before it.
    await until_shown(pilot, lambda: len(app.session.alerts.open) == 1)
    await pilot.press("5")
    await until_shown(pilot, lambda: isinstance(pilot.app.screen, LiveScreen))
    await until_shown(pilot, lambda: "last: 02:20:00" in line(pilot, "event"))
    await pilot.press("v")
    await until_shown(pilot, lambda: "alerts (1)" in line(pilot, "list"))
    await until_shown(pilot, lambda: app._live is not None and bool(app._live.changes))
    await pilot.press("p", "p")
    await until_shown(pilot, lambda: "rollback: chat / acme" in line(pilot, "event"))
    await pilot.pause(0.2)
    assert pilot.app._exception is None


def test_live(quiet: Path, snap_compare: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (
        "rollout_console.ui.screens.home.screen",
        "rollout_console.ui.screens.live.screen",
        "rollout_console.ui.session",
    ):
        monkeypatch.setattr(f"{module}.time", NOW.timestamp)
    _storm(quiet.absolute())
    assert snap_compare(app_of(quiet), terminal_size=(120, 40), run_before=_live)


async def _history(pilot: Pilot[None]) -> None:
    await _settle(pilot)
    await pilot.press("6")
    await until_shown(pilot, lambda: isinstance(pilot.app.screen, HistoryScreen))
    details = "#change Static"
    await until_shown(pilot, lambda: bool(pilot.app.screen.query(details)))
    shown = pilot.app.screen.query(details).first(Static)
    await until_shown(pilot, lambda: "rolled_back = true" in str(shown.render()))
    await pilot.pause(0.2)
    assert pilot.app._exception is None


@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
def test_history(quiet: Path, snap_compare: Any, size: tuple[int, int]) -> None:
    for second, (user, org, points, why) in enumerate(
        (
            ("kim", "acme", 5000, "the bake time is over"),
            ("jo", "globex.eu", 2500, ""),
            ("lee", "stark", 100, "a first step"),
        )
    ):
        _change(quiet, user, second, org, points, why)
    switch = _at(quiet, "jo", 40)
    switch.apply(
        switch.planner.plan_rollback("chat", "acme", "5xx 40%"), reason="5xx 40%",
        verdict="rollback: 5xx 40% in 21 s, 17 of 42, limit 2%",
    )  # fmt: skip
    assert snap_compare(app_of(quiet), terminal_size=size, run_before=_history)


def _at(file: Path, user: str, second: int) -> Switch:
    switch = Switch(
        file.absolute(), History(file.absolute().parent / "h.sqlite3"), Actor(user, "gw-01"),
        clock=lambda: NOW.replace(second=second),
    )  # fmt: skip
    switch.open()
    return switch


def _change(file: Path, user: str, second: int, org: str, points: int, why: str) -> None:
    switch = _at(file, user, second)
    switch.apply(switch.planner.plan_set("chat", org, points), reason=why)
