"""Sliding-window counters of a minute to a day, by route, org, side, status class and model."""

import gc
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from math import floor, inf

from rollout_console.common.durations import set_back
from rollout_console.health.log.record import AccessRecord, StatusClass
from rollout_console.health.windows.batch import LATE, SKEWED, Batch, Labelled, Named, gathered
from rollout_console.health.windows.count_batch import CountBatch
from rollout_console.health.windows.labels import seen_by_label
from rollout_console.health.windows.retention import MOST_ENTRIES, Kept
from rollout_console.health.windows.series import counts_of, cut, fitting, see, summary_of
from rollout_console.health.windows.summary import METRICS, Summary, by_class, summarize

Seen = tuple[str, str, str]
"""A route, an org and a side."""

_MANY = 2_000
_SWEPT_AFTER, _SWEPT_EVERY_S = 20_000, 5
"""Old slots are evicted after so many lines, or seconds, since the last sweep. No figure waits for
it: a window is read by its slots."""
_MOST_SERIES = 64


class Windows:
    """Counts the requests of the last ``horizon_s`` seconds (at most a day) in time slots.

    A request is counted once at each slot width of LEVELS: for its org on its route (without the
    one-second slots), for its model on its route, for the route, and for all routes. A time ahead
    of the clock is clamped to now, and counted in ``skewed`` where it is more than SKEW_S ahead. A
    request older than the horizon is counted in ``late`` alone, and only its last-seen time is
    kept. Times are epoch seconds.

    Memory is bounded by Kept; ``most_entries`` is its limit of counts, at eight bytes each.
    """

    def __init__(self, horizon_s: int = 86_400, *, most_entries: int = MOST_ENTRIES) -> None:
        self.kept = Kept(horizon_s, most_entries)
        self.horizon_s = self.kept.horizon_s
        self.skewed = 0
        self.late = 0
        self.labels_seen: Mapping[str, set[Seen]] = {}
        """The route, value and side of each label's values in the last batch, by label."""
        self._unseen = 0
        self._swept_at = 0.0
        self._series: dict[object, list[tuple[int, dict[int, int]]]] = {}
        self._summaries: dict[int, list[Summary | None]] = {}
        """Memoized summaries of the points in ``_series``, by the identity of their list."""
        self._asked: dict[tuple[str | None, str, float], Summary] = {}
        """Memoized summaries of routes, by route, side and window: all as of ``_asked_at``."""
        self._asked_at = 0.0
        self._changed_from: dict[tuple[Named, int], int] = {}
        self._merged = 0
        self._merged_for: dict[tuple[Named, int], int] = {}

    def add(self, records: Sequence[AccessRecord], now: float) -> Mapping[Seen, float]:
        """Count requests as one batch: a cold start has millions of them.

        Returns the last-seen time of each route, org and side among them, clamped to ``now``.
        """
        with _no_collection(len(records)):
            batch = self.batch(now)
            batch.sort(records)
            return self.take(batch)

    def batch(self, now: float) -> Batch:
        """Return an empty batch, to sort records into before they are counted together."""
        return Batch(self.kept.levels, now, self.kept.org_level)

    def take(self, batch: Batch | CountBatch) -> Mapping[Seen, float]:
        """Count a sorted batch, or one of counts; returns last-seen times as ``add`` does."""
        seen: dict[Seen, float] = {}
        now = batch.now
        self.labels_seen = {}
        if batch.lines:
            self._take(batch, seen)
            self._clear_series()
        self._unseen += batch.lines
        if self._unseen >= _SWEPT_AFTER or not 0 <= now - self._swept_at < _SWEPT_EVERY_S:
            self._unseen, self._swept_at = 0, now
            self.kept.sweep(now)
        return seen

    def _take(self, batch: Batch | CountBatch, seen: dict[Seen, float]) -> None:
        kept = self.kept
        self.late += batch.lines_at(LATE)
        self.skewed += batch.lines_at(SKEWED)
        for (route, org, side, model), at in batch.last_seen():
            see(kept.track((route, org, side)), at)
            see(kept.track((route, None, side)), at)
            see(kept.track((None, None, side)), at)
            see(kept.model((route, model, side)), at)
            if org is not None:
                seen[route, org, side] = max(at, seen.get((route, org, side), 0.0))
        labelled = list[tuple[Labelled, str]]()
        for label, value, at, slots in batch.by_label():
            kept.labels.add(label, value, at, slots)
            labelled.append((label, value))
        self.labels_seen = seen_by_label(labelled)
        for level, orgs in batch.by_org(kept.org_level):
            for key, slots in orgs.items():
                kept.org_parts(kept.track(key))[level - kept.org_level].add_slots(slots)
        for level, models in batch.by_model():
            for key, slots in models.items():
                kept.parts(kept.model(key))[level].add_slots(slots)
            routes = gathered(((key[0], None, key[2]), slots) for key, slots in models.items())
            sides = gathered(((None, None, key[2]), slots) for key, slots in routes.items())
            for key, slots in (*routes.items(), *sides.items()):
                kept.parts(kept.track(key))[level].add_slots(slots)
                width = kept.levels[level][0]
                first = min(slots) * width
                before = self._changed_from.get((key, width), first)
                self._changed_from[key, width] = min(first, before)

    def set_back(self, now: float, by: float) -> None:
        """Date last-seen times in the future by ``by`` seconds less: the clock was set back."""
        for track in self.kept.tracks.values():
            track.last_at = set_back(track.last_at, now, by)
        self.changed()

    def changed(self) -> None:
        """Invalidate the caches after counts were merged into ``kept`` directly."""
        self._clear_series()
        self._merged += 1

    def _clear_series(self) -> None:
        self._series.clear()
        self._summaries.clear()
        self._asked.clear()

    def changed_from(self, key: Named, width_s: int) -> float:
        """Return where the first slot begins that changed since the last call for track and width.

        It is in epoch seconds, inf where nothing changed, and 0 after a merge: everything may have
        changed.
        """
        of = key, width_s
        merged, self._merged_for[of] = self._merged_for.get(of, 0), self._merged
        changed_from = self._changed_from.pop(of, inf)
        return changed_from if merged == self._merged else 0

    def summary(
        self,
        now: float,
        window_s: float,
        route: str | None = None,
        org: str | None = None,
        side: str = "tokenlab",
    ) -> Summary:
        """Return the summary of the last ``window_s`` seconds, or of the retention if shorter.

        That of a route is memoized for one value of ``now``, until counts are added: rows, alerts
        and charts ask for it.
        """
        if org is not None:
            return self._summary(now, window_s, route, org, side)
        if now != self._asked_at:
            self._asked.clear()
            self._asked_at = now
        found = self._asked.get((route, side, window_s))
        if found is None:
            found = self._summary(now, window_s, route, None, side)
            self._asked[route, side, window_s] = found
        return found

    def _summary(
        self, now: float, window_s: float, route: str | None, org: str | None, side: str
    ) -> Summary:
        track = self.kept.tracks.get((route, org, side))
        return summary_of(track, now, window_s, self.kept.reaches_s(org, now))

    def by_class(
        self,
        now: float,
        window_s: float,
        route: str | None = None,
        org: str | None = None,
        side: str = "tokenlab",
    ) -> dict[StatusClass, int]:
        """Return the requests by class; cheaper than a summary, which computes quantiles."""
        return by_class(self.counts(now, window_s, route, org, side))

    def counts(
        self,
        now: float,
        window_s: float,
        route: str | None = None,
        org: str | None = None,
        side: str = "tokenlab",
    ) -> dict[int, int]:
        """Return the requests of the last ``window_s`` seconds by code, see ``summary``."""
        reaches_s = self.kept.reaches_s(org, now)
        track = self.kept.tracks.get((route, org, side))
        return counts_of(track, now, min(window_s, max(reaches_s)), reaches_s)

    def models(
        self, now: float, window_s: float, route: str, side: str = "tokenlab"
    ) -> dict[str, Summary]:
        """Return the summary of each model with requests on a route, most requests first."""
        reaches_s = self.kept.reaches_s(None, now)
        found = {
            model or "": summary_of(track, now, window_s, reaches_s)
            for (name, model, of_side), track in self.kept.models.items()
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
        """Return a time series of ``metric``, a name of METRICS, oldest first.

        It has ``points`` equal intervals; None is one without a request. Intervals narrower than a
        slot repeat the slot's value.
        """
        found = self._points((route, org, side), now, window_s, points, share=True)
        summaries = self._summaries.get(id(found))
        if summaries is None:
            summaries = [
                summarize(counts, covered_s, None) if counts else None
                for covered_s, counts in found
            ]
            self._summaries[id(found)] = summaries
        of_metric = METRICS[metric]
        return [None if one is None else of_metric(one) for one in summaries]

    def class_series(
        self,
        now: float,
        window_s: float,
        points: int,
        route: str | None = None,
        org: str | None = None,
        side: str = "tokenlab",
    ) -> dict[StatusClass, list[int]]:
        """Return a time series of request counts for each class, in ``points`` equal intervals.

        Each request is counted in one interval, so intervals narrower than a slot leave gaps.
        """
        found = self._points((route, org, side), now, window_s, points, share=False)
        classes = [by_class(counts) for _, counts in found]
        return {cls: [of[cls] for of in classes] for cls in StatusClass}

    def kept_s(self, org: str | None, now: float) -> float:
        """Return the retention in seconds: of single orgs, or for None of routes and models."""
        return max(self.kept.reaches_s(org, now))

    def last_seen(self, route: str | None, org: str | None, side: str) -> float | None:
        """Return when a request was last seen (epoch seconds), however old; None if never."""
        track = self.kept.tracks.get((route, org, side))
        return track.last_at if track and track.last_at else None

    def _points(
        self, key: Named, now: float, window_s: float, points: int, *, share: bool
    ) -> list[tuple[int, dict[int, int]]]:
        """Return the seconds that each point covers, and its counts by code.

        The result is memoized until counts are added: a screen draws several metrics from it.
        """
        width = window_s / points
        # Points are aligned to multiples of their width, so that a point keeps its value over time.
        end = floor(now / width) + 1
        asked = (key, end, width, points, share)
        known = self._series.get(asked)
        if known is None:
            if len(self._series) >= _MOST_SERIES:
                self._clear_series()
            track = self.kept.tracks.get(key)
            parts = fitting(track, window_s, self.kept.reaches_s(key[1], now))
            edges = [(end - points + i) * width for i in range(points + 1)]
            known = self._series[asked] = cut(parts, edges, share)
        return known


@contextmanager
def _no_collection(records: int) -> Iterator[None]:
    """Pause the cyclic garbage collector while a large batch is built.

    There are no reference cycles here; on a cold start its passes took a third of the time.
    """
    pause = records >= _MANY and gc.isenabled()
    if pause:
        gc.disable()
    try:
        yield
    finally:
        if pause:
            gc.enable()
