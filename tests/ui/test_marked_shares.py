"""Raising, lowering and setting what is marked on the home screen, with one confirm."""

from pathlib import Path

import pytest
from textual.widgets import Input, Static

from rollout_console.guard.alerts import ModelTrouble
from rollout_console.history.history import History
from rollout_console.ui.dialogs.confirm import ConfirmDialog
from rollout_console.ui.dialogs.percent import PercentDialog
from rollout_console.ui.widgets.rollout_table import RolloutTable
from rollout_gate.file.parse import parse
from tests.support.waiting import until_ready, until_shown
from tests.ui.test_home import (
    Running,
    app_of,
    confirm,
    log_lines,
    notices,
    running,
    screen_text,
    share,
)
from tests.ui.test_marks import asked, marked_lines

AT_ZERO = (b"acme = 25", b"hooli = 0\nacme = 0")
"""A raise of hooli and acme to the first step needs no evidence; one of globex.eu has none."""


def prepared(file: Path, *replaced: tuple[bytes, bytes]) -> bytes:
    text = file.read_bytes()
    for old, new in replaced:
        assert old in text
        text = text.replace(old, new, 1)
    file.write_bytes(text)
    return text


async def typed(pilot: Running, **values: str) -> None:
    """Type into the inputs of the confirm, and press enter."""
    await until_ready(pilot)
    for name, value in values.items():
        pilot.app.screen.query_one(f"#{name}", Input).value = value
    await pilot.press("enter")
    await until_shown(pilot, lambda: not isinstance(pilot.app.screen, ConfirmDialog))


async def settled(pilot: Running) -> None:
    """Wait until the balance was asked for: until then it holds every raise."""
    home = pilot.app.home  # type: ignore[attr-defined]
    await until_shown(pilot, lambda: not home._session.balance.pending)


def rows(file: Path) -> list[tuple[str, str | None, str, str, str]]:
    found = History(file.parent / "h.sqlite3").rows(file)[::-1]
    return [(row.action, row.org, row.before, row.after, row.reason) for row in found]


async def test_what_the_guard_holds_of_the_marked_is_left_out_and_named(file: Path) -> None:
    before = prepared(file, AT_ZERO)
    async with running(app_of(file)) as pilot:
        await settled(pilot)
        await pilot.press("space", "j", "space", "j", "space", "plus")
        said = await asked(pilot)
        assert "Raise: 2 lines" in said
        assert "chat / hooli 0% to 1%, chat / acme 0% to 1%" in said
        assert "left out: chat / globex.eu: held: no data" in said
        assert "ctrl+r: all 3" in said
        await pilot.press("enter", "y")
        assert isinstance(pilot.app.screen, ConfirmDialog), "a raise of several asks for the name"
        pilot.app.home._rebuild()  # type: ignore[attr-defined]
        await typed(pilot, name="chat")
        undoes = "done: 2 lines in rollout.toml · u undoes it"
        await until_shown(pilot, lambda: undoes in notices(pilot))
        assert share(file) == (100, False)
        assert share(file, "globex.eu") == (1250, False)
        assert marked_lines(pilot) == []
        assert rows(file) == [("set", "hooli", "0", "1", ""), ("set", "acme", "0", "1", "")]
        await pilot.press("u")
        assert "undo of set of 2 lines: their percents before" in await asked(pilot)
        await confirm(pilot)
        await until_shown(pilot, lambda: file.read_bytes() == before)


@pytest.mark.slow
async def test_all_are_raised_with_a_typed_reason(file: Path) -> None:
    prepared(file, AT_ZERO)
    async with running(app_of(file)) as pilot:
        await settled(pilot)
        await pilot.press("space", "j", "space", "j", "space", "plus")
        await asked(pilot)
        await until_ready(pilot)
        await pilot.press("ctrl+r")
        await until_shown(pilot, lambda: bool(pilot.app.screen.query("#reason")))
        said = await asked(pilot)
        assert "Raise: 3 lines" in said
        assert "1 of 3: chat / globex.eu: no data" in said
        assert "ctrl+r" not in said
        await until_ready(pilot)
        await pilot.press("ctrl+r")
        pilot.app.screen.query_one("#name", Input).value = "chat"
        await pilot.press("enter")
        assert isinstance(pilot.app.screen, ConfirmDialog), "nothing without a reason"
        await typed(pilot, reason="the drill of May", name="chat")
        await until_shown(pilot, lambda: len(rows(file)) > 2)  # settled after the file
        assert share(file, "globex.eu") == (2500, False)
        assert [row[1:] for row in rows(file)] == [
            ("hooli", "0", "1", "the drill of May"), ("acme", "0", "1", "the drill of May"),
            ("globex.eu", "12.5", "25", "the drill of May"),
        ]  # fmt: skip


