"""Each update of the running console, reduced, shows what Textual's own bytes show."""

import random
from pathlib import Path
from typing import Any

import pyte
import pytest
from rich.console import RenderableType
from textual._compositor import LayoutUpdate
from textual.screen import Screen

from rollout_console.ui.app import ConsoleApp
from rollout_console.ui.frame_diff import FrameDiff
from tests.support.pty_console import looks, new_screen
from tests.ui.test_home import app_of

KEYS = (
    *("j", "k", "l", "h", "c", "slash", "a", "e", "plus", "r", "question_mark", "colon", "v"),
    *("1", "2", "3", "4", "5", "escape", "escape", "escape", "ctrl+l", "enter", "tab"),
)
SIZES = ((80, 24), (120, 40), (60, 16))


class ComparedApp(ConsoleApp):
    """The console that draws each update on two terminals: as Textual writes it, and reduced."""

    def __init__(self, *arguments: Any, **more: Any) -> None:
        self.saved = 0
        self._reduced = FrameDiff()
        self.fit(*SIZES[0])
        super().__init__(*arguments, **more)

    def fit(self, width: int, height: int) -> None:
        self._fits = (width, height)
        self.expected, self.shown = new_screen(width, height), new_screen(width, height)
        self._streams = pyte.Stream(self.expected), pyte.Stream(self.shown)
        self._reduced.forget()

    def _display(self, screen: Screen[Any], renderable: RenderableType | None) -> None:
        render = getattr(renderable, "render_segments", None)
        if isinstance(renderable, LayoutUpdate) and renderable.region.size != self._fits:
            self.fit(*renderable.region.size)
        if render is not None:
            whole = render(self.console)
            reduced = self._reduced.reduced(renderable, self.console, self.cursor_position)
            written = "" if reduced is None else reduced.render_segments(self.console)
            self._streams[0].feed(whole)
            self._streams[1].feed(written)
            self.saved += len(whole) - len(written)
            pairs = zip(looks(self.expected), looks(self.shown), strict=True)
            for y, (expected, shown) in enumerate(pairs):
                if expected != shown:
                    raise AssertionError(f"line {y}: {expected} is shown as {shown}")
        super()._display(screen, renderable)


@pytest.fixture
def compared(file: Path, monkeypatch: pytest.MonkeyPatch) -> ComparedApp:
    monkeypatch.setattr("tests.ui.test_home.ConsoleApp", ComparedApp)
    app = app_of(file)
    assert isinstance(app, ComparedApp)
    return app


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_screens_dialogs_themes_and_sizes(compared: ComparedApp, seed: int) -> None:
    choices = random.Random(seed)
    app = compared
    async with app.run_test(size=SIZES[0]) as pilot:
        for step in range(40):
            await pilot.press(choices.choice(KEYS))
            if step % 7 == 3:
                app.theme = choices.choice(sorted(app.own_themes))
            if step % 9 == 4:
                app.notify(
                    "世界: a toast with wide characters é😀", timeout=choices.choice([0.1, 9])
                )
            if step % 13 == 8:
                await pilot.resize_terminal(*choices.choice(SIZES))
            await pilot.pause()
        assert app.saved > 0
        update = app.screen._compositor.render_update(
            full=True, screen_stack=app._background_screens
        )
        app._display(app.screen, update)
        assert looks(app.shown) == looks(app.expected)


def test_textual_still_calls_what_is_overridden() -> None:
    assert "_display" in vars(ConsoleApp.__mro__[1])
    assert "_display" in Screen._compositor_refresh.__code__.co_names


async def test_an_update_that_textual_drops_is_not_taken_for_shown(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = app_of(file)
    async with app.run_test(size=SIZES[0]):
        reduced: list[object] = []
        monkeypatch.setattr(ConsoleApp, "is_headless", False)
        monkeypatch.setattr(app._frames, "reduced", lambda update, *_: reduced.append(update))
        update = app.screen._compositor.render_update(full=True)
        with app.batch_update():
            app._display(app.screen, update)
        assert not reduced
        app._display(app.screen, update)
        assert reduced == [update]
        monkeypatch.undo()
