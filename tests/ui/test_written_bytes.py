"""What the console writes to a real pty: bytes of dialogs and screens, and a terminal put right."""

import os
import re
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from rollout_console.sim.demo import RATE_PER_S, Demo
from rollout_console.ui.escape_delay import DELAY_S
from tests.support.pty_console import CONSOLE, PtyConsole, looks, on_pty

pytestmark = pytest.mark.slow

SIZES = [(80, 24), (120, 40)]
DIALOGS = {"r": "ROLL BACK", "e": "new percent"}
HOME = " rollout ▸"
SCREENS = {"2": " keys ▸", "3": " models ▸", "4": " routes ▸", "5": " live ▸"}


@contextmanager
def demo(size: tuple[int, int], **env: str) -> Iterator[PtyConsole]:
    """Run the console on the demo, with a quarter of its traffic, which takes more CPU time than
    the console; the figures still differ each second."""
    with (
        Demo(rate=RATE_PER_S / 4) as played,
        on_pty((*CONSOLE, "-f", str(played.file)), size, {**played.environment, **env}) as found,
    ):
        found.until(lambda screen: "route / org" in screen)
        found.bytes_until_quiet(within_s=6)
        if "▸ +chat" in found.text():  # an org is selected: only it has a percent to ask for
            found.press("z")
            found.press("j")
            found.until(lambda screen: "▸   acme" in screen)
            found.bytes_until_quiet(within_s=2)
        yield found


@contextmanager
def still(file: Path, size: tuple[int, int] = (80, 24)) -> Iterator[PtyConsole]:
    """The console on a file without traffic."""
    with on_pty((*CONSOLE, "-f", str(file), "--read-only"), size, {}) as found:
        found.until(lambda screen: "balance:" in screen)  # the last to come of what is known
        found.bytes_until_quiet()
        yield found


def open_dialog(console: PtyConsole, key: str, title: str) -> int:
    """Press a key and return the bytes until its dialog is open and nothing more comes."""
    console.bytes_until_quiet(within_s=0.5)
    console.press(key)
    console.until(lambda screen: title in screen and "esc: cancel" in screen)
    return console.bytes_until_quiet(quiet_s=0.25, within_s=0.5)


def close_dialog(console: PtyConsole) -> int:
    """Press escape and return the bytes until the dialog is gone and nothing more comes."""
    console.press("\x1b")
    console.until(lambda screen: "esc: cancel" not in screen)
    return console.bytes_until_quiet(quiet_s=0.25, within_s=0.5)


def dialog_and_back(console: PtyConsole, key: str, title: str) -> tuple[int, int]:
    """Open a dialog and close it; return the bytes of both."""
    return open_dialog(console, key, title), close_dialog(console)


def show(console: PtyConsole, key: str, title: str) -> int:
    """Go to a screen and return the bytes until nothing more comes, without those before it."""
    console.bytes_until_quiet(within_s=0.5)
    console.press(key)
    console.until(lambda screen: screen.startswith(title))
    return console.bytes_until_quiet(quiet_s=0.25, within_s=0.5)


def screen_and_home(console: PtyConsole, key: str) -> tuple[int, int]:
    """Go to a screen and home again; return the bytes of both."""
    return show(console, key, SCREENS[key]), show(console, "1", HOME)


def full_frame(console: PtyConsole) -> int:
    """Return the bytes of a whole frame."""
    console.bytes_until_quiet(within_s=0.5)
    console.screen.erase_in_display(2)
    console.press("\x0c")
    console.until(lambda screen: all(screen.splitlines()[at].strip() for at in (0, -1)))
    return console.bytes_until_quiet()


def assert_within(most: float, there_and_back: Callable[[], tuple[int, int]], name: str) -> None:
    """Assert that both ways write fewer bytes than ``most``, in one of three tries each.

    The figures of a second come between: they add to what is counted, and take nothing off.
    """
    tries: list[tuple[int, int]] = []
    while len(tries) < 3:
        tries.append(there_and_back())
        if all(min(way) < most for way in zip(*tries, strict=True)):
            return
    pytest.fail(f"{name} wrote {tries} there and back, of at most {most:.0f}")


@pytest.mark.parametrize("size", SIZES)
def test_dialogs_and_screens(size: tuple[int, int]) -> None:
    most = 2.6 * size[0] * size[1]  # Textual's own frames are of three to four bytes a cell, each
    with demo(size) as console:
        frame = min(full_frame(console) for _ in range(4))  # the figures of a second come between
        assert frame < most
        for key, title in DIALOGS.items():
            bound = 4000 if size == (80, 24) else most
            assert_within(bound, partial(dialog_and_back, console, key, title), title)
        for key, title in SCREENS.items():
            assert_within(1.75 * frame, partial(screen_and_home, console, key), title)


