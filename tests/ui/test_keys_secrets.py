"""Secrets on the keys screen: shown once, kept in a store, and planted ones never shown."""

import base64
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import httpx
import pytest

from rollout_console.credentials.vault.encrypted import EncryptedStore
from rollout_console.credentials.vault.environment import Given
from rollout_console.credentials.vault.vault import Vault
from rollout_console.guard.balance import BalanceSource, BalanceSources
from rollout_console.sim.server import SimServer
from rollout_console.ui.dialogs.confirm import ConfirmDialog
from rollout_console.ui.dialogs.form import FormDialog
from rollout_console.ui.dialogs.secret_once import SecretOnce
from rollout_console.ui.dialogs.text import TextDialog
from rollout_console.ui.messages import CredentialsChanged
from rollout_console.ui.screens.keys.screen import KeysScreen
from rollout_gate.file.model import RolloutFile
from rollout_gate.secret import Secret
from tests.cli.test_keys import CANARY_KEY, CANARY_TOKEN, forms
from tests.credentials.test_keys import KEY as ODD_KEY
from tests.credentials.vault.test_vault import Drawer, vault_of
from tests.support.loopback import Origin, Received, Reply
from tests.support.waiting import until_ready, until_shown
from tests.ui.keys_screens import (
    app_of,
    confirm,
    dialog_text,
    everything,
    fill,
    find,
    keys_screen,
    line,
    rows,
)


async def test_a_key_is_made_shown_once_and_gone(
    file: Path, sim_keys: SimServer, vault: Vault
) -> None:
    app = app_of(file, sim_keys, vault)
    async with keys_screen(app) as pilot:
        assert "none: a adds one" in line(pilot, "from-api_key")
        assert "from $TOKENLAB_MANAGEMENT_TOKEN" in line(pilot, "from-management_token")
        await pilot.press("n")
        await fill(pilot, name="ci", limit="5", models="gpt-5.4", place="once")
        await until_shown(pilot, lambda: isinstance(pilot.app.screen, ConfirmDialog))
        assert find(sim_keys, "ci") is None
        await confirm(pilot)
        await until_shown(pilot, lambda: isinstance(pilot.app.screen, SecretOnce))
        secret = find(sim_keys, "ci").secret
        assert secret in dialog_text(pilot)
        assert secret not in app.export_screenshot(), "a picture was made of it"
        await pilot.press("y")
        await until_shown(pilot, lambda: app.clipboard == secret)
        await until_ready(pilot)
        await pilot.press("escape")
        await until_shown(pilot, lambda: any("ci" in row for row in rows(pilot)))
        assert secret not in everything(pilot)
        app._clear_clipboard()
        assert app.clipboard == ""
        assert find(sim_keys, "ci").limit == Decimal(5)
        await pilot.press("2", "1")
        assert app.screen is app.home


async def test_a_secret_in_an_odd_answer_is_shown_and_the_oddity_said(
    file: Path, vault: Vault
) -> None:
    with Origin(_odd_create) as origin:
        at = cast("SimServer", SimpleNamespace(base_url=origin.url))
        app = app_of(file, at, vault)
        async with keys_screen(app) as pilot:
            await pilot.press("n")
            await fill(pilot, name="ci", place="once")
            await confirm(pilot)
            await until_shown(pilot, lambda: isinstance(pilot.app.screen, SecretOnce))
            assert CANARY_KEY in dialog_text(pilot)
            await until_ready(pilot)
            await pilot.press("escape")
            await until_shown(pilot, lambda: isinstance(pilot.app.screen, TextDialog))
            assert "(used_amount_decimal)" in dialog_text(pilot)
            assert CANARY_KEY not in everything(pilot)


def _odd_create(request: Received) -> Reply:
    if request.method == "POST":
        return Reply(201, ODD_KEY | {"used_amount_decimal": "1e99", "key": CANARY_KEY})
    return Reply(200, {"data": [ODD_KEY | {"id": "key_0", "name": "old"}]})


async def test_a_secret_goes_straight_into_the_vault(
    file: Path, sim_keys: SimServer, vault: Vault
) -> None:
    app = app_of(file, sim_keys, vault)
    async with keys_screen(app) as pilot:
        await pilot.press("n")
        await fill(pilot, name="stored", place="keyring", profile="prod")
        await confirm(pilot)
        await until_shown(pilot, lambda: "its secret is in" in line(pilot, "keys-notice"))
        secret = find(sim_keys, "stored").secret
        assert isinstance(vault.keyring, Drawer)
        assert vault.keyring.kept[("prod", "api_key")] == secret
        assert secret not in everything(pilot)
        await pilot.press("v")
        await confirm(pilot)
        await until_shown(pilot, lambda: isinstance(pilot.app.screen, TextDialog))
        assert "it works: gpt-5.4 answered" in dialog_text(pilot)


