"""The keys screen, driven by keys, against the simulator."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import httpx
import pytest
from textual import events
from textual.widgets import DataTable, Static

from rollout_console.credentials.key_values import SORTS
from rollout_console.credentials.vault.environment import Given
from rollout_console.credentials.vault.profiles import Profile
from rollout_console.credentials.vault.vault import Vault
from rollout_console.sim.server import SimServer
from rollout_console.sim.state import DEMO_KEY, DEMO_TOKEN
from rollout_console.tokenlab.client import ManagementClient
from rollout_console.ui.dialogs.confirm import ConfirmDialog
from rollout_console.ui.dialogs.text import TextDialog
from rollout_console.ui.screens.keys.screen import KeysScreen
from rollout_gate.secret import Secret
from tests.credentials.vault.test_vault import vault_of
from tests.support.said import everything_said
from tests.support.waiting import resize, until_ready, until_shown
from tests.ui.keys_screens import (
    Running,
    app_of,
    confirm,
    dialog_text,
    fill,
    find,
    keys_screen,
    line,
    rows,
)


@pytest.mark.slow
async def test_the_life_of_a_key(file: Path, sim_keys: SimServer, vault: Vault) -> None:
    app = app_of(file, sim_keys, vault)
    async with keys_screen(app) as pilot:
        await pilot.press("e")
        await fill(pilot, name="renamed", limit="9.50", expires="2030-01-31")
        await confirm(pilot)
        await until_shown(pilot, lambda: "renamed" in " ".join(rows(pilot)))
        key = find(sim_keys, "renamed")
        assert key.limit == Decimal("9.5")
        await pilot.press("x")
        await confirm(pilot, "renamed")
        await until_shown(pilot, lambda: "inactive" in " ".join(rows(pilot)))
        await pilot.press("x")
        await confirm(pilot)
        await until_shown(pilot, lambda: "renamed is active" in line(pilot, "keys-notice"))
        await pilot.press("d")
        await until_shown(pilot, lambda: isinstance(pilot.app.screen, TextDialog))
        assert "by model" in dialog_text(pilot)
        await pilot.press("escape")
        await pilot.press("X")
        await until_shown(pilot, lambda: isinstance(pilot.app.screen, ConfirmDialog))
        await until_ready(pilot)
        await pilot.press("y", "escape")
        assert key.status == "active", "revoked without its name being typed"
        await until_shown(pilot, lambda: isinstance(pilot.app.screen, KeysScreen))
        await pilot.press("X")
        await confirm(pilot, "renamed")
        await until_shown(pilot, lambda: "revoked" in " ".join(rows(pilot)))
        await pilot.press("x")
        await until_shown(pilot, lambda: "which is final" in line(pilot, "keys-notice"))
        assert key.status == "revoked"


async def test_a_rotation_from_the_screen(file: Path, sim_keys: SimServer, vault: Vault) -> None:
    vault.keyring.put("prod", "api_key", Secret("sk-sim-demo"))
    app = app_of(file, sim_keys, vault)
    async with keys_screen(app) as pilot:
        await pilot.press("t")
        await fill(pilot, model="gpt-5.4-mini", place="keyring")
        await confirm(pilot)
        await until_shown(pilot, lambda: isinstance(pilot.app.screen, TextDialog))
        assert "waits for demo to fall silent" in dialog_text(pilot)
        await pilot.press("escape")
        await until_shown(pilot, lambda: any("demo (since" in row for row in rows(pilot)))
        assert find(sim_keys, "demo").status == "active"
        assert any(row.startswith("demo ") and "rotating" in row for row in rows(pilot))
        await pilot.press("t")
        await until_shown(pilot, lambda: isinstance(pilot.app.screen, TextDialog))
        await pilot.press("escape", "T")
        await confirm(pilot, "demo")
        await until_shown(pilot, lambda: "demo stays" in line(pilot, "keys-notice"))
        assert vault.keyring.get("prod", "api_key") == "sk-sim-demo"


@pytest.mark.usefixtures("quick")
async def test_a_rotation_says_what_it_waits_for(
    file: Path, sim_keys: SimServer, vault: Vault
) -> None:
    """The profile's key is in the keyring, and the new one goes to the encrypted store."""
    vault.keyring.put("prod", "api_key", Secret("sk-sim-demo"))
    vault.encrypted.unlock("correct horse")
    app = app_of(file, sim_keys, vault)
    async with keys_screen(app) as pilot:
        await pilot.press("t")
        await fill(pilot, model=" gpt-5.4-mini ", place="encrypted")
        await confirm(pilot)
        waits = "waits for profile prod to use the new key: keyring goes before"
        await until_shown(pilot, lambda: waits in dialog_text(pilot))
        assert isinstance(pilot.app.screen, TextDialog)
        assert find(sim_keys, "demo").status == "active"


