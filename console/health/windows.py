"""Counts over a sliding window, for each route, org and side."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from console.health.quantiles import bucket_of, quantile
from console.health.record import AccessRecord, StatusClass, classify

_CLASSES = tuple(StatusClass)
_INDEX = {cls: i for i, cls in enumerate(_CLASSES)}
_OK, _GATEWAY = _INDEX[StatusClass.OK], _INDEX[StatusClass.GATEWAY]
_LIMIT = _INDEX[StatusClass.RATE_LIMIT]
_CLASS_OF: dict[int, int] = {}

Key = tuple[str | None, str | None, str]


@dataclass(frozen=True, slots=True)
class Summary:
    """Counts of a window. Percents are of all requests; latencies are in ms, None without any.

    ``percent_4xx`` is every 4xx but 429, which has a limit of its own.
    """

    requests: int
    rate_per_s: float
    by_class: dict[StatusClass, int]
    percent_4xx: float
    percent_5xx: float
    percent_429: float
    p50: float | None
    p95: float | None
    p99: float | None
    last_at: float | None


class _Second:
    """One part of the window: how many requests of each class, and their latencies."""

    __slots__ = ("buckets", "classes", "start")

    def __init__(self, start: int) -> None:
        self.start = start
        self.classes = [0] * len(_CLASSES)
        self.buckets: dict[int, int] = {}


class _Track:
    """One (route, org, side): its parts in order of time, and when it was last seen."""

    __slots__ = ("last_at", "parts")

    def __init__(self) -> None:
        self.parts: deque[_Second] = deque()
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

    def add(self, record: AccessRecord, now: float) -> None:
        """Count one request."""
        at = record.at
        if at > now:
            self.skewed += at > now + 2
            at = now
        if at < now - self.horizon_s:
            self.late += 1
            self._seen_only(record, at)
            return
        start = int(at // self.resolution_s)
        index = _CLASS_OF.get(record.status)
        if index is None:
            index = _CLASS_OF[record.status] = _INDEX[classify(record.status)]
        bucket = bucket_of(record.latency_ms)
        for key in (
            (record.route, record.org, record.side),
            (record.route, None, record.side),
            (None, None, record.side),
        ):
            track = self._track(key)
            track.last_at = max(track.last_at, at)
            part = self._part(track, start)
            part.classes[index] += 1
            part.buckets[bucket] = part.buckets.get(bucket, 0) + 1
        if now - self._swept_at > self.horizon_s / 4:
            self._sweep(now)

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
        classes = [0] * len(_CLASSES)
        buckets: dict[int, int] = {}
        first = (now - window_s) / self.resolution_s
        for part in reversed(track.parts) if track else ():
            if part.start < first:
                break
            for i, count in enumerate(part.classes):
                classes[i] += count
            for bucket, count in part.buckets.items():
                buckets[bucket] = buckets.get(bucket, 0) + count
        return _summary(classes, buckets, window_s, track.last_at if track else None)

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
        grouped: dict[int, list[_Second]] = {}
        for part in track.parts if track else ():
            index = int((part.start * self.resolution_s - (end - window_s)) // width)
            if 0 <= index < points:
                grouped.setdefault(index, []).append(part)
        return [_metric(grouped.get(i), metric, width) for i in range(points)]

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

    def _part(self, track: _Track, start: int) -> _Second:
        parts = track.parts
        if not parts or parts[-1].start < start:
            parts.append(_Second(start))
            return parts[-1]
        for index in range(len(parts) - 1, -1, -1):
            if parts[index].start == start:
                return parts[index]
            if parts[index].start < start:
                parts.insert(index + 1, _Second(start))
                return parts[index + 1]
        parts.appendleft(_Second(start))
        return parts[0]

    def _sweep(self, now: float) -> None:
        self._swept_at = now
        oldest = (now - self.horizon_s) / self.resolution_s
        for track in self._tracks.values():
            while track.parts and track.parts[0].start < oldest:
                track.parts.popleft()


def _summary(
    classes: list[int], buckets: dict[int, int], window_s: float, last_at: float | None
) -> Summary:
    total = sum(classes)
    share = 100 / total if total else 0.0
    limited, gateway = classes[_LIMIT], classes[_GATEWAY]
    return Summary(
        requests=total,
        rate_per_s=total / window_s,
        by_class=dict(zip(_CLASSES, classes, strict=True)),
        percent_4xx=(total - classes[_OK] - gateway - limited) * share,
        percent_5xx=gateway * share,
        percent_429=limited * share,
        p50=quantile(buckets, 0.5),
        p95=quantile(buckets, 0.95),
        p99=quantile(buckets, 0.99),
        last_at=last_at or None,
    )


def _metric(parts: list[_Second] | None, metric: str, width: float) -> float | None:
    if not parts:
        return None
    classes = [sum(counts) for counts in zip(*(part.classes for part in parts), strict=True)]
    buckets: dict[int, int] = {}
    for part in parts:
        for bucket, count in part.buckets.items():
            buckets[bucket] = buckets.get(bucket, 0) + count
    found = _summary(classes, buckets, width, None)
    values: dict[str, float | None] = {
        "4xx": found.percent_4xx,
        "5xx": found.percent_5xx,
        "429": found.percent_429,
        "rate": found.rate_per_s,
        "p50": found.p50,
        "p95": found.p95,
        "p99": found.p99,
    }
    return values[metric]
