"""The Textual app as a terminal program: what is written, its colours, signals and the end."""

import asyncio
import gc
import os
import sys
from contextlib import suppress
from time import monotonic
from typing import Any

from rich.console import RenderableType
from rich.segment import Segments
from rich.text import Text
from textual import events, on
from textual.app import App
from textual.driver import Driver
from textual.filter import LineFilter
from textual.screen import Screen
from textual.theme import Theme

from rollout_console.ui.ascii_filter import AsciiFilter, terminal_encoding, written_encoding
from rollout_console.ui.escape_parser import LateInput
from rollout_console.ui.frame_diff import FrameDiff
from rollout_console.ui.key_order import IN_ORDER, KeyOrder
from rollout_console.ui.no_color_filter import NoColourFilter, coloured
from rollout_console.ui.output_stream import erases_with_background
from rollout_console.ui.settings import Settings
from rollout_console.ui.status_report import StatusReport, StatusReports
from rollout_console.ui.terminal_driver import TerminalDriver
from rollout_console.ui.terminal_exit import start_no_more
from rollout_console.ui.themes import DEFAULT_THEME, load_themes

_RESIZED_AFTER_S = 0.1
"""Seconds in which Textual has drawn another size: what it has drawn is not written again."""

_HALTED_PASTE = "a paste was interrupted; input is discarded until its end: esc takes keys again"
_CUT_PASTE = "a paste was interrupted, and the rest was discarded: paste it again"
_SHOWN_FOR_S = 10.0