@pytest.mark.slow
async def test_pasted_credentials_are_never_shown(
    file: Path, sim_keys: SimServer, vault: Vault
) -> None:
    app = app_of(file, sim_keys, vault)
    shown: list[str] = []
    async with keys_screen(app) as pilot:
        for secret, place in (
            (CANARY_KEY, "keyring"),
            (CANARY_TOKEN, "keyring"),
            ("hunter2", "run"),
        ):
            await pilot.press("a")
            await fill(pilot, profile="prod", secret=secret, place=place)
            await pilot.pause()
            shown.append(everything(pilot))
            if isinstance(pilot.app.screen, FormDialog):
                assert "starts with sk-" in dialog_text(pilot)
                await pilot.press("escape")
            await until_shown(pilot, lambda: isinstance(pilot.app.screen, KeysScreen))
            await pilot.pause(0.3)
            shown.append(everything(pilot))
        assert isinstance(vault.keyring, Drawer)
        assert vault.keyring.kept == {
            ("prod", "api_key"): CANARY_KEY, ("prod", "management_token"): CANARY_TOKEN,
        }  # fmt: skip
        # The token of the environment goes first; with that gone, the wrong one is refused.
        vault.given = Given()
        vault._known.clear()
        await pilot.press("f5")
        await until_shown(pilot, lambda: "401" in line(pilot, "keys-notice"))
        shown.append(everything(pilot))
        for key in ("v", "p", "minus", "U", "s", "question_mark"):
            await pilot.press(key)
            await pilot.pause(0.3)
            shown.append(everything(pilot))
            await pilot.press("escape")
            await pilot.pause(0.1)
    for picture in shown:
        for secret in (CANARY_KEY, CANARY_TOKEN):
            for form in forms(secret):
                assert form not in picture.encode()
    folder = file.parent.parent
    written = [path.read_bytes() for path in folder.rglob("*") if path.is_file()]
    for secret in (CANARY_KEY, CANARY_TOKEN):
        assert not any(form in data for form in forms(secret) for data in written)


@pytest.mark.slow
async def test_home_lets_no_planted_secret_out(
    file: Path, sim_keys: SimServer, tmp_path: Path
) -> None:
    given = Given(variables={"management_token": CANARY_TOKEN, "api_key": CANARY_KEY})
    app = app_of(file, sim_keys, vault_of(tmp_path, given))
    shown = []
    async with app.run_test(size=(120, 40)) as pilot:
        await until_shown(pilot, lambda: "401" in line(pilot, "notice-1") + line(pilot, "notice-2"))
        for key in ("r", "escape", "e", "escape", "colon", "escape", "question_mark", "escape",
                    "y", "slash", "escape", "plus", "escape", "u", "escape", "c"):  # fmt: skip
            await pilot.press(key)
            await pilot.pause(0.1)
            shown.append(everything(pilot))
    written = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    for secret in (CANARY_KEY, CANARY_TOKEN):
        for form in forms(secret):
            assert not any(form in picture.encode() for picture in shown)
            assert not any(form in data for data in written)


def test_the_forms_of_a_secret_find_it() -> None:
    """The search itself: it finds a secret in what encodes it."""
    for around in (b"", b"a", b"ab", b"abc"):
        encoded = base64.b64encode(around + CANARY_KEY.encode() + around)
        assert any(form in encoded for form in forms(CANARY_KEY)), around
    assert any(
        form in str(httpx.URL("http://h/", params={"k": CANARY_KEY})).encode()
        for form in forms(CANARY_KEY)
    )


@pytest.mark.usefixtures("quick")
async def test_a_new_encrypted_store_asks_for_its_passphrase(
    file: Path, sim_keys: SimServer, vault: Vault
) -> None:
    vault.encrypted.ask = lambda _new: None
    app = app_of(file, sim_keys, vault)
    async with keys_screen(app) as pilot:
        await pilot.press("a")
        await fill(pilot, profile="prod", secret=CANARY_KEY, place="encrypted")
        await until_shown(pilot, lambda: "new encrypted store" in dialog_text(pilot))
        await fill(pilot, passphrase="correct horse", again="correct hose")
        assert "the passphrases do not match" in dialog_text(pilot)
        await fill(pilot, passphrase="correct horse", again="correct horse")
        await until_shown(pilot, lambda: "in encrypted store" in line(pilot, "keys-notice"))
        assert vault.encrypted.get("prod", "api_key") == CANARY_KEY
        assert "correct" not in everything(pilot)


