"""The stream that the screen is drawn on: standard error, else standard output.

Textual's driver for terminals writes to standard error. With ``2>log`` that is a file, and the
terminal is on standard output alone.
"""

import io
import sys

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
