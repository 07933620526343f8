"""What the guard comes to hold while a confirm is open is not made by its ``y``."""

from datetime import timedelta
from pathlib import Path

import pytest
from textual.widgets import Static

from rollout_console.guard.alerts import ModelTrouble
from rollout_console.ui.app import ConsoleApp
from rollout_console.ui.dialogs.confirm import ConfirmDialog
from rollout_gate.file.revision import revision_of
from tests.support.waiting import until_ready, until_shown
from tests.ui.test_home import Running, app_of, confirm, notices, running, share
from tests.ui.test_marked_shares import AT_ZERO, prepared, settled


async def opened(pilot: Running) -> None:
    await until_shown(pilot, lambda: isinstance(pilot.app.screen, ConfirmDialog))
    await until_ready(pilot)


@pytest.mark.parametrize("is_several", [False, True])
async def test_a_raise_is_judged_again_when_it_is_confirmed(file: Path, is_several: bool) -> None:
    prepared(file, AT_ZERO)
    app = app_of(file)
    before = file.read_bytes()
    async with running(app) as pilot:
        await settled(pilot)
        await pilot.press(*(["j", "space"] if is_several else ["j"]), "plus")
        await opened(pilot)
        assert not pilot.app.screen.query("#reason"), "nothing holds it yet"
        app.session.models = {"chat": ModelTrouble("TokenLab has no such model", holds=True)}
        await pilot.press("y")
        await until_shown(pilot, lambda: "holds this raise by now: " in notices(pilot))
        assert "TokenLab has no such model" in notices(pilot)
        assert file.read_bytes() == before
        await pilot.press("plus")
        await opened(pilot)
        assert pilot.app.screen.query("#reason"), "it is held, and a reason overrides it"


async def test_a_confirm_says_that_its_file_is_another_by_now(file: Path) -> None:
    """A raise on it is refused, and another share; a rollback goes on top of it."""
    said = "rollout.toml was changed meanwhile: this is refused; cancel, and ask again"
    app = app_of(file)

    def shown() -> str:
        return str(app.screen.query_one("#warning", Static).render())

    async with running(app, size=(80, 24)) as pilot:
        for key in ("plus", "minus", "r"):
            await pilot.press("home", "j", key)
            await opened(pilot)
            assert said not in shown()
            file.write_bytes(file.read_bytes() + b"# somebody else\n")
            if key != "r":
                await until_shown(pilot, lambda: said in shown())
                await pilot.press("escape")
                continue
            revision = revision_of(file.read_bytes())
            await until_shown(pilot, lambda: app.session.monitor.file.revision == revision)  # noqa: B023
            await pilot.pause(1.2)  # it is renewed each second
            assert said not in shown()
            await pilot.press("y")
            await until_shown(pilot, lambda: "rolled back: " in notices(pilot))


async def test_a_rollback_of_several_says_that_its_list_is_of_another_file(file: Path) -> None:
    app = app_of(file)
    async with running(app, size=(80, 24)) as pilot:
        await pilot.press("home", "j", "space", "j", "space", "r")
        await opened(pilot)
        warning = app.screen.query_one("#warning", Static)
        assert not warning.display
        file.write_bytes(file.read_bytes() + b"# somebody else\n")
        await until_shown(pilot, lambda: warning.display)
        said = "rollout.toml was changed meanwhile: this is made on it as it is now"
        assert said in str(warning.render())
        await pilot.press("y")
        await until_shown(pilot, lambda: "rolled back: " in notices(pilot))


async def test_an_own_rollback_is_not_recent_for_ever(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app: ConsoleApp = app_of(file)
    async with running(app) as pilot:
        await pilot.press("j", "r")
        await confirm(pilot)
        await until_shown(pilot, lambda: "rolled back: " in notices(pilot))
        rolled_back = share(file)
        await pilot.press("u")
        await opened(pilot)
        assert not pilot.app.screen.query("Input"), "y alone"
        monkeypatch.setattr("rollout_console.changes.undo_planner._REGRET", timedelta(0))
        await pilot.press("y")
        await until_shown(pilot, lambda: "not a recent one any more" in notices(pilot))
        assert share(file) == rolled_back