async def test_lowering_asks_for_no_typing_and_is_never_held(file: Path) -> None:
    async with running(app_of(file)) as pilot:
        await pilot.press("space", "j", "space", "j", "space", "minus")
        said = await asked(pilot)
        assert "Lower: 3 lines" in said, "of what is rolled back as well"
        assert "(1 stays rolled back until resumed)" in said
        assert not pilot.app.screen.query(Input)
        await confirm(pilot)
        await until_shown(pilot, lambda: share(file) == (1000, False))
        assert share(file, "globex.eu") == (1000, False)
        assert share(file, "initech") == (500, True)


async def test_one_percent_is_set_for_all_marked(file: Path) -> None:
    async with running(app_of(file)) as pilot:
        await pilot.press("space", "j", "space", "e")
        await until_shown(pilot, lambda: isinstance(pilot.app.screen, PercentDialog))
        said = "\n".join(str(one.content) for one in pilot.app.screen.query(Static))
        assert "2 orgs marked: now 12.5% to 25%, new percent:" in said
        await pilot.press(*"12.5", "enter")
        said = await asked(pilot)
        assert "chat / acme 25% to 12.5% in rollout.toml" in said
        assert "left out: chat / globex.eu: at 12.5% already" in said
        await confirm(pilot)
        await until_shown(pilot, lambda: share(file) == (1250, False))


async def test_a_marked_route_is_its_orgs_and_an_org_of_it_is_not_twice(file: Path) -> None:
    async with running(app_of(file)) as pilot:
        await pilot.press("k", "space", "j", "space", "minus")
        said = await asked(pilot)
        assert "Lower: 3 lines" in said
        assert "left out: chat: its default, aliases and flags are set by themselves" in said
        assert "beta-testers" not in said
        await confirm(pilot, "n")
        assert marked_lines(pilot) == ["chat", "acme"]


async def test_an_org_that_another_editor_takes_out_is_not_put_back(file: Path) -> None:
    log_lines(file, 20, orgs=("acme", "globex.eu"))
    async with running(app_of(file)) as pilot:
        await until_shown(pilot, lambda: "0.0%" in screen_text(pilot))
        await pilot.press("space", "j", "space", "minus")
        await asked(pilot)
        edited = prepared(file, (b'"globex.eu" = 12.5\n', b""))
        await confirm(pilot)
        await until_shown(pilot, lambda: marked_lines(pilot) == ["acme"])
        assert file.read_bytes() == edited
        await pilot.press("minus")
        assert "chat / acme 25% to 10%" in await asked(pilot)


async def test_an_edit_between_the_percent_and_the_confirm(file: Path) -> None:
    log_lines(file, 20, orgs=("acme", "globex.eu"))
    async with running(app_of(file)) as pilot:
        await until_shown(pilot, lambda: "0.0%" in screen_text(pilot))
        await pilot.press("space", "j", "space", "e")
        await until_shown(pilot, lambda: isinstance(pilot.app.screen, PercentDialog))
        prepared(file, (b'"globex.eu" = 12.5\n', b""))
        await until_shown(pilot, lambda: marked_lines(pilot) == ["acme"])
        await pilot.press("9", "enter")
        said = await asked(pilot)
        assert "chat / acme 25% to 9%" in said
        assert "left out: chat / globex.eu: no longer in the file" in said


@pytest.mark.parametrize(
    ("replaced", "key", "why"),
    [
        ((b"acme = 25", b"acme = { percent = 25, rolled_back = true }"), "plus", "o resumes one"),
        ((b"acme = 25", b"acme = 100"), "plus", "at 100% already"),
        ((b"acme = 25", b"acme = 0"), "minus", "at 0% already"),
    ],
)
async def test_what_cannot_be_done_says_why(
    file: Path, replaced: tuple[bytes, bytes], key: str, why: str
) -> None:
    before = prepared(file, replaced)
    async with running(app_of(file)) as pilot:
        await pilot.press("space", "j", key)
        await pilot.pause()
        assert why in notices(pilot)
        assert file.read_bytes() == before


