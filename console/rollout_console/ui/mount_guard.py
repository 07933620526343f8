"""Set a screen up once its composed widgets are mounted."""

from textual import events
from textual.css.query import NoMatches
from textual.screen import Screen


class Opened:
    """A mixin for a screen that is set up in ``opened``, in place of ``on_mount``.

    A screen that is closed while it opens, as when the console is quit, is mounted without all of
    its composed widgets: there is nothing to set up then, and a query would raise NoMatches.
    """

    _has_style = False

    def on_screen_resume(self, event: events.ScreenResume) -> None:
        """Skip the first refresh of the styles: every widget was styled when it was mounted."""
        if not self._has_style:
            self._has_style = True
            event.refresh_styles = False

    def on_mount(self) -> None:
        """Call ``opened``, unless the screen is being closed already."""
        # No subclass of Screen: Textual inherits CSS from a class's first DOMNode base only.
        assert isinstance(self, Screen)
        try:
            self.opened()
        except NoMatches:
            # If the screen is still current after the next refresh, the error is real: raise it.
            self.call_after_refresh(self._opened_if_in_front)

    def _opened_if_in_front(self) -> None:
        assert isinstance(self, Screen)
        if self.is_current:
            self.opened()

    def opened(self) -> None:
        """Set the screen up: its composed widgets are mounted; raises NoMatches otherwise."""
        raise NotImplementedError