async def test_a_key_of_another_profile_is_not_rotated(
    file: Path, sim_keys: SimServer, vault: Vault
) -> None:
    vault.keyring.put("prod", "api_key", Secret("sk-canary-of-nobody"))
    app = app_of(file, sim_keys, vault)
    async with keys_screen(app) as pilot:
        await pilot.press("t")
        await fill(pilot, model="gpt-5.4-mini", place="keyring")
        await confirm(pilot)
        await until_shown(
            pilot, lambda: "is not the one that profile prod has" in line(pilot, "keys-notice")
        )
        assert len(sim_keys.state.keys) == 1


async def test_read_only_changes_no_key(file: Path, sim_keys: SimServer, vault: Vault) -> None:
    app = app_of(file, sim_keys, vault, read_only=True)
    async with keys_screen(app) as pilot:
        for key in ("n", "e", "t", "x", "X", "a", "minus", "enter"):
            await pilot.press(key)
            await pilot.pause()
            assert isinstance(pilot.app.screen, KeysScreen), key
            assert "read-only" in line(pilot, "keys-notice")


async def test_read_only_verifies_what_is_free_alone(
    file: Path, sim_keys: SimServer, tmp_path: Path
) -> None:
    given = Given(variables={"management_token": DEMO_TOKEN, "api_key": DEMO_KEY})
    app = app_of(file, sim_keys, vault_of(tmp_path, given), read_only=True)
    before = len(sim_keys.state.usage)
    async with keys_screen(app) as pilot:
        await pilot.press("v")
        await until_shown(pilot, lambda: isinstance(pilot.app.screen, TextDialog))
        assert "management token from" in dialog_text(pilot)
        assert "it works: the balance is $" in dialog_text(pilot)
        assert "not proven, as read-only sends nothing that is billed" in dialog_text(pilot)
    assert len(sim_keys.state.usage) == before


async def test_an_api_that_is_away_is_said(file: Path, sim_keys: SimServer, vault: Vault) -> None:
    app = app_of(file, sim_keys, vault)
    sim_keys.state.faults.add({"status": 503})
    async with keys_screen(app) as pilot:
        assert "503" in line(pilot, "keys-notice")
        sim_keys.state.faults.clear()
        await pilot.press("f5")
        await until_shown(pilot, lambda: len(rows(pilot)) == 1)
        assert "503" not in line(pilot, "keys-notice")


