"""The newest changes of the history: the first read runs in a thread while Textual starts."""

from collections.abc import Sequence
from contextlib import suppress
from threading import Thread

import msgspec

from rollout_console.changes.recorded import Recorded
from rollout_console.changes.switch import Switch
from rollout_console.guard.monitor import Monitor
from rollout_console.history.rows import Change

_MOST_SHOWN = 100
_WITHIN_S = 0.1


class ReadChanges(msgspec.Struct, frozen=True):
    """The newest changes, or why they cannot be read, and those that the monitor does not know."""

    rows: Sequence[Change]
    trouble: str
    recorded: Recorded


class LastChanges:
    """Reads the newest changes of the history; may be read from any thread."""

    def __init__(self, switch: Switch, monitor: Monitor) -> None:
        self._switch = switch
        self._monitor = monitor
        self._found: ReadChanges | None = None
        self._first = Thread(target=self._read_first, name="last-changes", daemon=True)
        self._first.start()

    def read(self) -> ReadChanges:
        """Read the changes; errors of the history are in ``trouble``."""
        rows, trouble = self._switch.recent(_MOST_SHOWN)
        return ReadChanges(rows, trouble, self._switch.recorded(self._monitor.known_to))

    def first(self) -> ReadChanges | None:
        """Return the first read for the first frame; None where it takes more than 0.1 s."""
        self._first.join(_WITHIN_S)
        return self._found

    def _read_first(self) -> None:
        with suppress(Exception):  # the worker that polls the history meets it again, and tells it
            self._found = self.read()
