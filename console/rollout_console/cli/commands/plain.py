"""``--plain``: the console as lines, for screen readers and logs; one for each change of state."""

import json
import select
import signal
import sys
import time
from argparse import Namespace
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from types import FrameType
from typing import Any

from msgspec import to_builtins

from rollout_console.changes.switch import Switch
from rollout_console.cli.exit_codes import DONE, PROBLEMS, USAGE
from rollout_console.cli.streams import CLOSED_AT_START, Output
from rollout_console.common.folders import state_folder
from rollout_console.common.safe_text import visible
from rollout_console.common.stop_signal import StopSignal
from rollout_console.credentials.vault.vault import Vault
from rollout_console.guard.ingestion import FIRST_BYTES, OLDER_BYTES
from rollout_console.guard.monitor import Monitor
from rollout_console.guard.network_sources import GuardSources
from rollout_console.guard.state_change import StateChange
from rollout_console.guard.state_feed import StateFeed
from rollout_console.models.catalogue import Catalogue
from rollout_gate.file.formats import root_of
from rollout_gate.secret import redacted

EVERY_S = 1.0


class _Ended(BaseException):
    """A signal came while a line was being written, to a pipe that nobody empties."""


class _Ending:
    """Ends the loop on a signal: at its next wait, or in the middle of a blocked write (PEP 475:
    Python would retry the system call otherwise)."""

    def __init__(self) -> None:
        self.stop = StopSignal()
        self.is_writing = False
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._end)

    def _end(self, _number: int, _frame: FrameType | None) -> None:
        self.stop.set()
        if self.is_writing:
            self.is_writing = False
            raise _Ended


def plain(options: Namespace, switch: Switch, vault: Vault) -> int:
    """Print the state and then its changes, until a signal or until nobody reads them.

    Standard output is the stream that ``cli.main.run`` has put there.
    """
    output = sys.stdout
    assert isinstance(output, Output)
    if 1 in CLOSED_AT_START:
        print("rollout-console: standard output is closed: --plain has no reader", file=sys.stderr)
        return USAGE
    ending, is_open = _Ending(), _reader_of(output)
    monitor = Monitor(
        switch.path, switch.open().file, cold_bytes=FIRST_BYTES, older_bytes=OLDER_BYTES,
        servers=lambda: switch.spread,
    )  # fmt: skip
    room = Catalogue(root_of(monitor.file.base_url), state_folder())
    sources = GuardSources(vault, room, lambda: monitor.file)
    feed = StateFeed(switch, monitor)
    try:
        _print(feed.start(sources.balance, sources.models(), time.time()), options, ending)
        sources.start()
        while not ending.stop.wait(EVERY_S) and is_open():
            _print(feed.turn(sources.balance, sources.models(), time.time()), options, ending)
    except _Ended:
        ending.is_writing = False  # a second signal must not end the cleanup
        output.abandon()
        return DONE
    finally:
        sources.stop()
        feed.end()
    return DONE if output.lost is None or output.was_left else PROBLEMS


def _reader_of(output: Output) -> Callable[[], bool]:
    """Return a function that says whether anybody can still read what is written to ``output``.

    A pipe whose reader has ended reports POLLERR, a terminal that has hung up POLLHUP, also while
    there is nothing to write.
    """
    poll = select.poll()
    poll.register(output.fileno(), 0)  # errors are reported unasked
    return lambda: output.lost is None and not poll.poll(0)


def _print(changes: Iterable[StateChange], options: Namespace, ending: _Ending) -> None:
    at = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
    for change in changes:
        line = json.dumps(_as_json(at, change)) if options.plain_json else _as_text(at, change)
        ending.is_writing = True
        if ending.stop.is_set():
            raise _Ended
        print(line, flush=True)
        ending.is_writing = False


def _as_text(at: str, change: StateChange) -> str:
    kind = change.level if change.kind == "alarm" else change.kind
    return f"{at}  {kind}: {visible(redacted(change.text))}"


def _as_json(at: str, change: StateChange) -> dict[str, Any]:
    fields = to_builtins(change)
    return {"at": at, **{name: redacted(one) for name, one in fields.items()}}
