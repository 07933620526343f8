"""A batch of lines sorted by what it counts for: by time, then route, org, side and model.

A cold start has millions of lines, so the work for each is kept to a few steps, and lines are
counted in groups.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import chain
from typing import cast

from console.health.record import AccessRecord
from console.health.summary import BUCKET, CLASS_CODE

LATE, AHEAD = -1, -2
"""Levels of the places, with slot 0, of lines older than every part, or ahead of the clock."""

Level = tuple[int, int]
"""The width of parts in seconds, and how many seconds of them are kept."""
Place = tuple[int, int]
"""The finest level that keeps a line, and its slot there: epoch seconds by the level's width."""
Name = tuple[str, str, str, str]
"""Route, org, side and model."""
Group = list[int | datetime]
"""The code and the time of one line after the other."""
Named = tuple[str | None, str | None, str]
"""Route, org or model, and side; None for all of them."""
Counts = Mapping[int, int]
"""How many lines there were by code."""

_Slots = dict[int, dict[Named, list[int]]]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST = datetime.min.replace(tzinfo=UTC)
_LAST = datetime.max.replace(tzinfo=UTC)


class Batch:
    """Lines sorted at ``now`` (epoch seconds) for ``levels``, finest first."""

    def __init__(self, levels: Sequence[Level], now: float) -> None:
        self._levels = levels
        self._now = now
        self._edges = [now - keep for _, keep in levels]
        self._now_time = _EPOCH + timedelta(seconds=now)
        self._places: dict[Place, dict[Name, Group]] = {}

    def sort(self, records: Iterable[AccessRecord]) -> None:
        """Sort lines; those of one slot often follow each other, and then are not looked up."""
        low = high = _LAST
        groups: dict[Name, Group] = {}
        for record in records:
            ts = record.ts
            if not low <= ts < high:
                place, low, high = self._find(ts.timestamp())
                if place not in self._places:
                    self._places[place] = defaultdict(list)
                groups = self._places[place]
            group = groups[record.route, record.org, record.side, record.model]
            group.append(CLASS_CODE[record.status] + BUCKET[record.latency_ms])
            group.append(ts)

    def times(self, level: int) -> list[datetime]:
        """Return the times of the lines that are LATE or AHEAD."""
        return [ts for group in self._places.get((level, 0), {}).values() for ts in _times(group)]

    def by_model(self) -> Iterator[tuple[Place, dict[Named, Counts]]]:
        """Give each slot of each level its counts by route, model and side, finest first."""
        found: list[_Slots] = [{} for _ in self._levels]
        for level, slot, groups in self._counted():
            named = found[level].setdefault(slot, {})
            for (route, _, side, model), group in groups.items():
                _file(named, (route, model, side), _codes(group))
        return self._at_each_level(found)

    def by_org(self, finest: int) -> Iterator[tuple[Place, dict[Named, Counts]]]:
        """Give each slot its counts by route, org and side, each line at one level alone.

        That is the finest that keeps it, of those from ``finest`` on.
        """
        found: dict[Place, dict[Named, list[int]]] = {}
        for level, slot, groups in self._counted():
            wider = max(level, finest)
            named = found.setdefault((wider, self._wider(slot, level, wider)), {})
            for (route, org, side, _), group in groups.items():
                _file(named, (route, org, side), _codes(group))
        for place, named in found.items():
            yield place, {key: Counter(codes) for key, codes in named.items()}

    def _at_each_level(
        self, found: Sequence[_Slots]
    ) -> Iterator[tuple[Place, dict[Named, Counts]]]:
        """Count what was found, and give it at each level; a coarser one has the finer in it."""
        finer: dict[int, dict[Named, list[Counts]]] = {}
        for level, slots in enumerate(found):
            parts, finer = finer, {}
            for slot, named in slots.items():
                of_slot = parts.setdefault(slot, {})
                for key, codes in named.items():
                    of_slot.setdefault(key, []).append(Counter(codes))
            for slot, of_slot in parts.items():
                counts = {key: added(some) for key, some in of_slot.items()}
                yield (level, slot), counts
                if level + 1 < len(self._levels):
                    coarser = finer.setdefault(self._wider(slot, level, level + 1), {})
                    for key, some in counts.items():
                        coarser.setdefault(key, []).append(some)

    def _wider(self, slot: int, level: int, wider: int) -> int:
        return slot * self._levels[level][0] // self._levels[wider][0]

    def _counted(self) -> Iterator[tuple[int, int, dict[Name, Group]]]:
        """Give level, slot and groups of every place that is counted."""
        for (level, slot), groups in self._places.items():
            if level == AHEAD:
                yield 0, int(self._now // self._levels[0][0]), groups
            elif level != LATE:
                yield level, slot, groups

    def last_seen(self) -> Iterator[tuple[Name, float]]:
        """Give when each name was seen last, at most now."""
        done: set[Name] = set()
        for place in sorted(self._places, key=self._start, reverse=True):
            for name, group in self._places[place].items():
                if name not in done:
                    done.add(name)
                    yield name, min(max(_times(group)).timestamp(), self._now)

    def _start(self, place: Place) -> tuple[float, int]:
        level, slot = place
        if level < 0:
            return (self._now, 1) if level == AHEAD else (-1.0, 0)
        # Where a level ends inside a slot of the next, the finer has the newer lines.
        return slot * self._levels[level][0], -level

    def _find(self, at: float) -> tuple[Place, datetime, datetime]:
        """Return the place of a time, and from when up to when times have the same one."""
        if at > self._now:
            return (AHEAD, 0), self._now_time, _LAST
        newer: float = self._now
        for level, (width, _) in enumerate(self._levels):
            edge = self._edges[level]
            if at >= edge:
                slot = int(at // width)
                low, high = max(slot * width, edge), min((slot + 1) * width, newer)
                return (level, slot), _time(low), _time(high)
            newer = edge
        return (LATE, 0), _FIRST, _time(newer)


def added(parts: Sequence[Counts]) -> Counts:
    """Return several counts as one; a single one is returned itself."""
    if len(parts) == 1:
        return parts[0]
    counts: dict[int, int] = {}
    get = counts.get
    for code, count in chain.from_iterable(part.items() for part in parts):
        counts[code] = get(code, 0) + count
    return counts


def _file(known: dict[Named, list[int]], key: Named, codes: list[int]) -> None:
    if key in known:
        known[key] += codes
    else:
        known[key] = codes


def _codes(group: Group) -> list[int]:
    return cast(list[int], group[::2])


def _times(group: Group) -> list[datetime]:
    return cast(list[datetime], group[1::2])


def _time(at: float) -> datetime:
    return _EPOCH + timedelta(seconds=at)
