"""Setting a screen up once everything on it is there."""

from textual.dom import DOMNode


class Opened:
    """Mixed into a screen that is set up in ``opened``, in place of ``on_mount``.

    One that is closed in the moment it opens, as when the console is quit, is mounted without
    anything on it: there is nothing to set up then, and looking for it would be a fault.
    """

    def on_mount(self) -> None:
        """Set the screen up, unless it is being closed already."""
        # Not a DOMNode itself: Textual takes a class's styles from its first base of that kind.
        assert isinstance(self, DOMNode)
        if self.children:
            self.opened()

    def opened(self) -> None:
        """Set the screen up: everything that it composed is there."""
        raise NotImplementedError
