"""Wait for the outcome of a change, and say what is known of it, also where a signal comes."""

import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import inf
from types import FrameType, TracebackType
from typing import Any, Protocol, Self, TypeVar

from rollout_console.changes.errors import Uncertain
from rollout_console.changes.under_way import UnderWay, awaited
from rollout_console.common.safe_text import visible
from rollout_console.etcd.address import is_etcd
from rollout_gate.secret import redacted

Result = TypeVar("Result")
_ENDS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_SAID_AFTER_S = 1.0
"""After how many seconds a command says what it waits for."""
MOMENT_S = 2.5
"""How long a signal leaves a change to end, in seconds: a member that hangs costs two."""
_POLL_S = 0.05


class Named(Protocol):
    """A rollout file: its name in a sentence, and what ``--file`` takes for it."""

    @property
    def name(self) -> str: ...

    @property
    def location(self) -> str: ...


class Outcome:
    """Waits for a change of a file; SIGINT, SIGTERM and SIGHUP end it with a word on the outcome.

    They do so until the end of the ``with`` block: what was done is reported though it was asked to
    stop. A signal that was ignored before, as by nohup, stays ignored.
    """

    def __init__(self, file: Named) -> None:
        self._waits = awaited(is_shared=is_etcd(file.location), name=file.name)
        self._location = file.location
        self._before: dict[int, Any] = {}
        self._told_by: int | None = None
        self._until = 0.0

    @property
    def is_told_to_end(self) -> bool:
        """Whether a signal has come."""
        return self._told_by is not None

    def of(self, words: str, make: Callable[[], Result]) -> Result:
        """Make a change, and return or raise its outcome; ``words`` say what it does."""
        return self.awaited(UnderWay(words, make))

    def awaited(self, change: UnderWay[Result], *, says_at_once: bool = False) -> Result:
        """Return or raise the outcome of a change that is under way.

        Raises Uncertain where a signal has come, and the outcome is not known a moment after it.
        """
        says_after = 0.0 if says_at_once else _SAID_AFTER_S
        says_signal = True
        while not change.is_over.wait(_POLL_S):
            if change.age_s >= says_after:
                says_after = inf
                _say(f"{change.words} is under way: {self._waits} for {change.age_s:.1f} s")
            if self._told_by is None:
                continue
            if time.monotonic() >= self._until:
                raise Uncertain(
                    f"{self._name_of_signal} while {change.words} was under way: whether it was"
                    f" made is not known; {self._history} lists it if it was"
                )
            if says_signal:
                says_signal = False
                _say(
                    f"{self._name_of_signal}: {change.words} is under way, its outcome is waited"
                    f" for {MOMENT_S:g} s; a second signal ends that"
                )
        try:
            return change.outcome()
        except Uncertain as error:
            raise Uncertain(f"{error}; look with {self._history}") from None

    @property
    def _history(self) -> str:
        import shlex

        return shlex.join(("rollout-console", "-f", self._location, "history"))

    @property
    def _name_of_signal(self) -> str:
        return signal.Signals(self._told_by or 0).name

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in _ENDS:
                if signal.getsignal(number) not in (signal.SIG_IGN, None):
                    self._before[number] = signal.signal(number, self._tell)
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _tell(self, number: int, _frame: FrameType | None) -> None:
        """Leave the change a moment, and none at the second signal."""
        now = time.monotonic()
        self._until = now + MOMENT_S if self._told_by is None else now
        self._told_by = self._told_by or number


@contextmanager
def said_if_slow(words: str) -> Iterator[None]:
    """Say what is waited for, where the block takes longer than a second."""
    timer = threading.Timer(_SAID_AFTER_S, _say, (words,))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _say(words: str) -> None:
    print(f"rollout-console: {visible(redacted(words))}", file=sys.stderr, flush=True)
