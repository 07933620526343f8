"""Textual's driver for terminals: which stream it draws on, and job control (SIGTSTP, SIGCONT)."""

import os
import signal
import termios
import tty
from contextlib import suppress
from typing import Any

from textual.app import App
from textual.drivers.linux_driver import LinuxDriver

from rollout_console.ui.output_stream import drawn_on


class TerminalDriver(LinuxDriver):
    """Starts its reader once, whatever number of SIGCONTs come.

    Textual starts a reader at each SIGCONT. One that follows SIGSTOP (a debugger, a paused
    container, ``kill -STOP`` and ``fg``) adds a second: two threads then share what is typed, the
    order of the keys is lost, the end waits for a thread that is blocked in ``read``, and the
    terminal's attributes are taken from a terminal that is raw already.
    """

    def __init__(
        self,
        app: App[Any],
        *,
        debug: bool = False,
        mouse: bool = True,
        size: tuple[int, int] | None = None,
    ) -> None:
        self._is_starting = self._was_continued = False
        super().__init__(app, debug=debug, mouse=mouse, size=size)
        self._file = drawn_on()

    @property
    def _has_reader(self) -> bool:
        return self._key_thread is not None and self._key_thread.is_alive()

    def start_application_mode(self) -> None:
        """Start the reader and the writer.

        In the background Textual stops the process (SIGSTOP) and starts nothing: it is tried again
        when the process has been continued (``fg``).
        """
        self._is_starting = self._was_continued = True
        try:
            while self._was_continued and not self._has_reader:
                self._was_continued = False
                super().start_application_mode()  # type: ignore[no-untyped-call]
        finally:
            self._is_starting = False

    def _sigtstp_application(self, *_: object) -> None:
        """Suspend (a handler of SIGTSTP); without a reader nothing of the terminal is in use."""
        if self._has_reader:
            super()._sigtstp_application()
        else:
            os.kill(os.getpid(), signal.SIGSTOP)

    def _sigcont_application(self, *_: object) -> None:
        """Resume what SIGTSTP has suspended (a handler of SIGCONT), else renew the terminal.

        It overrides a private method of Textual; a test checks that Textual still calls it.
        """
        if self._is_starting:
            self._was_continued = True
        elif self._must_signal_resume:
            super()._sigcont_application()
        elif self._has_reader:
            with suppress(RuntimeError):  # the event loop is closed already
                self._loop.call_soon_threadsafe(self._renew)

    def _renew(self) -> None:
        """Put right what a shell has changed meanwhile: attributes, modes, and what is drawn.

        It runs in the event loop: a signal handler may have interrupted a write.
        """
        if not self._has_reader:
            return
        with suppress(termios.error):
            attributes = termios.tcgetattr(self.fileno)
            attributes[tty.LFLAG] = self._patch_lflag(attributes[tty.LFLAG])
            attributes[tty.IFLAG] = self._patch_iflag(attributes[tty.IFLAG])
            attributes[tty.CC][termios.VMIN] = 1
            termios.tcsetattr(self.fileno, termios.TCSANOW, attributes)
        self.write("\x1b[?1049h\x1b[?25l")  # alternate screen, no cursor
        self._enable_mouse_support()
        self._enable_bracketed_paste()
        self._disable_line_wrap()
        if self._in_band_window_resize:
            self._enable_in_band_window_resize()
        self._app.post_message(self.SignalResume())
