"""Retention of the windows: tracks of routes, orgs and models, evicted to bound memory."""

from heapq import nsmallest
from math import floor, inf

from rollout_console.health.windows.batch import Named
from rollout_console.health.windows.labels import Labels
from rollout_console.health.windows.series import (
    LEVELS,
    SomeParts,
    Track,
    entries,
    forget,
    levels_to,
    parts_of,
)
from rollout_console.health.windows.shared_slot_counts import SharedSlotCounts

OTHER_MODELS = "(other models)"
"""The overflow model: a route's models after the first MOST_MODELS are counted as this."""
MOST_MODELS = 100
MOST_TRACKS = 100_000
MOST_ENTRIES = 9_000_000

_SWEPT_AT_ONCE = 1_000
_LEAST_S = 30.0


class Kept:
    """Tracks of ``horizon_s`` seconds (at most a day), by route, org or model, and side.

    Memory is bounded for any input. Above MOST_TRACKS routes and orgs the least recently seen are
    evicted (LRU). Above ``most_entries`` counts of eight bytes the oldest are evicted before their
    retention ends: those of single orgs and labels first, then those of all tracks. A sixth of the
    counts is for single orgs' data older than an hour. Single orgs have the levels from
    ``org_level`` on, the coarser ones shared in ``days``.
    """

    def __init__(self, horizon_s: int, most_entries: int) -> None:
        self.horizon_s = min(horizon_s, LEVELS[-1][1])
        self.levels = levels_to(self.horizon_s)
        self.org_level = min(1, len(self.levels) - 1)
        self.days = [
            SharedSlotCounts(width, keep, most_entries // 6)
            for width, keep in self.levels[self.org_level + 1 :]
        ]
        self.orgs_since = -inf
        self.labels = Labels(*self.levels[self.org_level])
        self.tracks: dict[Named, Track] = {}
        self.models: dict[Named, Track] = {}
        self._org_levels = self.levels[self.org_level : self.org_level + 1]
        self._most_entries = most_entries
        self._models_of: dict[tuple[str | None, str], int] = {}
        self._unswept: list[Track] = []

    def track(self, key: Named) -> Track:
        """Return the track of a route and org, created on first use."""
        track = self.tracks.get(key)
        if track is None:
            if len(self.tracks) >= MOST_TRACKS:
                self._drop_tracks()
            track = self.tracks[key] = Track()
        return track

    def model(self, key: Named) -> Track:
        """Return the track of a model on a route, or OTHER_MODELS if there are too many models."""
        track = self.models.get(key)
        if track is None:
            route, model, side = key
            known = self._models_of.get((route, side), 0)
            if known >= MOST_MODELS and model != OTHER_MODELS:
                return self.model((route, OTHER_MODELS, side))
            self._models_of[route, side] = known + 1
            track = self.models[key] = Track()
        return track

    def parts(self, track: Track) -> list[SomeParts]:
        """Return the parts of a route's or a model's track, one for each level."""
        return parts_of(track, self.levels)

    def org_parts(self, track: Track) -> list[SomeParts]:
        """Return the parts of a single org's track, one for each level from ``org_level`` on."""
        return parts_of(track, self._org_levels, self.days)

    def reaches_s(self, org: str | None, now: float) -> list[float]:
        """Return how far back each level has data, in seconds, finest first.

        It is that of single orgs, or for None of routes and models.
        """
        if org is None:
            return [keep_s for _, keep_s in self.levels]
        own = [min(keep_s, now - self.orgs_since) for _, keep_s in self._org_levels]
        return own + [min(days.keep_s, now - days.since) for days in self.days]

    def sweep(self, now: float) -> None:
        """Evict old slots incrementally: _SWEPT_AT_ONCE tracks a call, round and round."""
        if not self._unswept:
            self._bound(now)
            self._unswept = [*self.tracks.values(), *self.models.values()]
        some = self._unswept[-_SWEPT_AT_ONCE:]
        del self._unswept[-_SWEPT_AT_ONCE:]
        forget(some, now, self.horizon_s)
        self.labels.sweep(now)
        for days in self.days:
            days.forget(floor((now - days.keep_s) / days.width_s))

    def _drop_tracks(self) -> None:
        named = (key for key in self.tracks if key[0] is not None)
        for key in nsmallest(MOST_TRACKS // 10, named, key=lambda key: self.tracks[key].last_at):
            del self.tracks[key]

    def _bound(self, now: float) -> None:
        kept = {k: track for k, track in self.models.items() if track.parts}
        if len(kept) < len(self.models):
            self.models = kept
            self._models_of = {}
            for route, _, side in kept:
                self._models_of[route, side] = self._models_of.get((route, side), 0) + 1
        labels = [track for _, _, track in self.labels.every()]
        orgs = [track for key, track in self.tracks.items() if key[1] is not None]
        orgs += labels
        everything = [*self.tracks.values(), *self.models.values(), *labels]
        for tracks in (orgs, everything):
            oldest_s = float(self.horizon_s)
            while oldest_s > _LEAST_S and entries(everything) > self._most_entries:
                oldest_s /= 2
                forget(tracks, now, oldest_s)
                self.orgs_since = max(self.orgs_since, now - oldest_s)