class TerminalApp(App[None]):
    """An app that writes only what differs, in the colours and signs that its terminal has."""

    CSS = """
    .-remote ModalScreen, .-remote CommandPalette { background: transparent; }
    .-remote CommandPalette CommandList { max-height: 8; }
    """
    """Over SSH a dialog does not dim what is behind it, which would write every cell twice, and
    the palette shows its first commands alone."""
    _leaving = False
    _theme_in_use: Theme | None = None

    def __init__(self, settings: Settings, driver: type[Driver] | None = None) -> None:
        """Raise nothing: what is wrong with the theme is in ``theme_troubles``.

        ``driver`` is one for the terminal where it is None.
        """
        self._frames = FrameDiff(erases=driver is None and erases_with_background())
        super().__init__(driver or TerminalDriver)
        self.animation_level = "none"
        self.set_class("SSH_CONNECTION" in os.environ, "-remote")
        self.no_color = bool(os.environ.get("NO_COLOR"))
        # Textual's own filters write shades of grey, and mix dim text into one of them.
        no_colours: list[LineFilter] = [NoColourFilter()]
        self._filters = no_colours if self.no_color else coloured(self._filters)
        if settings.ascii:
            self._filters.append(AsciiFilter(terminal_encoding(os.environ, written_encoding())))
        self.own_themes: set[str] = set()
        self.theme_troubles = self._use_theme_of(settings)
        self.keys = KeyOrder(self, super().on_event)
        self.status_reports = StatusReports(self._write_control)
        self._ends_on: asyncio.AbstractEventLoop | None = None
        self._told_by = 0
        self._said_until: dict[str, float] = {}

    def _use_theme_of(self, settings: Settings) -> list[str]:
        """Load the themes and use the one that the settings name; return what is wrong with it."""
        themes, troubles = load_themes()
        self.own_themes = {theme.name for theme in themes}
        for theme in themes:
            self.register_theme(theme)
        wanted = settings.theme if settings.theme in self.own_themes else DEFAULT_THEME
        if wanted != settings.theme:
            known = ", ".join(sorted(self.own_themes))
            troubles.append(f"no theme {settings.theme!r}; known: {known}")
        self._theme_in_use = None  # the theme of that name may have other colours now
        self.theme = wanted
        return troubles

    def refresh_css(self, animate: bool = True) -> None:
        """Refresh CSS; before there is a screen, set the theme's variables alone.

        The stylesheet would be parsed twice otherwise: for the theme that __init__ has set, and
        again with what home's widgets add to it.
        """
        if self.screen_stack:
            super().refresh_css(animate)
        else:
            self.stylesheet.set_variables(self.get_css_variables())

    @property
    def current_theme(self) -> Theme:
        """The theme in use, memoized: Textual asks for it hundreds of times a frame."""
        if self._theme_in_use is None or self._theme_in_use.name != self.theme:
            self._theme_in_use = super().current_theme
        return self._theme_in_use

    def _display(self, screen: Screen[Any], renderable: RenderableType | None) -> None:
        """Write an update to the terminal, reduced to the cells that differ.

        It overrides a private method of Textual; a test checks that Textual still calls it. What
        Textual drops, as during a batch of updates, is not shown and must not be noted as shown.
        """
        is_written = self._running and not self._closed and not self._batch_count
        if is_written and not self.is_headless:
            renderable = self._frames.reduced(renderable, self.console, self.cursor_position)
        super()._display(screen, renderable)

    def on_resize(self, event: events.Resize) -> None:
        """Repaint on each SIGWINCH, also of the same size: a session was reattached (dtach).

        A report in band (mode 2048) has the size in pixels, and also comes once after the start.
        Textual repaints only where the size is another one when its own delay has passed.
        """
        changed = event.pixel_size is None or event.size != self.size
        if changed and self._frames.forget():
            self.set_timer(_RESIZED_AFTER_S, self._repaint)

    def action_redraw(self) -> None:
        """Write every cell again: another program has written to the terminal, or cleared it."""
        self._frames.forget()
        self._repaint()

    def _resume(self) -> None:
        self.action_redraw()
        self.status_reports.ask_anew()

    def _write_control(self, sequence: str) -> None:
        if self._driver is not None and not self.is_headless:
            self._driver.write(sequence)
            self._driver.flush()

    @on(StatusReport)
    def _status_reported(self, report: StatusReport) -> None:
        self.status_reports.take(report)

    def _repaint(self) -> None:
        for screen in self.screen_stack[-1:]:
            screen.refresh()

    def on_ready(self) -> None:
        """Re-enable garbage collection, which the caller may have disabled for a faster startup.

        The objects made during startup are frozen first, so that the collector skips them. The
        terminal is asked for its status, to know whether it answers.
        """
        gc.freeze()
        gc.enable()
        self.status_reports.ask()

    def on_mount(self) -> None:
        """Repaint when the process was continued (SIGCONT), and end if told so meanwhile."""
        self.app_resume_signal.subscribe(self, lambda _: self._resume())
        self._ends_on = asyncio.get_running_loop()
        if self._told_by:
            self._end()

    @on(LateInput)
    def _input_discarded(self, event: LateInput) -> None:
        """Say that keys are discarded, above dialogs, too: the console must not seem dead.

        It is said once for as long as it is shown.
        """
        words, now = _CUT_PASTE if event.is_over else _HALTED_PASTE, monotonic()
        if now >= self._said_until.get(words, 0.0):
            self._said_until[words] = now + _SHOWN_FOR_S
            self.notify(words, severity="warning", timeout=_SHOWN_FOR_S, markup=False)

    def exit(self, *arguments: Any, **more: Any) -> None:
        """Exit the app; keys that come after it are dropped."""
        self._leaving = True
        start_no_more()
        super().exit(*arguments, **more)

    def end_when_told(self, number: int, _frame: object = None) -> None:
        """Shut down gracefully on a signal: finish a change under way, restore the terminal.

        This is a handler of ``signal.signal``, not of the event loop: the loop's handlers end with
        the loop, and a closing terminal may signal twice, which would kill the cleanup.
        """
        start_no_more()
        self._told_by = self._told_by or number
        if self._ends_on is not None:
            with suppress(RuntimeError):  # the event loop is closed already
                self._ends_on.call_soon_threadsafe(self._end)

    def _end(self) -> None:
        self.exit(return_code=128 + self._told_by)

    @property
    def _background_screens(self) -> list[Screen[Any]]:
        """Return the screens visible behind the active one: only a modal dialog has any.

        Textual counts the screen below any active one, and would repaint the entire terminal at
        every change of that hidden screen.
        """
        return super()._background_screens if self.screen.is_modal else []

    async def on_event(self, event: events.Event) -> None:
        """Dispatch events, keys one at a time; drop them at the end, when no screen is left."""
        if isinstance(event, events.Key) and (self._leaving or not self.screen_stack):
            return
        if isinstance(event, IN_ORDER) and not event.is_forwarded:
            await self.keys.take(event)
        else:
            await super().on_event(event)

    def _fatal_error(self) -> None:
        """Exit after an unhandled exception, with a traceback without locals, which hold secrets.

        It overrides a private method of Textual that prints them; a test checks that Textual still
        calls it.
        """
        from rich.traceback import Traceback

        self.bell()
        kind = sys.exc_info()[0]
        traceback = Traceback(show_locals=False, width=100)
        said = Text(
            f"rollout-console stopped by an internal error ({kind.__name__ if kind else '?'}). "
            "No partial write: the rollout file is one complete version.\n"
        )
        self._exit_renderables.append(
            Segments(
                [
                    *self.console.render(traceback, self.console.options),
                    *self.console.render(said, self.console.options),
                ]
            )
        )
        self._close_messages_no_wait()
