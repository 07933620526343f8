"""Counts by label of a route's requests: which host wrote the line, which API key alias it names.

A label's values are untrusted input (pods with random names, aliases of customers), so a route
keeps those seen last, and says where its window has had more.
"""

from array import array
from collections.abc import Iterable, Iterator, Mapping
from heapq import nlargest
from math import inf

from rollout_console.health.windows.batch import Labelled, Slots
from rollout_console.health.windows.series import Track, see
from rollout_console.health.windows.slot_counts import SlotCounts

MOST_VALUES = 1_000
"""Values of one label that are kept for a route's side: the ones seen last."""
MOST_TRACKS = 40_000
"""Values of all labels, routes and sides; above that all are evicted."""

_SWEPT_EVERY_S = 60.0


class Labels:
    """Tracks of ``keep_s`` seconds in slots of ``width_s``, by label, route, side and value.

    Up to twice MOST_VALUES are held between two evictions, so that one costs little. What
    ``recent`` returns is a function of the lines, not of the order in which they were read.
    """

    def __init__(self, width_s: int, keep_s: int) -> None:
        self.width_s = width_s
        self.keep_s = keep_s
        self.tracks: dict[Labelled, dict[str, Track]] = {}
        self.evicted_to: dict[Labelled, float] = {}
        """When the newest of the values that were evicted was last seen (epoch seconds)."""
        self.all_evicted_to = -inf
        self._count = 0
        self._swept_at = 0.0

    def add(self, key: Labelled, value: str, last_at: float, slots: Slots) -> None:
        """Add counts by code to those of a value's slots."""
        if slots:
            self._parts(key, value, last_at).add_slots(slots)

    def merge(self, key: Labelled, value: str, last_at: float, more: "array[int]") -> None:
        """Merge a value's counts of another instance."""
        self._parts(key, value, last_at).merge(more)

    def track(self, key: Labelled, value: str) -> Track | None:
        """Return the track of a value; None where it is not kept."""
        return self.tracks.get(key, {}).get(value)

    def last_at(self, key: Labelled, value: str) -> float:
        """Return when a value was last seen (epoch seconds); -inf where it is not kept."""
        track = self.track(key, value)
        return -inf if track is None else track.last_at

    def recent(self, key: Labelled, since: float) -> list[str] | None:
        """Return the values seen since a time (epoch seconds); None for more than MOST_VALUES."""
        found = [v for v, one in self.tracks.get(key, {}).items() if one.last_at >= since]
        evicted_to = max(self.evicted_to.get(key, -inf), self.all_evicted_to)
        return None if len(found) > MOST_VALUES or evicted_to >= since else found

    def every(self) -> Iterator[tuple[Labelled, str, Track]]:
        """Yield every track with its key and value."""
        for key, values in self.tracks.items():
            for value, track in values.items():
                yield key, value, track

    def evicted(self, key: Labelled, to: float) -> None:
        """Note that values of a key, last seen at a time, were evicted here or elsewhere."""
        self.evicted_to[key] = max(to, self.evicted_to.get(key, -inf))

    def sweep(self, now: float) -> None:
        """Evict what is older than the retention; at most once in _SWEPT_EVERY_S seconds."""
        if 0 <= now - self._swept_at < _SWEPT_EVERY_S:
            return
        self._swept_at, first = now, now - self.keep_s
        kept: dict[Labelled, dict[str, Track]] = {}
        for key, values in self.tracks.items():
            left = {value: one for value, one in values.items() if one.last_at >= first}
            if left:
                kept[key] = left
        self.tracks = kept
        self.evicted_to = {key: at for key, at in self.evicted_to.items() if at >= first}
        self._count = sum(map(len, kept.values()))

    def _parts(self, key: Labelled, value: str, last_at: float) -> SlotCounts:
        values = self.tracks.setdefault(key, {})
        track = values.get(value)
        if track is None:
            if len(values) >= 2 * MOST_VALUES:
                self._evict(key, values)
            if self._count >= MOST_TRACKS:
                self._evict_all()
                values = self.tracks.setdefault(key, {})
            track = values[value] = Track()
            track.parts = [SlotCounts(self.width_s, self.keep_s)]
            self._count += 1
        see(track, last_at)
        (parts,) = track.parts
        assert isinstance(parts, SlotCounts)
        return parts

    def _evict(self, key: Labelled, values: dict[str, Track]) -> None:
        kept = set(nlargest(MOST_VALUES, values, key=lambda value: values[value].last_at))
        for value in [value for value in values if value not in kept]:
            self.evicted(key, values.pop(value).last_at)
            self._count -= 1

    def _evict_all(self) -> None:
        newest = max((one.last_at for _, _, one in self.every()), default=-inf)
        self.all_evicted_to = max(self.all_evicted_to, newest)
        self.tracks.clear()
        self.evicted_to.clear()
        self._count = 0


def seen_by_label(found: Iterable[tuple[Labelled, str]]) -> Mapping[str, set[tuple[str, str, str]]]:
    """Group values by their label, as route, value and side."""
    by_label: dict[str, set[tuple[str, str, str]]] = {}
    for (label, route, side), value in found:
        by_label.setdefault(label, set()).add((route, value, side))
    return by_label
