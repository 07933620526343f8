"""Several log files followed as one: every file that a glob pattern matches."""

import os
import time
from collections.abc import Iterable
from contextlib import suppress
from heapq import merge
from math import inf
from pathlib import Path
from typing import Literal, Protocol

from rollout_console.health.backfill.segment import LogSegment
from rollout_console.health.log.follower import LINGER_S, NOT_YET, LogFollower
from rollout_console.health.log.lines import Unusable
from rollout_console.health.log.record import AccessRecord
from rollout_console.health.log.rotation import Rotated, log_of

MOST_FILES = 64
PROBES = ".probes.jsonl"
"""File name suffix of probe logs, which are never read as traffic."""

_LEAST_BYTES = 64 * 1024


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
    def behind(self) -> bool:
        """Whether the last poll stopped before end of file."""
        ...

    @property
    def unusable(self) -> Unusable:
        """The count of lines that are not access-log records, and what is wrong with the first."""
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
    from, and a deleted file is dropped after LINGER_S. Only the MOST_FILES files with the newest
    modification time are followed. Records are k-way merged by time; those of each file keep their
    order.
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
        self.behind = False
        self._pattern = pattern
        self._start: Literal["head", "tail"] = start
        self._tail_bytes = tail_bytes
        self._history_s = history_s
        self._older_bytes = older_bytes
        self._followers: dict[Path, LogFollower] = {}
        self._gone_at: dict[Path, float] = {}
        self._unusable = Unusable()

    @property
    def unusable(self) -> Unusable:
        """The count of unusable lines in all files, and what is wrong with the first."""
        found = self._unusable
        for path, follower in self._followers.items():
            found = found.plus(_named(path, follower.unusable))
        return found

    def poll(self, max_bytes: int = 4 * 1024 * 1024) -> list[AccessRecord]:
        """Return new records, from at most about ``max_bytes`` bytes of all files together."""
        files = self._find()
        self.trouble, self.missing, self.unreadable = "", not files, False
        if not files:
            self.trouble = f"no access log yet at {self._pattern}: {NOT_YET}"
        elif len(files) > MOST_FILES:
            files.sort(key=lambda one: one.modified)
            self.trouble = (
                f"{len(files)} files match {self._pattern}; the newest {MOST_FILES} are followed"
            )
            files = files[-MOST_FILES:]
        self._follow(files)
        each = max(max_bytes // max(len(self._followers), 1), _LEAST_BYTES)
        found, self.behind = [], False
        for path, follower in self._followers.items():
            if records := follower.poll(each):
                found.append(records)
            self.behind = self.behind or follower.behind
            if path not in self._gone_at:
                self.trouble = self.trouble or follower.trouble
                self.unreadable = self.unreadable or follower.unreadable
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

    def _find(self) -> list[Rotated]:
        """Glob the files, leaving out those that are a rotated part of another one."""
        found = matching(self._pattern)
        names = {one.path.name for one in found} | {path.name for path in self._followers}
        return [one for one in found if log_of(one.path.name) not in names - {one.path.name}]

    def _follow(self, files: Iterable[Rotated]) -> None:
        """Open followers for new files, and drop those of files gone for LINGER_S."""
        now, here = time.monotonic(), {one.path for one in files}
        new = [one for one in files if one.path not in self._followers]
        for path in [path for path in self._followers if path not in here]:
            if self._gone_at.setdefault(path, now) + LINGER_S <= now:
                follower = self._followers.pop(path)
                follower.close()
                self._unusable = self._unusable.plus(_named(path, follower.unusable))
        self._gone_at = {
            p: at for p, at in self._gone_at.items() if p in self._followers.keys() - here
        }
        for one in new:
            owner = next((p for p, other in self._followers.items() if other.knows(one)), None)
            if owner is None:
                self._followers[one.path] = LogFollower(
                    one.path,
                    start=self._start,
                    tail_bytes=max(self._tail_bytes // len(new), _LEAST_BYTES),
                    history_s=self._history_s,
                    older_bytes=self._older_bytes // len(new),
                    shape=self._shape,
                )
            elif owner not in here:
                self._followers[one.path] = moved = self._followers.pop(owner)
                moved.path = one.path
        if self._followers:
            self._start = "head"


def matching(path: Path) -> list[Rotated]:
    """Return the uncompressed traffic logs that a path or glob names, rotated files included."""
    found = []
    with suppress(OSError):
        for one in path.parent.glob(path.name) if is_pattern(path) else (path,):
            with suppress(OSError):
                status = one.stat()
                if one.is_file() and one.suffix != ".gz" and not one.name.endswith(PROBES):
                    identity = (status.st_dev, status.st_ino)
                    found.append(Rotated(one, identity, status.st_mtime, status.st_size))
    return found


def _named(path: Path, unusable: Unusable) -> Unusable:
    """Prefix the reason with the file's name."""
    return unusable._replace(why=f"{path.name}: {unusable.why}") if unusable.lines else unusable


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
