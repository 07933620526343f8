"""Access log ingestion: follow the log of a rollout file, or its Prometheus, and aggregate it."""

import time
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING

from rollout_console.common.durations import going_on, set_back
from rollout_console.guard.evidence.org_bins import OrgBins
from rollout_console.guard.health_source import Place, open_source, place_of
from rollout_console.guard.line_quality import LineQuality
from rollout_console.guard.misrouted import Misrouted
from rollout_console.guard.unsent import UnsentRequests
from rollout_console.guard.writer_clocks import WriterClocks
from rollout_console.guard.writers import Writers
from rollout_console.health.log.multi_file import Log
from rollout_console.health.log.record import AccessRecord
from rollout_console.health.log.unusable import Unusable
from rollout_console.health.windows.batch import LABELS
from rollout_console.health.windows.bins import Bins
from rollout_console.health.windows.codes import is_request
from rollout_console.health.windows.count_batch import CountBatch, Counted
from rollout_console.health.windows.top_errors import TopErrors
from rollout_console.health.windows.windows import Windows
from rollout_gate.file.model import RolloutFile

if TYPE_CHECKING:
    from rollout_console.health.backfill.reader import Backfill, Part
    from rollout_console.health.prometheus.feed import PrometheusFeed

COLD_BYTES = 32 * 1024 * 1024
"""Default bytes of an existing log that are read at the start: its newest."""

FIRST_BYTES = 4 * 1024 * 1024
OLDER_BYTES = 1024 * 1024 * 1024
"""The newest bytes of an existing log that the console reads at the start, and the limit of older
bytes that the backfill workers of a long-running process (console, guard) read."""

HISTORY_S = 24 * 3600.0
"""Seconds since a rotated log's modification within which it is read at the start, where the log
itself is shorter than the bytes to read."""

ANSWER_S = 20.0
"""Seconds that a one-shot command waits for Prometheus at most."""

SET_BACK_S = 2.0
"""By how many seconds the clock is set back for what was seen before to be dated anew."""

_PIECE_BYTES = 512 * 1024
_TOLD_S = 30.0
_MOST_SEEN = 20_000
"""Limit of the org ids seen in the log that are kept for a route, those seen last: ids are
untrusted input, and an org of now must not be hidden by those of an hour ago."""


