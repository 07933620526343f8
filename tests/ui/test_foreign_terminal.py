"""The console on a pty whose locale, encoding or bytes are not UTF-8: it draws, and never ends."""

import os
from pathlib import Path

import pytest

from tests.support.pty_console import CONSOLE, on_pty


@pytest.mark.parametrize(
    "env",
    [
        {"LC_ALL": "C"},
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        {"PYTHONIOENCODING": "ascii"},
        {"LC_ALL": "C.UTF-8", "TERM": "linux"},
        {"LC_ALL": "C.UTF-8", "TERM": "dumb"},
    ],
)
def test_the_screen_is_ascii_and_any_byte_may_be_typed(file: Path, env: dict[str, str]) -> None:
    command = (*CONSOLE, "-f", str(file))
    with on_pty(command, (80, 24), env) as console:
        console.until(lambda text: "raise" in text and "globex.eu" in text)
        assert console.text().isascii()
        console.press("/")
        console.until(lambda text: "name, ok, hold, sick" in text)
        os.write(console._master, b"glo\xe9x")
        console.until(lambda text: "0 of " in text)
        console.press("\x7f\x7f")
        console.until(lambda text: "1 of " in text)
        assert console.text().isascii()


def test_noise_on_a_serial_line_does_nothing(file: Path) -> None:
    before = file.read_bytes()
    with on_pty((*CONSOLE, "-f", str(file)), (80, 24), {"LC_ALL": "C.UTF-8"}) as console:
        console.until(lambda text: "raise" in text and "globex.eu" in text)
        os.write(console._master, bytes(range(0x80, 0x100)))
        console.press("?")
        console.until(lambda text: "all keys" in text.lower() or "help" in text.lower())
        assert "Traceback" not in console.text()
    assert file.read_bytes() == before
