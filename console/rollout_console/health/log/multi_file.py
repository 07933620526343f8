"""Several log files followed as one: every file that a glob pattern matches."""

import os
import stat
import time
from collections import deque
from collections.abc import Iterable
from fnmatch import fnmatchcase
from heapq import merge
from math import inf
from pathlib import Path
from typing import Literal, Protocol

from rollout_console.health.backfill.segment import LogSegment
from rollout_console.health.log.follower import (
    LINGER_S,
    TRYING,
    LogFollower,
    any_begins,
    no_log_yet,
)
from rollout_console.health.log.record import AccessRecord
from rollout_console.health.log.rotation import Identity, Rotated, log_of, start_of
from rollout_console.health.log.sources import Place, cannot_be_read
from rollout_console.health.log.unusable import NO_TIMES, Unusable, UnusableTimes, joined

MOST_FILES = 64
PROBES = ".probes.jsonl"
"""File name suffix of probe logs, which are never read as traffic."""

_LEAST_BYTES = 64 * 1024
_MOST_LEFT = 4096


class Log(Protocol):
    """A followed (tailed) log, of one file or of several.

    ``trouble`` is the error in one sentence, empty without one; ``missing`` is set where the only
    error is that the log does not exist yet, as before the first request, ``unreadable`` where the
    log, or one of several, cannot be opened or read. ``unusable`` counts
    lines that are not access-log records. ``behind`` is set where the last poll stopped before
    end of file.
    """

    @property
    def trouble(self) -> str:
        """The error in one sentence, empty without one."""
        ...

    @property
    def missing(self) -> bool:
        """Whether the only error is that the log does not exist yet."""
        ...

    @property
    def unreadable(self) -> bool:
        """Whether the log, or one of several, cannot be read."""
        ...

    @property
    def is_partial(self) -> bool:
        """Whether another of several logs can be read, where one cannot."""
        ...

    @property
    def behind(self) -> bool:
        """Whether the last poll stopped before end of file."""
        ...

    @property
    def unusable(self) -> Unusable:
        """The count of lines that are not access-log records, and what is wrong with the first."""
        ...

    @property
    def unusable_times(self) -> UnusableTimes:
        """When the newest of those lines were written; what is returned does not change."""
        ...

    def poll(self, max_bytes: int = ...) -> list[AccessRecord]:
        """Return new records, each complete line once, from at most ``max_bytes`` bytes."""
        ...

    @property
    def begins_at(self) -> float:
        """The epoch second since which every line is read; -inf where there are no older lines."""
        ...

    def take_older(self) -> list[LogSegment]:
        """Hand over the segments older than ``begins_at``, oldest first; the caller closes them."""
        ...

    def close(self) -> None:
        """Close all files."""
        ...


