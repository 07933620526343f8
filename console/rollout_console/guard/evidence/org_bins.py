"""Bins of single orgs: which orgs of a route have errors in the window, and when.

Orgs are read sparsely: a route may have 10,000 of them, of which few have an error. Between two
reads only those with new requests are read, and of those only the slots that changed; the bins of
orgs with errors are cached.
"""

from collections.abc import Iterable, Mapping, Sequence
from math import ceil, floor, inf

from rollout_console.guard.evidence.verdict import SIGNALS
from rollout_console.health.windows.bins import Bin, Buckets, Limits, bin_of, buckets_of
from rollout_console.health.windows.series import Track
from rollout_console.health.windows.slot_counts import SlotCounts
from rollout_console.health.windows.windows import Seen, Windows

MOST_TOUCHED = 20_000
"""Names with new requests since the last read, above which the next one reads everything."""

_Slots = dict[int, Bin]


class OrgBins:
    """Reads bins of single orgs; each is a slot of ``width_s`` seconds (five, as the windows have).

    With ``label`` it reads those of the label's values, in the place of orgs. What it returns is a
    function of the windows alone: the cache only saves reads.
    """

    def __init__(self, windows: Windows, label: str = "") -> None:
        self._windows = windows
        self._label = label
        self.width_s = windows.kept.levels[windows.kept.org_level][0]
        self._routes: dict[str, _Cache] = {}

    def changed(self, seen: Iterable[Seen], since: float) -> None:
        """Note which route, org and side had requests added, the oldest at ``since``."""
        for route, org, side in seen:
            cache = self._routes.get(route)
            if cache is not None and side == "tokenlab":
                cache.touched.add(org)
                cache.since = min(cache.since, since)
                if len(cache.touched) > MOST_TOUCHED:
                    del self._routes[route]

    def reset(self) -> None:
        """Forget the cache: after a merge of older data, or a change of the window."""
        self._routes.clear()

    def with_errors(
        self, route: str, orgs: Iterable[str], begin: float, now: float, limits: Limits
    ) -> Mapping[str, Sequence[Bin]]:
        """Return the bins of each org that has an error of any kind in ``begin`` to ``now``.

        ``orgs`` are all that the route has had; latencies over ``limits`` are errors as well.
        """
        limit, width = buckets_of(limits), self.width_s
        first, end = ceil(begin / width), floor(now / width) + 1
        cache = self._routes.get(route)
        if cache is None or cache.limit != limit or first < cache.first or end < cache.end:
            cache = self._routes[route] = _Cache(limit)
            cache.touched.update(orgs)
            cache.since = begin
        changed = max(first, floor(min(cache.since, now) / width))
        for org in cache.touched:
            if org in cache.known:
                cache.update(org, self._slots(route, org, "tokenlab", changed, end, limit), changed)
            elif self._has_error(route, org, changed, end, limit):
                cache.update(org, self._slots(route, org, "tokenlab", first, end, limit), first)
        cache.settle(first, end)
        return {org: list(slots.values()) for org, slots in cache.known.items()}

    def between(
        self, route: str, org: str, side: str, begin: float, now: float, limits: Limits
    ) -> Sequence[Bin]:
        """Return an org's bins that begin in ``begin`` to ``now`` (epoch seconds), oldest first."""
        first, end = ceil(begin / self.width_s), floor(now / self.width_s) + 1
        return list(self._slots(route, org, side, first, end, buckets_of(limits)).values())

    def _has_error(self, route: str, org: str, first: int, end: int, limit: Buckets) -> bool:
        """Return whether some slots of an org have an error, by their sum: most have none."""
        track = self._track(route, org, "tokenlab")
        if track is None or not track.parts:
            return False
        one = bin_of(first, track.parts[0].counts(first, end), limit)
        return one is not None and _is_bad(one)

    def _track(self, route: str, org: str, side: str) -> Track | None:
        kept = self._windows.kept
        if self._label:
            return kept.labels.track((self._label, route, side), org)
        return kept.tracks.get((route, org, side))

    def _slots(
        self, route: str, org: str, side: str, first: int, end: int, limit: Buckets
    ) -> _Slots:
        track = self._track(route, org, side)
        if track is None or not track.parts:
            return {}
        parts, width = track.parts[0], self.width_s
        assert isinstance(parts, SlotCounts)
        slots = parts.by_slot(first, end)
        found = {slot: bin_of(slot * width, slots[slot], limit) for slot in sorted(slots)}
        return {slot: one for slot, one in found.items() if one is not None}


class _Cache:
    """One route's orgs with errors, and what has changed since they were read."""

    def __init__(self, limit: Buckets) -> None:
        self.limit = limit
        self.first = self.end = -1
        self.known: dict[str, _Slots] = {}
        self.touched: set[str] = set()
        self.since = inf
        self._last_bad: dict[str, int] = {}

    def update(self, org: str, slots: _Slots, changed: int) -> None:
        """Take an org's slots from ``changed`` on."""
        known = {s: one for s, one in self.known.get(org, {}).items() if s < changed} | slots
        self.known[org] = known
        self._last_bad[org] = next((s for s in reversed(known) if _is_bad(known[s])), -1)

    def settle(self, first: int, end: int) -> None:
        """Drop slots before ``first``, and orgs without an error since."""
        self.first, self.end = first, end
        self.touched.clear()
        self.since = inf
        for org, last_bad in list(self._last_bad.items()):
            slots = self.known[org]
            if last_bad < first:
                del self.known[org], self._last_bad[org]
            elif next(iter(slots)) < first:
                self.known[org] = {s: one for s, one in slots.items() if s >= first}


def _is_bad(one: Bin) -> bool:
    return any(one.errors(signal)[1] for signal in SIGNALS)
