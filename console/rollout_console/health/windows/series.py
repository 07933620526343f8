"""A track: what is counted under one name, at each width of parts, and how it is read."""

from collections.abc import Iterable, Sequence
from itertools import pairwise
from math import ceil, floor
from typing import Protocol

from rollout_console.health.windows.batch import Level, Slots
from rollout_console.health.windows.shared_slot_counts import SharedSlotCounts
from rollout_console.health.windows.slot_counts import SlotCounts
from rollout_console.health.windows.summary import Summary, summarize

LEVELS: tuple[Level, ...] = ((1, 900), (5, 3600), (300, 86_400))
"""The widths of parts and how long each is kept, in seconds; single orgs have all but the first."""


class SomeParts(Protocol):
    """Counts by code for each slot: the epoch second divided by ``width_s``, whole."""

    @property
    def width_s(self) -> int:
        """Seconds that a slot is wide."""
        ...

    @property
    def keep_s(self) -> int:
        """Seconds that a slot is kept for."""
        ...

    def __len__(self) -> int: ...

    def add_slots(self, slots: Slots) -> None:
        """Add counts by code to those of each slot."""
        ...

    def counts(self, first: int, end: int) -> dict[int, int]:
        """Return the counts by code of the slots from ``first`` up to, not with, ``end``."""
        ...

    def forget(self, first: int) -> None:
        """Forget the slots before ``first``."""
        ...


class Track:
    """What is counted under one name: its parts at each width, and when it was last seen."""

    __slots__ = ("last_at", "parts")

    def __init__(self) -> None:
        self.parts: list[SomeParts] = []
        self.last_at = 0.0


def levels_to(horizon_s: int) -> tuple[Level, ...]:
    """Return the levels up to a horizon, the last of which is kept as long as that."""
    finer = [level for level in LEVELS if level[1] < horizon_s]
    return (*finer, (LEVELS[len(finer)][0], horizon_s))


def parts_of(
    track: Track, levels: Sequence[Level], shared: Sequence[SharedSlotCounts] = ()
) -> list[SomeParts]:
    """Return the parts of a track, made where it had none; ``shared`` are those after its own."""
    if not track.parts:
        own = [SlotCounts(width, keep) for width, keep in levels]
        track.parts = [*own, *(parts.of_one(own[-1]) for parts in shared)]
    return track.parts


def see(track: Track, at: float) -> None:
    """Take into account that a request was seen at a time."""
    track.last_at = max(track.last_at, at)


def entries(tracks: Iterable[Track]) -> int:
    """Return how many counts several tracks hold."""
    return sum(len(parts) for track in tracks for parts in track.parts)


def forget(tracks: Iterable[Track], now: float, oldest_s: float) -> None:
    """Forget what is older than it is kept for, or than ``oldest_s`` seconds."""
    for track in tracks:
        left = 0
        for parts in track.parts:
            parts.forget(floor((now - min(parts.keep_s, oldest_s)) / parts.width_s))
            left += len(parts)
        if not left:
            track.parts = []


def fitting(track: Track | None, window_s: float, reaches_s: Sequence[float]) -> SomeParts | None:
    """Return the finest parts that reach back as long as a window, or else those that reach most.

    ``reaches_s`` are the seconds that each of them reaches back.
    """
    if track is None or not track.parts:
        return None
    enough = next((i for i, reach in enumerate(reaches_s) if reach >= window_s), None)
    return track.parts[reaches_s.index(max(reaches_s)) if enough is None else enough]


def counts_of(
    track: Track | None, now: float, window_s: float, reaches_s: Sequence[float]
) -> dict[int, int]:
    """Return the counts by code of the last ``window_s`` seconds: of parts that begin in them."""
    parts = fitting(track, window_s, reaches_s)
    if parts is None:
        return {}
    width = parts.width_s
    return parts.counts(ceil((now - window_s) / width), floor(now / width) + 1)


def summary_of(
    track: Track | None, now: float, window_s: float, reaches_s: Sequence[float]
) -> Summary:
    """Return what the last ``window_s`` seconds say, or as many as there are."""
    window_s = min(window_s, max(reaches_s))
    counts = counts_of(track, now, window_s, reaches_s)
    return summarize(counts, window_s, track.last_at if track else None)


def cut(
    parts: SomeParts | None, edges: Sequence[float], share: bool
) -> list[tuple[int, dict[int, int]]]:
    """Return seconds and counts between one edge and the next, of the parts that begin there."""
    if parts is None:
        return [(1, {}) for _ in edges[1:]]
    width, cuts = parts.width_s, []
    for start, stop in pairwise(edges):
        first, end = ceil(start / width), ceil(stop / width)
        if share and first == end:
            first -= 1
        cuts.append(((end - first) * width or 1, parts.counts(first, end)))
    return cuts