def test_over_ssh_a_dialog_and_a_screen_cost_little() -> None:
    with demo((80, 24), SSH_CONNECTION="192.0.2.1 1 192.0.2.2 22") as console:
        for key, title in DIALOGS.items():
            assert open_dialog(console, key, title) < 3000
            assert close_dialog(console) < 3000
        for key, sign, most in (("?", "│ Home", 3300), (":", "Search for", 2200)):
            assert_within(most, partial(there_and_back, console, key, sign), sign)
        assert_within(3600, partial(screen_and_home, console, "2"), "keys")


def there_and_back(console: PtyConsole, key: str, sign: str) -> tuple[int, int]:
    """Open help or palette, and close it; return the bytes of both."""
    console.bytes_until_quiet(within_s=0.5)
    console.press(key)
    console.until(lambda screen: sign in screen)
    opened = console.bytes_until_quiet(quiet_s=0.25, within_s=0.5)
    console.press("\x1b")
    console.until(lambda screen: sign not in screen)
    return opened, console.bytes_until_quiet(quiet_s=0.25, within_s=0.5)


@pytest.mark.parametrize(("term", "erases"), [("xterm-256color", True), ("screen-256color", False)])
def test_blanks_are_erased_where_terminfo_has_it(file: Path, term: str, erases: bool) -> None:
    with on_pty((*CONSOLE, "-f", str(file), "--read-only"), (80, 24), {"TERM": term}) as console:
        recorded = console.recorded()
        console.until(lambda screen: "balance:" in screen)
        console.bytes_until_quiet()
        assert bool(re.search(rb"\x1b\[\d+X", b"".join(recorded))) is erases


def test_an_escape_and_the_key_in_the_same_read_are_both(file: Path) -> None:
    with still(file) as console:
        console.press("?")
        console.until(lambda screen: "│ Home" in screen)
        console.press("\x1b5")
        console.until(lambda screen: screen.startswith(SCREENS["5"]))


@pytest.mark.timed
def test_an_escape_acts_before_textuals_delay(file: Path) -> None:
    """A busy machine may add to it: one of twenty is enough, as Textual waits 100 ms each time."""
    with still(file) as console:
        for _ in range(20):
            console.press("?")
            console.until(lambda screen: "│ Home" in screen)
            console.bytes_until_quiet(quiet_s=0.1)
            console.press("\x1b")
            took = console.until(lambda screen: "│ Home" not in screen)
            assert took >= DELAY_S
            if took < 0.095:
                return
            console.bytes_until_quiet(quiet_s=0.1)
        pytest.fail(f"an escape took {took:.3f} s")


def test_what_comes_after_a_halted_paste_is_said_to_be_left_out(file: Path) -> None:
    with still(file) as console:
        console.press("\x1b[200~a line of a log ")
        console.bytes_until_quiet(quiet_s=1.3, within_s=1.3)
        console.press("?")
        console.until(lambda screen: "a paste was interrupted" in screen)
        console.press("\x1b")
        console.bytes_until_quiet(quiet_s=0.3, within_s=0.3)
        assert "│ Home" not in console.text()
        console.press("?")
        console.until(lambda screen: "│ Home" in screen)


def test_nothing_happens_and_nothing_is_written(file: Path) -> None:
    with still(file) as console:
        assert console.bytes_until_quiet(quiet_s=2, within_s=2) == 0


def disturb(console: PtyConsole) -> list[list[tuple[object, ...]]]:
    """Let another program clear and overwrite the screen; return what it showed before."""
    before = looks(console.screen)
    console.screen.erase_in_display(2)
    console.screen.cursor_position(5, 5)
    console.screen.draw("wall: going down for maintenance")
    return before


@pytest.mark.parametrize("how", ["ctrl+l", "ctrl+l in a dialog", "reattached", "continued"])
def test_the_screen_is_redrawn(file: Path, how: str) -> None:
    with still(file) as console:
        if how == "ctrl+l in a dialog":
            console.press("?")
            console.until(lambda screen: "Raise the org" in screen)
            console.bytes_until_quiet()
        before = disturb(console)
        if how == "reattached":  # dtach and abduco send SIGWINCH, of the same size
            os.kill(console.pid, signal.SIGWINCH)
        elif how == "continued":
            os.kill(console.pid, signal.SIGTSTP)
            os.waitpid(console.pid, os.WUNTRACED)
            os.kill(console.pid, signal.SIGCONT)
        else:
            console.press("\x0c")
        console.until(lambda screen: "maintenance" not in screen)
        console.bytes_until_quiet()
        assert looks(console.screen) == before


def test_another_size_is_drawn_whole(file: Path) -> None:
    with still(file) as console:
        for width, height in ((120, 40), (70, 20), (71, 20), (80, 24)):
            disturb(console)
            console.resize(width, height)
            console.until(lambda screen: "maintenance" not in screen)
            assert console.bytes_until_quiet(quiet_s=1) < 6 * width * height
            resized = looks(console.screen)
            full_frame(console)
            assert looks(console.screen) == resized