class LogSet:
    """Follows every file that matches a glob pattern such as ``logs/*.jsonl``.

    New files are read from their first line. A rotated file stays with the log that it was rotated
    from, a copy of a log is none of its own, and a deleted file is dropped after LINGER_S. Only the
    MOST_FILES files with the newest modification time are followed; one that is written to again is
    resumed at its offset. Records are k-way merged by time; those of each file keep their order.
    """

    def __init__(
        self,
        pattern: Path,
        *,
        start: Literal["head", "tail"] = "head",
        tail_bytes: int = 32 * 1024 * 1024,
        history_s: float = 0.0,
        older_bytes: int = 0,
        shape: type[AccessRecord] = AccessRecord,
    ) -> None:
        self._shape = shape
        self.trouble, self.missing, self.unreadable = "", False, False
        self.behind = self.is_partial = False
        self._pattern = pattern
        self._start: Literal["head", "tail"] = start
        self._tail_bytes = tail_bytes
        self._history_s = history_s
        self._older_bytes = older_bytes
        self._followers: dict[Path, LogFollower] = {}
        self._gone_at: dict[Path, float] = {}
        self._left_at: dict[Path, Place] = {}
        self._read = deque[tuple[Identity, bytes]](maxlen=_MOST_LEFT)
        self._unusable = Unusable()
        self._times_left = NO_TIMES

    @property
    def unusable(self) -> Unusable:
        """The count of unusable lines in all files, and what is wrong with the first."""
        found = self._unusable
        for path, follower in self._followers.items():
            found = found.plus(_named(path, follower.unusable))
        return found

    @property
    def unusable_times(self) -> UnusableTimes:
        """When the newest unusable lines of each file were written."""
        own = (_named_times(path, one.unusable_times) for path, one in self._followers.items())
        return joined([self._times_left, *own])

    def poll(self, max_bytes: int = 4 * 1024 * 1024) -> list[AccessRecord]:
        """Return new records, from at most about ``max_bytes`` bytes of all files together."""
        files, closed = self._find()
        self.trouble = f"{closed}{TRYING}" if closed else ""
        self.missing, self.unreadable = not (files or closed), bool(closed)
        if self.missing:
            self.trouble = no_log_yet(self._pattern)
        elif len(files) > MOST_FILES:
            files.sort(key=lambda one: one.modified)
            self.trouble = self.trouble or (
                f"{len(files)} files match {self._pattern}; the newest {MOST_FILES} are followed"
            )
            files = files[-MOST_FILES:]
        self._follow(files, is_all=not closed)
        each = max(max_bytes // max(len(self._followers), 1), _LEAST_BYTES)
        found, self.behind, readable = [], False, False
        for path, follower in self._followers.items():
            if records := follower.poll(each):
                found.append(records)
            self.behind = self.behind or follower.behind
            if path not in self._gone_at:
                self.trouble = self.trouble or follower.trouble
                self.unreadable = self.unreadable or follower.unreadable
                readable = readable or not follower.unreadable
        self.is_partial = self.unreadable and readable
        if len(found) == 1:
            return found[0]
        return list(merge(*found, key=lambda record: record.ts))

    @property
    def begins_at(self) -> float:
        """The epoch second since which every line of every file is read."""
        return max((one.begins_at for one in self._followers.values()), default=-inf)

    def take_older(self) -> list[LogSegment]:
        """Hand over the older segments, file by file; the caller closes them."""
        return [stretch for one in self._followers.values() for stretch in one.take_older()]

    def close(self) -> None:
        """Close all files."""
        for follower in self._followers.values():
            follower.close()

    def _find(self) -> tuple[list[Rotated], str]:
        """Glob the files, leaving out those that are a rotated part of another one."""
        found, closed = matching(self._pattern)
        names = {one.path.name for one in found} | {path.name for path in self._followers}
        own = [one for one in found if log_of(one.path.name) not in names - {one.path.name}]
        return self._each_once(own), closed

    def _each_once(self, files: list[Rotated]) -> list[Rotated]:
        """Leave out the further names of a file: links to it, such as current.jsonl."""
        if len({one.identity for one in files}) == len(files):
            return files
        kept: dict[Identity, Rotated] = {}
        for one in files:
            other = kept.setdefault(one.identity, one)
            if other is not one and self._rank(one.path) < self._rank(other.path):
                kept[one.identity] = one
        return [*kept.values()]

    def _rank(self, path: Path) -> tuple[bool, bool, str]:
        """Sort names of one file: that which is followed, then that which is no symlink."""
        return path not in self._followers, path.is_symlink(), path.name

    def _follow(self, files: Iterable[Rotated], *, is_all: bool) -> None:
        """Open followers for new files, and drop those of files gone for LINGER_S.

        Where not all files could be looked at, none is gone: it would be read twice.
        """
        now, here = time.monotonic(), {one.path for one in files}
        if not is_all:
            here |= self._followers.keys()
        new = [one for one in files if one.path not in self._followers]
        for path in [path for path in self._followers if path not in here]:
            if self._gone_at.setdefault(path, now) + LINGER_S <= now:
                self._leave(path)
        self._gone_at = {
            p: at for p, at in self._gone_at.items() if p in self._followers.keys() - here
        }
        new = _without_copies(new)
        for one in new:
            head = one.head()
            owner = next((p for p, it in self._followers.items() if it.knows(one, head)), None)
            if owner is None:
                place = self._left_at.pop(one.path, None)
                if place is not None or not self._was_read(one, head):
                    self._begin(one.path, place, of=len(new))
            elif self._followers[owner].reads(one):
                if owner not in here:
                    self._followers[one.path] = moved = self._followers.pop(owner)
                    moved.path = one.path
            elif self._followers[owner].is_behind(one, head) or (
                owner not in here and self._followers[owner].has_begun(head)
            ):
                place = self._followers[owner].place  # writers go on in what was a copy
                self._leave(owner)
                self._begin(one.path, place, of=len(new))
        if self._followers:
            self._start = "head"

    def _begin(self, path: Path, place: Place | None, *, of: int) -> None:
        """Follow a file, one of ``of`` that share the limits of what is read of the past."""
        self._followers[path] = LogFollower(
            path,
            start=self._start,
            tail_bytes=max(self._tail_bytes // of, _LEAST_BYTES),
            history_s=self._history_s,
            older_bytes=self._older_bytes // of,
            shape=self._shape,
            place=place,
            copies=self._others,
        )

    def _others(self) -> list[Rotated]:
        """Return the files of the pattern that are not followed, newest first."""
        found = [one for one in matching(self._pattern)[0] if one.path not in self._followers]
        return sorted(found, key=lambda one: -one.modified)

    def _was_read(self, one: Rotated, head: bytes) -> bool:
        """Whether a file was read under a name that is followed no more."""
        return any_begins([begin for it, begin in self._read if it == one.identity], head)

    def _leave(self, path: Path) -> None:
        """Follow a file no more, but keep its offset: it may become active again."""
        follower = self._followers.pop(path)
        place = follower.place
        self._read += follower.known
        follower.close()
        self._unusable = self._unusable.plus(_named(path, follower.unusable))
        self._times_left = joined([self._times_left, _named_times(path, follower.unusable_times)])
        if place is not None:
            place.cutter.unusable = Unusable()  # they are counted
            self._left_at[path] = place
            while len(self._left_at) > _MOST_LEFT:
                del self._left_at[next(iter(self._left_at))]


def _without_copies(files: list[Rotated]) -> list[Rotated]:
    """Return files of different content: of those that begin alike, the largest."""
    kept: dict[bytes, Rotated] = {}
    others: list[Rotated] = []
    for one in sorted(files, key=lambda one: (-one.size, len(one.path.name), one.path.name)):
        if start := start_of(one.head()):
            kept.setdefault(start, one)
        else:
            others.append(one)
    return [*kept.values(), *others]


def matching(path: Path) -> tuple[list[Rotated], str]:
    """Return the uncompressed traffic logs that a path or glob names, rotated files included.

    With them the sentence of a folder or a file that may not be looked at, empty without one.
    """
    names, closed = _names(path)
    found = []
    for name in names:
        one = path.with_name(name)
        if one.suffix == ".gz" or name.endswith(PROBES):
            continue
        try:
            status = one.stat()
        except (FileNotFoundError, NotADirectoryError):
            continue  # race: rotated since it was listed
        except OSError as error:
            closed = closed or cannot_be_read(one, error)
            continue
        if stat.S_ISREG(status.st_mode):
            identity = (status.st_dev, status.st_ino)
            found.append(Rotated(one, identity, status.st_mtime, status.st_size))
    return found, closed


def _names(path: Path) -> tuple[list[str], str]:
    """List the names that a glob matches; Path.glob takes a folder that is closed for empty."""
    if not is_pattern(path):
        return [path.name], ""
    try:
        with os.scandir(path.parent) as entries:
            return [one.name for one in entries if fnmatchcase(one.name, path.name)], ""
    except (FileNotFoundError, NotADirectoryError):
        return [], ""
    except OSError as error:
        return [], cannot_be_read(path.parent, error)


def _named(path: Path, unusable: Unusable) -> Unusable:
    """Prefix the reason with the file's name."""
    return unusable._replace(why=f"{path.name}: {unusable.why}") if unusable.lines else unusable


def _named_times(path: Path, times: UnusableTimes) -> UnusableTimes:
    """Prefix the reasons with the file's name."""
    by_second = {second: _named(path, lines) for second, lines in times.by_second.items()}
    return UnusableTimes(by_second, tuple((at, _named(path, lines)) for at, lines in times.last))


def open_log(
    path: Path,
    *,
    start: Literal["head", "tail"],
    tail_bytes: int,
    history_s: float = 0.0,
    older_bytes: int = 0,
    shape: type[AccessRecord] = AccessRecord,
) -> Log:
    """Follow a log; the last part of ``path`` may be a glob with ``*``, ``?`` or ``[``.

    With ``start="tail"``, ``tail_bytes`` of existing data are read. Where the log itself is
    shorter than that, rotated files modified within ``history_s`` seconds are read as well. Up to
    ``older_bytes`` of older data is left for the backfill workers. The records are of ``shape``.
    """
    log = LogSet if is_pattern(path) else LogFollower
    return log(
        path, start=start, tail_bytes=tail_bytes, history_s=history_s, older_bytes=older_bytes,
        shape=shape,
    )  # fmt: skip


def is_pattern(path: Path) -> bool:
    """Return whether a path is a glob pattern; the literal name of an existing file is not."""
    return any(sign in path.name for sign in "*?[") and not os.path.lexists(path)
