"""Log follower (``tail -F``): reads a log file across growth, rotation and truncation."""

import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import takewhile
from math import inf
from pathlib import Path
from typing import Literal

from rollout_console.health.backfill.planning import MOST_FILES, Past
from rollout_console.health.backfill.segment import LogSegment
from rollout_console.health.log.lines import TOO_LONG, decoded, decoder_of
from rollout_console.health.log.record import AccessRecord
from rollout_console.health.log.rotation import Identity, Rotated, copies_of, rotated, start_of
from rollout_console.health.log.sources import (
    MOST_PACKED,
    FileSource,
    PackedSource,
    Place,
    cannot_be_read,
    copy_of,
    opened,
)
from rollout_console.health.log.unusable import (
    NO_TIMES,
    LineDater,
    Unusable,
    UnusableTimes,
)

NOT_YET = "it begins with the first request through the gate"
"""What a missing log waits for."""
TRYING = "; trying again"
"""How the sentence ends that a log cannot be read, for whoever follows it."""
LINGER_S = 60.0
"""Seconds that a rotated file is still read: writers that have it open may still append to it."""

_CHUNK_BYTES = 120 * 1024
"""Chunk size: it fits the CPU cache, and is below malloc's mmap threshold (128 KiB on glibc)."""
_TOLD_S = 30.0
_KNOWN = 64
_TRIES = 5


