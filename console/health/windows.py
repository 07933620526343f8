"""Counts over a sliding window, for each route, org and side."""

import gc
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import takewhile

from console.health.record import AccessRecord
from console.health.summary import (
    BUCKET,
    CLASS_CODE,
    Summary,
    bucket_code,
    class_code,
    merged,
    metric_of,
    summarize,
)

_MANY = 2_000

Key = tuple[str | None, str | None, str]


class _Part:
    """One part of the window: how many requests of each class and latency, by their code."""

    __slots__ = ("counts", "start")

    def __init__(self, start: int) -> None:
        self.start = start
        self.counts: dict[int, int] = {}


class _Track:
    """One (route, org, side): its parts in order of time, and when it was last seen."""

    __slots__ = ("last_at", "parts")

    def __init__(self) -> None:
        self.parts: deque[_Part] = deque()
        self.last_at = 0.0


class Windows:
    """Keeps ``horizon_s`` seconds in parts of ``resolution_s``.

    Each record counts for its org on its route, for the route, and for everything; a summary
    looks at the parts of one of these, however many others there are. A time ahead of the clock
    is taken as now and counted in ``skewed``; one older than the horizon in ``late``.
    """

    def __init__(self, horizon_s: int = 300, resolution_s: int = 1) -> None:
        self.horizon_s = horizon_s
        self.resolution_s = resolution_s
        self.skewed = 0
        self.late = 0
        self._tracks: dict[Key, _Track] = {}
        self._swept_at = 0.0

    def add(self, records: Sequence[AccessRecord], now: float) -> None:
        """Count requests.

        They are sorted by what they count for first, and counted together: a cold start has
        hundreds of thousands of them.
        """
        with _no_collection(len(records)):
            self._add(records, now)

    def _add(self, records: Sequence[AccessRecord], now: float) -> None:
        groups: dict[tuple[int, str, str, str], list[int]] = {}
        lasts: dict[tuple[int, str, str, str], float] = {}
        oldest, resolution = now - self.horizon_s, self.resolution_s
        bucket_known, class_known = BUCKET.get, CLASS_CODE.get
        for record in records:
            at = record.ts.timestamp()
            if at > now:
                self.skewed += at > now + 2
                at = now
            elif at < oldest:
                self.late += 1
                self._seen_only(record, at)
                continue
            code = class_known(record.status)
            if code is None:
                code = class_code(record.status)
            bucket = bucket_known(record.latency_ms)
            if bucket is None:
                bucket = bucket_code(record.latency_ms)
            place = (int(at // resolution), record.route, record.org, record.side)
            codes = groups.get(place)
            if codes is None:
                groups[place] = [code + bucket]
                lasts[place] = at
            else:
                codes.append(code + bucket)
                if at > lasts[place]:
                    lasts[place] = at
        self._count(groups, lasts)
        if now - self._swept_at > self.horizon_s / 4:
            self._sweep(now)

    def _count(
        self,
        groups: dict[tuple[int, str, str, str], list[int]],
        lasts: dict[tuple[int, str, str, str], float],
    ) -> None:
        """Count each group for its org, its route and everything."""
        wider: dict[tuple[int, str | None, str], list[int]] = {}
        latest: dict[tuple[int, str | None, str], float] = {}
        for place, codes in groups.items():
            start, route, org, side = place
            at = lasts[place]
            self._count_one((route, org, side), start, codes, at)
            for name in (route, None):
                wide = (start, name, side)
                if wide in wider:
                    wider[wide] += codes
                    latest[wide] = max(latest[wide], at)
                else:
                    wider[wide], latest[wide] = codes.copy(), at
        for wide, codes in wider.items():
            start, name, side = wide
            self._count_one((name, None, side), start, codes, latest[wide])

    def _count_one(self, key: Key, start: int, codes: list[int], at: float) -> None:
        track = self._track(key)
        track.last_at = max(track.last_at, at)
        counts = self._part(track, start).counts
        for code in codes:
            counts[code] = counts.get(code, 0) + 1

    def summary(
        self,
        now: float,
        window_s: float,
        route: str | None = None,
        org: str | None = None,
        side: str = "tokenlab",
    ) -> Summary:
        """Return the counts of the last ``window_s`` seconds."""
        track = self._tracks.get((route, org, side))
        first = (now - window_s) / self.resolution_s
        parts = reversed(track.parts) if track else ()
        within = takewhile(lambda part: part.start >= first, parts)
        counts = merged(part.counts for part in within)
        return summarize(counts, window_s, track.last_at if track else None)

    def series(
        self,
        now: float,
        window_s: float,
        points: int,
        metric: str,
        route: str | None = None,
        org: str | None = None,
        side: str = "tokenlab",
    ) -> Sequence[float | None]:
        """Return ``metric`` (4xx, 5xx, 429, rate, p50, p95, p99) in ``points`` parts of the window.

        None stands where there was no request.
        """
        track = self._tracks.get((route, org, side))
        width = window_s / points
        # Parts end at whole multiples of their width, so that a bar does not change while it ages.
        end = (now // width + 1) * width
        grouped: dict[int, list[_Part]] = {}
        for part in track.parts if track else ():
            index = int((part.start * self.resolution_s - (end - window_s)) // width)
            if 0 <= index < points:
                grouped.setdefault(index, []).append(part)
        return [
            metric_of(merged(part.counts for part in grouped.get(i, ())), metric, width)
            for i in range(points)
        ]

    def last_seen(self, route: str | None, org: str | None, side: str) -> float | None:
        """Return when a request was last seen there, however long ago; None if never."""
        track = self._tracks.get((route, org, side))
        return track.last_at if track and track.last_at else None

    def _seen_only(self, record: AccessRecord, at: float) -> None:
        for org in (record.org, None):
            track = self._track((record.route, org, record.side))
            track.last_at = max(track.last_at, at)

    def _track(self, key: Key) -> _Track:
        track = self._tracks.get(key)
        if track is None:
            track = self._tracks[key] = _Track()
        return track

    def _part(self, track: _Track, start: int) -> _Part:
        parts = track.parts
        if not parts or parts[-1].start < start:
            parts.append(_Part(start))
            return parts[-1]
        for index in range(len(parts) - 1, -1, -1):
            if parts[index].start == start:
                return parts[index]
            if parts[index].start < start:
                parts.insert(index + 1, _Part(start))
                return parts[index + 1]
        parts.appendleft(_Part(start))
        return parts[0]

    def _sweep(self, now: float) -> None:
        self._swept_at = now
        oldest = (now - self.horizon_s) / self.resolution_s
        for track in self._tracks.values():
            while track.parts and track.parts[0].start < oldest:
                track.parts.popleft()


@contextmanager
def _no_collection(records: int) -> Iterator[None]:
    """Keep the garbage collector from walking all that is being built, where that is much.

    Nothing here makes a cycle; on a cold start the walks took a third of the time.
    """
    pause = records >= _MANY and gc.isenabled()
    if pause:
        gc.disable()
    try:
        yield
    finally:
        if pause:
            gc.enable()
