"""A key confirms only what the terminal had shown before it was typed."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from rollout_console.ui.dialogs.seen import GRACE_S
from rollout_console.ui.status_report import ANSWERS_WITHIN_S, QUERY
from tests.support.pty_console import CONSOLE, PtyConsole, on_pty
from tests.support.waiting import until

pytestmark = pytest.mark.slow


@contextmanager
def console_on(file: Path) -> Iterator[PtyConsole]:
    """The console on a terminal that reports its status."""
    with on_pty((*CONSOLE, "-f", str(file)), (80, 24), {}) as found:
        found.report_status()
        found.until(lambda screen: "balance:" in screen)
        found.bytes_until_quiet()
        yield found


def typed_unseen(console: PtyConsole, keys: str) -> None:
    """Open the confirm dialog of a rollback on a terminal that has halted, and type at it."""
    console.press("r")
    assert console.has_written(within_s=20)
    time.sleep(GRACE_S + 0.5)  # nothing tells when it is over: what is written is not read
    console.press(keys)
    time.sleep(0.3)  # the key is handled


def test_a_key_that_is_typed_while_the_terminal_has_halted_confirms_nothing(file: Path) -> None:
    before = file.read_bytes()
    with console_on(file) as console:
        typed_unseen(console, "y")
        console.until(lambda screen: "y again" in screen and "ROLL BACK" in screen)
        assert file.read_bytes() == before
        console.bytes_until_quiet()
        console.press("y")
        until(lambda: file.read_bytes() != before)


@pytest.mark.parametrize("key", ["n", "q", "\r"])
def test_a_key_that_is_typed_while_the_terminal_has_halted_closes_nothing(
    file: Path, key: str
) -> None:
    with console_on(file) as console:
        typed_unseen(console, key)
        console.until(lambda screen: "ROLL BACK" in screen)
        console.bytes_until_quiet()
        assert "ROLL BACK" in console.text()
        console.press("\x1b")
        console.until(lambda screen: "ROLL BACK" not in screen)


def test_what_is_drawn_is_written_before_the_query(file: Path) -> None:
    with console_on(file) as console:
        written = console.recorded()
        written.clear()
        console.press("r")
        console.until(lambda screen: "ROLL BACK" in screen)
        console.bytes_until_quiet()
        before, asked, after = b"".join(written).partition(QUERY.encode())
        assert b"y: roll back" in before
        assert asked, "not asked"
        assert QUERY.encode() not in after, "asked more than once"


def test_another_terminal_that_does_not_report_is_not_waited_for_long(file: Path) -> None:
    before = file.read_bytes()
    with console_on(file) as console:
        console.report_status(False)
        console.press("r")
        console.until(lambda screen: "ROLL BACK" in screen)
        end = time.monotonic() + 4 * ANSWERS_WITHIN_S
        while file.read_bytes() == before:
            assert time.monotonic() < end
            console.press("y")
            console.bytes_until_quiet(within_s=0.5)
