"""What is older of a log than what is read at once: read by processes beside this one.

A day of a busy gateway is millions of lines. Read here they would hold up the screen; a process
of its own takes none of this one's time, and several are done sooner where there are cores.
"""

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from math import inf
from pathlib import Path
from queue import Empty, Queue
from threading import Thread

import msgspec

import rollout_console
import rollout_gate
from rollout_console.health.backfill.segment import LogSegment, shares
from rollout_console.health.backfill.transfer import LENGTH, End, Frame, Intake, decode
from rollout_console.health.backfill.worker import Order
from rollout_console.health.log.lines import Unusable
from rollout_console.health.log.rotation import log_of
from rollout_console.health.windows.top_errors import TopErrors
from rollout_console.health.windows.windows import Windows

_MOST_WORKERS = 4
_WAITING = 64
"""So many parts are held for somebody who does not take them."""
_LEAST_BYTES = 8 * 1024 * 1024
"""For less than this one more process is not worth its start."""


class Backfill:
    """Reads stretches of a log, oldest first, and takes their counts into windows and errors.

    ``next`` waits, and may run in another thread; everything else belongs to the thread that has
    the windows. ``over`` says that there is no more to come, ``complete`` that all was read,
    ``begins_at`` from when on that is all there was (epoch seconds; -inf where nothing was left
    out), ``trouble`` in a sentence what was not.
    """

    def __init__(
        self, stretches: Sequence[LogSegment], windows: Windows, errors: TopErrors, now: float
    ) -> None:
        self.over = False
        self.complete = False
        self.lines = 0
        self.unusable = Unusable()
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
        """The ids of the processes."""
        return [worker.process for worker in self._workers]

    def next(self) -> "Part | None":
        """Return the next part when it is there; None where there is none to come."""
        for worker in reversed(self._workers):  # the newest lines first
            if frame := worker.frame():
                return worker, frame
        return None

    def ready(self, *, wait: bool = False) -> Iterator["Part | None"]:
        """Give the parts that are there already, or all there are; a thread waits for them.

        Whoever asks for these does not call ``next``.
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
        """Take a part into the windows and errors; None is the end."""
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
            self.unusable = frame.unusable.plus(self.unusable)  # the newest share comes first
            self.trouble = self.trouble or frame.trouble

    def _conclude(self) -> None:
        """Say how far back the figures reach without a gap."""
        ends = [worker.end for worker in self._workers]
        self.complete = bool(ends) and None not in ends and not (ends[-1] and ends[-1].gap)
        if self._several and any(end.trouble for end in ends if end):
            self.complete = False  # what comes next may be of another log, and ends no gap
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
        """End the processes, whether they are done or not."""
        for worker in self._workers:
            worker.close()


_ROOTS = [str(Path(package.__path__[0]).parent) for package in (rollout_console, rollout_gate)]


class _Worker:
    def __init__(self, order: Order, intake: Intake) -> None:
        """Start a process; raise OSError where that cannot be."""
        self.intake = intake
        self.end: End | None = None
        # -P: what happens to be in the working directory is no part of this program.
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "rollout_console.health.backfill.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            pass_fds={stretch.descriptor for stretch in order.stretches},
            env={**os.environ, "PYTHONPATH": os.pathsep.join(_ROOTS)},
        )
        assert self._process.stdin is not None
        with suppress(BrokenPipeError), self._process.stdin as order_pipe:
            order_pipe.write(msgspec.json.encode(order))

    @property
    def process(self) -> int:
        return self._process.pid

    def frame(self) -> Frame | None:
        """Return the next frame; None at the end, expected or not."""
        pipe = self._process.stdout
        assert pipe is not None
        if pipe.closed:
            return None
        head = pipe.read(LENGTH.size)
        if len(head) < LENGTH.size:
            return None
        (length,) = LENGTH.unpack(head)
        data = pipe.read(length)
        return decode(data) if len(data) == length else None

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()


Part = tuple[_Worker, Frame]
"""A frame, and the process that it is from."""
