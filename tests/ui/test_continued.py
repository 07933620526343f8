"""The console goes on after SIGSTOP and SIGCONT as before: one reader, and a terminal put right."""

import os
import pty
import re
import shlex
import signal
import string
import termios
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.parts import need
from tests.support.pty_console import CONSOLE, PtyConsole, looks, on_pty
from tests.support.stopped import state_of
from tests.support.waiting import has_ended, until

pytestmark = pytest.mark.slow

TYPED = string.ascii_lowercase + string.digits


@contextmanager
def still(file: Path) -> Iterator[PtyConsole]:
    """The console on a file without traffic."""
    with on_pty((*CONSOLE, "-f", str(file), "--read-only"), (80, 24), {}) as found:
        found.until(lambda screen: "balance:" in screen)  # the last to come of what is known
        found.bytes_until_quiet()
        yield found


def stop_and_continue(console: PtyConsole, number: int = signal.SIGSTOP) -> None:
    """Stop the process, and continue it; return once it has drawn everything again."""
    os.kill(console.pid, number)
    os.waitpid(console.pid, os.WUNTRACED)
    console.screen.draw("wall: going down for maintenance")
    os.kill(console.pid, signal.SIGCONT)
    console.until(lambda screen: "maintenance" not in screen)
    console.bytes_until_quiet(quiet_s=0.15)


def to_foreground(console: PtyConsole, job: int) -> None:
    """Continue a job of the shell that is stopped; return once it has drawn everything again.

    Only the prompt, or the shell's word of the stop, says that keys go to the shell by then.
    """
    until(lambda: state_of(job) == "T")
    console.press("\r")
    console.until(lambda screen: "Stopped" in screen)
    console.press("fg\r")
    console.until(lambda screen: "Stopped" not in screen and "balance:" in screen)
    console.bytes_until_quiet(quiet_s=0.15)


def threads(console: PtyConsole) -> int:
    return len(os.listdir(f"/proc/{console.pid}/task"))


def type_each(console: PtyConsole, text: str) -> None:
    for character in text:
        console.press(character)


@contextmanager
def left_as_it_was(console: PtyConsole) -> Iterator[None]:
    """Quit, and assert that the terminal's attributes are those of a new one."""
    terminal = os.open(f"/proc/{console.pid}/fd/0", os.O_RDWR | os.O_NOCTTY)  # keeps them
    yield
    console.press("q")
    until(lambda: not console.bytes_until_quiet(quiet_s=0.02) and has_ended(console.pid))
    other = pty.openpty()
    assert termios.tcgetattr(terminal) == termios.tcgetattr(other[1])
    for number in (terminal, *other):
        os.close(number)


def test_a_process_that_was_stopped_thrice_has_one_reader(file: Path) -> None:
    with still(file) as console, left_as_it_was(console):
        shown, count = looks(console.screen), threads(console)
        for _ in range(3):
            stop_and_continue(console)
        assert looks(console.screen) == shown
        assert threads(console) < count + 3, "a reader more for each SIGCONT"
        console.press("/")
        console.until(lambda screen: "name, ok, hold, sick" in screen)
        type_each(console, TYPED)
        console.until(lambda screen: re.search(rf"\w{{{len(TYPED)}}}", screen) is not None)
        assert TYPED in console.text()
        console.press("\x1b")
        console.until(lambda screen: TYPED not in screen)


def test_a_dialog_stays_open_however_the_process_is_stopped(file: Path) -> None:
    with still(file) as console, left_as_it_was(console):
        console.press("?")
        console.until(lambda screen: "│ Home" in screen)
        console.bytes_until_quiet(quiet_s=0.15)
        shown = looks(console.screen)
        for number in (signal.SIGTSTP, signal.SIGSTOP, signal.SIGTSTP):
            stop_and_continue(console, number)
            assert looks(console.screen) == shown
        console.press("\x1b")
        console.until(lambda screen: "│ Home" not in screen)


def test_what_a_shell_has_changed_is_put_right(file: Path) -> None:
    """A shell takes the terminal when its job stops, and does not give it back as it was."""
    with still(file) as console, left_as_it_was(console):
        raw, new = termios.tcgetattr(console._master), pty.openpty()
        os.kill(console.pid, signal.SIGSTOP)
        os.waitpid(console.pid, os.WUNTRACED)
        termios.tcsetattr(console._master, termios.TCSANOW, termios.tcgetattr(new[1]))
        recorded = console.recorded()
        recorded.clear()
        os.kill(console.pid, signal.SIGCONT)
        console.until(lambda _: b"\x1b[?2004h" in b"".join(recorded))
        assert termios.tcgetattr(console._master) == raw
        for number in new:
            os.close(number)


def test_a_job_of_a_shell_is_begun_in_the_background_and_stopped(file: Path) -> None:
    need("bash")
    with on_pty(("bash", "--norc", "--noprofile", "-i"), (80, 24), {"PS1": "ready> "}) as console:
        console.until(lambda screen: "ready>" in screen)
        console.press(f"{shlex.join(CONSOLE)} -f {file} --read-only & echo job=$!=\r")
        console.until(lambda screen: re.search(r"job=\d+=", screen) is not None)
        found = re.search(r"job=(\d+)=", console.text())
        assert found is not None
        job = int(found[1])
        for _ in range(3):  # by SIGTTOU and Textual first, then by SIGSTOP
            to_foreground(console, job)
            os.kill(job, signal.SIGSTOP)
        to_foreground(console, job)
        console.press("/")
        console.until(lambda screen: "name, ok, hold, sick" in screen)
        type_each(console, TYPED)
        console.until(lambda screen: re.search(rf"\w{{{len(TYPED)}}}", screen) is not None)
        assert TYPED in console.text()
        console.press("\x1b")
        console.until(lambda screen: TYPED not in screen)
        console.press("q")
        until(lambda: not console.bytes_until_quiet(quiet_s=0.02) and has_ended(job))
        console.press("stty -a; echo done=$?=\r")
        console.until(lambda screen: "done=0=" in screen)
        assert " icanon " in console.text()
        assert " echo " in console.text()
