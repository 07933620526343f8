"""Keys over a real sshd on a slow link: milliseconds and bytes of each screen and each dialog.

The limit is one round trip and 200 ms to the first effect, 4 kB to open or close a dialog, and one
repaint for a screen. The round trip is that of an echo over the same link in the same run.
"""

import statistics
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from tests.support.pty_console import PtyConsole, on_pty
from tests.support.slow_link import slow_ssh

SIZE = (80, 24)
ROUNDS = 5
MOST_S = 0.2
MOST_DIALOG = 4000
SCREENS = (
    ("2", " keys ▸"), ("3", " models ▸"), ("4", " routes ▸"), ("5", " live ▸"), ("6", " history ▸"),
    ("7", " jobs ▸"), ("8", " money ▸"),
)  # fmt: skip
HOME = " rollout ▸"
DIALOGS = (("r", "ROLL BACK"), ("e", "new percent"), ("?", "│ Home"), (":", "Search for"))


def main() -> None:
    """Print a line for each screen and dialog: the first opening, then the best of some more."""
    folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)  # the demo ends behind ssh
    with folder as name, slow_ssh(Path(name)) as ssh:
        round_trip_s = _echo_s(ssh)
        print(f"bare round trip (an echo): {1000 * round_trip_s:.0f} ms")
        with _demo(ssh, Path(name)) as console:
            _table(console, round_trip_s)


def _echo_s(ssh: tuple[str, ...]) -> float:
    with on_pty((*ssh, "stty raw -echo; echo ready; exec cat"), SIZE, {}) as echo:
        echo.until(lambda screen: "ready" in screen)
        took = []
        for sign in "abcdefg":
            echo.press(sign)
            took.append(echo.until(partial(_has, sign)))
        return statistics.median(took)


def _has(sign: str, screen: str) -> bool:
    return sign in screen.splitlines()[1]


def _table(console: PtyConsole, round_trip_s: float) -> None:
    console.until(lambda screen: "route / org" in screen)
    _quiet(console, 6)
    console.press("z")
    _quiet(console, 2)
    console.press("j")
    _quiet(console, 2)
    console.press("\x0c")
    repaint = console.bytes_until_quiet(quiet_s=1.2, within_s=1.5)
    print(f"a whole repaint at {SIZE[0]}x{SIZE[1]}: {repaint} bytes")
    print(
        "  key         first: ms over a round trip   then: ms, of a round trip      bytes (limit)"
    )
    for key, title in SCREENS:
        there, back = [], []
        for _ in range(ROUNDS):
            there.append(_effect(console, key, title, there=True))
            back.append(_effect(console, "1", HOME, there=True))
        _line(f"screen {key}", there, round_trip_s, repaint)
        _line("  home", back, round_trip_s, repaint)
    for key, title in DIALOGS:
        opened, closed = [], []
        for _ in range(ROUNDS):
            opened.append(_effect(console, key, title, there=True))
            closed.append(_effect(console, "\x1b", title, there=False))
        _line(f"dialog {key}", opened, round_trip_s, MOST_DIALOG)
        _line("  closed", closed, round_trip_s, MOST_DIALOG)


def _line(name: str, found: list[tuple[float, int]], round_trip_s: float, most: int) -> None:
    (first_s, first), *others = found
    then_s = min(seconds for seconds, _ in others)
    count = int(statistics.median(size for _, size in others))
    late = "" if max(first_s, then_s) - round_trip_s <= MOST_S else "  over 200 ms"
    late += "" if max(first, count) <= most else "  too many bytes"
    print(
        f"  {name:<10} {1000 * (first_s - round_trip_s):8.0f} {first:8}       "
        f"{1000 * (then_s - round_trip_s):8.0f} {then_s / round_trip_s:6.2f}x  {count:8} ({most})"
        f"{late}",
        flush=True,
    )


def _effect(console: PtyConsole, key: str, text: str, *, there: bool) -> tuple[float, int]:
    _quiet(console, 0.5)
    console.press(key)
    seconds = console.until(lambda screen: (text in screen) is there)
    return seconds, _quiet(console, 0.8)


def _quiet(console: PtyConsole, within_s: float) -> int:
    return console.bytes_until_quiet(quiet_s=0.45, within_s=within_s)


@contextmanager
def _demo(ssh: tuple[str, ...], folder: Path) -> Iterator[PtyConsole]:
    values = f"TERM=xterm-256color TMPDIR={folder} ROLLOUT_STATE_DIR={folder}/state"
    run = f"cd {Path.cwd()} && {values} exec {sys.executable} -m rollout_console demo"
    with on_pty((*ssh, run), SIZE, {}) as console:
        yield console
