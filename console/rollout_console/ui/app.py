"""The console's app: key bindings and the screen stack; each screen handles its own keys."""

import asyncio
import io
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from textual import events, on, work
from textual.binding import BindingType
from textual.screen import Screen
from textual.widgets import Input

from rollout_console.changes.switch import Switch
from rollout_console.common.errors import OperationError
from rollout_console.common.folders import state_folder
from rollout_console.credentials.vault.vault import Vault, empty_vault
from rollout_console.guard.balance import BalanceSources
from rollout_console.guard.monitor import Monitor
from rollout_console.ui.jump_list import Position
from rollout_console.ui.keymap import APP_KEYS
from rollout_console.ui.messages import (
    CLEARED_AFTER_S,
    CredentialsChanged,
    HistoryChanged,
    Resized,
    SecretCopied,
    SecretShown,
    SettingsChanged,
)
from rollout_console.ui.preload import AFTER_S, preload
from rollout_console.ui.screens.base import BesideScreen
from rollout_console.ui.screens.home.screen import HomeScreen
from rollout_console.ui.screens.home.status import StatusFacts
from rollout_console.ui.session import Session
from rollout_console.ui.settings import Settings
from rollout_console.ui.terminal_app import TerminalApp
from rollout_gate.file.model import RolloutFile

if TYPE_CHECKING:
    from textual.command import Provider
    from textual.driver import Driver

    from rollout_console.credentials.api_keys import ApiKeys
    from rollout_console.credentials.key_values import KeyBurn
    from rollout_console.credentials.rotation import Rotations
    from rollout_console.guard.alerts import ModelTrouble
    from rollout_console.models.catalogue import Catalogue
    from rollout_console.ui.keymap import Key
    from rollout_console.ui.screens.jobs.state import JobsView
    from rollout_console.ui.screens.live.state import LiveView
    from rollout_console.ui.screens.money.state import MoneyView


_NEVER_HELD = ("ctrl+c", "ctrl+q")
"""Keys that edit nothing, and that are for leaving: they wait for no form."""


class Incidents(Protocol):
    """The practice incidents that the demo's simulator can inject."""

    def offered(self) -> Iterable[tuple[str, str]]:
        """Return each incident's name and its symptoms in words."""

    def start(self, name: str) -> None:
        """Start the named incident, or clear all of them; raises OperationError."""


def _commands() -> "type[Provider]":
    """Lazily import the command palette's provider, when the palette is first opened."""
    from rollout_console.ui.palette import ConsoleCommands

    return ConsoleCommands


def _proving_model(file: RolloutFile) -> str:
    """Return the model of the first chat-completions route that names one, else an empty text.

    An API key is verified with a model that it is meant to serve.
    """
    chats = (r for r in file.routes.values() if r.format == "openai_chat_completions" and r.model)
    return next((route.model for route in chats), "")


