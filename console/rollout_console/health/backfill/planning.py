"""What there is of a log when it is first opened: what is read at once, and what is older."""

from collections import deque
from pathlib import Path

from msgspec import structs

from rollout_console.health.backfill.segment import LogSegment
from rollout_console.health.log.rotation import Identity, Rotated, rotated
from rollout_console.health.log.sources import FileSource, PackedSource, opened, unpacked_size

MOST_FILES = 64


class Past:
    """Divides it: the newest ``tail_bytes`` are ``sources``, then ``older_bytes`` ``stretches``.

    Both are oldest first. ``cut`` says that there is more before the first of the sources,
    ``trouble`` in one sentence what cannot be read, empty where all can.
    """

    def __init__(self, path: Path, tail_bytes: int, older_bytes: int) -> None:
        self.sources: deque[FileSource | PackedSource] = deque()
        self.cut = False
        self.trouble = ""
        self._path = path
        self._left = tail_bytes
        self._older_left = older_bytes
        self._stretches: deque[LogSegment] = deque()
        self._more = False
        self._live: Identity | None = None

    @property
    def stretches(self) -> list[LogSegment]:
        """What is older than the sources."""
        found = list(self._stretches)
        if found and self._more:
            found[0] = structs.replace(found[0], cut=True)
        return found

    def enter(self, live: FileSource) -> None:
        """Begin in the log itself."""
        self._live = live.identity
        self._divide(live, self._path)

    def find(self, oldest: float) -> None:
        """Go on with rotated files, newest first, to those written to since ``oldest``."""
        for one in reversed(rotated(self._path)):
            if one.modified < oldest:
                return
            if one.identity == self._live:  # renamed in this very moment
                continue
            full = len(self.sources) + len(self._stretches) >= MOST_FILES
            if full or (self._left <= 0 and self._older_left <= 0):
                self._leave_out()
                return
            try:
                self._take(one)
            except FileNotFoundError:  # renamed or removed in this very moment
                continue
            except OSError as error:
                # Figures with a gap in them would be taken for whole ones.
                why = error.strerror or "it cannot be opened"
                self.trouble = f"{one.path} cannot be read: {why}; the figures begin after it"
                self._leave_out()
                return

    def _take(self, one: Rotated) -> None:
        if not one.packed:
            source = opened(one, 0)
            assert isinstance(source, FileSource)
            if self._divide(source, one.path):
                self.sources.appendleft(source)
            else:
                source.close()
            return
        size = unpacked_size(one)
        if size <= self._left:
            self.sources.appendleft(opened(one, self._left))
            self._left -= size
            return
        # Its end is what would count, and that comes last: it is read as a whole or not at all.
        self._left = 0
        self.cut = True
        if size > self._older_left:
            self._leave_out()
            return
        packed = opened(one, size)
        stretch = LogSegment(str(one.path), packed.descriptor(), 0, size, packed=True)
        packed.close()
        self._stretches.appendleft(stretch)
        self._older_left -= size

    def _divide(self, source: FileSource, path: Path) -> bool:
        """Enter a file where it is longer than what is left; return whether it is entered."""
        place = source.size - self._left
        if self._left > 0:
            source.enter(self._left)
            place = source.offset
        self._left = max(self._left - source.size, 0)
        if place > 0:
            self.cut = True
            begins = max(place - self._older_left, 0)
            if self._older_left > 0:
                self._stretches.appendleft(
                    LogSegment(str(path), source.descriptor(), begins, place)
                )
                self._older_left -= place - begins
            if begins:
                self._leave_out()
        return place < source.size

    def _leave_out(self) -> None:
        self.cut = True
        self._more = True
        self._older_left = 0
