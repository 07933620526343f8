"""Forms: what may be typed is on the screen, and a wrong field is named and has the cursor."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from textual.errors import NoWidget
from textual.screen import ModalScreen
from textual.widgets import Input, Static

from rollout_console.ui.dialogs.confirm import ConfirmDialog, Question
from rollout_console.ui.dialogs.form import Values
from rollout_console.ui.dialogs.percent import PercentDialog
from rollout_console.ui.screens.keys.forms import credential_form, key_form, passphrase_form
from tests.support.waiting import resize, until_shown
from tests.ui.test_home import Running, app_of

ODD = (
    "x" * 60,
    "-1d", "1e9d", "9999999d", "30", "31 feb", "2020-01-01", "\u202e30d", "30d\u0000", "\x1b[2J",
    "\u05e9\u05dc\u05d5\u05dd", "[bold]30d", "2026-12-31T18:00", "\u0663d",
)  # fmt: skip


async def open_form(pilot: Running, form: ModalScreen[Any]) -> list[Any]:
    closed: list[Any] = []
    pilot.app.push_screen(form, closed.append)
    await until_shown(pilot, lambda: isinstance(pilot.app.screen.focused, Input))
    return closed


def field(pilot: Running, name: str) -> Input:
    return pilot.app.screen.query_one(f"#field-{name}", Input)


def error(pilot: Running) -> str:
    shown = pilot.app.screen.query_one(".error", Static)
    return str(shown.content) if shown.display else ""


def about(pilot: Running) -> str:
    return " ".join(str(one.content) for one in pilot.app.screen.query(".about").results(Static))


async def fills(pilot: Running, **values: str) -> None:
    """Set values and submit from the last field."""
    for name, value in values.items():
        field(pilot, name).value = value
    list(pilot.app.screen.query(Input))[-1].focus()
    await pilot.pause()
    await pilot.press("enter")
    await pilot.pause()


async def test_what_may_be_typed_is_shown_before_any_error(file: Path) -> None:
    app = app_of(file)
    async with app.run_test(size=(80, 24)) as pilot:
        await open_form(pilot, key_form(None, "prod", ["gpt-5.4", "claude-opus"]))
        await until_shown(pilot, lambda: "30d, 12h, 2w" in about(pilot))
        for said in (
            "keyring (the system's) · encrypted", "once (shown this once)", "US dollars, or none",
            "routes use gpt-5.4, claude-opus", "1 to 50 characters",
        ):  # fmt: skip
            assert said in about(pilot)
        shown = app.screen.query(".about").results(Static)
        assert all(one.region.height >= 1 for one in shown), "a hint does not fit at 80x24"
        assert app.screen.query_one(".how").region.bottom <= 24
        assert not error(pilot)


async def test_a_wrong_field_is_named_and_gets_the_cursor_with_its_value(file: Path) -> None:
    app = app_of(file)
    async with app.run_test(size=(80, 24)) as pilot:
        closed = await open_form(pilot, key_form(None, "prod"))
        await fills(pilot, name="ci", expires="31 feb")
        assert error(pilot).startswith("! expires: '31 feb' is no time: give 30d, 12h, 2w")
        assert app.focused is field(pilot, "expires")
        assert field(pilot, "expires").value == "31 feb"
        await pilot.press("backspace")  # the value is corrected, and not replaced
        assert field(pilot, "expires").value == "31 fe"
        await until_shown(pilot, lambda: not error(pilot))
        await fills(pilot, expires="30d", place="vault")
        assert error(pilot).startswith("! secret to: none of them; type one of keyring, encrypted")
        assert app.focused is field(pilot, "place")
        await fills(pilot, place="enc", profile="../x")
        assert error(pilot).startswith("! of profile: a profile's name has 1 to 64 letters")
        assert app.focused is field(pilot, "profile")
        await fills(pilot, profile="prod")
        await until_shown(pilot, lambda: bool(closed))
        assert closed[0]["place"] == "encrypted"
        assert (closed[0]["name"], closed[0]["expires"]) == ("ci", "30d")


async def test_each_field_is_judged_when_it_is_left_with_enter(file: Path) -> None:
    app = app_of(file)
    async with app.run_test(size=(80, 24)) as pilot:
        await open_form(pilot, key_form(None, "prod"))
        await pilot.press("enter")  # empty: it may be filled in later
        await until_shown(pilot, lambda: app.focused is field(pilot, "limit"))
        await pilot.press(*"abc", "enter")
        await until_shown(pilot, lambda: "! limit: 'abc' is no amount" in error(pilot))
        assert app.focused is field(pilot, "limit")
        await pilot.press("down")
        await until_shown(pilot, lambda: app.focused is field(pilot, "models"))
        await pilot.press("up", "up")
        await until_shown(pilot, lambda: app.focused is field(pilot, "name"))


async def test_values_that_arrive_together_go_into_their_fields(file: Path) -> None:
    app = app_of(file)
    async with app.run_test(size=(80, 24)) as pilot:
        await open_form(pilot, key_form(None, "prod"))
        for key in (*"ci", "enter", *"12", "enter", *"gpt", "enter", *"30d"):
            app.simulate_key(key)  # queued at once, as after a slow link's next packet
        await until_shown(pilot, lambda: field(pilot, "expires").value == "30d")
        found = {name: field(pilot, name).value for name in ("name", "limit", "models")}
        assert found == {"name": "ci", "limit": "12", "models": "gpt"}


async def test_an_error_stays_though_its_value_arrived_with_enter(file: Path) -> None:
    app = app_of(file)
    async with app.run_test(size=(80, 24)) as pilot:
        await open_form(pilot, key_form(None, "prod"))
        app.screen.set_focus(field(pilot, "limit"))
        for key in (*"90minutes", "enter"):
            app.simulate_key(key)
        await until_shown(pilot, lambda: "! limit: '90minutes' is no amount" in error(pilot))
        await pilot.pause(0.2)
        assert "is no amount" in error(pilot)
        assert app.focused is field(pilot, "limit")


async def test_a_choice_is_shown_as_it_is_typed(file: Path) -> None:
    app = app_of(file)
    async with app.run_test(size=(80, 24)) as pilot:
        closed = await open_form(pilot, credential_form("prod"))
        await fills(pilot, secret="mt-sim-demo", place="r")
        await until_shown(pilot, lambda: bool(closed))
        assert closed[0]["place"] == "run"


@pytest.mark.parametrize("typed", ODD, ids=ascii)
async def test_odd_input_is_one_sentence(file: Path, typed: str) -> None:
    app = app_of(file)
    async with app.run_test(size=(80, 24)) as pilot:
        closed = await open_form(pilot, key_form(None, "prod"))
        await fills(pilot, name="ci", expires=typed)
        said = error(pilot)
        assert said.startswith("! expires: ")
        assert said.isprintable()
        assert len(said) < 200
        assert app.focused is field(pilot, "expires")
        assert app.screen.query_one(".how").region.bottom <= 24
        assert not closed


async def test_nothing_of_a_hidden_field_is_said(file: Path) -> None:
    app = app_of(file)
    async with app.run_test(size=(80, 24)) as pilot:
        await open_form(pilot, credential_form("prod"))
        await fills(pilot, secret="hunter2-canary")
        assert error(pilot).startswith("! credential: ")
        assert "canary" not in app.export_screenshot()


async def test_a_wrong_passphrase_is_asked_for_again_at_its_field(file: Path) -> None:
    app = app_of(file)
    async with app.run_test(size=(80, 24)) as pilot:
        await open_form(pilot, passphrase_form(new=False, wrong="it does not open; type it again"))
        await until_shown(pilot, lambda: "! passphrase: it does not open" in error(pilot))
        assert app.focused is field(pilot, "passphrase")


SMALL = ((40, 12), (20, 5), (10, 3), (40, 5), (200, 60))
MADE: dict[str, Callable[[], ModalScreen[Any]]] = {
    "key": lambda: key_form(None, "prod", ["gpt-5.4"]),
    "passphrase": lambda: passphrase_form(new=True),
    "percent": lambda: PercentDialog("chat / acme", "25%", (100, 500, 10_000)),
    "reason": lambda: ConfirmDialog(Question("Raise", "chat", held="38/133", type_name="chat")),
}


@pytest.mark.parametrize("name", MADE)
@pytest.mark.parametrize("size", SMALL, ids=str)
async def test_the_field_and_its_error_are_on_a_small_terminal(
    file: Path, name: str, size: tuple[int, int]
) -> None:
    app = app_of(file)
    async with app.run_test(size=size) as pilot:
        await open_form(pilot, MADE[name]())
        line = list(app.screen.query(Input))[-1]
        line.focus()
        await pilot.press(*"no", "enter")
        await until_shown(pilot, lambda: visible_rows(pilot) >= 1)
        if size >= (20, 5):  # field and error at once
            await until_shown(pilot, lambda: said_rows(pilot) >= 1 and visible_rows(pilot) >= 1)


@pytest.mark.parametrize("name", MADE)
async def test_the_size_changes_while_a_dialog_is_open(file: Path, name: str) -> None:
    app = app_of(file)
    async with app.run_test(size=(120, 40)) as pilot:
        await open_form(pilot, MADE[name]())
        list(app.screen.query(Input))[-1].focus()
        await pilot.press(*"7")
        for size in (*SMALL, (1, 1), (80, 24), (120, 40)):
            await resize(pilot, *size)
            if size >= (20, 5):
                await until_shown(pilot, lambda: visible_rows(pilot) >= 1)
        assert isinstance(app.focused, Input)
        assert app.focused.value == "7" or app.focused.value.endswith("7")


def visible_rows(pilot: Running) -> int:
    """Return how many rows of the focused field are within the terminal."""
    assert pilot.app.focused is not None
    return rows_of(pilot, pilot.app.focused)


def said_rows(pilot: Running) -> int:
    shown = pilot.app.screen.query(".error, #problem").results(Static)
    return sum(rows_of(pilot, one) for one in shown if one.display)


def rows_of(pilot: Running, widget: Any) -> int:
    try:
        found = pilot.app.screen.find_widget(widget)
    except NoWidget:
        return 0
    return int(found.region.intersection(found.clip).intersection(pilot.app.screen.region).height)


def test_a_field_left_as_it_was_is_right(file: Path) -> None:
    """A key that has expired can be renamed, without a word on its expiry."""
    from datetime import UTC, datetime
    from decimal import Decimal

    from rollout_console.credentials.key_values import parse_limit
    from rollout_console.tokenlab.types import ApiKey
    from rollout_console.ui.screens.keys.forms import read_key

    past = datetime(2020, 1, 1, 12, 0, 0, 5, UTC)
    key = ApiKey("id", "ci", "sk-a", "active", Decimal(5), Decimal(0), (), past, None, past)
    values: Values = {"name": "ci-2", "limit": "", "models": "", "expires": " " + str(past) + " "}
    shown = past.isoformat().replace("+00:00", "Z")
    assert read_key({**values, "expires": shown}, key)["expires_at"] == past
    assert parse_limit("none") is None
