"""Plan of a log's first read: the tail to read now, and older segments to backfill."""

from collections import deque
from pathlib import Path

from msgspec import structs

from rollout_console.health.backfill.segment import LogSegment
from rollout_console.health.log.rotation import Identity, Rotated, rotated
from rollout_console.health.log.sources import (
    FileSource,
    PackedSource,
    cannot_be_read,
    opened,
    unpacked_size,
)

MOST_FILES = 64


class Past:
    """Splits existing log data into a tail to read now and older segments to backfill.

    The newest ``tail_bytes`` become ``sources``, up to ``older_bytes`` before them ``stretches``;
    both are oldest first. ``cut`` is set where there are older lines than the first source has;
    ``trouble`` is the read error in one sentence, empty without one.
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
        """The segments older than the sources, oldest first."""
        found = list(self._stretches)
        if found and self._more:
            found[0] = structs.replace(found[0], cut=True)
        return found

    def enter(self, live: FileSource) -> None:
        """Start with the live log file."""
        self._live = live.identity
        self._divide(live, self._path)

    def find(self, oldest: float) -> None:
        """Continue with rotated files, newest first, modified since ``oldest`` (epoch seconds)."""
        try:
            files = rotated(self._path)
        except OSError as error:
            self._begin_after(self._path.parent, error)
            return
        for one in reversed(files):
            if one.modified < oldest:
                return
            if one.identity == self._live:  # race: the live file was rotated just now
                continue
            full = len(self.sources) + len(self._stretches) >= MOST_FILES
            if full or (self._left <= 0 and self._older_left <= 0):
                self._leave_out()
                return
            try:
                self._take(one)
            except FileNotFoundError:  # race: renamed or removed since the folder was listed
                continue
            except OSError as error:
                self._begin_after(one.path, error)
                return

    def _begin_after(self, path: Path, error: OSError) -> None:
        """Stop before what cannot be read: figures with a gap would be taken for complete ones."""
        self.trouble = f"{cannot_be_read(path, error)}; the figures begin after it"
        self._leave_out()

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
        # gzip cannot be entered in the middle: the file is read completely or not at all.
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
        """Split a file at the remaining tail budget; return whether any of it is in the tail."""
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
