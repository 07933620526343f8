"""Rolling back from the home screen: one key and a confirm, the way back, and what can fail."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from textual.color import Color
from textual.widgets import Static

from rollout_console.changes import open_conversations
from rollout_console.changes.errors import StoreError
from rollout_console.changes.file_store import RolloutStore
from rollout_console.changes.snapshot import Snapshot
from rollout_console.changes.switch import Switch
from rollout_console.history.actor import Actor
from rollout_console.history.history import History
from rollout_console.ui.dialogs.confirm import ConfirmDialog
from rollout_gate.file.parse import parse
from rollout_gate.http.id_file import IdWriter
from rollout_gate.http.id_store import IDS_NAME
from rollout_gate.http.operations import Bound
from tests.support.waiting import PATIENCE_S, until_ready, until_shown
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


async def test_one_key_and_one_confirm_roll_an_org_back(file: Path) -> None:
    async with running(app_of(file)) as pilot:
        await pilot.press("r")
        await confirm(pilot)
        await until_shown(pilot, lambda: share(file) == (2500, True))
        await until_shown(pilot, lambda: "rolled back: " in notices(pilot))
        log_lines(file, 3, side="previous")
        await until_shown(pilot, lambda: "drained" in notices(pilot) or "yet" in notices(pilot))
        await pilot.press("u")
        await confirm(pilot)
        await until_shown(pilot, lambda: share(file) == (2500, False))


@pytest.mark.parametrize("key", ["r", "R", "exclamation_mark"])
async def test_a_rollback_by_mistake_is_taken_back_with_two_keys(file: Path, key: str) -> None:
    before = file.read_bytes()
    async with running(app_of(file)) as pilot:
        await pilot.press(key)
        await confirm(pilot)
        await until_shown(
            pilot, lambda: "rolled back: " in notices(pilot)
        )  # after the file, the record
        assert file.read_bytes() != before
        await pilot.press("u")
        await confirm(pilot)
        await until_shown(pilot, lambda: file.read_bytes() == before)


async def test_a_rollback_that_the_guard_asked_for_is_not_taken_back_like_that(file: Path) -> None:
    async with running(app_of(file)) as pilot:
        log_lines(file, 200, status=500)
        await until_shown(pilot, lambda: "ROLL BACK: 5xx" in screen_text(pilot))
        await pilot.press("r")
        await confirm(pilot)
        await until_shown(
            pilot, lambda: "rolled back: " in notices(pilot)
        )  # after the file, the record
        assert share(file) == (2500, True)
        await pilot.press("u")
        await until_shown(pilot, lambda: isinstance(pilot.app.screen, ConfirmDialog))
        await until_ready(pilot)
        await pilot.press("y", "enter")
        assert isinstance(pilot.app.screen, ConfirmDialog), "it asks for a typed reason"
        assert share(file) == (2500, True)


async def answer_and_be_asked_again(pilot: Running) -> str:
    """Confirm; return what the dialog after it says."""
    await until_shown(pilot, lambda: isinstance(pilot.app.screen, ConfirmDialog))
    before = pilot.app.screen
    await until_ready(pilot)
    await pilot.press("y")
    home = pilot.app.screen_stack[0]

    def asked() -> str:
        screen = pilot.app.screen
        found = () if screen in (before, home) else screen.query(Static)
        return " ".join(str(one.render()) for one in found)

    await until_shown(pilot, asked)  # it is there before what it says
    return asked()


@contextmanager
def unwritable() -> Iterator[None]:
    """Let every write of the rollout file fail."""

    def fails(*_: object, **_more: object) -> Snapshot:
        raise StoreError("rollout.toml cannot be written: No space left on device")

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(RolloutStore, "write", fails)
        yield


@pytest.mark.slow
async def test_a_rollback_that_failed_is_said_until_it_is_made(file: Path) -> None:
    async with running(app_of(file)) as pilot:
        with unwritable():
            await pilot.press("r")
            shown = await answer_and_be_asked_again(pilot)
            assert "NOT ROLLED BACK: chat / acme" in shown
            assert "No space left on device" in shown
            await answer_and_be_asked_again(pilot)  # y tries again
            await confirm(pilot, "escape")
            assert "NOT ROLLED BACK: chat / acme: rollout.toml cannot" in notices(pilot)
            await pilot.press("u")  # the refusal of another key does not replace it
            await until_shown(pilot, lambda: "no change" in notices(pilot))
            assert "NOT ROLLED BACK" in notices(pilot)
            assert share(file) == (2500, False)
            await pilot.press("r")
            await answer_and_be_asked_again(pilot)
        await confirm(pilot)
        await until_shown(pilot, lambda: share(file) == (2500, True))
        await until_shown(pilot, lambda: "acme rolled back: " in notices(pilot))
        assert "NOT ROLLED BACK" not in notices(pilot)


@pytest.mark.parametrize("key", ["escape", "R"])
async def test_a_failed_rollback_is_over_when_it_is_dismissed_or_a_wider_one_is_made(
    file: Path, key: str
) -> None:
    async with running(app_of(file)) as pilot:
        with unwritable():
            await pilot.press("r")
            await answer_and_be_asked_again(pilot)
            await confirm(pilot, "escape")
            await until_shown(pilot, lambda: "NOT ROLLED BACK" in notices(pilot))
        await pilot.press(key)
        if key == "R":
            await confirm(pilot)
        await until_shown(pilot, lambda: "NOT ROLLED BACK" not in notices(pilot))


@pytest.mark.parametrize(("key", "where"), [("R", "route"), ("exclamation_mark", "file")])
async def test_route_and_everything(file: Path, key: str, where: str) -> None:
    async with running(app_of(file)) as pilot:
        await pilot.press(key)
        await confirm(pilot)
        await until_shown(
            pilot,
            lambda: (
                parse(file.read_bytes()).rolled_back
                if where == "file"
                else parse(file.read_bytes()).routes["chat"].rolled_back
            ),
        )


async def test_a_rollback_by_somebody_else_drains_on_this_screen_too(file: Path) -> None:
    async with running(app_of(file), size=(120, 40)) as pilot:
        log_lines(file, 200, status=500)
        await until_shown(pilot, lambda: "ROLL BACK: 5xx" in screen_text(pilot))
        other = Switch(file, History(file.parent / "h.sqlite3"), Actor("sam", "gw-02"))
        other.open()
        other.apply(other.planner.plan_rollback("chat", "acme", "5xx"), reason="5xx")
        await until_shown(pilot, lambda: "draining" in screen_text(pilot))
        row = next(line for line in screen_text(pilot).splitlines() if "acme  " in line)
        assert "draining" in row
        assert "hold" not in row
        assert "sam@gw-02" in notices(pilot)


async def test_the_confirm_says_how_many_open_conversations_it_cuts(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(open_conversations, "WAIT_S", PATIENCE_S)
    ids = {
        f"r{n}": Bound("tokenlab", "chat", "acme", "response", f"t{n % 4}", time.time())
        for n in range(8)
    }
    IdWriter(file.with_name(IDS_NAME)).write(ids)
    async with running(app_of(file)) as pilot:
        await pilot.press("r")
        await until_shown(pilot, lambda: isinstance(pilot.app.screen, ConfirmDialog))
        await until_shown(
            pilot,
            lambda: any(
                "cuts 4 open conversations" in str(one.render())
                for one in pilot.app.screen.query(Static)
            ),
        )


ACME = ("chat", "acme")


def asked(pilot: Running) -> str:
    return "\n".join(str(one.content) for one in pilot.app.screen.query(Static))


@pytest.mark.parametrize("size", [(80, 24), (40, 10)])
async def test_a_rollback_looks_like_one_and_shows_both_sides(
    file: Path, size: tuple[int, int]
) -> None:
    """Without colours as well: by its title, its border and the words beside its key."""
    app = app_of(file)
    async with running(app, size) as pilot:
        log_lines(file, 40, status=500)
        log_lines(file, 60)
        log_lines(file, 20, side="previous")
        monitor = app.home._monitor
        await until_shown(
            pilot, lambda: monitor.figures(*ACME, "tokenlab", time.time(), 60).requests > 99
        )
        await until_shown(
            pilot, lambda: monitor.figures(*ACME, "previous", time.time(), 60).requests > 19
        )
        await pilot.press("r")
        await until_shown(pilot, lambda: isinstance(pilot.app.screen, ConfirmDialog))
        await pilot.pause(0.1)
        dialog = pilot.app.screen
        shown = [one for one in dialog.query(Static) if one.display]
        lines = [str(one.content) for one in shown]
        assert lines[0] == "ROLL BACK"
        assert lines[2].startswith("now on TokenLab: ")
        assert "5xx 40% (40 of 100 in 5 m), p95 12" in lines[2]
        assert lines[3].startswith("previous side: ")
        assert " req/s, 5xx 0.0%, p95 12" in lines[3]
        assert "y: roll back" in lines[-1]
        for one in (*shown[:4], dialog.query_one(".how")):
            assert one.region.height > 0, one
            assert dialog.region.contains_region(one.region), one
        assert min(one.region.bottom for one in dialog.query(".how")) > max(
            one.region.bottom for one in shown[:4]
        )
        if size == (80, 24):
            edge, colour = dialog.query_one("Vertical").styles.border_top
            assert edge == "heavy"
            assert colour.rgb == Color.parse(pilot.app.theme_variables["error"]).rgb
        await pilot.press("escape")


async def test_the_figures_of_a_rollback_go_on_in_its_confirm(file: Path) -> None:
    """The rows behind it go on too: one fact would have two numbers."""
    async with running(app_of(file)) as pilot:
        log_lines(file, 40)
        log_lines(file, 40, side="previous")
        monitor = pilot.app.home._monitor  # type: ignore[attr-defined]
        await until_shown(
            pilot, lambda: monitor.figures(*ACME, "previous", time.time(), 60).requests > 39
        )
        await pilot.press("r")
        await until_shown(pilot, lambda: isinstance(pilot.app.screen, ConfirmDialog))
        said = asked(pilot)
        assert "5xx 0.0% (0 of 40 in 5 m)" in said
        assert not pilot.app.screen.query_one("#warning").display
        log_lines(file, 40, status=500)
        log_lines(file, 40, status=500, side="previous")
        await until_shown(pilot, lambda: "5xx 50% (40 of 80 in 5 m)" in asked(pilot))
        assert "! the previous provider is failing as well: 5xx 50% of 80" in asked(pilot)
        assert pilot.app.screen.query_one("#warning").display
        await pilot.press("escape")


async def test_a_raise_does_not_look_like_a_rollback(file: Path) -> None:
    async with running(app_of(file)) as pilot:
        await pilot.press("plus")
        await until_shown(pilot, lambda: isinstance(pilot.app.screen, ConfirmDialog))
        said = asked(pilot)
        assert "ROLL BACK" not in said
        assert "now on TokenLab" not in said
        assert pilot.app.screen.query_one("Vertical").styles.border_top[0] == "round"


async def test_a_rollback_without_figures_says_so(file: Path) -> None:
    async with running(app_of(file)) as pilot:
        await pilot.press("r")
        await until_shown(pilot, lambda: isinstance(pilot.app.screen, ConfirmDialog))
        assert "previous side: no requests seen in 5 m: nothing is known of it" in asked(pilot)
