"""The stream that the screen is drawn on: standard error, else standard output.

Textual's driver for terminals writes to standard error. With ``2>log`` that is a file, and the
terminal is on standard output alone.
"""

import io
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from textual.app import App
    from textual.driver import Driver

_ECH = b"\x1b[%p1%dX"


def drawn_on() -> io.TextIOWrapper | None:
    """Return standard error where it is a terminal or no stream is, else standard output."""
    out, err = sys.__stdout__, sys.__stderr__
    on_out = out is not None and out.isatty() and not (err is not None and err.isatty())
    return out if on_out else err


def erases_with_background() -> bool:
    """Return whether terminfo has the terminal erase cells with the background in use (BCE, ECH).

    It has not for tmux and screen, and says nothing where Python or the system lacks it.
    """
    try:
        import curses
    except ImportError:
        return False
    try:
        curses.setupterm(fd=1)
    except curses.error:  # no terminfo of this terminal
        return False
    return curses.tigetflag("bce") > 0 and curses.tigetstr("ech") == _ECH


def driver_for(stream: io.TextIOWrapper | None) -> "type[Driver] | None":
    """Return the driver that draws on a stream; None for Textual's own."""
    if stream is None or stream is sys.__stderr__:
        return None
    from textual.drivers.linux_driver import LinuxDriver

    class StreamDriver(LinuxDriver):
        """Textual's driver for terminals, on that stream."""

        def __init__(
            self,
            app: "App[Any]",
            *,
            debug: bool = False,
            mouse: bool = True,
            size: tuple[int, int] | None = None,
        ) -> None:
            super().__init__(app, debug=debug, mouse=mouse, size=size)
            self._file = stream

    return StreamDriver
