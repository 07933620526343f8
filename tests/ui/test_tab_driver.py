"""The driver of a browser's tab: what it draws, and what it never asks of the browser."""

import subprocess
import sys

import pytest

APP = """
import io, sys
from textual.app import App
from textual.drivers.web_driver import WebDriver
from rollout_console.ui.tab_driver import TabDriver

class Asks(App[None]):
    def on_ready(self):
        self.open_url("https://opened.example")
        self.deliver_text(io.StringIO("content of a file"), save_filename="saved.txt")
        self.set_timer(0.1, self.exit) if sys.argv[1] != "stays" else None

Asks(driver_class=WebDriver if sys.argv[1] == "textual" else TabDriver).run()
"""


def packets(which: str) -> bytes:
    """Return what such an app writes until it ends."""
    with subprocess.Popen(
        [sys.executable, "-c", APP, which], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as app:
        assert app.stdout is not None
        assert app.stdin is not None
        if which == "stays":
            assert app.stdout.readline() == b"__GANGLION__\n"
            app.stdin.close()
        found = app.stdout.read()
        assert app.wait(60) == 0
    return found


def test_no_address_is_opened_and_no_file_is_saved() -> None:
    asked = packets("textual")
    assert b"open_url" in asked, "Textual's own driver asks for it by this name"
    assert b"deliver_file_start" in asked
    found = packets("ours")
    assert b"\x1b[?1049h" in found
    assert not [one for one in (b"open_url", b"deliver", b"saved.txt") if one in found]


@pytest.mark.parametrize("which", ["ours", "stays"])
def test_it_ends_when_it_is_told_to_and_when_its_input_ends(which: str) -> None:
    assert b'{"type": "exit"}' in packets(which)