@pytest.mark.slow
async def test_loading_is_said_at_once_and_replaced_by_when_the_next_try_is(
    file: Path, sim_keys: SimServer, vault: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rollout_console.ui.reading.FIRST_WAIT_S", 1.0)
    sim_keys.state.faults.add(
        {"kind": "slow", "latency_ms": 800, "path": "/v1/management/api-keys"}
    )
    sim_keys.state.faults.add({"status": 503, "path": "/v1/management/api-keys"})
    app = app_of(file, sim_keys, vault)
    with everything_said() as said:
        async with app.run_test(size=(80, 24)) as pilot:
            await pilot.press("2")
            await until_shown(pilot, lambda: said.in_line("keys-status", "next try in"))
            await until_shown(pilot, lambda: "503" in line(pilot, "keys-notice"))
            assert said.in_line("keys-status", "reading the API keys…")
            assert not said.in_line("keys-status", "0 keys"), "nothing is known of them yet"
            sim_keys.state.faults.clear()
            await until_shown(pilot, lambda: "1 key" in line(pilot, "keys-status"))
            assert "503" not in line(pilot, "keys-notice")
            assert "next try" not in line(pilot, "keys-status")


async def test_a_dialog_that_waits_for_the_network_says_so(
    file: Path, sim_keys: SimServer, vault: Vault
) -> None:
    app = app_of(file, sim_keys, vault)
    async with keys_screen(app) as pilot:
        await until_shown(pilot, lambda: "…" not in rows(pilot)[0])
        sim_keys.state.faults.add(
            {"kind": "slow", "latency_ms": 700, "path": "/v1/management/api-keys/"}
        )
        with everything_said() as said:
            await pilot.press("d")
            await until_shown(pilot, lambda: isinstance(app.screen, TextDialog))
        assert said.in_line("keys-notice", "reading what demo has cost…")
        await pilot.press("escape")
        await until_shown(pilot, lambda: isinstance(app.screen, KeysScreen))
        await until_shown(pilot, lambda: "reading" not in line(pilot, "keys-notice"))
        sim_keys.state.faults.add({"status": 503, "path": "/v1/management/api-keys/"})
        await pilot.press("d")
        await until_shown(pilot, lambda: "503" in line(pilot, "keys-notice"))


async def test_keys_with_odd_names_and_costs_stand(
    file: Path, sim_keys: SimServer, vault: Vault
) -> None:
    async with ManagementClient(sim_keys.base_url, Secret("mt-sim-demo")) as client:
        for i, name in enumerate(("[bold]x[/]", "\u05e9\u05dc\u05d5\u05dd", "a\u202eb", "漢" * 50)):
            await client.create_key(name, limit=Decimal(i))
    app = app_of(file, sim_keys, vault)
    async with keys_screen(app, (80, 24)) as pilot:
        await until_shown(pilot, lambda: len(rows(pilot)) == 5 and "…" not in rows(pilot)[0])
        for size in ((40, 12), (20, 5), (1, 1), (200, 60), (80, 24)):
            await resize(pilot, *size)
            await pilot.press("j", "f5")
        await until_shown(pilot, lambda: len(rows(pilot)) == 5)
        text = " ".join(rows(pilot)) + str(app.screen.query_one("#key", Static).content)
        assert "\u202e" not in text
        assert "[bold]x[/]" in text


@pytest.mark.parametrize("size", [(80, 24), (120, 40), (200, 60)])
async def test_what_a_key_costs_is_beside_it(
    file: Path, sim_keys: SimServer, vault: Vault, size: tuple[int, int]
) -> None:
    async with ManagementClient(sim_keys.base_url, Secret("mt-sim-demo")) as client:
        await client.create_key("idle", limit=Decimal(5))
    headers = {"Authorization": "Bearer sk-sim-demo"}
    asked = {"model": "gpt-5.4", "messages": [{"role": "user", "content": "hello"}]}
    async with httpx.AsyncClient(base_url=sim_keys.base_url, headers=headers) as http:
        (await http.post("/v1/chat/completions", json=asked, timeout=20)).raise_for_status()
    app = app_of(file, sim_keys, vault)
    async with keys_screen(app, size) as pilot:
        await until_shown(pilot, lambda: "▁▁▁▁▁▁▁▁▁▁▁▁▁█" in rows(pilot)[0])
        await until_shown(pilot, lambda: "▁▁▁▁▁▁▁▁▁▁▁▁▁▁" in rows(pilot)[1])
        details = app.screen.query_one("#key", Static)
        await until_shown(pilot, lambda: "models   gpt-5.4 $0.00 (1)" in str(details.content))
        await pilot.press("j")
        await until_shown(pilot, lambda: "$0.00 of $5.00 (0%)" in str(details.content))
        assert "no cost was settled" in str(details.content)
        assert details.region.height > 0
        assert ("last used" in table_head(pilot)) is (size[0] > 80)


async def test_a_cost_that_cannot_be_read_is_said(
    file: Path, sim_keys: SimServer, vault: Vault
) -> None:
    app = app_of(file, sim_keys, vault)
    sim_keys.state.faults.add({"status": 503, "path": "/v1/management/api-keys/"})
    async with keys_screen(app, (80, 24)) as pilot:
        await until_shown(pilot, lambda: "not known" in rows(pilot)[0])
        assert "not known: the API answered 503" in str(
            app.screen.query_one("#key", Static).content
        )


def table_head(pilot: Running) -> str:
    columns = pilot.app.screen.query_one(DataTable).columns.values()
    return " ".join(str(column.label) for column in columns)


async def test_filter_and_sort(file: Path, sim_keys: SimServer, vault: Vault) -> None:
    async with ManagementClient(sim_keys.base_url, Secret("mt-sim-demo")) as client:
        for i in range(30):
            await client.create_key(f"team-{i:02}", limit=Decimal(i))
    app = app_of(file, sim_keys, vault)
    async with keys_screen(app) as pilot:
        await until_shown(pilot, lambda: len(rows(pilot)) == 31)
        await pilot.press("slash", *"team-1")
        await until_shown(pilot, lambda: len(rows(pilot)) == 10)
        await pilot.press("escape")
        await until_shown(pilot, lambda: len(rows(pilot)) == 31)
        await pilot.press("s")
        assert "by used" in line(pilot, "keys-status")
        await pilot.press("j", "j", "k")
        table = pilot.app.screen.query_one(DataTable)
        chosen, *_ = rows(pilot)[table.cursor_row].split()  # figures may come meanwhile
        assert chosen.startswith("team-")
        for _ in range(len(SORTS)):
            await pilot.press("s")
            assert rows(pilot)[table.cursor_row].split()[0] == chosen, "the cursor left its key"
        await resize(pilot, 80, 20)
        await pilot.press("home", "k")
        x, y = table.region.x + 5, table.region.y + 5
        while table.scroll_offset.y < table.max_scroll_y:
            pilot.app.post_message(events.MouseScrollDown(None, x, y, 0, 0, 0, False, False, False))
            await pilot.pause()
        await until_shown(pilot, lambda: table.cursor_row >= table.scroll_offset.y)


@pytest.mark.parametrize("size", [(80, 24), (120, 40), (200, 60), (20, 5)])
async def test_every_size_stands(
    file: Path, sim_keys: SimServer, vault: Vault, size: tuple[int, int]
) -> None:
    async with keys_screen(app_of(file, sim_keys, vault), size) as pilot:
        assert "demo" in rows(pilot)[0]


@pytest.mark.slow
async def test_home_warns_of_a_key_that_ends_soon(
    file: Path, sim_keys: SimServer, vault: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rollout_console.ui.workers.KEYS_FIRST_S", 0.1)
    key = find(sim_keys, "demo")
    key.expires_at = datetime.now(UTC) + timedelta(days=6, hours=12)
    app = app_of(file, sim_keys, vault)
    async with app.run_test(size=(100, 30)) as pilot:
        await until_shown(
            pilot,
            lambda: (
                "key demo expires in 6 days" in line(pilot, "notice-1") + line(pilot, "notice-2")
            ),
        )
        await pilot.press("escape")
        await pilot.pause(1.1)
        assert "expires" not in line(pilot, "notice-1") + line(pilot, "notice-2")
        assert "! keys" in line(pilot, "status"), "what is dismissed is still said in the header"


async def test_another_profile_shows_no_keys_of_the_one_before(
    file: Path, sim_keys: SimServer, tmp_path: Path
) -> None:
    vault = vault_of(tmp_path)
    vault.keyring.put("prod", "management_token", Secret("mt-sim-demo"))
    app = app_of(file, sim_keys, vault)
    staging = Profile("staging", sim_keys.base_url)
    app._key_room()[0].profiles.change("staging", lambda _none: staging)
    async with keys_screen(app) as pilot:
        assert len(rows(pilot)) == 1
        await pilot.press("p")
        await until_shown(pilot, lambda: "staging" in line(pilot, "keys-status"))
        await until_shown(pilot, lambda: rows(pilot) == [])
        assert "none" in line(pilot, "from-management_token")
        await pilot.press("p")
        await until_shown(pilot, lambda: len(rows(pilot)) == 1)
