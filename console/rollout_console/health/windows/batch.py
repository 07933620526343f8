"""Batch aggregation of log records: grouped by time slot, then route, org, side and model.

A cold start has millions of lines, so the work for each is a few steps, and lines are counted in
groups.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import chain
from typing import Any, cast

from rollout_console.health.log.record import AccessRecord
from rollout_console.health.windows.codes import (
    BUCKET,
    CODES,
    code_of,
    is_request,
    measurements,
    repetition,
)

LATE, AHEAD, SKEWED = -1, -2, -3
"""Pseudo-levels (slot 0) of lines that are older than the horizon, ahead of the clock by at most
SKEW_S seconds, or by more than that."""
SKEW_S = 2.0

Level = tuple[int, int]
"""Slot width and retention, both in seconds."""
Place = tuple[int, int]
"""The finest level that retains a line, and its slot there: the epoch second // slot width."""
Name = tuple[str, str, str, str]
"""Route, org, side and model."""
Group = list[Any]
"""The latest time of its lines, followed by the codes of those that are generations."""
Named = tuple[str | None, str | None, str]
"""Route, org or model, and side; None for all of them."""
Counts = Mapping[int, int]
"""How many requests and measurements there were by code."""
Slots = Mapping[int, Counts]
"""Counts by slot, at one level."""

LABELS = ("host", "key_alias")
"""The fields of a line that requests are grouped by, other than org and model: see ``labels``."""
Labelled = tuple[str, str, str]
"""A label, a route and a side."""
MOST_VALUE = 100
"""Length in characters to which a label's value is truncated."""

_Found = dict[Named, dict[int, list[int]]]

_FIRST_ATTEMPT = (1, None)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST = datetime.min.replace(tzinfo=UTC)
_LAST = datetime.max.replace(tzinfo=UTC)


