"""Backfill worker process: aggregates log segments into windows, and writes those to stdout.

It is started by ``health.backfill.reader``. Its stdin is an Order as JSON; its stdout is frames in
MessagePack, each prefixed with its length in four bytes, big-endian.
"""

import gc
import os
import sys
from math import inf

import msgspec

from rollout_console.common.child_process import frame_of
from rollout_console.common.standard_streams import buffer_standard_streams
from rollout_console.health.backfill.segment import LogSegment, StretchReader
from rollout_console.health.backfill.transfer import End, encode, end_of, frames
from rollout_console.health.log.lines import TOO_LONG, decoded
from rollout_console.health.log.unusable import RECENT_S, LineDater, Unusable, count_recent
from rollout_console.health.windows.top_errors import TopErrors
from rollout_console.health.windows.windows import Windows

_AT_ONCE = 250_000
"""Batch size in lines; until a batch is counted, a few bytes a line are buffered."""
_NICENESS = 10


class Order(msgspec.Struct):
    """Segments to read, oldest first; ``now`` is the reference time, in epoch seconds."""

    stretches: list[LogSegment]
    horizon_s: int
    now: float


class Reading:
    """Aggregates the lines of an order into windows and top errors."""

    def __init__(self, order: Order) -> None:
        self.windows = Windows(order.horizon_s)
        self.errors = TopErrors()
        self.lines = 0
        self.unusable = Unusable()
        self.dater = LineDater()
        self.recent: dict[int, int] = {}
        self.begins_at = -inf
        self.first_at: float | None = None
        self.gap = False
        self.trouble = ""
        self._now = order.now
        self._batch = self.windows.batch(order.now)

    def read(self, stretch: LogSegment) -> None:
        """Read one segment to its end, counting a batch whenever one is full."""
        reader = StretchReader(stretch)
        self.gap = self.gap or stretch.cut
        for whole in reader.lines():
            self.dater.discarded(self.unusable.lines + reader.unusable.lines, TOO_LONG.why)
            records, unusable = decoded(whole, dater=self.dater)
            count_recent(records, self._now - RECENT_S, self.recent)
            self.lines += len(records)
            self.unusable = self.unusable.plus(unusable)
            if records and self.first_at is None:
                self.first_at = records[0].at
            if records and self.gap:
                self.gap, self.begins_at = False, max(self.begins_at, records[0].at)
            self._batch.sort(records)
            self.errors.add(records, self._now)
            if self._batch.lines >= _AT_ONCE:
                self.count()
        self.unusable = self.unusable.plus(reader.unusable)
        self.dater.discarded(self.unusable.lines, TOO_LONG.why)
        self.trouble = self.trouble or reader.trouble
        self.gap = self.gap or bool(reader.trouble)

    def end(self) -> End:
        """Return the End frame, with totals, gaps and errors of all segments."""
        return end_of(
            self.windows,
            lines=self.lines,
            unusable=self.unusable,
            begins_at=self.begins_at,
            first_at=self.first_at,
            gap=self.gap,
            trouble=self.trouble,
            recent=self.recent,
            unusable_at=self.dater.found(),
            undated=self.dater.waiting,
        )

    def count(self) -> None:
        """Flush the buffered batch into the windows."""
        self.windows.take(self._batch)
        self._batch = self.windows.batch(self._now)


def main() -> None:
    """Read the order from stdin, process its segments, and write the frames to stdout."""
    os.nice(_NICENESS)  # processes that serve traffic on this host have priority
    gc.disable()  # there are no reference cycles here to collect
    buffer_standard_streams()
    order = msgspec.json.decode(sys.stdin.buffer.read(), type=Order)
    reading = Reading(order)
    for stretch in order.stretches:
        reading.read(stretch)
    reading.count()
    output = sys.stdout.buffer
    for frame in (*frames(reading.windows, reading.errors), reading.end()):
        output.write(frame_of(encode(frame)))
    output.flush()


if __name__ == "__main__":
    main()