@pytest.mark.usefixtures("quick")
async def test_a_store_with_a_passphrase_and_no_credential_is_unlocked(
    file: Path, sim_keys: SimServer, vault: Vault
) -> None:
    EncryptedStore(vault.encrypted.path, lambda _new: "correct horse").open()
    vault.encrypted.ask = lambda _new: None
    app = app_of(file, sim_keys, vault)
    async with keys_screen(app) as pilot:
        await pilot.press("a")
        await fill(pilot, profile="prod", secret=CANARY_KEY, place="encrypted")
        await until_shown(pilot, lambda: "Unlock the encrypted store" in dialog_text(pilot))
        await fill(pilot, passphrase="correct horse")
        await until_shown(pilot, lambda: "in encrypted store" in line(pilot, "keys-notice"))
        assert vault.encrypted.get("prod", "api_key") == CANARY_KEY


async def test_a_copied_secret_leaves_the_clipboard_by_itself(
    file: Path, sim_keys: SimServer, vault: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rollout_console.ui.app.CLEARED_AFTER_S", 0.4)
    app = app_of(file, sim_keys, vault)
    async with app.run_test() as pilot:
        await app.push_screen(SecretOnce("ci", Secret("sk-canary-clip-01")))
        await pilot.press("y")
        await until_shown(pilot, lambda: app.clipboard == "sk-canary-clip-01")
        await until_ready(pilot)
        await pilot.press("escape")
        await until_shown(pilot, lambda: app.clipboard == "")


@pytest.mark.parametrize("key", ["escape", "q"])
async def test_a_key_that_came_before_the_secret_was_seen_does_not_lose_it(
    file: Path, sim_keys: SimServer, vault: Vault, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    monkeypatch.setattr("rollout_console.ui.dialogs.seen.GRACE_S", 600.0)
    app = app_of(file, sim_keys, vault)
    async with app.run_test() as pilot:
        await app.push_screen(dialog := SecretOnce("ci", Secret("sk-canary-once-01")))
        await pilot.press(key)
        await pilot.pause()
        assert dialog.is_current
        assert dialog.secret is not None


async def test_home_asks_at_once_for_what_waited_for_a_credential(
    file: Path, sim_keys: SimServer, tmp_path: Path
) -> None:
    app = app_of(file, sim_keys, vault_of(tmp_path))
    async with keys_screen(app) as pilot:
        await pilot.press("a")
        await fill(pilot, profile="prod", secret="mt-sim-demo", place="keyring")
        await until_shown(pilot, lambda: "kept for profile prod" in line(pilot, "keys-notice"))
        await pilot.press("1")
        await until_shown(pilot, lambda: "$1,28" in line(pilot, "status"))


async def test_the_balance_is_asked_for_again_after_credentials_have_changed(
    file: Path, sim_keys: SimServer, vault: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("BALANCE_FIRST_S", "BALANCE_EVERY_S"):
        monkeypatch.setattr(f"rollout_console.ui.workers.{name}", 0.05)
    app = app_of(file, sim_keys, vault)
    async with app.run_test() as pilot:
        balance = app.session.balance
        await until_shown(pilot, lambda: balance.latest is not None)
        for _ in range(3):
            known = balance.latest
            app.post_message(CredentialsChanged())
            await until_shown(pilot, lambda known=known: balance.latest != known)  # type: ignore[misc]
        assert balance.trouble == ""
        assert "internal error" not in everything(pilot)


async def test_a_source_that_was_closed_is_not_used_again(
    sim_keys: SimServer, vault: Vault
) -> None:
    sources = BalanceSources(vault)
    first, other = (
        RolloutFile("r", base_url=url) for url in (sim_keys.base_url, "http://127.0.0.1:1")
    )
    for file in (other, first):
        source = sources.source(file)
        assert isinstance(source, BalanceSource)
        assert sources.source(file) is source
    assert isinstance(source, BalanceSource)
    assert (await source.fetch()).balance > 0
    await sources.aclose()
    again = sources.source(first)
    assert isinstance(again, BalanceSource)
    assert (await again.fetch()).balance > 0
    await sources.aclose()