class Batch:
    """Records bucketed as of ``now`` (epoch seconds) for ``levels``, finest first.

    Of a record only its code is kept, so records can be sorted in small chunks as they are read,
    and counted together in one large batch. Labels are counted at the level ``label_level``, and
    only those of lines that it retains.
    """

    def __init__(self, levels: Sequence[Level], now: float, label_level: int = 1) -> None:
        self.now = now
        self._label_level = label_level
        self._labelled: dict[Place, dict[Any, Group]] = {}
        self.lines = 0
        self._levels = levels
        self._edges = [now - keep for _, keep in levels]
        self._now_time, self._skew_time = _time(now), _time(now + SKEW_S)
        self._places: dict[Place, dict[Name, Group]] = {}

    def sort(self, records: Sequence[AccessRecord]) -> None:
        """Sort more records; the slot lookup is cached, as records of one slot mostly adjoin.

        Of an operation that is no generation only the time counts: it is seen, and judges nothing.
        """
        self.lines += len(records)
        low = high = _LAST
        groups: dict[Name, Group] = {}
        labelled: dict[Any, Group] | None = None
        for record in records:
            ts = record.ts
            if not low <= ts < high:
                place, low, high = self._find(ts.timestamp())
                if place not in self._places:
                    self._places[place] = defaultdict(_no_lines)
                groups, labelled = self._places[place], self._labelled_at(place)
            group = groups[record.route, record.org, record.side, record.model]
            if record.operation is not None:
                if ts > group[0]:
                    group[0] = ts
                continue
            outcome, before = record.outcome, len(group)
            # Fast path: nearly always the status alone decides on the code.
            if outcome == "ok":
                plain = record.finish_reason != "length" and not record.cached
            else:
                plain = outcome is None and record.error is None
            if plain:
                group.append(CODES[record.status][BUCKET[record.latency_ms]])
            else:
                group.append(code_of(record))
            if record.ttft_ms is not None or outcome == "abandoned":
                group += measurements(record)
            if record.attempt not in _FIRST_ATTEMPT:
                group.append(repetition(record))
            if ts > group[0]:
                group[0] = ts
            if labelled is not None:
                _note_labels(labelled, record, group[before:])

    def lines_at(self, level: int) -> int:
        """Return the number of lines at a pseudo-level, LATE or SKEWED."""
        groups = self._places.get((level, 0), {}).values()
        return sum(sum(map(is_request, _codes(group))) for group in groups)

    def by_model(self) -> Iterator[tuple[int, dict[Named, Slots]]]:
        """Yield each level, finest first, with its counts by route, model and side."""
        found: list[_Found] = [defaultdict(dict) for _ in self._levels]
        for level, slot, groups in self._counted(self._places):
            for (route, _, side, model), group in groups.items():
                if len(group) > 1:
                    _file(found[level][route, model, side], slot, _codes(group))
        return self._at_each_level(found)

    def by_org(self, finest: int) -> Iterator[tuple[int, dict[Named, Slots]]]:
        """Yield levels with their counts by route, org and side, each line at one level only.

        It is the finest level that retains the line, of those from ``finest`` on.
        """
        found: dict[int, _Found] = defaultdict(lambda: defaultdict(dict))
        for level, slot, groups in self._counted(self._places):
            wider = max(level, finest)
            wide = self._wider(slot, level, wider)
            for (route, org, side, _), group in groups.items():
                if len(group) > 1:
                    _file(found[wider][route, org, side], wide, _codes(group))
        for level, named in found.items():
            yield level, {key: _counts(slots) for key, slots in named.items()}

    def by_label(self) -> Iterator[tuple[Labelled, str, float, Slots]]:
        """Yield the counts of each value of a label, with its last-seen time clamped to now."""
        found: dict[tuple[Labelled, str], dict[int, list[int]]] = defaultdict(dict)
        last_at: dict[tuple[Labelled, str], float] = defaultdict(float)
        for level, slot, groups in self._counted(self._labelled):
            wide = self._wider(slot, level, self._label_level)
            for (route, side, *values), group in groups.items():
                at = min(group[0].timestamp(), self.now)
                for label, value in zip(LABELS, values, strict=True):
                    if value:
                        key = (label, route, side), value[:MOST_VALUE]
                        _file(found[key], wide, _codes(group))
                        last_at[key] = max(last_at[key], at)
        for one, slots in found.items():
            yield *one, last_at[one], _counts(slots)

    def _labelled_at(self, place: Place) -> dict[Any, Group] | None:
        """Return the groups by labels of a place; None where labels are not retained there."""
        if place[0] == LATE or place[0] > self._label_level:
            return None
        if place not in self._labelled:
            self._labelled[place] = defaultdict(_no_lines)
        return self._labelled[place]

    def _at_each_level(self, found: Sequence[_Found]) -> Iterator[tuple[int, dict[Named, Slots]]]:
        """Count and yield each level; a coarser level includes the counts of the finer ones."""
        finer: dict[Named, Slots] = {}
        for level, named in enumerate(found):
            own = ((key, _counts(slots)) for key, slots in named.items())
            wider = (
                (key, {self._wider(slot, level - 1, level): counts})
                for key, slots in finer.items()
                for slot, counts in slots.items()
            )
            finer = gathered(chain(own, wider))
            yield level, finer

    def _wider(self, slot: int, level: int, wider: int) -> int:
        return slot * self._levels[level][0] // self._levels[wider][0]

    def _counted(
        self, places: Mapping[Place, dict[Any, Group]]
    ) -> Iterator[tuple[int, int, dict[Any, Group]]]:
        """Yield level, slot and groups of every place; times ahead are now, LATE is left out."""
        for (level, slot), groups in places.items():
            if level in (AHEAD, SKEWED):
                yield 0, int(self.now // self._levels[0][0]), groups
            elif level != LATE:
                yield level, slot, groups

    def last_seen(self) -> Iterator[tuple[Name, float]]:
        """Yield the last-seen time of each name, clamped to now."""
        done: set[Name] = set()
        for place in sorted(self._places, key=self._start, reverse=True):
            for name, group in self._places[place].items():
                if name not in done:
                    done.add(name)
                    yield name, min(group[0].timestamp(), self.now)

    def _start(self, place: Place) -> tuple[float, int]:
        level, slot = place
        if level < 0:
            return (-1.0, 0) if level == LATE else (self.now, -level)
        # Where a level's retention ends inside a slot of the next, the finer has the newer lines.
        return slot * self._levels[level][0], -level

    def _find(self, at: float) -> tuple[Place, datetime, datetime]:
        """Return the place of a time, and the half-open range of times that share it."""
        if at > self.now + SKEW_S:
            return (SKEWED, 0), self._skew_time, _LAST
        if at > self.now:
            return (AHEAD, 0), self._now_time, self._skew_time
        newer: float = self.now
        for level, (width, _) in enumerate(self._levels):
            edge = self._edges[level]
            if at >= edge:
                slot = int(at // width)
                low, high = max(slot * width, edge), min((slot + 1) * width, newer)
                return (level, slot), _time(low), _time(high)
            newer = edge
        return (LATE, 0), _FIRST, _time(newer)


def gathered(parts: Iterable[tuple[Named, Slots]]) -> dict[Named, Slots]:
    """Merge slots by name, adding up the counts of the same slot."""
    found: dict[Named, dict[int, list[Counts]]] = defaultdict(dict)
    for key, slots in parts:
        of_key = found[key]
        for slot, counts in slots.items():
            if slot in of_key:
                of_key[slot].append(counts)
            else:
                of_key[slot] = [counts]
    return {
        key: {slot: some[0] if len(some) == 1 else _added(some) for slot, some in of_key.items()}
        for key, of_key in found.items()
    }


def _added(parts: Sequence[Counts]) -> Counts:
    counts = dict(parts[0])
    get = counts.get
    for code, count in chain.from_iterable(part.items() for part in parts[1:]):
        counts[code] = get(code, 0) + count
    return counts


def _file(slots: dict[int, list[int]], slot: int, codes: list[int]) -> None:
    if slot in slots:
        slots[slot] += codes
    else:
        slots[slot] = codes


def _counts(slots: Mapping[int, list[int]]) -> Slots:
    # A slot of one org often has a single line, for which building a Counter is overhead.
    return {
        slot: Counter(codes) if len(codes) > 1 else {codes[0]: 1} for slot, codes in slots.items()
    }


def _note_labels(labelled: dict[Any, Group], record: AccessRecord, codes: list[Any]) -> None:
    if record.host or record.key_alias:
        group = labelled[record.route, record.side, record.host, record.key_alias]
        group += codes
        if record.ts > group[0]:
            group[0] = record.ts


def _no_lines() -> Group:
    return [_FIRST]


def _codes(group: Group) -> list[int]:
    return cast(list[int], group[1:])


def _time(at: float) -> datetime:
    return _EPOCH + timedelta(seconds=at)
