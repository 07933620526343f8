"""Nothing is there yet: each screen says what is missing, and a notice put away stays away."""

import json
import os
from pathlib import Path

import pytest
from textual.driver import Driver
from textual.widgets import Static

from rollout_console.changes.switch import Switch
from rollout_console.credentials.vault.environment import Given
from rollout_console.credentials.vault.vault import Vault, empty_vault
from rollout_console.guard.monitor import Monitor
from rollout_console.history.actor import Actor
from rollout_console.history.history import History
from rollout_console.sim.server import SimServer
from rollout_console.ui.app import ConsoleApp
from rollout_console.ui.put_away import PutAway
from rollout_console.ui.settings import Settings
from rollout_console.ui.tab_driver import TabDriver
from rollout_gate.file.model import DEFAULT_BASE_URL
from tests.support.waiting import until_shown
from tests.ui.test_home import Running, notices
from tests.ui.test_models_screen import line

NONE = "no management token for profile 'prod'"


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rollout_console.ui.workers.BALANCE_FIRST_S", 0.01)


def app_of(
    file: Path, vault: Vault | None = None, tab_driver: type[Driver] | None = None
) -> ConsoleApp:
    switch = Switch(file, History(file.parent / "h.sqlite3"), Actor("jo", "gw-01"))
    monitor = Monitor(file, switch.open().file)
    return ConsoleApp(
        switch, monitor, Settings(), user="jo", host="gw-01", vault=vault, tab_driver=tab_driver
    )


def kept() -> Path:
    return Path(os.environ["ROLLOUT_STATE_DIR"]) / "put-away.json"


@pytest.mark.slow
async def test_the_notice_of_a_missing_token_is_put_away_for_good(
    file: Path, sim: SimServer
) -> None:
    async with app_of(file).run_test(size=(100, 30)) as pilot:
        await until_shown(pilot, lambda: NONE in notices(pilot))
        assert not kept().exists(), "looking writes nothing"
        await pilot.press("escape")
        await until_shown(pilot, lambda: NONE not in notices(pilot))
        assert "no token" in line(pilot, "status"), "the fact stays where it is quiet"
    async with app_of(file).run_test(size=(100, 30)) as pilot:
        await until_shown(pilot, lambda: "no token" in line(pilot, "status"))
        await pilot.pause(1.2)
        assert NONE not in notices(pilot), "it nags after a restart"
    # Another profile's is told, and this one's again once there was a token.
    text = file.read_text()
    file.write_text(text.replace('profile = "prod"', 'profile = "staging"'))
    async with app_of(file).run_test(size=(100, 30)) as pilot:
        await until_shown(pilot, lambda: "for profile 'staging'" in notices(pilot))
    file.write_text(text.replace(DEFAULT_BASE_URL, sim.base_url))
    vault = empty_vault(Given(variables={"management_token": "mt-sim-demo"}))
    async with app_of(file, vault).run_test(size=(100, 30)) as pilot:
        await until_shown(pilot, lambda: "$" in line(pilot, "status"))
    async with app_of(file).run_test(size=(100, 30)) as pilot:
        await until_shown(pilot, lambda: NONE in notices(pilot))


async def test_in_a_browser_the_notice_is_put_away_for_this_tab_alone(file: Path) -> None:
    async with app_of(file, tab_driver=TabDriver).run_test(size=(100, 30)) as pilot:
        await until_shown(pilot, lambda: NONE in notices(pilot))
        await pilot.press("escape")
        await until_shown(pilot, lambda: NONE not in notices(pilot))
    assert not kept().exists()


@pytest.mark.parametrize("content", ["", "[]", "{", '{"no_credential": [1]}', "[" * 70_000])
async def test_what_was_put_away_cannot_break_the_console(file: Path, content: str) -> None:
    kept().parent.mkdir(parents=True, exist_ok=True)
    kept().write_text(content)
    async with app_of(file).run_test(size=(100, 30)) as pilot:
        await until_shown(pilot, lambda: NONE in notices(pilot))
        await pilot.press("escape")
        await until_shown(pilot, lambda: NONE not in notices(pilot))
    table = json.loads(kept().read_text())
    assert list(table["no_credential"]) == ["prod"]
    assert kept().stat().st_mode & 0o777 == 0o600


def test_a_folder_that_cannot_be_written_lasts_for_this_run(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    away = PutAway(tmp_path / "file" / "put-away.json")
    away.add("prod", "none")
    assert away.has("prod", "none")
    assert not away.has("prod", "another reason")
    assert not PutAway(tmp_path / "file" / "put-away.json").has("prod", "none")


@pytest.mark.parametrize("size", [(80, 24), (120, 40), (200, 60)])
async def test_every_screen_says_what_is_missing(file: Path, size: tuple[int, int]) -> None:
    file.write_text(file.read_text().replace(DEFAULT_BASE_URL, "http://127.0.0.1:9"))
    async with app_of(file).run_test(size=size) as pilot:
        await until_shown(pilot, lambda: "no access log yet" in notices(pilot))
        assert "no data yet" in line(pilot, "status")
        for key, name, words in (
            ("2", "key", "are listed with a management token (mt-...): a pastes one"),
            ("3", "models-status", "no catalogue yet  next try in"),
            ("4", "phase", "next step waits for: no data"),
            ("5", "live-figures", "they begin with the first request through the gate"),
            ("6", "history-notice", "no change of this file is recorded yet"),
            ("7", "job", "There is no ledger of jobs at"),
            ("8", "money-about", "No usage record was pulled yet: p pulls"),
        ):
            await pilot.press(key)
            await until_shown(pilot, lambda name=name, words=words: words in said(pilot, name))  # type: ignore[misc]
            assert "…" not in said(pilot, name), "it seems to load for ever"


def said(pilot: Running, name: str) -> str:
    shown = pilot.app.screen.query(f"#{name}, #{name} Static").results(Static)
    return " ".join(str(one.render()).replace("\n", " ") for one in shown)
