"""Textual's web driver, narrowed: a browser's tab gets what is drawn, and no file and no address.

``rollout-console web`` starts a console for each tab, and is at the other end of stdin and stdout.
"""

import asyncio
import os
from contextlib import suppress
from functools import partial
from typing import Any

from textual import messages
from textual.app import App
from textual.drivers.web_driver import WebDriver


class TabDriver(WebDriver):
    """Draws to a pipe, in textual-serve's packets; the end of stdin is the end of the console."""

    def __init__(
        self,
        app: App[Any],
        *,
        debug: bool = False,
        mouse: bool = True,
        size: tuple[int, int] | None = None,
    ) -> None:
        super().__init__(app, debug=debug, mouse=mouse, size=size)
        self._write = partial(self._write_all)
        self._loop = asyncio.get_running_loop()

    def _write_all(self, data: bytes) -> int:
        """Write a packet as a whole: a write to a pipe may be partial (a signal came).

        EPIPE is the server's end: there is nobody left to draw for.
        """
        left = memoryview(data)
        try:
            while left:
                left = left[os.write(self.fileno, left) :]
        except BrokenPipeError:
            self._end()
        return len(data)

    def run_input_thread(self) -> None:
        """Dispatch what the server sends; end the console at the end of the file (EOF).

        Textual's own driver goes on without input: killed, the server would leave its consoles.
        """
        super().run_input_thread()
        if not self.exit_event.is_set():
            self._end()

    def _end(self) -> None:
        with suppress(RuntimeError):  # the event loop is closed already
            self._loop.call_soon_threadsafe(self._app.post_message, messages.ExitApp())

    def open_url(self, url: str, new_tab: bool = True) -> None:
        """Open no address in the browser: nothing of the console asks for one."""

    def _deliver_file(self, *_file: object, **_about: object) -> None:
        """Deliver no file to the browser: nothing of the console asks for one."""
