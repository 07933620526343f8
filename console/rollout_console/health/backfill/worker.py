"""A process that reads stretches of a log into windows, and writes these to its output.

It is started by ``health.backfill.reader``: its input is an Order, its output frames, each after
its length in four bytes.
"""

import gc
import os
import sys
from math import inf

import msgspec

from rollout_console.health.backfill.segment import LogSegment, StretchReader
from rollout_console.health.backfill.transfer import LENGTH, End, encode, end_of, frames
from rollout_console.health.log.lines import Unusable, decoded
from rollout_console.health.windows.top_errors import TopErrors
from rollout_console.health.windows.windows import Windows

_AT_ONCE = 250_000
"""So many lines are counted together; until then a few bytes of each are held."""
_NICENESS = 10


class Order(msgspec.Struct):
    """What is to be read, oldest first, and the time that counts as now, in epoch seconds."""

    stretches: list[LogSegment]
    horizon_s: int
    now: float


class Reading:
    """Counts lines of an order into windows and errors."""

    def __init__(self, order: Order) -> None:
        self.windows = Windows(order.horizon_s)
        self.errors = TopErrors()
        self.lines = 0
        self.unusable = Unusable()
        self.begins_at = -inf
        self.first_at: float | None = None
        self.gap = False
        self.trouble = ""
        self._now = order.now
        self._batch = self.windows.batch(order.now)

    def read(self, stretch: LogSegment) -> None:
        """Read one stretch."""
        reader = StretchReader(stretch)
        self.gap = self.gap or stretch.cut
        for whole in reader.lines():
            records, unusable = decoded(whole)
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
        self.trouble = self.trouble or reader.trouble
        self.gap = self.gap or bool(reader.trouble)

    def end(self) -> End:
        """Return what is to be said of it all."""
        return end_of(
            self.windows,
            lines=self.lines,
            unusable=self.unusable,
            begins_at=self.begins_at,
            first_at=self.first_at,
            gap=self.gap,
            trouble=self.trouble,
        )

    def count(self) -> None:
        """Count what was read."""
        self.windows.take(self._batch)
        self._batch = self.windows.batch(self._now)


def main() -> None:
    """Do what the order says."""
    os.nice(_NICENESS)  # what serves traffic here comes first
    gc.disable()  # nothing here makes a cycle
    order = msgspec.json.decode(sys.stdin.buffer.read(), type=Order)
    reading = Reading(order)
    for stretch in order.stretches:
        reading.read(stretch)
    reading.count()
    output = sys.stdout.buffer
    for frame in (*frames(reading.windows, reading.errors), reading.end()):
        data = encode(frame)
        output.write(LENGTH.pack(len(data)) + data)
    output.flush()


if __name__ == "__main__":
    main()
