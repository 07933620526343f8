"""Wait for a condition: a deadline here only ends a test that hangs, and measures nothing."""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from textual.pilot import Pilot

PATIENCE_S = 60.0
"""Seconds until a condition counts as one that does not come, on a machine that is busy."""


def until(true: Callable[[], object], every_s: float = 0.02) -> None:
    """Return once ``true``, asked ``every_s`` seconds; AssertionError after PATIENCE_S."""
    end = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < end, "did not happen"
        time.sleep(every_s)


async def until_shown(pilot: "Pilot[None]", true: Callable[[], object]) -> None:
    """Return once ``true`` of a running app; AssertionError with the screen's texts."""
    end = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < end, "did not happen:\n" + _texts(pilot)
        await pilot.pause(0.05)


def _texts(pilot: "Pilot[None]") -> str:
    return "\n".join(str(one.render()) for one in pilot.app.screen.query("Static, TextLine"))
