"""In a real terminal: each screen is drawn when it is opened again, also where ``2>log`` is."""

import sys
from functools import partial
from pathlib import Path

import pytest

from tests.support.terminal import terminal

TITLES = {"2": " keys ▸", "3": " models ▸", "4": " routes ▸", "5": " live ▸"}


@pytest.mark.slow
def test_a_screen_that_was_left_is_drawn_again(tmp_path: Path) -> None:
    env = {"TMPDIR": str(tmp_path), "ROLLOUT_STATE_DIR": str(tmp_path / "state")}
    log = tmp_path / "log"
    demo = f"{sys.executable} -m rollout_console demo 2>{log}"
    with terminal(demo, (80, 24), env, Path(__file__).parents[2]) as shown:
        shown.until(lambda screen: "route / org" in screen)
        for key, title in [*TITLES.items(), *TITLES.items()]:
            shown.press(key)
            shown.until(partial(_starts_with, title), within_s=10)
            shown.press("1")
            shown.until(lambda screen: screen.startswith(" rollout ▸"), within_s=10)
        shown.press("q")
        shown.until(lambda screen: "[ended 0]" in screen)
    assert log.read_bytes() == b"", "the screen goes to the terminal, and nothing went wrong"


def _starts_with(title: str, screen: str) -> bool:
    return screen.startswith(title)
