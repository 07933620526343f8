"""The command palette: commands without a key binding, and the home keys that are enabled now."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING

from textual import events
from textual.await_complete import AwaitComplete
from textual.command import CommandList, CommandPalette, DiscoveryHit, Hit, Hits, Provider

from rollout_console.ui.keymap import APP_KEYS, HOME_KEYS

if TYPE_CHECKING:
    from rollout_console.ui.app import ConsoleApp

Command = tuple[str, str, Callable[[], object]]


class Palette(CommandPalette):
    """Textual's command palette, which may be left while its search still runs.

    Its watcher queries a list that is gone by then, which would end the console. Like a Dialog it
    is dismissed once; it cannot inherit from that, as Textual takes CSS from the first base alone.
    """

    def holds(self, event: events.Event) -> bool:
        """Return whether enter or an arrow is to wait: the list is of another text than is typed.

        Textual keeps the list before until the search has ended, and would run its first command.
        """
        if isinstance(event, events.Key) and event.is_printable:
            return False
        group = self._GATHER_COMMANDS_GROUP
        return any(one.group == group and not one.is_finished for one in self.workers)

    def dismiss(self, result: None = None) -> AwaitComplete:
        """Close the palette, unless it is closed: a second enter may be queued."""
        return super().dismiss(result) if self.is_active else AwaitComplete()

    def _watch__list_visible(self) -> None:
        if self.query(CommandList):
            super()._watch__list_visible()


class ConsoleCommands(Provider):
    """Provides the console's commands; disabled ones, as in read-only mode, are left out."""

    async def discover(self) -> Hits:
        """Yield every command while the query is empty."""
        for name, about, run in self._commands():
            yield DiscoveryHit(name, run, help=about)

    async def search(self, query: str) -> Hits:
        """Yield the commands whose names fuzzy-match the query."""
        matcher = self.matcher(query)
        for name, about, run in self._commands():
            score = matcher.match(name)
            if score > 0:
                yield Hit(score, matcher.highlight(name), run, help=about)

    def _commands(self) -> Iterator[Command]:
        app: ConsoleApp = self.app  # type: ignore[assignment]
        if app.incidents is not None:
            for incident, about in app.incidents.offered():
                yield f"incident: {incident}", about, partial(app.start_incident, incident)
        for key in HOME_KEYS if self.screen is app.home else ():
            if key.changes and not app.home.why_not(key):
                run = partial(app.run_home_action, key.action)
                yield key.help, f"key {key.shown}", run
        for key in APP_KEYS:
            if key.id.startswith("screen."):
                shown = app.keymap_of(key)
                yield key.help, f"key {shown}", partial(app.run_action, key.action)
        for theme in sorted(app.own_themes):
            yield f"theme: {theme}", "use these colours", partial(setattr, app, "theme", theme)
        yield "help", "all keys", app.action_help
        yield "quit", "traffic stays as it is", app.exit
