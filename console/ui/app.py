"""The Textual app: themes, keys and screens. What happens on a screen is the screen's own."""

import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, ClassVar, Protocol

from rich.segment import Segments
from rich.text import Text
from textual import work
from textual.app import App
from textual.binding import BindingType
from textual.screen import Screen

from console.operations.balance import BalanceSources
from console.operations.errors import OperationError
from console.operations.monitor import Monitor
from console.operations.switch import Switch
from console.ui.help import HelpScreen
from console.ui.home import HomeScreen
from console.ui.keys import APP_KEYS
from console.ui.settings import Settings
from console.ui.status import StatusFacts
from console.ui.theming import DEFAULT_THEME, load_themes
from console.vault.vault import Vault, empty_vault

if TYPE_CHECKING:
    from textual.command import Provider


class Incidents(Protocol):
    """What the demo offers to practise on."""

    def offered(self) -> Iterable[tuple[str, str]]:
        """Return names and what they look like."""

    def start(self, name: str) -> None:
        """Start one, or clear all; raises OperationError."""


def _commands() -> "type[Provider]":
    """Load the palette's commands when it is first opened."""
    from console.ui.palette import ConsoleCommands

    return ConsoleCommands


class ConsoleApp(App[None]):
    """The console on one rollout file."""

    TITLE = "rollout-console"
    COMMANDS = {_commands}  # noqa: RUF012  Textual's own form
    BINDINGS: ClassVar[list[BindingType]] = [key.binding() for key in APP_KEYS]
    ENABLE_COMMAND_PALETTE = True

    def __init__(
        self,
        switch: Switch,
        monitor: Monitor,
        settings: Settings,
        *,
        user: str,
        host: str,
        vault: Vault | None = None,
        incidents: Incidents | None = None,
    ) -> None:
        super().__init__()
        self.animation_level = "none"
        self.incidents = incidents
        self._settings = settings
        themes, troubles = load_themes()
        self.own_themes = {theme.name for theme in themes}
        for theme in themes:
            self.register_theme(theme)
        wanted = settings.theme if settings.theme in self.own_themes else DEFAULT_THEME
        if wanted != settings.theme:
            known = ", ".join(sorted(self.own_themes))
            troubles.append(f"no theme {settings.theme!r}; known: {known}")
        self.theme = wanted
        self._facts = StatusFacts(
            user=user,
            host=host,
            read_only=switch.read_only,
            demo=incidents is not None,
            keymap=settings.keymap,
            troubles=(*settings.troubles, *troubles),
        )
        self.home = HomeScreen(switch, monitor, BalanceSources(vault or empty_vault()), self._facts)

    def get_default_screen(self) -> Screen[None]:
        """Start on the home screen."""
        return self.home

    def on_mount(self) -> None:
        """Take the operator's keys over."""
        self.set_keymap(self._settings.keymap)

    def action_help(self) -> None:
        """Show every key."""
        if not isinstance(self.screen, HelpScreen):
            self.push_screen(HelpScreen(self._facts.keymap, self._facts.read_only))

    async def action_back(self) -> None:
        """Leave the filter or dismiss the notices; dialogs close themselves."""
        if self.screen is self.home:
            self.home.go_back()

    async def run_home_action(self, action: str) -> None:
        """Run an action of the home screen, as its key would."""
        await self.home.run_action(action)

    @work(thread=True, exclusive=True, group="incident", exit_on_error=False)
    def start_incident(self, name: str) -> None:
        """Start a practice incident of the demo."""
        if self.incidents is None:
            return
        try:
            self.incidents.start(name)
        except OperationError as error:
            self.call_from_thread(self.home.change_refused, str(error))
        else:
            self.call_from_thread(self.home.tell, f"incident: {name}")

    def _fatal_error(self) -> None:
        """End after an unhandled exception, without the local variables that could hold secrets.

        Textual's own version prints them; a test checks that this one is still what is called.
        """
        from rich.traceback import Traceback

        self.bell()
        kind = sys.exc_info()[0]
        traceback = Traceback(show_locals=False, width=100)
        said = Text(
            f"rollout-console stopped by an internal fault ({kind.__name__ if kind else '?'}). "
            "Nothing was half-written: the rollout file is one whole version.\n"
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
