"""The progress bar of a pull of usage records, for the commands that pull."""

import sys
import time
from typing import Self

from rollout_console.common.durations import seconds_text
from rollout_console.common.safe_text import visible
from rollout_console.reconcile.pull import Progress
from rollout_console.reconcile.reconciliation import Watcher
from rollout_console.tokenlab.errors import ApiError

_BAR = 24


class PullProgress(Watcher):
    """Draws a progress bar on a terminal, in one line that is wiped at the end of the block.

    An error that ends the block is followed by a word on what was pulled until then.
    """

    def __init__(self) -> None:
        self._draws = sys.stderr.isatty()
        self._width = 0
        self._next = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _kind: object, error: object, _trace: object) -> None:
        self.clear()
        if isinstance(error, (ApiError, KeyboardInterrupt)):
            print(
                "what was pulled is kept: the same command goes on where this one stopped",
                file=sys.stderr,
            )

    def progress(self, progress: Progress) -> None:
        """Draw how far it is, at most ten times a second."""
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + 0.1
        whole = (progress.key - 1 + progress.part) / progress.keys
        bar = f"[{'#' * int(whole * _BAR):<{_BAR}}] {100 * whole:3.0f}%"
        key = f"key {progress.key} of {progress.keys} {visible(progress.name)[:20]}"
        self._draw(f"{bar}  {key}  {progress.records:,} records, {progress.requests:,} requests")

    def waits(self, seconds: float, why: str) -> None:
        """Say that the pull waits, and what for."""
        self._draw(f"waiting {seconds_text(seconds)}: {visible(why)[:60]}")

    def locked(self) -> None:
        """Say that another process is waited for."""
        self._draw("waiting for another pull of the same records")

    def clear(self) -> None:
        """Wipe the line."""
        if self._width:
            self._draw("")
            print("\r", end="", file=sys.stderr, flush=True)
            self._width = 0

    def _draw(self, text: str) -> None:
        if self._draws:
            print(f"\r{text:<{self._width}}", end="", file=sys.stderr, flush=True)
            self._width = len(text)
