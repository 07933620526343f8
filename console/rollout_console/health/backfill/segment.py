"""The older part of a log, as stretches of files that are open: whoever has time reads them."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from rollout_console.health.log.lines import MAX_LINE, LineCutter, Unusable
from rollout_console.health.log.sources import MOST_PACKED, FileSource, PackedSource

_CHUNK_BYTES = 120 * 1024
_FEWER = 0.2
"""The last of several shares is smaller by so much of one."""


class LogSegment(msgspec.Struct, frozen=True):
    """The lines of a file that begin after the place ``start``, up to the one that ``end`` is in.

    ``descriptor`` is the file, open, whatever is at ``path`` by now. One that is ``packed`` is
    unpacked from its start; about ``end`` bytes come of it. ``cut`` says that older
    lines are left out.
    """

    path: str
    descriptor: int
    start: int
    end: int
    packed: bool = False
    cut: bool = False


def shares(stretches: Sequence[LogSegment], most: int, least_bytes: int) -> list[list[LogSegment]]:
    """Divide stretches, oldest first, into at most ``most`` shares that take about as long each.

    The last has a fifth fewer bytes: the newest lines are counted by the second as well, and it is
    taken in first. No share has less than ``least_bytes`` without need. A packed file is not
    divided.
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
    """Reads one stretch, and closes the file. ``trouble`` is one sentence, empty where all is well.

    ``unusable`` counts lines that were too long.
    """

    def __init__(self, stretch: LogSegment) -> None:
        self.trouble = ""
        self._stretch = stretch
        self._cutter = LineCutter(entered=stretch.start > 0)

    @property
    def unusable(self) -> Unusable:
        """How many lines were too long to be access-log lines."""
        return self._cutter.unusable

    def lines(self) -> Iterator[bytes]:
        """Give whole lines, many at a time."""
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
            # The reader of what is newer begins after the end of the line that it was put into.
            tail = source.take(self._stretch.end, MAX_LINE + 1)
            if whole := self._cutter.cut(tail[: tail.find(b"\n") + 1] or tail):
                yield whole
        if rest := self._cutter.end():
            yield rest
