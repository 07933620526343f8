"""Follow Prometheus: a thread asks for the counts of each step, and hands them over.

Steps are multiples of their width since the epoch, and not since the process began: every process
asks for the same ones, and so counts the same.
"""

import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from math import inf
from pathlib import Path
from queue import Empty, Full, Queue

import msgspec

from rollout_console.health.backfill.segment import LogSegment
from rollout_console.health.log.record import AccessRecord
from rollout_console.health.log.unusable import ALL_USABLE, NO_TIMES, Unusable
from rollout_console.health.prometheus.counting import above
from rollout_console.health.prometheus.errors import PrometheusError
from rollout_console.health.prometheus.reader import Reader, State
from rollout_console.health.windows.bins import NO_LIMIT_MS
from rollout_console.health.windows.count_batch import Counted
from rollout_gate.file.model import PrometheusSource

ANSWER_S = 10.0
"""Total deadline of an answer in seconds, however slowly it trickles in."""
AGAIN_S = 2.0
"""Seconds until the next attempt after one that failed."""

_METRICS = (("repeated", "repeated"), ("first_token", "ttft"))
"""By query, the metric of a chart that is of it alone."""
_PIECE = 2_000
_MOST_WAITING = 256


class _Piece(msgspec.Struct, frozen=True):
    found: Sequence[Counted] = ()
    state: State | None = None


class PrometheusFeed:
    """The counts of a Prometheus, as a log that has no lines.

    ``poll`` begins to ask, in a thread of its own, and never waits: ``take`` returns what has
    arrived. All but the thread belongs to whoever calls.
    """

    missing = False

    def __init__(
        self,
        source: PrometheusSource,
        folder: Path,
        window_s: int,
        beyond_ms: float,
        answer_s: float = ANSWER_S,
    ) -> None:
        self.step_s = source.step_s
        self.state: State | None = None
        self.behind = False
        self._arrived: Queue[_Piece] = Queue(_MOST_WAITING)
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._reader = Reader(source, folder, window_s, beyond_ms, answer_s)

    # -- as a log --------------------------------------------------------------------------------

    is_partial = False
    unusable_times = NO_TIMES

    @property
    def trouble(self) -> str:
        """What is wrong, in a sentence; empty without it, and before the first answer."""
        return "" if self.state is None else self.state.trouble or self.state.unscraped

    @property
    def unreadable(self) -> bool:
        """Whether the newest answers have something wrong."""
        return bool(self.trouble)

    @property
    def unusable(self) -> Unusable:
        """The count of series that cannot be used in the last answers, and why the first cannot."""
        return ALL_USABLE if self.state is None else self.state.unusable

    @property
    def begins_at(self) -> float:
        """The epoch second since which every step is read."""
        return inf if self.state is None else self.state.begins_at

    def poll(self, max_bytes: int = 0) -> list[AccessRecord]:
        """Return no record; the first call begins to ask."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="prometheus", daemon=True)
            self._thread.start()
        self.behind = not self._arrived.empty()
        return []

    def take_older(self) -> list[LogSegment]:
        """Return nothing: the past is asked for as well."""
        return []

    def close(self) -> None:
        """Stop asking; an answer in progress is not waited for."""
        self._stop.set()
        self._reader.close()

    # -- what is read ----------------------------------------------------------------------------

    def take(self) -> Sequence[Counted]:
        """Return counts that have arrived, a piece of bounded size, and go on to its state."""
        try:
            piece = self._arrived.get_nowait()
        except Empty:
            return ()
        if piece.state is not None:
            self.state = piece.state
        self.behind = not self._arrived.empty()
        return piece.found

    def wait(self, seconds: float) -> bool:
        """Wait until counts have arrived, or the time is over; return whether there are any."""
        end = time.monotonic() + seconds
        while self._arrived.empty() and time.monotonic() < end and not self._stop.wait(0.01):
            pass
        return not self._arrived.empty()

    @property
    def reads_past(self) -> bool:
        """Whether the past is still being read."""
        return self.state is None or not (self.state.past or self.state.trouble)

    @property
    def unscraped(self) -> str:
        """Which servers the figures lack, in a sentence; empty where they lack none."""
        return "" if self.state is None else self.state.unscraped

    def as_of(self, now: float) -> float:
        """Return the time that figures are of: until which requests are sure to be counted.

        A count is dated to the earliest time that its requests can be from: two steps before it
        was seen, as the scrape before it may be that old.
        """
        return now if self.state is None else min(self.state.until - self.step_s, now)

    def trouble_at(self, now: float) -> str:
        """Return why there is nothing to judge by, empty where there is."""
        state = self.state
        if state is None:
            return "asking Prometheus"
        if state.trouble:
            return state.trouble
        age = now - state.until
        if age > self.stale_after_s:
            return f"Prometheus: no answer for {age:.0f} s"
        return ""

    @property
    def stale_after_s(self) -> float:
        """The age in seconds from which on the figures are old: a few steps, and an answer."""
        return 3.0 * self.step_s + 12.0

    @property
    def lacks(self) -> frozenset[str]:
        """The metrics that are not asked for, or that requests have no label for."""
        if self.state is None:
            return frozenset()
        lacks = {metric for query, metric in _METRICS if query not in self.state.signals}
        if not self.state.signals & {"duration", "duration_ms"}:
            lacks |= {"p50", "p95", "p99"}
        return frozenset(lacks | ({"bad"} if self.state.without_outcome else set()))

    def limit_above(self, query: str, limit_ms: float) -> float:
        """Return the latency from which on one is over a limit for certain, by the buckets."""
        if self.state is None:
            return limit_ms
        bounds: list[tuple[float, float]] = []
        for name in ("duration", "duration_ms") if query == "duration" else (query,):
            bounds += self.state.bounds.get(name, ())
        return min(above(limit_ms, bounds), NO_LIMIT_MS)

    # -- the thread ------------------------------------------------------------------------------

    def _work(self) -> None:
        reader = self._reader
        while not self._stop.is_set():
            failed = False
            try:
                self._hand_over(*reader.newest(time.time()))
                while not reader.state.past and not self._stop.is_set():
                    self._hand_over(*reader.past())
                    if reader.is_due(time.time()):
                        break
            except PrometheusError as error:
                failed = True
                self._hand_over((), reader.failed(str(error)))
            except Exception as error:  # noqa: BLE001 - asking must not end with one failure
                failed = True
                self._hand_over((), reader.failed(f"asking failed: {type(error).__name__}"))
            now = time.time()
            self._stop.wait(AGAIN_S if failed else max(reader.next_at() - now, 0.05))
        reader.close()

    def _hand_over(self, found: Sequence[Counted], state: State) -> None:
        pieces = [_Piece(found[at : at + _PIECE]) for at in range(0, len(found), _PIECE)]
        last = pieces.pop() if pieces else _Piece()
        for piece in (*pieces, _Piece(last.found, state)):
            while not self._stop.is_set():
                with suppress(Full):
                    self._arrived.put(piece, timeout=0.5)
                    break