async def test_read_only_sets_nothing_marked(file: Path) -> None:
    async with running(app_of(file, read_only=True)) as pilot:
        for key in ("plus", "minus", "e"):
            await pilot.press("space", key)
            assert "read-only" in notices(pilot)


async def test_orgs_without_a_line_get_one_and_r_leaves_them_out(file: Path) -> None:
    prepared(file, (b"beta-testers = 100\n", b""))
    log_lines(file, 20, orgs=("new-1", "new-2"))
    async with running(app_of(file)) as pilot:
        await until_shown(pilot, lambda: "new-2" in screen_text(pilot))
        await settled(pilot)
        await pilot.press("slash", *"new", "enter", "M")
        assert "2 marked" in notices(pilot)
        await pilot.press("r")
        await until_shown(pilot, lambda: "nothing of it goes to TokenLab" in notices(pilot))
        await pilot.press("plus")
        assert "(2 new lines)" in await asked(pilot)
        await typed(pilot, name="chat")
        await until_shown(pilot, lambda: share(file, "new-2") == (100, False))


async def test_a_verdict_is_found_by_its_word(file: Path) -> None:
    prepared(file, (b"acme = 25", b"hooli = 0\nacme = 25"))
    log_lines(file, 300, orgs=("acme", "globex.eu"), failing="globex.eu")
    app = app_of(file)

    def found() -> set[str | None]:
        return {row.org for row in app.home.query_one(RolloutTable).rows if row.org is not None}

    async with running(app) as pilot:
        await until_shown(pilot, lambda: "1 org sick" in screen_text(pilot))
        wanted: dict[str, set[str | None]] = {
            "sick": {"globex.eu"}, "roll back": {"globex.eu"}, "rolled back": {"initech"},
            "previous only": {"hooli"}, "hold": {"acme"}, "ok": set(),
        }  # fmt: skip
        for word, orgs in wanted.items():
            app.home._view.filter = word
            app.home._rebuild()
            routes = parse(file.read_bytes()).routes
            on_chat = {org for org in found() if org in routes["chat"].orgs}
            assert on_chat - {"acme"} == orgs - {"acme"}, word
            assert ("acme" in on_chat) == ("acme" in orgs), word
            assert f"{app.home._view.kept} of {app.home._view.total}" in app.home._view.filter_words
        app.home._view.filter = "!rolled back"
        app.home._rebuild()
        assert "initech" not in found()
        assert "acme" in found()
        await pilot.press("slash")
        hint = app.home.query_one("#filter", Input).placeholder
        assert "ok, hold, sick, rolled back" in hint
        assert len(hint) <= 78, "it fits into 80 columns"


@pytest.mark.parametrize("size", [(80, 24), (60, 16), (40, 10)])
async def test_the_confirm_of_a_raise_says_how_in_a_small_terminal(
    file: Path, size: tuple[int, int]
) -> None:
    async with running(app_of(file), size) as pilot:
        await pilot.press("space", "j", "space", "plus")
        await asked(pilot)
        dialog = pilot.app.screen
        for part in (".how", "#reason", "#name"):
            # The effect is read first: where there is no room for both, typing shows the input.
            if part != ".how":
                await pilot.press("x" if part == "#reason" else "tab")
            await until_shown(pilot, lambda: dialog.query_one(part).region.height > 0)  # noqa: B023
            await until_shown(
                pilot,
                lambda: dialog.region.contains_region(dialog.query_one(part).region),  # noqa: B023
            )


async def test_a_route_whose_model_is_missing_is_left_out_with_that_reason(file: Path) -> None:
    prepared(file, AT_ZERO, (b"acme = 1\n", b"acme = 0\n"))
    app = app_of(file)
    async with running(app) as pilot:
        await settled(pilot)
        app.session.models = {"claude": ModelTrouble("the model is not offered", holds=True)}
        await pilot.press("space", "j", "space", "l", "j", "space", "plus")
        said = await asked(pilot)
        assert "Raise: 2 lines" in said
        assert "left out: claude / acme: held: the model is not offered" in said
