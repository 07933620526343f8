"""A track: what is counted under one name, at each width of parts, and how it is read."""

from collections.abc import Iterable, Sequence
from itertools import pairwise
from math import ceil, floor

from console.health.batch import Level
from console.health.parts import Parts
from console.health.summary import Summary, summarize

LEVELS: tuple[Level, ...] = ((1, 900), (5, 3600), (300, 86_400))
"""The widths of parts and how long each is kept, in seconds; of single orgs, the second alone."""


class Track:
    """What is counted under one name: its parts at each width, and when it was last seen."""

    __slots__ = ("last_at", "parts")

    def __init__(self) -> None:
        self.parts: Sequence[Parts] = ()
        self.last_at = 0.0


def levels_to(horizon_s: int) -> tuple[Level, ...]:
    """Return the levels up to a horizon, the last of which is kept as long as that."""
    finer = [level for level in LEVELS if level[1] < horizon_s]
    return (*finer, (LEVELS[len(finer)][0], horizon_s))


def parts_of(track: Track, levels: Sequence[Level]) -> Sequence[Parts]:
    """Return the parts of a track, made where it had none."""
    if not track.parts:
        track.parts = tuple(Parts(width, keep) for width, keep in levels)
    return track.parts


def see(track: Track, at: float) -> None:
    """Take into account that a request was seen at a time."""
    track.last_at = max(track.last_at, at)


def entries(tracks: Iterable[Track]) -> int:
    """Return how many counts several tracks hold."""
    return sum(len(parts) for track in tracks for parts in track.parts)


def forget(tracks: Iterable[Track], now: float, share: float) -> None:
    """Forget what is older than a share of the time that it is kept for."""
    for track in tracks:
        left = 0
        for parts in track.parts:
            parts.forget(floor((now - parts.keep_s * share) / parts.width_s))
            left += len(parts)
        if not left:
            track.parts = ()


def fitting(track: Track | None, window_s: float) -> Parts | None:
    """Return the finest parts that are kept as long as a window."""
    if track is None or not track.parts:
        return None
    return next((one for one in track.parts if one.keep_s >= window_s), track.parts[-1])


def summary_of(track: Track | None, now: float, window_s: float) -> Summary:
    """Return the counts of the last ``window_s`` seconds: of the parts that begin in them."""
    parts = fitting(track, window_s)
    counts: dict[int, int] = {}
    if parts is not None:
        width = parts.width_s
        counts = parts.counts(ceil((now - window_s) / width), floor(now / width) + 1)
    return summarize(counts, window_s, track.last_at if track else None)


def cut(
    parts: Parts | None, edges: Sequence[float], share: bool
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
