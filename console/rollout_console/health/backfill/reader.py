"""Backfill: the older part of a log, read by worker processes next to this one.

A day of a busy gateway is millions of lines. Reading them in this process would block the event
loop (the GIL); worker processes do not, and several of them use several cores.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from math import inf
from pathlib import Path
from queue import Empty, Queue
from threading import Thread

import msgspec

from rollout_console.common.child_process import read_frame, start_child
from rollout_console.health.backfill.segment import LogSegment, shares
from rollout_console.health.backfill.transfer import End, Frame, Intake, decode
from rollout_console.health.backfill.worker import Order
from rollout_console.health.log.rotation import log_of
from rollout_console.health.log.unusable import Unusable, add_at
from rollout_console.health.windows.top_errors import TopErrors
from rollout_console.health.windows.windows import Windows

_MOST_WORKERS = 4
_WAITING = 64
"""Bound of the queue of frames not yet taken, for backpressure on the workers."""
_LEAST_BYTES = 8 * 1024 * 1024
"""The least bytes a worker gets: for less, starting another process does not pay."""


class Backfill:
    """Runs the backfill of log segments (oldest first), merging counts into windows and errors.

    ``next`` blocks, and may run in another thread; everything else belongs to the thread that owns
    the windows. ``over`` is set after the last frame, ``complete`` where all was read.
    ``begins_at`` is the time since which the data has no gap (epoch seconds; -inf where nothing
    was left out), ``trouble`` the error in one sentence. ``recent`` counts the newest usable lines
    by second, ``unusable_at`` the unusable ones. Takes over the file descriptors of the segments,
    and closes them.
    """

    def __init__(
        self,
        stretches: Sequence[LogSegment],
        windows: Windows,
        errors: TopErrors,
        now: float,
        until: float = -inf,
    ) -> None:
        """``until`` is the time of the first line after them, -inf where it is not known."""
        self.over = False
        self.complete = False
        self.lines = 0
        self.unusable = Unusable()
        self.unusable_at: dict[int, Unusable] = {}
        self.recent: dict[int, int] = {}
        self._until = until
        self.begins_at = -inf
        self.trouble = ""
        self._several = len({log_of(Path(one.path).name) for one in stretches}) > 1
        self._workers: list[_Worker] = []
        self._queue: Queue[Part | None] | None = None
        most = min(_MOST_WORKERS, os.cpu_count() or 1)
        try:
            for share in shares(stretches, most, _LEAST_BYTES):
                order = Order(share, windows.horizon_s, now)
                self._workers.append(_Worker(order, Intake(windows, errors)))
        except OSError as error:
            self.close()
            self.trouble = f"older lines of the log are not read: {error.strerror}"
        finally:
            for descriptor in {stretch.descriptor for stretch in stretches}:
                with suppress(OSError):
                    os.close(descriptor)

    @property
    def processes(self) -> list[int]:
        """The process ids of the workers."""
        return [worker.process for worker in self._workers]

    def next(self) -> "Part | None":
        """Block for the next part and return it; None after the last."""
        for worker in reversed(self._workers):  # the newest share first
            if frame := worker.frame():
                return worker, frame
        return None

    def ready(self, *, wait: bool = False) -> Iterator["Part | None"]:
        """Yield the parts that have arrived, or with ``wait`` all of them; a thread reads them.

        Callers of this must not call ``next``.
        """
        if self._queue is None:
            self._queue = Queue(_WAITING)
            Thread(target=self._fill, args=(self._queue,), daemon=True).start()
        with suppress(Empty):
            while not self.over:
                yield self._queue.get(block=wait)

    def _fill(self, queue: "Queue[Part | None]") -> None:
        while part := self.next():
            queue.put(part)
        queue.put(None)

    def take(self, part: "Part | None") -> None:
        """Merge a part into the windows and errors; None marks the end."""
        if part is None:
            self.over = True
            self.close()
            self._conclude()
            return
        worker, frame = part
        worker.intake.take(frame)
        if isinstance(frame, End):
            worker.end = frame
            self.lines += frame.lines
            self.unusable = frame.unusable.plus(self.unusable)  # the newest share arrives first
            self.trouble = self.trouble or frame.trouble
            self._date(frame)

    def _date(self, end: End) -> None:
        """Take over when lines were written; those at the end of a share are dated by the next."""
        for second, count in end.recent.items():
            self.recent[second] = self.recent.get(second, 0) + count
        for second, lines in end.unusable_at.items():
            add_at(self.unusable_at, second, lines)
        if end.undated.lines and self._until > -inf:
            add_at(self.unusable_at, int(self._until), end.undated)
        if end.first_at is not None:
            self._until = end.first_at

    def _conclude(self) -> None:
        """Set how far back the figures reach without a gap, and whether they are complete."""
        ends = [worker.end for worker in self._workers]
        self.complete = bool(ends) and None not in ends and not (ends[-1] and ends[-1].gap)
        if self._several and any(end.trouble for end in ends if end):
            self.complete = False  # the next share may be of another log, and so close no gap
        if not self.complete and not self.trouble:
            self.trouble = "older lines of the log could not be read; the figures begin later"
        gap = False
        for end in ends:
            if end is None:
                continue
            if gap and end.first_at is not None:
                self.begins_at = max(self.begins_at, end.first_at)
            self.begins_at = max(self.begins_at, -inf if end.begins_at is None else end.begins_at)
            gap = end.gap or (gap and end.first_at is None)

    def close(self) -> None:
        """Kill the worker processes, finished or not, and reap them."""
        for worker in self._workers:
            worker.close()


class _Worker:
    def __init__(self, order: Order, intake: Intake) -> None:
        """Start a worker process; raises OSError where that fails."""
        self.intake = intake
        self.end: End | None = None
        self._process = start_child(
            "rollout_console.health.backfill.worker",
            pass_fds={stretch.descriptor for stretch in order.stretches},
        )
        assert self._process.stdin is not None
        with suppress(BrokenPipeError), self._process.stdin as order_pipe:
            order_pipe.write(msgspec.json.encode(order))

    @property
    def process(self) -> int:
        return self._process.pid

    def frame(self) -> Frame | None:
        """Read the next frame, blocking; None at the end of the pipe, or of what can be read."""
        pipe = self._process.stdout
        assert pipe is not None
        if pipe.closed:
            return None
        data = read_frame(pipe)
        try:
            return None if data is None else decode(data)
        except ValueError:  # of msgspec: without an End frame its share counts as not read
            pipe.close()
            return None

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()


Part = tuple[_Worker, Frame]
"""A frame and the worker that sent it."""
