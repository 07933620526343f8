"""Counts over sliding windows of a minute to a day, for each route, org, side, class and model."""

import gc
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from heapq import nsmallest
from math import floor, inf

from console.health.batch import AHEAD, LATE, Batch, Counts, Named, added
from console.health.record import AccessRecord, StatusClass
from console.health.shared_parts import SharedParts
from console.health.summary import Summary, by_class, metric_of
from console.health.tracks import (
    LEVELS,
    Track,
    cut,
    entries,
    fitting,
    forget,
    levels_to,
    parts_of,
    see,
    summary_of,
)

OTHER_MODELS = "(other models)"
"""Where a route has more than MOST_MODELS models at once, the later ones are counted as this."""
MOST_MODELS = 100
MOST_TRACKS = 100_000
MOST_ENTRIES = 9_000_000

Seen = tuple[str, str, str]
"""A route, an org and a side."""

_MANY = 2_000
_SWEPT_AT_ONCE = 1_000
_SWEPT_AFTER = 20_000
"""So many lines, or a second, after the last time."""
_SKEW_S = 2.0
_MOST_SERIES = 64
_LEAST_S = 30.0


class Windows:
    """Keeps ``horizon_s`` seconds (at most a day): the newest in parts of a second.

    A request is counted once at each width, for its org on its route (not by the second), for its
    model on its route, for the route, and for everything. A time ahead of the clock is taken as
    now, and counted in ``skewed`` where it is more than two seconds ahead; one older than the
    horizon counts in ``late`` alone. Times are epoch seconds.

    Memory is bounded whatever comes: by MOST_TRACKS routes and orgs, the last seen of which stay,
    and by ``most_entries`` counts of eight bytes, a sixth of them for what is older than an
    hour of single orgs; above that the oldest of single orgs are forgotten before their time.
    """

    def __init__(self, horizon_s: int = 86_400, *, most_entries: int = MOST_ENTRIES) -> None:
        self.horizon_s = min(horizon_s, LEVELS[-1][1])
        self.skewed = 0
        self.late = 0
        self._levels = levels_to(self.horizon_s)
        self._org_level = min(1, len(self._levels) - 1)
        self._org_levels = self._levels[self._org_level : self._org_level + 1]
        self._days = [
            SharedParts(width, keep, most_entries // 6)
            for width, keep in self._levels[self._org_level + 1 :]
        ]
        self._orgs_since = -inf
        self._most_entries = most_entries
        self._tracks: dict[Named, Track] = {}
        self._models: dict[Named, Track] = {}
        self._of_route: dict[tuple[str | None, str], int] = {}
        self._unswept: list[Track] = []
        self._unseen = 0
        self._swept_at = 0.0
        self._series: dict[object, list[tuple[int, dict[int, int]]]] = {}

    def add(self, records: Sequence[AccessRecord], now: float) -> Mapping[Seen, float]:
        """Count requests, all at once: a cold start has millions of them.

        Return when each route, org and side among them was seen last, at most ``now``.
        """
        seen: dict[Seen, float] = {}
        if records:
            with _no_collection(len(records)):
                self._add(records, now, seen)
            self._series.clear()
        self._unseen += len(records)
        if self._unseen >= _SWEPT_AFTER or not 0 <= now - self._swept_at < 1:
            self._unseen, self._swept_at = 0, now
            self._sweep(now)
        return seen

    def _add(self, records: Sequence[AccessRecord], now: float, seen: dict[Seen, float]) -> None:
        batch = Batch(self._levels, now)
        batch.sort(records)
        self.late += len(batch.times(LATE))
        self.skewed += sum(ts.timestamp() > now + _SKEW_S for ts in batch.times(AHEAD))
        for (route, org, side, model), at in batch.last_seen():
            see(self._track((route, org, side)), at)
            see(self._track((route, None, side)), at)
            see(self._track((None, None, side)), at)
            see(self._model(route, model, side), at)
            seen[route, org, side] = max(at, seen.get((route, org, side), 0.0))
        for (level, slot), orgs in batch.by_org(self._org_level):
            for key, counts in orgs.items():
                parts = parts_of(self._track(key), self._org_levels, self._days)
                parts[level - self._org_level].add_counts(slot, counts)
        for (level, slot), models in batch.by_model():
            self._add_models(level, slot, models)

    def _add_models(self, level: int, slot: int, models: dict[Named, Counts]) -> None:
        """Count for models, and from these for their routes and for everything."""
        routes: dict[Named, list[Counts]] = {}
        for (route, model, side), counts in models.items():
            track = self._model(route, model, side)
            parts_of(track, self._levels)[level].add_counts(slot, counts)
            routes.setdefault((route, None, side), []).append(counts)
        sides: dict[str, list[Counts]] = {}
        for key, some in routes.items():
            counts = added(some)
            parts_of(self._track(key), self._levels)[level].add_counts(slot, counts)
            sides.setdefault(key[2], []).append(counts)
        for side, some in sides.items():
            track = self._track((None, None, side))
            parts_of(track, self._levels)[level].add_counts(slot, added(some))

    def summary(
        self,
        now: float,
        window_s: float,
        route: str | None = None,
        org: str | None = None,
        side: str = "tokenlab",
    ) -> Summary:
        """Return the counts of the last ``window_s`` seconds, or of as long as they are kept."""
        track = self._tracks.get((route, org, side))
        return summary_of(track, now, window_s, self._reaches_s(org, now))

    def models(
        self, now: float, window_s: float, route: str, side: str = "tokenlab"
    ) -> dict[str, Summary]:
        """Return the counts of each model with requests on a route, those with most first."""
        reaches_s = self._reaches_s(None, now)
        found = {
            model or "": summary_of(track, now, window_s, reaches_s)
            for (name, model, of_side), track in self._models.items()
            if name == route and of_side == side
        }
        most = sorted(found.items(), key=lambda pair: (-pair[1].requests, pair[0]))
        return {model: summary for model, summary in most if summary.requests}

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

        None stands where there was no request. Points narrower than what is kept share its value.
        """
        found = self._points((route, org, side), now, window_s, points, share=True)
        return [metric_of(counts, metric, covered_s) for covered_s, counts in found]

    def class_series(
        self,
        now: float,
        window_s: float,
        points: int,
        route: str | None = None,
        org: str | None = None,
        side: str = "tokenlab",
    ) -> dict[StatusClass, list[int]]:
        """Return how many requests of each class there were in ``points`` parts of the window.

        Each is counted in one point, so that points narrower than what is kept have gaps.
        """
        found = self._points((route, org, side), now, window_s, points, share=False)
        classes = [by_class(counts) for _, counts in found]
        return {cls: [of[cls] for of in classes] for cls in StatusClass}

    def kept_s(self, org: str | None, now: float) -> float:
        """Return how many seconds back the figures of single orgs reach, or all others for None."""
        return max(self._reaches_s(org, now))

    def _reaches_s(self, org: str | None, now: float) -> list[float]:
        """Return how many seconds back parts reach, of an org or of all others, finest first."""
        if org is None:
            return [keep_s for _, keep_s in self._levels]
        own = [min(keep_s, now - self._orgs_since) for _, keep_s in self._org_levels]
        return own + [min(days.keep_s, now - days.since) for days in self._days]

    def last_seen(self, route: str | None, org: str | None, side: str) -> float | None:
        """Return when a request was last seen there, however long ago; None if never."""
        track = self._tracks.get((route, org, side))
        return track.last_at if track and track.last_at else None

    def _points(
        self, key: Named, now: float, window_s: float, points: int, *, share: bool
    ) -> list[tuple[int, dict[int, int]]]:
        """Return the seconds that each point covers, and its counts.

        They are remembered until more is added: one screen draws several metrics of them.
        """
        width = window_s / points
        # Points end at whole multiples of their width, so that one does not change as it ages.
        end = floor(now / width) + 1
        asked = (key, end, width, points, share)
        known = self._series.get(asked)
        if known is None:
            if len(self._series) >= _MOST_SERIES:
                self._series.clear()
            track = self._tracks.get(key)
            parts = fitting(track, window_s, self._reaches_s(key[1], now))
            edges = [(end - points + i) * width for i in range(points + 1)]
            known = self._series[asked] = cut(parts, edges, share)
        return known

    def _track(self, key: Named) -> Track:
        track = self._tracks.get(key)
        if track is None:
            if len(self._tracks) >= MOST_TRACKS:
                self._drop_tracks()
            track = self._tracks[key] = Track()
        return track

    def _drop_tracks(self) -> None:
        named = (key for key in self._tracks if key[0] is not None)
        for key in nsmallest(MOST_TRACKS // 10, named, key=lambda key: self._tracks[key].last_at):
            del self._tracks[key]

    def _model(self, route: str | None, model: str | None, side: str) -> Track:
        key = (route, model, side)
        track = self._models.get(key)
        if track is None:
            known = self._of_route.get((route, side), 0)
            if known >= MOST_MODELS and model != OTHER_MODELS:
                return self._model(route, OTHER_MODELS, side)
            self._of_route[route, side] = known + 1
            track = self._models[key] = Track()
        return track

    def _sweep(self, now: float) -> None:
        """Forget what is old, of some tracks at a time; they are gone through again and again."""
        if not self._unswept:
            self._bound(now)
            self._unswept = [*self._tracks.values(), *self._models.values()]
        some = self._unswept[-_SWEPT_AT_ONCE:]
        del self._unswept[-_SWEPT_AT_ONCE:]
        forget(some, now, self.horizon_s)
        for days in self._days:
            days.forget(floor((now - days.keep_s) / days.width_s))

    def _bound(self, now: float) -> None:
        kept = {k: track for k, track in self._models.items() if track.parts}
        if len(kept) < len(self._models):
            self._models = kept
            self._of_route = {}
            for route, _, side in kept:
                self._of_route[route, side] = self._of_route.get((route, side), 0) + 1
        orgs = [track for key, track in self._tracks.items() if key[1] is not None]
        everything = [*self._tracks.values(), *self._models.values()]
        for tracks in (orgs, everything):
            oldest_s = float(self.horizon_s)
            while oldest_s > _LEAST_S and entries(everything) > self._most_entries:
                oldest_s /= 2
                forget(tracks, now, oldest_s)
                self._orgs_since = max(self._orgs_since, now - oldest_s)


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
