"""How long an escape may still begin a sequence: htop's 25 ms, in place of Textual's 100 ms.

SSH delivers the bytes of a key in one packet, however slow the link is: no key is split. The
environment's ``ESCDELAY`` overrides it, as for programs with ncurses.
"""

import os
import selectors
from collections.abc import Mapping
from types import SimpleNamespace

from textual import constants
from textual.drivers import linux_driver

DELAY_S = 0.025


def shorten_escape_delay(environ: Mapping[str, str] = os.environ) -> None:
    """Have escape act after a short silence.

    It replaces a name that Textual's module imports, as Textual looks whether the delay is over
    each tenth of a second alone; a test checks that an escape acts sooner.
    """
    if "ESCDELAY" not in environ:
        vars(constants)["ESCAPE_DELAY"] = DELAY_S
        own = SimpleNamespace(SelectSelector=_Selector, EVENT_READ=selectors.EVENT_READ)
        vars(linux_driver)["selectors"] = own


class _Selector(selectors.SelectSelector):
    """Returns soon after there was input, once: an escape may have been its end."""

    _had_input = False

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Wait for input, for a short time where there was some just now."""
        if self._had_input and timeout is not None:
            timeout = min(timeout, DELAY_S)
        found = super().select(timeout)
        self._had_input = bool(found)
        return found
