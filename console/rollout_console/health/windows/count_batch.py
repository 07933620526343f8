"""A batch of counts that were made elsewhere, by time slot: what a source of metrics has.

``Windows.take`` takes it in place of a batch of sorted records.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from rollout_console.health.windows.batch import Labelled, Level, Named, Slots

Seen = tuple[str, str | None, str, str]
"""Route, org (None for the route alone), side and model."""


class Counted(NamedTuple):
    """Counts by code of a route, org (None for the route alone) and side.

    They are of requests from ``at`` on, and were seen at ``until`` (epoch seconds).
    """

    route: str
    org: str | None
    side: str
    at: float
    until: float
    counts: Mapping[int, int]


class CountBatch:
    """Counts as of ``now`` (epoch seconds) for ``levels``, finest first.

    Each level has what it retains; what is older than all of them is left out. Counts are of no
    model and have no label. Those without an org are of the route alone.
    """

    def __init__(self, levels: Sequence[Level], now: float, found: Sequence[Counted]) -> None:
        self.now = now
        self.lines = len(found)
        self._levels = levels
        self._found = found

    def lines_at(self, level: int) -> int:
        """Return the number of lines at a pseudo-level: none, as these are no lines."""
        return 0

    def last_seen(self) -> Iterator[tuple[Seen, float]]:
        """Yield the last-seen time of each route, org and side, clamped to now."""
        for one in self._found:
            yield (one.route, one.org, one.side, ""), min(one.until, self.now)

    def by_label(self) -> Iterator[tuple[Labelled, str, float, Slots]]:
        """Yield nothing."""
        yield from ()

    def by_org(self, finest: int) -> Iterator[tuple[int, dict[Named, Slots]]]:
        """Yield levels with their counts by route, org and side, each count at one level only."""
        found: dict[int, dict[Named, dict[int, dict[int, int]]]] = {}
        for one in self._found:
            level = self._finest(one.at, finest)
            if one.org is not None and level is not None:
                _add(found.setdefault(level, {}), one, one.org, self._levels[level][0])
        for level, named in found.items():
            yield level, {**named}

    def by_model(self) -> Iterator[tuple[int, dict[Named, Slots]]]:
        """Yield each level, finest first, with its counts by route and side, of no model."""
        for level, (width, keep) in enumerate(self._levels):
            found: dict[Named, dict[int, dict[int, int]]] = {}
            for one in self._found:
                if one.at >= self.now - keep:
                    _add(found, one, "", width)
            yield level, {**found}

    def _finest(self, at: float, finest: int) -> int | None:
        reaching = (i for i, (_, keep) in enumerate(self._levels) if at >= self.now - keep)
        level = next(reaching, None)
        return None if level is None else max(level, finest)


def _add(
    found: dict[Named, dict[int, dict[int, int]]], one: Counted, name: str, width: int
) -> None:
    slots = found.setdefault((one.route, name, one.side), {})
    counts = slots.setdefault(int(one.at // width), {})
    for code, count in one.counts.items():
        counts[code] = counts.get(code, 0) + count