class ConsoleApp(TerminalApp):
    """The console on one rollout file."""

    TITLE = "rollout-console"
    _secret_in_clipboard = False
    _is_jumping = False
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
        tab_driver: "type[Driver] | None" = None,
    ) -> None:
        """``tab_driver`` draws in a browser's tab, where nothing is changed or kept."""
        super().__init__(settings, tab_driver)
        self.incidents = incidents
        self._settings = settings
        self._facts = StatusFacts(
            user=user,
            host=host,
            read_only=switch.access.read_only,
            demo=incidents is not None,
            keymap=settings.keymap,
            troubles=(*settings.troubles, *self.theme_troubles),
            proving_model=_proving_model(monitor.file),
            in_browser=tab_driver is not None,
        )
        self._vault = vault or empty_vault()
        self._monitor = monitor
        self._switch = switch
        self._models: Catalogue | None = None
        self._live: LiveView | None = None
        self._jobs: JobsView | None = None
        self._money: MoneyView | None = None
        self._key_burn: KeyBurn | None = None
        self.session = Session(switch, monitor)
        self.home = HomeScreen(
            self.session,
            BalanceSources(self._vault),
            self._facts,
            self._warn_of_keys,
            self._ask_for_models,
        )

    @on(SettingsChanged)
    def _settings_changed(self, event: SettingsChanged) -> None:
        """Use another theme at once; a keymap is that of the next start."""
        before, self._settings = self._settings, event.settings
        troubles = list(event.settings.troubles)
        said = "config.toml was edited: what is no theme is used from the next start on"
        if event.settings.theme != before.theme:
            troubles += self._use_theme_of(event.settings)
            said = f"theme {self.theme}"
        self.home.tell("; ".join(troubles) or said)

    def get_default_screen(self) -> Screen[None]:
        """Start on the home screen."""
        return self.home

    def on_mount(self) -> None:
        """Apply the operator's keymap; load the other screens once the first has been drawn."""
        self.set_keymap(self._settings.keymap)
        if not self.is_headless:
            self.set_timer(AFTER_S, preload)

    def on_key(self, event: events.Key) -> None:
        """Give a key that no widget took to what it was typed for: one that edits to a form alone.

        That is a dialog that was opened since, one that an action is about to open, the only line
        of a dialog that has lost the focus, or an input: the r of an org's name must not roll back.
        """
        line, typed = self.focused, events.Key(event.key, event.character)
        if event.key not in _NEVER_HELD and self._is_for_a_form(typed):
            event.stop()
            event.prevent_default()
            return
        if not event.is_printable:
            return
        if line is None and getattr(self.screen, "TAKES_DIGITS", False):
            line = next(iter(self.screen.query(Input)), None)
        if isinstance(line, Input):
            event.stop()
            event.prevent_default()
            line.post_message(typed)

    def on_paste(self, event: events.Paste) -> None:
        """Keep a paste that no widget took for the form that is open by now, or about to be."""
        self._is_for_a_form(events.Paste(event.text))

    def _is_for_a_form(self, typed: events.Key | events.Paste) -> bool:
        if self.keys.is_early:  # the dialog has been opened since
            self.keys.again(typed)
            return True
        beside = None if isinstance(self.focused, Input) else self._beside_home
        return beside is not None and beside.takes_ahead(typed)

    def action_help(self) -> None:
        """Open the help of the active screen, which lists its key bindings."""
        from rollout_console.ui.screens.help import HelpScreen

        if not isinstance(self.screen, HelpScreen):
            beside = self._beside_home
            context = "home" if beside is None else beside.CONTEXT
            self.push_screen(HelpScreen(context, self._facts))

    async def action_back(self) -> None:
        """Clear the filter, dismiss the notice, or go home; dialogs close themselves."""
        was_told = self.session.progress.dismiss()
        if self.screen is self.home:
            self.home.go_back()
        elif self._beside_home is not None and not self._beside_home.go_back() and not was_told:
            self.action_show_home()

    @property
    def _beside_home(self) -> BesideScreen | None:
        """The active screen, if it is neither home nor a dialog."""
        return self.screen if isinstance(self.screen, BesideScreen) else None

    def action_command_palette(self) -> None:
        """Open the command palette."""
        from rollout_console.ui.palette import Palette

        if not isinstance(self.screen, Palette):
            self.push_screen(Palette(id="--command-palette"))

    def action_show_home(self) -> None:
        """Go back to the home screen; does nothing while a dialog is open."""
        if self._beside_home is not None:
            self._leave()
            self.home.come_back()
            self.pop_screen()

    @property
    def _position(self) -> Position:
        beside = self._beside_home
        return self.home.position if beside is None else Position(beside.CONTEXT)

    def _leave(self) -> None:
        """Keep the position in the jump list, unless the list itself goes elsewhere."""
        if not self._is_jumping:
            self.session.jumps.leave(self._position)

    def action_jump(self, by: int) -> None:
        """Go back or forward in the jump list; does nothing while a dialog is open."""
        if self.screen is not self.home and self._beside_home is None:
            return
        found = self.session.jumps.go(by, self._position)
        if found is None:
            tell = self.home.tell if self._beside_home is None else self._beside_home.say
            tell(f"no jump {'before' if by < 0 else 'after'} this one")
            return
        self._is_jumping = True
        try:
            if found.screen != self._position.screen:
                getattr(self, f"action_show_{found.screen}")()
        finally:
            self._is_jumping = False
        if found.row is not None:
            self.home.go_to_row(found.row)

    def action_show_keys(self) -> None:
        """Open the keys screen."""
        from rollout_console.ui.screens.keys.screen import KeysScreen

        routes = self._monitor.file.routes.values()
        models = sorted({route.model for route in routes if route.model})
        self._show_beside(KeysScreen, lambda: KeysScreen(*self._key_room(), self._facts, models))

    def action_show_models(self) -> None:
        """Open the models screen."""
        from rollout_console.ui.screens.models.screen import ModelsScreen

        self._show_beside(
            ModelsScreen,
            lambda: ModelsScreen(self._model_room(), self.session, self._facts),
        )

    def action_show_routes(self) -> None:
        """Open the routes screen."""
        from rollout_console.ui.screens.routes.screen import RoutesScreen

        self._show_beside(
            RoutesScreen,
            lambda: RoutesScreen(
                self.session, self._key_room()[0], self._model_room(), self._facts
            ),
        )  # fmt: skip

    def action_show_live(self) -> None:
        """Open the live screen."""
        from rollout_console.ui.screens.live.screen import LiveScreen
        from rollout_console.ui.screens.live.state import LiveView

        view = self._live = self._live or LiveView(self._monitor, self.session.alerts)
        self._show_beside(
            LiveScreen,
            lambda: LiveScreen(
                self.session, view, self.home.selected_route, self.home.roll_back, self._facts
            ),
        )

    def action_show_history(self) -> None:
        """Open the history screen."""
        from rollout_console.ui.screens.history.screen import HistoryScreen

        self._show_beside(HistoryScreen, lambda: HistoryScreen(self.session, self._facts))

    def action_show_jobs(self) -> None:
        """Open the jobs screen."""
        from rollout_console.ui.screens.jobs.screen import JobsScreen
        from rollout_console.ui.screens.jobs.state import JobsView

        view = self._jobs = self._jobs or JobsView(
            self._switch.path, lambda: self._monitor.file, lambda: self._key_room()[0]
        )
        self._show_beside(JobsScreen, lambda: JobsScreen(view, self._switch.access, self._facts))

    def action_show_money(self) -> None:
        """Open the money screen."""
        from rollout_console.ui.screens.money.screen import MoneyScreen
        from rollout_console.ui.screens.money.state import MoneyView

        view = self._money = self._money or MoneyView(
            self._switch, lambda: self._monitor.file, lambda: self._key_room()[0],
            keeps=not self._facts.in_browser,
        )  # fmt: skip
        self._show_beside(
            MoneyScreen, lambda: MoneyScreen(view, self.session, self._switch.access, self._facts)
        )

    @on(HistoryChanged)
    def _history_changed(self) -> None:
        """Pass on what home's worker has seen: the message bubbles up from the home screen."""
        for screen in self.screen_stack:
            if isinstance(screen, BesideScreen):
                screen.history_changed()

    @on(Resized)
    def _resized(self) -> None:
        self.home.show_alarm_elsewhere()

    def _show_beside(self, kind: type[BesideScreen], make: Callable[[], BesideScreen]) -> None:
        """Open a screen from home or in place of another; does nothing while a dialog is open.

        A new instance is made each time: Textual does not draw a removed screen again.
        """
        if self._beside_home is not None and not isinstance(self.screen, kind):
            self._leave()
            self.pop_screen()
        elif self.screen is self.home:
            self._leave()
        if self.screen is self.home:
            screen = make()
            screen.show_alarm(*self.home.alarm_elsewhere())
            self.push_screen(screen)

    def _model_room(self) -> "Catalogue":
        """Return the one catalogue of the app: two would overwrite each other's cache."""
        if self._models is None:
            from rollout_console.models.catalogue import Catalogue
            from rollout_gate.file.formats import root_of

            self._models = Catalogue(
                root_of(self._monitor.file.base_url),
                state_folder(),
                keeps=not self._facts.in_browser,
            )
        return self._models

    def _key_room(self) -> "tuple[ApiKeys, Rotations]":
        from rollout_console.credentials.api_keys import ApiKeys
        from rollout_console.credentials.rotation import Rotations
        from rollout_console.credentials.vault.profiles import ProfileList

        file, folder = self._monitor.file, state_folder()
        room = ApiKeys(
            self._vault, ProfileList(folder / "profiles.json"), file.profile, file.base_url,
            access=self._switch.access,
        )  # fmt: skip
        return room, Rotations(room, folder / "rotations.json")

    def _ask_for_models(self) -> "Mapping[str, ModelTrouble]":
        """Return the problems of the routes' models by the API; blocks, and raises ApiError."""
        from rollout_console.guard.model_watch import model_troubles
        from rollout_console.models.catalogue import read_models

        room = self._model_room()
        asyncio.run(read_models(room))
        return model_troubles(room, self._monitor.file, datetime.now(UTC))

    def _warn_of_keys(self) -> str:
        """Return the most severe warning about API keys; blocks, and raises as ApiKeys does."""
        from rollout_console.credentials.key_values import KeyBurn

        room, _ = self._key_room()
        burn = self._key_burn = self._key_burn or KeyBurn()
        warnings = asyncio.run(room.soon(burn))
        more = f" (and {len(warnings) - 1} more: 2)" if len(warnings) > 1 else ""
        return f"{warnings[0].sentence}{more}" if warnings else ""

    @on(CredentialsChanged)
    def _credentials_changed(self) -> None:
        """Restart the polls that may have lacked a credential: balance and keys."""
        self.home.ask_again()

    @on(SecretCopied)
    def _secret_copied(self, event: SecretCopied) -> None:
        """Copy a secret to the clipboard; clear it after CLEARED_AFTER_S, or on exit if earlier."""
        self.copy_to_clipboard(event.secret.reveal())
        self._secret_in_clipboard = True
        self.set_timer(CLEARED_AFTER_S, self._clear_clipboard)

    def _clear_clipboard(self) -> None:
        if self._secret_in_clipboard:
            self._secret_in_clipboard = False
            self.copy_to_clipboard("")

    def exit(self, *arguments: Any, **more: Any) -> None:
        """Exit the app; a copied secret is cleared from the clipboard first."""
        self._clear_clipboard()
        self.session.progress.leave()
        super().exit(*arguments, **more)

    def export_screenshot(self, *, title: str | None = None, simplify: bool = False) -> str:
        """Return a screenshot as SVG, or a placeholder while a screen shows a secret."""
        if any(isinstance(screen, SecretShown) for screen in self.screen_stack):
            from rich.console import Console

            console = Console(record=True, file=io.StringIO(), width=60)
            console.print("A secret is on the screen: no screenshot is taken.")
            return console.export_svg(title=title or self.title)
        return super().export_screenshot(title=title, simplify=simplify)

    def keymap_of(self, key: "Key") -> str:
        """Return the key of an action as it is displayed, with the operator's keymap."""
        return self._facts.keymap.get(key.id, key.shown)

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