class Ingestion:
    """Follows the access log of one rollout file, and aggregates it.

    ``read`` does the file I/O and may run in a worker thread; everything else belongs to the
    thread that owns the object. ``now`` is passed in, in epoch seconds; only the age of the log
    file and the timeout of messages use the system clock.
    """

    def __init__(
        self,
        path: Path,
        file: RolloutFile,
        *,
        cold_bytes: int = COLD_BYTES,
        older_bytes: int = 0,
    ) -> None:
        self._path = path
        self._cold_bytes = cold_bytes
        self._older_bytes = older_bytes
        self._place: Place | None = None
        self._follower: Log
        self.prometheus: PrometheusFeed | None = None
        self._replaced: list[Log] = []
        self.file = file
        written_at = 0.0
        with suppress(OSError):
            written_at = path.stat().st_mtime
        self.strays = Misrouted(file, written_at)
        self.writers = Writers(file, written_at)
        self.unsent = UnsentRequests()
        self.writer_clocks = WriterClocks()
        self._follow_log()

    def configure(self, file: RolloutFile, now: float) -> None:
        """Switch to a new version of the file, and to its access log if that is another."""
        self.file = file
        self.strays.configure(file, now)
        self.writers.configure(file, now)
        self._follow_log()

    def _follow_log(self) -> None:
        """Follow the log or the Prometheus that the file names; another one resets all figures."""
        place = place_of(self._path, self.file)
        if place == self._place:
            return
        if self._place is not None:
            self._end_older()
            # A worker thread may be reading it now, so the next read closes it.
            self._replaced.append(self._follower)
        self._place = place
        self._added_at = -inf
        self.set_back_s = 0.0
        """By how many seconds the clock was set back last."""
        self._read_to_end_at = -inf
        self._follower, self.prometheus = open_source(
            place, self._path, self.file, cold_bytes=self._cold_bytes, history_s=HISTORY_S,
            older_bytes=self._older_bytes,
        )  # fmt: skip
        self._older: Backfill | None = None
        self._older_until = -inf
        self._older_told = ("", 0.0)
        self._windows = Windows()
        self._bins = Bins(self._windows)
        self._org_bins = OrgBins(self._windows)
        self._label_bins = {label: OrgBins(self._windows, label) for label in LABELS}
        self._errors = TopErrors()
        self._seen: dict[str, dict[str, int]] = defaultdict(dict)
        """By route and org, in the order of their coming, when it was seen last, as a count."""
        self._sights = 0
        self.last_line_at = 0.0
        self._lines = 0
        self._quality = LineQuality()

    @property
    def log_path(self) -> Path:
        """The access log of the file."""
        assert self._place is not None
        return self._place[0]

    @property
    def unusable(self) -> Unusable:
        """The count of lines that are not access-log records, and what is wrong with the first."""
        found = self._follower.unusable
        return self._older.unusable.plus(found) if self._older is not None else found

    @property
    def lines(self) -> int:
        """The count of usable lines, backfill included."""
        return self._lines + (self._older.lines if self._older is not None else 0)

    @property
    def behind(self) -> bool:
        """Whether the last read stopped before end of file."""
        return self._follower.behind

    @property
    def reads_older(self) -> bool:
        """Whether the backfill is still running."""
        if self.prometheus is not None:
            return self.prometheus.reads_past
        return self._older is not None and not self._older.over

    def read(self) -> tuple[Sequence[AccessRecord], str]:
        """Return new records, from at most _PIECE_BYTES, and an error sentence or an empty one."""
        self._close_replaced()
        records = self._follower.poll(max_bytes=_PIECE_BYTES)
        told, until = self._older_told
        return records, self._follower.trouble or (told if time.monotonic() < until else "")

    def add(self, records: Sequence[AccessRecord], now: float) -> None:
        """Ingest access-log records, or the counts of Prometheus that have arrived."""
        if now < self._added_at - SET_BACK_S:
            self.set_back_s = self._added_at - now
            self._set_back(now, self.set_back_s)
        self._added_at = now
        if self.prometheus is not None:
            self._add_counts(self.prometheus.take(), now)
            return
        seen = self._windows.add(records, now)
        if records:
            oldest = min(min(one.ts for one in records).timestamp(), now)
            self._org_bins.changed(seen, oldest)
            for label, names in self._windows.labels_seen.items():
                self._label_bins[label].changed(names, oldest)
        self._errors.add(records, now)
        self._lines += len(records)
        self._quality.arrived(records, self._follower.unusable_times, now)
        for route, org, _ in seen:
            self._see(route, org)
        self.last_line_at = max(self.last_line_at, *seen.values(), 0.0)
        self.strays.add(records, seen, now)
        self.writers.add(records, now)
        self.unsent.add(records, now)
        if records and self._read_to_end_at > -inf:
            self.writer_clocks.add(records, self._read_to_end_at, now, is_all=not self.behind)
        if not self.behind:
            self._read_to_end_at = now
        self._quality.skewed(self._windows.skewed, now)

    def _set_back(self, now: float, by: float) -> None:
        """Date what is in the future by ``by`` seconds less: the clock was set back."""
        self.last_line_at = set_back(self.last_line_at, now, by)
        self._windows.set_back(now, by)
        self.strays.set_back(now, by)
        self.writers.set_back(now, by)
        self.writer_clocks.set_back()
        self.unsent.set_back(now, by)

    def _add_counts(self, found: Sequence[Counted], now: float) -> None:
        if not found:
            return
        windows = self._windows
        seen = windows.take(CountBatch(windows.kept.levels, now, found))
        self._org_bins.changed(seen, min(one.at for one in found))
        self._lines += sum(
            count for one in found for code, count in one.counts.items() if is_request(code)
        )
        for route, org, _ in seen:
            self._see(route, org)

    def _see(self, route: str, org: str) -> None:
        """Note that an org was seen; beyond _MOST_SEEN those seen least recently are forgotten.

        Their order stays that in which they came: rows of a screen must not change places.
        """
        seen = self._seen[route]
        self._sights += 1
        seen[org] = self._sights
        if len(seen) > _MOST_SEEN:
            for name in sorted(seen, key=seen.__getitem__)[: _MOST_SEEN // 10 + 1]:
                del seen[name]

    def catch_up(self, now: float, most_s: float = ANSWER_S) -> None:
        """Read the log to its end and wait for the backfill; for one-shot commands.

        Prometheus is waited for ``most_s`` seconds at most.
        """
        end = time.monotonic() + most_s
        self._go_on(now, wait=True)
        while self.prometheus is not None and self.prometheus.reads_past:
            if not self.prometheus.wait(end - time.monotonic()):
                break
            self._go_on(now, wait=False)

    def go_on(self, now: float) -> None:
        """Read new lines, and merge the backfill parts that have arrived, without waiting."""
        self._go_on(now, wait=False)

    def _go_on(self, now: float, *, wait: bool) -> None:
        clock = going_on(now)  # lines that are written during a long read are not dated ahead
        while True:
            records, _ = self.read()
            self.add(records, clock())
            older = self.older(now) or self._older
            if not records and not self.behind:
                break
        if older is not None and not older.over:
            for part in older.ready(wait=wait):
                self.add_older(older, part)

    def older(self, now: float) -> "Backfill | None":
        """Start the backfill of the lines before the first one read; None if there are none.

        It is returned once, after a read; the caller passes its parts to ``add_older``.
        """
        stretches = self._follower.take_older()
        if not stretches:
            return None
        from rollout_console.health.backfill.reader import Backfill

        self._older_until = self._follower.begins_at
        self._older = Backfill(stretches, self._windows, self._errors, now, self._older_until)
        return self._older

    def add_older(self, older: "Backfill", part: "Part | None") -> None:
        """Merge a part of the backfill; one of a log that was followed before is discarded."""
        if older is not self._older:
            older.close()
            return
        older.take(part)
        for reader in (self._org_bins, *self._label_bins.values()):
            reader.reset()
        if older.over:
            self._quality.came_before(older.recent, older.unusable_at)
            self._older_told = (older.trouble, time.monotonic() + _TOLD_S)
            for route, org, _ in self._windows.kept.tracks:
                if route is not None and org is not None:
                    self._see(route, org)

    @property
    def _begins_at(self) -> float:
        """The epoch second since which all lines were read; -inf where none were left out."""
        begins_at = self._follower.begins_at
        if self._older is not None and self._older.complete and begins_at == self._older_until:
            return self._older.begins_at
        return begins_at  # later than the end of the backfill if there was a gap since

    def close(self) -> None:
        """Close the log and kill the backfill workers; no read may be in progress."""
        self._end_older()
        self._close_replaced()
        self._follower.close()

    def _end_older(self) -> None:
        if self._older is not None:
            self._older.close()

    def _close_replaced(self) -> None:
        while self._replaced:
            self._replaced.pop().close()
