"""Wait for a condition: a deadline here only ends a test that hangs, and measures nothing."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from textual.widget import Widget

if TYPE_CHECKING:
    from textual.pilot import Pilot

PATIENCE_S = 60.0
"""Seconds until a condition counts as one that does not come, on a machine that is busy."""

HANGS_S = 60.0
"""How long what a test lets hang does so, in seconds; longer than SOON_S by far."""
SOON_S = 20.0
"""Within what a call returns, on a busy machine, that does not wait for what hangs."""


@contextmanager
def soon() -> Iterator[None]:
    """Fail where what is done inside has waited for what hangs."""
    start = time.monotonic()
    yield
    took = time.monotonic() - start
    assert took < SOON_S, f"took {took:.1f} s: it waited for what hangs"


def until(true: Callable[[], object], every_s: float = 0.02) -> None:
    """Return once ``true``, asked ``every_s`` seconds; AssertionError after PATIENCE_S."""
    end = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < end, "did not happen"
        time.sleep(every_s)


def has_ended(pid: int) -> bool:
    """Return whether a process has ended; one that its parent has not waited for yet has."""
    try:
        os.kill(pid, 0)
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (ProcessLookupError, FileNotFoundError):
        return True
    return stat.rpartition(")")[2].split()[0] == "Z"


async def until_shown(pilot: "Pilot[None]", true: Callable[[], object]) -> None:
    """Return once ``true`` of a running app; AssertionError with the screen's texts.

    A screen is the current one before what is in its containers is mounted: that is waited for.
    """
    end = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < end, "did not happen:\n" + _texts(pilot)
        await pilot.pause(0.05)
    while not _is_mounted(pilot):
        assert time.monotonic() < end, "was not mounted:\n" + _texts(pilot)
        await pilot.pause(0.02)


async def until_ready(pilot: "Pilot[None]") -> None:
    """Return once a dialog that must be seen takes keys: its grace period is over."""
    from rollout_console.ui.dialogs.seen import SeenDialog

    def is_ready() -> bool:
        screen = pilot.app.screen
        return not isinstance(screen, SeenDialog) or screen.sight.is_ready

    await until_shown(pilot, is_ready)


async def resize(pilot: "Pilot[None]", width: int, height: int) -> None:
    """Resize the terminal, and return once the screen is laid out and drawn at that size.

    A screen's ``size`` is the app's, before its layout is.
    """
    await pilot.resize_terminal(width, height)
    await until_shown(pilot, lambda: pilot.app.screen.outer_size == (width, height))
    await pilot.pause()  # until its widgets have handled the Resize event


def _is_mounted(pilot: "Pilot[None]") -> bool:
    stack = pilot.app.screen_stack if pilot.app.is_running else []
    return not stack or all(one.is_mounted for one in (stack[-1], *stack[-1].query(Widget)))


def _texts(pilot: "Pilot[None]") -> str:
    return "\n".join(str(one.render()) for one in pilot.app.screen.query("Static, TextLine"))