class LogFollower:
    """Yields the new records of an access log, each complete line once.

    ``start="tail"`` begins at most ``tail_bytes`` before end of file, at the start of a line;
    "head" at the first line. With ``history_s``, the rest of ``tail_bytes`` goes to rotated files
    modified within that many seconds, gzip files included; they are read first, oldest first.
    Up to ``older_bytes`` of older data is left for the backfill workers, see ``take_older``.

    After a rotation the rotated file is read to its end, then any file that was created and rotated
    since the last poll, then the new one. A missing or unreadable log sets ``trouble`` to one
    sentence, and each poll tries again. Lines that are not access-log records are counted in
    ``unusable``, and dated in ``unusable_times``. ``begins_at`` is the time (epoch seconds) since
    which every line is read here: that of the first record where there are older ones, or of the
    first after a corrupt file. The records are of ``shape``, a subclass that decodes more fields.
    """

    is_partial = False

    def __init__(
        self,
        path: Path,
        *,
        start: Literal["head", "tail"] = "head",
        tail_bytes: int = 32 * 1024 * 1024,
        history_s: float = 0.0,
        older_bytes: int = 0,
        shape: type[AccessRecord] = AccessRecord,
        place: Place | None = None,
        copies: Callable[[], Sequence[Rotated]] | None = None,
    ) -> None:
        """``place`` is the offset to resume at, where the file still has the same content.

        ``copies`` returns what may be a copy of the log under any name, newest first.
        """
        self.path = path
        self._copies = copies or (lambda: copies_of(self.path))
        self._place = place
        self._decoder = decoder_of(shape)
        self.trouble, self.missing, self.unreadable = "", False, False
        self.behind = False
        self.begins_at = -inf
        self._tail_bytes = tail_bytes if start == "tail" else None
        self._history_s = history_s
        self._older_bytes = older_bytes
        self._older: list[LogSegment] = []
        self._cut = False
        self._live: FileSource | None = None
        self._first: deque[FileSource | PackedSource] = deque()
        self._lingering: list[tuple[FileSource, float]] = []
        self._known: deque[tuple[Identity, bytes]] = deque(maxlen=_KNOWN)
        self._unusable = Unusable()
        self.unusable_times = NO_TIMES
        self._dater, self._published = LineDater(), 0
        self._told = ("", 0.0)

    @property
    def unusable(self) -> Unusable:
        """The count of lines that are not access-log records, and what is wrong with the first."""
        found = self._unusable
        for one in self._open():
            found = found.plus(one.cutter.unusable)
        return found

    def poll(self, max_bytes: int = 4 * 1024 * 1024) -> list[AccessRecord]:
        """Return new records, from at most ``max_bytes`` bytes; I/O errors go to ``trouble``.

        ``behind`` is set where that limit was the reason to stop.
        """
        self.trouble = self._told[0] if time.monotonic() < self._told[1] else ""
        records: list[AccessRecord] = []
        self.behind = self.missing = self.unreadable = False
        try:
            for whole in self._wholes(max_bytes):
                self._dater.discarded(self.unusable.lines, TOO_LONG.why)
                more, unusable = decoded(whole, self._decoder, self._dater)
                self._unusable = self._unusable.plus(unusable)
                records += more
                if self._cut and more:
                    self.begins_at, self._cut = more[0].at, False
        except FileNotFoundError:
            self.missing = True
            self.trouble = no_log_yet(self.path)
        except OSError as error:
            # Records read so far are returned; the next poll resumes the files that are open.
            self.unreadable = True
            self.trouble = f"{cannot_be_read(self.path, error)}{TRYING}"
        self._publish_times(came=bool(records))
        return records

    def _publish_times(self, *, came: bool) -> None:
        """Publish ``unusable_times`` anew, where unusable lines came, or usable ones after them."""
        self._dater.discarded(self.unusable.lines, TOO_LONG.why)
        if self._dater.noted == self._published and not (came and self.unusable_times.last):
            return
        self._published, waiting = self._dater.noted, self._dater.waiting
        last = ((self._modified(), waiting),) if waiting.lines else ()
        self.unusable_times = UnusableTimes(self._dater.found(), last)

    def _modified(self) -> float:
        """Return when the log was written to last (mtime); now where that cannot be read."""
        try:
            return self.path.stat().st_mtime
        except OSError:
            return time.time()

    def take_older(self) -> list[LogSegment]:
        """Hand over the segments older than the first line here, oldest first, for backfill.

        They are known after the first poll; the caller closes their file descriptors.
        """
        older, self._older = self._older, []
        return older

    def close(self) -> None:
        """Close all files; a later poll reopens the path and reads from its start."""
        for stretch in self.take_older():
            with suppress(OSError):
                os.close(stretch.descriptor)
        for source in self._open():
            self._unusable = self._unusable.plus(source.cutter.unusable)
            source.close()
        self._live = None
        self._first.clear()
        self._lingering.clear()

    def knows(self, one: Rotated, head: bytes) -> bool:
        """Return whether a file is, or was, read here: by inode and ``head``, or as a copy."""
        if self.reads(one):
            return True
        heads = [head for identity, head in self._known if identity == one.identity]
        heads += [source.head for source in self._open()]
        return any_begins(heads, head)

    @property
    def place(self) -> Place | None:
        """How far the log was read; None before it was opened."""
        live = self._live
        if live is None:
            return self._place
        return live.place

    def reads(self, one: Rotated) -> bool:
        """Return whether a file is open here, under whatever name."""
        return any(one.identity == source.identity for source in self._open())

    def has_begun(self, head: bytes) -> bool:
        """Return whether the log begins as a file with this head does, as a copy of it would."""
        live = self._live
        return live is not None and live.is_whole and any_begins([live.head], head)

    def is_behind(self, one: Rotated, head: bytes) -> bool:
        """Return whether a file that begins as the log does has gone on further than that.

        It is no copy then: writers go on in it. A log that was truncated is not compared.
        """
        live = self._live
        return live is not None and one.size > live.size_now() and self.has_begun(head)

    @property
    def known(self) -> list[tuple[Identity, bytes]]:
        """The files that are, or were, read here, by inode and head."""
        return [*self._known, *((source.identity, source.head) for source in self._open())]

    def _wholes(self, most: int) -> Iterator[bytes]:
        """Yield complete lines, file by file, until all are read or ``most`` bytes are used up."""
        for source in self._lingered():
            yield from self._finish(source)
        for source, _ in self._lingering:
            if most > 0 and (whole := source.read(min(most, _CHUNK_BYTES))):
                most -= source.got
                yield whole
        while most > 0:
            source_now = self._first[0] if self._first else self._live or self._enter()
            if source_now is None:
                continue
            whole = source_now.read(min(most, _CHUNK_BYTES))
            most -= source_now.got
            if whole:
                yield whole
            if not source_now.got:
                if self._first:
                    yield from self._finish(self._first.popleft())
                elif not self._next():
                    return
        self.behind = True

    def _enter(self) -> FileSource | None:
        """Open the log for the first time; return None where rotated files are read before it."""
        self._live = live = FileSource(self.path)
        if self._place is not None and live.go_on_at(self._place):
            self._tail_bytes = None
            return live
        if self._tail_bytes is not None:
            past = Past(self.path, self._tail_bytes, self._older_bytes)
            past.enter(live)
            if self._history_s:
                past.find(time.time() - self._history_s)
            self._first.extend(past.sources)
            self._older, self._cut = past.stretches, past.cut
            if past.trouble:
                self._tell(past.trouble)
        self._tail_bytes = None  # only at the first open does reading start inside the file
        return None if self._first else live

    def _tell(self, trouble: str) -> None:
        """Set ``trouble`` now, and keep it for the polls of the next _TOLD_S seconds."""
        self.trouble = trouble
        self._told = (trouble, time.monotonic() + _TOLD_S)

    def _next(self) -> bool:
        """At end of the live file, handle truncation or rotation; return whether there was one."""
        live = self._live
        assert live is not None
        if live.truncated:
            self._find_copy(live)
            live.restart()
            return True
        status = self.path.stat()
        if (status.st_dev, status.st_ino) == live.identity:
            return False
        new = FileSource(self.path)
        self._find_missed(live, new)
        self._lingering.append((live, time.monotonic() + LINGER_S))
        self._live = new
        return True

    def _rotated(self) -> list[Rotated]:
        """List the rotated files; none, with a notice, where that fails: lines may be lost."""
        try:
            return rotated(self.path)
        except OSError as error:
            self._tell(cannot_be_read(self.path.parent, error))
            return []

    def _find_missed(self, old: FileSource, new: FileSource) -> None:
        """Queue files that were created and rotated between the old live file and the new one."""
        for _ in range(_TRIES):
            files = self._rotated()
            places = [i for i, one in enumerate(files) if one.identity == old.identity]
            if places:
                since = files[places[0] + 1 :]
            else:
                since = [one for one in files if one.modified > old.modified()]
            with suppress(OSError):  # lost a race with a rename: list the folder again
                self._take_missed([one for one in since if one.identity != new.identity])
                return

    def _take_missed(self, since: Sequence[Rotated]) -> None:
        """Queue rotated files that were never read; where it raises OSError, none is queued.

        A copy of a file that was read is skipped, by its head: compression makes such copies.
        """
        heads = [head for _, head in self._known] + [source.head for source in self._open()]
        missed = [one for one in since[-MOST_FILES:] if not any_begins(heads, one.head())]
        self._first.extend([opened(one, MOST_PACKED) for one in missed])

    def _find_copy(self, live: FileSource) -> None:
        """After a truncation, resume in the copy that was made before it, if there is one.

        The copy may be compressed already: logrotate with copytruncate and compress does both.
        """
        if not live.head:
            return
        files = self._rotated()
        named = {one.identity for one in files}
        named.add(live.identity)
        by_content = [one for one in self._copies() if one.identity not in named]
        if any(self._resume_in(one, live) for one in by_content[:MOST_FILES]):
            return
        # Plain files first, then newest first: a gzip copy may be incomplete while gzip is writing.
        for one in sorted(files, key=lambda one: (one.packed, -files.index(one))):
            if self._resume_in(one, live):
                # If the log itself was renamed since, files after it are queued later.
                after = takewhile(
                    lambda other: other.identity != live.identity, files[files.index(one) + 1 :]
                )
                with suppress(OSError):
                    self._take_missed(list(after))
                return

    def _resume_in(self, one: Rotated, live: FileSource) -> bool:
        """Queue a copy of a truncated log, from where that was read; False where it is none."""
        if not one.head().startswith(live.head):
            return False
        with suppress(OSError):
            copy = copy_of(one, live)
            if copy is not None:
                self._first.append(copy)
                live.cutter = type(live.cutter)()
                return True
        return False

    def _lingered(self) -> list[FileSource]:
        """Remove and return the rotated files whose LINGER_S is over or that were truncated."""
        now, keep = time.monotonic(), []
        done = [source for source, _ in self._lingering[:-MOST_FILES]]
        for source, until in self._lingering[-MOST_FILES:]:
            if until > now and not source.truncated:
                keep.append((source, until))
            else:
                done.append(source)
        self._lingering = keep
        return done

    def _finish(self, source: FileSource | PackedSource) -> Iterator[bytes]:
        """Close a file, and yield its last line if that has no newline."""
        self._known.append((source.identity, source.head))
        self._unusable = self._unusable.plus(source.cutter.unusable)
        source.close()
        if source.trouble:
            self._tell(source.trouble)
        if rest := source.cutter.end():
            yield rest
        self._cut = self._cut or bool(source.trouble)  # its unread rest is a gap in the data

    def _open(self) -> list[FileSource | PackedSource]:
        live = [self._live] if self._live is not None else []
        return [*self._first, *(source for source, _ in self._lingering), *live]


def no_log_yet(path: Path) -> str:
    """Return the sentence of a log, or a pattern of logs, that is not there."""
    if not path.parent.is_dir():
        return f"no access log at {path}: there is no folder {path.parent}, so no line is kept"
    return f"no access log yet at {path}: {NOT_YET}"


def any_begins(heads: Iterable[bytes], data: bytes) -> bool:
    """Whether data begins with one of the heads, of those that tell content apart."""
    return any(data.startswith(head) for head in heads if start_of(head))
