"""Setting a screen up once everything on it is there."""

from textual.css.query import NoMatches
from textual.dom import DOMNode
from textual.message_pump import MessagePump


class Opened:
    """Mixed into a screen that is set up in ``opened``, in place of ``on_mount``.

    One that is closed in the moment it opens, as when the console is quit, is mounted without all
    that it composed: there is nothing to set up then, and looking for it would be a fault.
    """

    def on_mount(self) -> None:
        """Set the screen up, unless it is being closed already."""
        # Not a DOMNode itself: Textual takes a class's styles from its first base of that kind.
        assert isinstance(self, DOMNode)
        assert isinstance(self, MessagePump)
        try:
            self.opened()
        except NoMatches:
            # A screen that is being closed has no next frame; in any other it is a fault indeed.
            self.call_after_refresh(self.opened)

    def opened(self) -> None:
        """Set the screen up: everything that it composed is there; raises NoMatches otherwise."""
        raise NotImplementedError
