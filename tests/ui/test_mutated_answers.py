"""The screens against an API that lies: they go on, and nothing is obeyed by the terminal."""

import random
import unicodedata
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot

from rollout_console.changes.switch import Switch
from rollout_console.credentials.vault.environment import Given
from rollout_console.guard.monitor import Monitor
from rollout_console.history.actor import Actor
from rollout_console.history.history import History
from rollout_console.sim.server import SimServer
from rollout_console.ui.app import ConsoleApp
from rollout_console.ui.settings import Settings
from rollout_gate.file.model import DEFAULT_BASE_URL
from tests.credentials.vault.test_vault import vault_of
from tests.support.mutations import ODD, Liar, at_random, good_answers, mutant, places
from tests.support.waiting import until_shown


@pytest.fixture(scope="module")
def good() -> dict[str, Any]:
    with SimServer(seed=5) as sim:
        return good_answers(sim)


def app_of(file: Path, url: str) -> ConsoleApp:
    file.write_text(file.read_text().replace(DEFAULT_BASE_URL, url))
    vault = vault_of(
        file.parent, Given(variables={"management_token": "mt-sim-demo", "api_key": "sk-sim-demo"})
    )
    switch = Switch(file, History(file.parent / "h.sqlite3"), Actor("jo", "gw-01"))
    monitor = Monitor(file, switch.open().file)
    return ConsoleApp(switch, monitor, Settings(), user="jo", host="gw-01", vault=vault)


def screen_text(pilot: Pilot[None]) -> str:
    strips = pilot.app.screen._compositor.render_strips()
    return "\n".join(strip.text for strip in strips)


async def visited(pilot: Pilot[None], app: ConsoleApp) -> str:
    """Visit the screens that show what the API said; return all that they showed."""
    shown = []
    for key in ("2", "3", "enter", "escape", "4", "5", "1"):
        await pilot.press(key)
        await until_shown(pilot, lambda: app.keys.is_idle)
        before, same = "", 0
        for _ in range(40):  # until what was asked for has come
            await pilot.pause(0.05)
            now = screen_text(pilot)
            before, same = now, same + 1 if now == before else 0
            if same == 4:
                break
        shown.append(before)
    return "\n".join(shown)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(8))
async def test_screens_go_on(good: dict[str, Any], file: Path, seed: int) -> None:
    rng, liar = random.Random(seed), Liar(good)
    tried = []
    for name in ("models", "model", "keys", "balance", "billing"):
        if seed % 2:
            what, liar.says[name] = at_random(good[name], rng)
        else:  # everything of one kind is wrong at once: whatever is read, is read wrong
            odd = ODD[(seed * 7 + len(name)) % len(ODD)]
            wrong = [path for path in places(good[name]) if rng.random() < 0.3]
            what, liar.says[name] = f"{odd!r}"[:60], mutant(good[name], dict.fromkeys(wrong, odd))
        tried.append(f"{name} {what}")
    with liar.origin:
        app = app_of(file, liar.url)
        async with app.run_test(size=(120, 40)) as pilot:
            shown = await visited(pilot, app)
            assert app.is_running
        assert app.return_code in (0, None), tried
    assert "models" in shown
    odd_signs = {s for s in shown if unicodedata.category(s) in ("Cc", "Cf", "Cs", "Co")} - {"\n"}
    assert not odd_signs, (tried, odd_signs)
