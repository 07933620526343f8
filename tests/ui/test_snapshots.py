"""Pictures of the screens that matter; --snapshot-update renews those in the tree."""

from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot

from console.ui.dialogs.confirm import ConfirmDialog
from console.ui.help import HelpScreen
from console.ui.settings import Settings
from tests.ui.test_home import app_of, notices, until


@pytest.fixture
def quiet(file: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file with an empty log, named the same wherever the test runs."""
    (file.parent / "access.jsonl").write_text("")
    monkeypatch.chdir(file.parent)
    return Path(file.name)


async def _settle(pilot: Pilot[None]) -> None:
    await until(pilot, lambda: "management token" in notices(pilot))
    await pilot.pause(0.2)
    # A picture of a crash would be compared with itself for ever.
    assert pilot.app.is_running
    assert pilot.app._exception is None


async def _ask(pilot: Pilot[None]) -> None:
    await _settle(pilot)
    await pilot.press("r")
    await until(pilot, lambda: isinstance(pilot.app.screen, ConfirmDialog))


async def _help(pilot: Pilot[None]) -> None:
    await _settle(pilot)
    await pilot.press("question_mark")
    await until(pilot, lambda: isinstance(pilot.app.screen, HelpScreen))


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
