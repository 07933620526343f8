"""Setting a screen up once everything on it is there."""

from textual.css.query import NoMatches
from textual.screen import Screen


class Opened:
    """Mixed into a screen that is set up in ``opened``, in place of ``on_mount``.

    One that is closed in the moment it opens, as when the console is quit, is mounted without all
    that it composed: there is nothing to set up then, and looking for it would be a fault.
    """

    def on_mount(self) -> None:
        """Set the screen up, unless it is being closed already."""
        # Not a Screen itself: Textual takes a class's styles from its first base of that kind.
        assert isinstance(self, Screen)
        try:
            self.opened()
        except NoMatches:
            # One that is still in front at the next frame has a fault indeed.
            self.call_after_refresh(self._opened_if_in_front)

    def _opened_if_in_front(self) -> None:
        assert isinstance(self, Screen)
        if self.is_current:
            self.opened()

    def opened(self) -> None:
        """Set the screen up: everything that it composed is there; raises NoMatches otherwise."""
        raise NotImplementedError
