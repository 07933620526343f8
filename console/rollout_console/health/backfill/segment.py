"""Log segments: byte ranges of open files, the older part of a log that is left for backfill."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from rollout_console.health.log.lines import MAX_LINE, LineCutter
from rollout_console.health.log.sources import MOST_PACKED, FileSource, PackedSource
from rollout_console.health.log.unusable import Unusable

_CHUNK_BYTES = 120 * 1024
_FEWER = 0.2
"""The fraction by which the last of several shares is smaller than the others."""


class LogSegment(msgspec.Struct, frozen=True):
    """A byte range of a log file: lines that begin after ``start``, up to the one ``end`` is in.

    ``descriptor`` is an open file descriptor, valid whatever ``path`` names by now. A ``packed``
    (gzip) file is decompressed from its start, to about ``end`` bytes. ``cut`` is set where older
    lines are left out.
    """

    path: str
    descriptor: int
    start: int
    end: int
    packed: bool = False
    cut: bool = False


def shares(stretches: Sequence[LogSegment], most: int, least_bytes: int) -> list[list[LogSegment]]:
    """Partition segments, oldest first, into at most ``most`` shares of about equal work.

    The last share has a fifth fewer bytes: its lines are the newest, which are counted in
    one-second slots as well, and it is merged first. No share is smaller than ``least_bytes``
    except the last. A gzip file is not split.
    """
    total = sum(one.end - one.start for one in stretches)
    each = max(int(total / (most - _FEWER)) + 1, least_bytes)
    found: list[list[LogSegment]] = [[]]
    left = each
    for stretch in stretches:
        rest = stretch
        while rest.end - rest.start > left and not rest.packed and len(found) < most:
            middle = rest.start + left
            found[-1].append(msgspec.structs.replace(rest, end=middle))
            rest = msgspec.structs.replace(rest, start=middle, cut=False)
            found.append([])
            left = each
        found[-1].append(rest)
        left -= rest.end - rest.start
        if left <= 0 and len(found) < most:
            found.append([])
            left = each
    return [share for share in found if share]


class StretchReader:
    """Reads one segment, and closes its file descriptor.

    ``trouble`` is the error in one sentence, empty without one; ``unusable`` counts lines that
    were too long.
    """

    def __init__(self, stretch: LogSegment) -> None:
        self.trouble = ""
        self._stretch = stretch
        self._cutter = LineCutter(entered=stretch.start > 0)

    @property
    def unusable(self) -> Unusable:
        """The count of lines over MAX_LINE bytes, which are discarded."""
        return self._cutter.unusable

    def lines(self) -> Iterator[bytes]:
        """Yield complete lines, a chunk of many at a time; a read error ends it (``trouble``)."""
        source = self._open()
        try:
            yield from self._lines(source)
        except OSError as error:
            self.trouble = f"{self._stretch.path} cannot be read: {error.strerror}"
        finally:
            self.trouble = self.trouble or source.trouble
            source.close()

    def _open(self) -> FileSource | PackedSource:
        stretch = self._stretch
        path = Path(stretch.path)
        if not stretch.packed:
            return FileSource(path, stretch.start, self._cutter, stretch.descriptor)
        packed = PackedSource(path, MOST_PACKED, stretch.descriptor)
        packed.cutter = self._cutter
        return packed

    def _lines(self, source: FileSource | PackedSource) -> Iterator[bytes]:
        plain = isinstance(source, FileSource)
        left = self._stretch.end - self._stretch.start if plain else MOST_PACKED
        while left > 0 and ((whole := source.read(min(left, _CHUNK_BYTES))) or source.got):
            left -= source.got
            if whole:
                yield whole
        if isinstance(source, FileSource) and not left:
            # Finish the line that ``end`` is in: the next segment's reader skips that partial line.
            tail = source.take(self._stretch.end, MAX_LINE + 1)
            if whole := self._cutter.cut(tail[: tail.find(b"\n") + 1] or tail):
                yield whole
        if rest := self._cutter.end():
            yield rest
