"""NO_COLOR: not one colour code, on any screen; and what is highlighted still stands out."""

import re
import time
from pathlib import Path

import pytest

from rollout_console.sim.server import SimServer
from tests.jobs.ledgers import create, write
from tests.support.pty_console import CONSOLE, PtyConsole, on_pty
from tests.support.waiting import until_shown
from tests.ui.test_ascii import app_of, composed, storm

SGR = re.compile(rb"\x1b\[([0-9;]*)m")
PLAIN = {"", "0", "1", "2", "3", "4", "7", "9", "22", "23", "24", "27", "29"}
"""Reset, bold, dim, italic, underline, reverse and strike, and the end of each: no colour."""
KEYS = ("r", "\x1b", ":", "\x1b", "5", "v", "6", "7", "8", "2", "3", "4", "?", "\x1b", "1", "!")


def codes_of(console: PtyConsole, data: list[bytes]) -> set[str]:
    console.bytes_until_quiet()
    return {code for some in SGR.findall(b"".join(data)) for code in some.decode().split(";")}


@pytest.mark.slow
@pytest.mark.parametrize("theme", ["night-ops", "sixteen", "day-ops"])
def test_no_screen_writes_a_colour_code(file: Path, tmp_path: Path, theme: str) -> None:
    storm(file, "acme", "globex.eu")
    write(file.parent, create("a", now=time.time(), ago=9_000, polls=0, side="previous"))
    settings = tmp_path / "config" / "rollout-console"
    settings.mkdir(parents=True)
    (settings / "config.toml").write_text(f'theme = "{theme}"\n')
    for value, is_plain in (("1", True), ("", False)):
        env = {"NO_COLOR": value, "LC_ALL": "C.UTF-8"}
        with on_pty((*CONSOLE, "-f", str(file)), (100, 30), env) as console:
            data = console.recorded()
            console.until(lambda text: "globex.eu" in text)
            for key in KEYS if is_plain else ():
                console.bytes_until_quiet()
                console.press(key)
            console.until(lambda text: not is_plain or "Cancel" in text)  # noqa: B023
            assert (codes_of(console, data) <= PLAIN) is is_plain
            assert not is_plain or codes_of(console, data) >= {"1", "2", "7"}


async def test_highlights_are_reversed(
    file: Path, sim: SimServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    app = app_of(file, sim)
    async with app.run_test(size=(100, 30)) as pilot:

        def reversed_text() -> str:
            cells = [one for strips in composed(pilot).strips for strip in strips for one in strip]
            return "".join(one.text for one in cells if one.style is not None and one.style.reverse)

        await until_shown(pilot, lambda: "acme" in reversed_text() or "chat" in reversed_text())
        await pilot.press("R")
        await until_shown(pilot, lambda: "Cancel" in reversed_text())
        await pilot.press("escape", "colon", *"theme")
        await until_shown(pilot, lambda: "theme: " in reversed_text())
        await pilot.press("escape", "2")
        await until_shown(pilot, lambda: "demo" in reversed_text())
