"""Bytes to the terminal and time to the first effect: dialogs and screens, also over ssh."""

import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.support.pty_console import CONSOLE, PtyConsole, on_pty
from tests.support.slow_link import ONE_WAY_S, slow_ssh

DIALOGS = (("confirm (r)", "r", "ROLL BACK"), ("percent (e)", "e", "new percent"))
SCREENS = (("keys", "2", " keys ▸"), ("models", "3", " models ▸"), ("live", "5", " live ▸"))
MOST_DIALOG = 4000


def main() -> None:
    """Print bytes at two sizes, then bytes and delays over a real sshd on a slow link."""
    for size in ((80, 24), (120, 40)):
        with _demo(size) as console:
            _report(console, f"{size[0]}x{size[1]}")
    with _demo((80, 24), slow=True) as console:
        _report(console, "80x24 over ssh, 16 kB/s", round_trip_s=2 * ONE_WAY_S)


def _report(console: PtyConsole, where: str, round_trip_s: float = 0.0) -> None:
    console.until(lambda screen: "route / org" in screen)
    console.bytes_until_quiet(within_s=6)
    if "▸ +chat" in console.text():  # an org is selected: only it has a percent to ask for
        console.press("z")
        console.press("j")
        console.until(lambda screen: "▸   acme" in screen)
    console.press("\x0c")
    print(f"{where}: a whole frame {console.bytes_until_quiet(0.6, 0.9)} bytes")
    for name, key, title in DIALOGS * 2:
        opened_s, opened = _effect(console, key, title, there=True)
        closed_s, closed = _effect(console, "\x1b", "esc: cancel", there=False)
        print(
            f"{where}: {name} opens with {opened} bytes, closes with {closed} "
            f"(target {MOST_DIALOG}); visible {1000 * (opened_s - round_trip_s):.0f} and "
            f"{1000 * (closed_s - round_trip_s):.0f} ms after a round trip (target 200)"
        )
    for name, key, title in SCREENS * 2:
        there_s, there = _effect(console, key, title, there=True)
        back_s, back = _effect(console, "1", " rollout ▸", there=True)
        print(
            f"{where}: {name} {there} bytes, home again {back}; visible "
            f"{1000 * (there_s - round_trip_s):.0f} and {1000 * (back_s - round_trip_s):.0f} ms"
        )


def _effect(console: PtyConsole, key: str, text: str, *, there: bool) -> tuple[float, int]:
    _quiet(console)
    console.press(key)
    seconds = console.until(lambda screen: (text in screen) is there)
    return seconds, _quiet(console)


def _quiet(console: PtyConsole) -> int:
    return console.bytes_until_quiet(quiet_s=0.25, within_s=0.5)


@contextmanager
def _demo(size: tuple[int, int], *, slow: bool = False) -> Iterator[PtyConsole]:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        env = {"TMPDIR": str(folder), "ROLLOUT_STATE_DIR": str(folder / "state")}
        command: tuple[str, ...] = (*CONSOLE, "demo")
        if slow:
            values = " ".join(f"{name}={value}" for name, value in env.items())
            ssh = stack.enter_context(slow_ssh(folder))
            run = f"cd {Path.cwd()} && TERM=xterm-256color {values} exec {sys.executable} -m"
            command = (*ssh, f"{run} rollout_console demo")
        yield stack.enter_context(on_pty(command, size, env))
