"""Read the access log of a range of time, in chunks: rotated files too, in bounded memory."""

import time
from collections.abc import Iterator
from contextlib import suppress
from math import inf
from pathlib import Path
from typing import Generic, TypeVar

from rollout_console.health.log.follower import TRYING
from rollout_console.health.log.lines import MAX_LINE, decoded
from rollout_console.health.log.multi_file import is_pattern, open_log
from rollout_console.health.log.record import AccessRecord
from rollout_console.health.log.sources import FileSource
from rollout_console.health.log.unusable import Unusable

_CHUNK_BYTES = 1024 * 1024
_MOST_BYTES = 64 * 1024**3
_PIECE_BYTES = MAX_LINE + 4096
_SLACK_S = 120.0
"""How far the times of neighbouring lines may be out of order: writers have clocks of their own."""
_ROTATED_SLACK_S = 60.0
_SAMPLE = 50
_CLOCKS_SET = 1_577_836_800.0
"""The begin of 2020: an earlier line is of a host whose clock was not set yet (1970, 2000), and one
of them would make a log seem to go back to then."""


R = TypeVar("R", bound=AccessRecord)


class LogReader(Generic[R]):
    """Reads the records of a log between two times (epoch seconds), each line once.

    ``trouble`` is the error in one sentence, empty without one, and ``unreadable`` is whether a
    file of the log is there and cannot be read; ``unusable`` counts the lines that are no records.
    ``begins_at`` is the time of the first record that the log still has, where that is later than
    what was asked for, else -inf; ``last_at`` that of the last one read.
    ``shape`` is the record's type: AccessRecord, or a subclass that decodes more fields.
    """

    def __init__(self, path: Path, shape: type[R]) -> None:
        self._path = path
        self._shape = shape
        self.trouble = ""
        self.missing = self.unreadable = False
        self.unusable = Unusable()
        self.begins_at = -inf
        self.last_at = -inf

    def between(self, since: float, until: float) -> Iterator[list[R]]:
        """Yield the records, chunk by chunk, in the order of the log; no chunk is empty."""
        log = open_log(
            self._path, start="tail", tail_bytes=self._tail_bytes(since),
            history_s=max(time.time() - since, 0.0) + _ROTATED_SLACK_S,
            shape=self._shape,
        )  # fmt: skip
        first = inf
        try:
            while True:
                records = log.poll(_CHUNK_BYTES)
                self.trouble = self.trouble or log.trouble.removesuffix(TRYING)
                self.missing, self.unreadable = log.missing, self.unreadable or log.unreadable
                times = [record.ts.timestamp() for record in records]
                if times:
                    first = min(first, min((at for at in times if at >= _CLOCKS_SET), default=inf))
                    self.last_at = max(self.last_at, max(times))
                    found = [
                        record
                        for record, at in zip(records, times, strict=True)
                        if since <= at < until and isinstance(record, self._shape)
                    ]
                    if found:
                        yield found
                    if min(times) > until + _SLACK_S:
                        break
                if not log.behind:
                    break
        finally:
            self.unusable = log.unusable
            log.close()
        if first < inf and first > since:
            self.begins_at = first

    def _tail_bytes(self, since: float) -> int:
        """Return how many bytes of the log's end have all its lines since a time.

        It is found by binary search, as in ``look``: a log of many gigabytes is not read from its
        start. Where the live file begins later, rotated files are needed, and all is read.
        """
        if is_pattern(self._path):
            return _MOST_BYTES
        with suppress(OSError):
            source = FileSource(self._path)
            try:
                return self._found(source, since - _SLACK_S)
            finally:
                source.close()
        return _MOST_BYTES

    def _found(self, source: FileSource, since: float) -> int:
        if not _time_at(source, 0) < since:
            return _MOST_BYTES
        low, high = 0, source.size
        while high - low > _CHUNK_BYTES:
            middle = (low + high) // 2
            if _time_at(source, middle) < since:
                low = middle
            else:
                high = middle
        return source.size - low


def _time_at(source: FileSource, offset: int) -> float:
    """Return the time of the first usable lines from an offset on; inf without one nearby.

    It is the latest of some lines: by one of a clock that is behind, later ones before it would not
    be read.
    """
    data = source.take(offset, _PIECE_BYTES)
    if offset:
        data = data[data.find(b"\n") + 1 :]
    records, _ = decoded(data[: data.rfind(b"\n") + 1])
    return max((one.at for one in records[:_SAMPLE]), default=inf)
