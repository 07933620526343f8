"""A track: the time-slot counters of one name (route, org or model) at each width."""

from collections.abc import Iterable, Sequence
from itertools import pairwise
from math import ceil, floor
from typing import Protocol

from rollout_console.health.windows.batch import Level, Slots
from rollout_console.health.windows.shared_slot_counts import SharedSlotCounts
from rollout_console.health.windows.slot_counts import SlotCounts
from rollout_console.health.windows.summary import Summary, summarize

LEVELS: tuple[Level, ...] = ((1, 900), (5, 3600), (300, 86_400))
"""Slot widths and their retention, in seconds; single orgs have all but the first."""


class SomeParts(Protocol):
    """Counts by code for each time slot, which is the epoch second // ``width_s``."""

    @property
    def width_s(self) -> int:
        """The width of a slot, in seconds."""
        ...

    @property
    def keep_s(self) -> int:
        """The retention of a slot, in seconds."""
        ...

    def __len__(self) -> int: ...

    def add_slots(self, slots: Slots) -> None:
        """Add counts by code to those of each slot."""
        ...

    def counts(self, first: int, end: int) -> dict[int, int]:
        """Return the counts by code of the slots from ``first`` to before ``end``."""
        ...

    def forget(self, first: int) -> None:
        """Evict the slots before ``first``."""
        ...


class Track:
    """The counters of one name at each slot width, and its last-seen time (epoch seconds)."""

    __slots__ = ("last_at", "parts")

    def __init__(self) -> None:
        self.parts: list[SomeParts] = []
        self.last_at = 0.0


def levels_to(horizon_s: int) -> tuple[Level, ...]:
    """Return the levels up to a horizon in seconds, which is the retention of the last one."""
    finer = [level for level in LEVELS if level[1] < horizon_s]
    return (*finer, (LEVELS[len(finer)][0], horizon_s))


def parts_of(
    track: Track, levels: Sequence[Level], shared: Sequence[SharedSlotCounts] = ()
) -> list[SomeParts]:
    """Return the parts of a track, created on first use: its own, then those in ``shared``."""
    if not track.parts:
        own = [SlotCounts(width, keep) for width, keep in levels]
        track.parts = [*own, *(parts.of_one(own[-1]) for parts in shared)]
    return track.parts


def see(track: Track, at: float) -> None:
    """Update the last-seen time of a track (epoch seconds)."""
    track.last_at = max(track.last_at, at)


def entries(tracks: Iterable[Track]) -> int:
    """Return the total number of counts that tracks hold."""
    return sum(len(parts) for track in tracks for parts in track.parts)


def forget(tracks: Iterable[Track], now: float, oldest_s: float) -> None:
    """Evict slots older than their retention, or than ``oldest_s`` seconds if that is shorter."""
    for track in tracks:
        left = 0
        for parts in track.parts:
            parts.forget(floor((now - min(parts.keep_s, oldest_s)) / parts.width_s))
            left += len(parts)
        if not left:
            track.parts = []


def fitting(track: Track | None, window_s: float, reaches_s: Sequence[float]) -> SomeParts | None:
    """Return the finest parts that cover a window, or else those that reach back furthest.

    ``reaches_s`` is how far back each of them has data, in seconds.
    """
    if track is None or not track.parts:
        return None
    enough = next((i for i, reach in enumerate(reaches_s) if reach >= window_s), None)
    return track.parts[reaches_s.index(max(reaches_s)) if enough is None else enough]


def counts_of(
    track: Track | None, now: float, window_s: float, reaches_s: Sequence[float]
) -> dict[int, int]:
    """Return the counts by code of the slots that begin in the last ``window_s`` seconds."""
    parts = fitting(track, window_s, reaches_s)
    if parts is None:
        return {}
    width = parts.width_s
    return parts.counts(ceil((now - window_s) / width), floor(now / width) + 1)


def summary_of(
    track: Track | None, now: float, window_s: float, reaches_s: Sequence[float]
) -> Summary:
    """Summarize the last ``window_s`` seconds, or the retention if that is shorter."""
    window_s = min(window_s, max(reaches_s))
    counts = counts_of(track, now, window_s, reaches_s)
    return summarize(counts, window_s, track.last_at if track else None)


def cut(
    parts: SomeParts | None, edges: Sequence[float], share: bool
) -> list[tuple[int, dict[int, int]]]:
    """Return the seconds covered and the counts by code between one edge and the next.

    A slot belongs to the interval in which it begins. With ``share``, an interval in which none
    begins has the counts of the slot before it.
    """
    if parts is None:
        return [(1, {}) for _ in edges[1:]]
    width, cuts = parts.width_s, []
    for start, stop in pairwise(edges):
        first, end = ceil(start / width), ceil(stop / width)
        if share and first == end:
            first -= 1
        cuts.append(((end - first) * width or 1, parts.counts(first, end)))
    return cuts
