"""Time-slot counters of very many tracks at one width, in one sorted array for each slot.

For ten thousand orgs, separate objects for a day would take more memory than the counts in them.
Newer data is in each track's own finer SlotCounts, and moves here when those evict it.
"""

from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain, count, groupby
from math import inf

from rollout_console.health.windows.slot_counts import (
    CODE_MASK,
    CODE_SHIFT,
    MOST_COUNT,
    SLOT_SHIFT,
    SlotCounts,
    packed,
)

_NUMBER_SHIFT = SLOT_SHIFT
_LEAST_FRESH = 4096


class _Slot:
    """A sorted array of bit-packed entries (track, code, count), and a buffer of new counts."""

    __slots__ = ("entries", "fresh", "waiting")

    def __init__(self) -> None:
        self.entries = array("Q")
        self.fresh: dict[int, dict[int, int]] = {}
        self.waiting = 0

    def settle(self) -> None:
        """Flush the buffer of new counts into the sorted array."""
        if self.fresh:
            waiting = (packed(number << _NUMBER_SHIFT, of) for number, of in self.fresh.items())
            self.fresh, self.waiting = {}, 0
            self.merge(chain.from_iterable(waiting))

    def merge(self, more: Iterable[int]) -> None:
        """Merge entries into the sorted array, adding up counts of the same track and code."""
        if not self.entries:
            self.entries = array("Q", sorted(more))
            return
        entries, last = list[int](), -1
        for entry in sorted(chain(self.entries, more)):
            times = entry & MOST_COUNT
            if entry >> CODE_SHIFT == last and (entries[-1] & MOST_COUNT) + times <= MOST_COUNT:
                entries[-1] += times
            else:
                entries.append(entry)
                last = entry >> CODE_SHIFT
        self.entries = array("Q", entries)


class SharedSlotCounts:
    """Counts by code for each slot (the epoch second // ``width_s``) of many tracks.

    About ``most`` counts are kept at most; above that the oldest slots are evicted. ``since`` is
    the epoch second since which nothing was evicted early (-inf at first).
    """

    def __init__(self, width_s: int, keep_s: int, most: int) -> None:
        self.width_s = width_s
        self.keep_s = keep_s
        self.since = -inf
        self._most = most
        self._numbers = count()
        self._slots: dict[int, _Slot] = {}
        self._newest = -1
        self._unsettled: set[int] = set()

    def __len__(self) -> int:
        return sum(len(slot.entries) + slot.waiting for slot in self._slots.values())

    def of_one(self, finer: SlotCounts) -> "PartsOfOne":
        """Return a view for one more track, which receives what its finer counters evict."""
        return PartsOfOne(self, next(self._numbers), finer)

    def add(self, number: int, slot: int, more: Mapping[int, int]) -> None:
        """Add counts by code to a track's slot; those before ``since`` are dropped."""
        if slot > self._newest:
            self._newest = slot
            self._settle()
        if slot * self.width_s < self.since:
            return
        of_slot = self._slots.get(slot)
        if of_slot is None:
            of_slot = self._slots[slot] = _Slot()
        known = of_slot.fresh.get(number)
        if known is None:
            of_slot.fresh[number] = dict(more)
            of_slot.waiting += len(more)
        else:
            before, get = len(known), known.get
            for code, times in more.items():
                known[code] = get(code, 0) + times
            of_slot.waiting += len(known) - before
        self._unsettled.add(slot)
        if of_slot.waiting > max(_LEAST_FRESH, len(of_slot.entries) // 4):
            of_slot.settle()

    def slots(self) -> Iterator[tuple[int, "array[int]"]]:
        """Yield each slot with its entries, sorted by track number."""
        for slot, of_slot in self._slots.items():
            of_slot.settle()
            yield slot, of_slot.entries

    def expect(self, slot: int) -> None:
        """Create a slot ahead of its entries, which a later ``merge`` adds."""
        self._newest = max(self._newest, slot)
        if slot * self.width_s >= self.since:
            self._slots.setdefault(slot, _Slot())

    def merge(self, slot: int, more: "array[int]", numbers: Mapping[int, int]) -> None:
        """Merge a slot of another instance; ``numbers`` maps its track numbers to those here.

        Entries of a track without a mapping are ignored.
        """
        self.expect(slot)
        if slot in self._slots:
            self._slots[slot].merge(_renumbered(more, numbers))

    def counts(self, number: int, first: int, end: int) -> dict[int, int]:
        """Return a track's counts by code in the slots from ``first`` to before ``end``."""
        found: dict[int, int] = {}
        get, low, high = found.get, number << _NUMBER_SHIFT, number + 1 << _NUMBER_SHIFT
        for slot in self._between(first, end):
            entries = slot.entries
            start = bisect_left(entries, low)
            for entry in entries[start : bisect_left(entries, high, start)]:
                code = entry >> CODE_SHIFT & CODE_MASK
                found[code] = get(code, 0) + (entry & MOST_COUNT)
            for code, times in slot.fresh.get(number, {}).items():
                found[code] = get(code, 0) + times
        return found

    def has(self, slot: int) -> bool:
        """Return whether a slot is kept."""
        return slot in self._slots

    def forget(self, first: int) -> None:
        """Evict the slots before ``first``, and the oldest ones while over the limit."""
        for slot in sorted(self._slots):
            over = len(self) > self._most and slot < self._newest
            if slot >= first and not over:
                return
            del self._slots[slot]
            self._unsettled.discard(slot)
            if over:
                self.since = max(self.since, (slot + 1) * self.width_s)

    def _settle(self) -> None:
        for slot in self._unsettled:
            self._slots[slot].settle()
        self._unsettled.clear()

    def _between(self, first: int, end: int) -> Iterator[_Slot]:
        if end - first < len(self._slots):
            yield from (self._slots[n] for n in range(first, end) if n in self._slots)
        else:
            yield from (slot for n, slot in self._slots.items() if first <= n < end)


def _renumbered(entries: "array[int]", numbers: Mapping[int, int]) -> list[int]:
    start, found = 0, list[int]()
    while start < len(entries):
        number = entries[start] >> _NUMBER_SHIFT
        end = bisect_left(entries, number + 1 << _NUMBER_SHIFT, start)
        if number in numbers:
            further = numbers[number] - number << _NUMBER_SHIFT
            found += [entry + further for entry in entries[start:end]]
        start = end
    return found


class PartsOfOne:
    """One track's view of SharedSlotCounts, which includes what its finer counters still hold.

    ``number`` is the track's number there, ``newest`` its newest slot.
    """

    __slots__ = ("_finer", "_shared", "newest", "number")

    def __init__(self, shared: SharedSlotCounts, number: int, finer: SlotCounts) -> None:
        self._shared = shared
        self.number = number
        self.newest = -1
        self._finer = finer
        finer.take = self._take

    @property
    def width_s(self) -> int:
        """The width of a slot, in seconds."""
        return self._shared.width_s

    @property
    def keep_s(self) -> int:
        """The retention of a slot, in seconds."""
        return self._shared.keep_s

    def __len__(self) -> int:
        return int(self._shared.has(self.newest))

    def add_slots(self, slots: Mapping[int, Mapping[int, int]]) -> None:
        """Add counts by code to those of each slot."""
        for slot, more in slots.items():
            self._add(slot, more)

    def _add(self, slot: int, more: Mapping[int, int]) -> None:
        self.newest = max(self.newest, slot)
        self._shared.add(self.number, slot, more)

    def counts(self, first: int, end: int) -> dict[int, int]:
        """Return the counts by code of the slots from ``first`` to before ``end``."""
        times = self.width_s // self._finer.width_s
        found = self._finer.counts(first * times, end * times)
        get = found.get
        for code, more in self._shared.counts(self.number, first, end).items():
            found[code] = get(code, 0) + more
        return found

    def forget(self, first: int) -> None:
        """Do nothing: SharedSlotCounts evicts a slot for all tracks at once."""

    def _take(self, width_s: int, entries: Iterable[int]) -> None:
        times = self.width_s // width_s
        for slot, some in groupby(entries, lambda entry: (entry >> SLOT_SHIFT) // times):
            counts: dict[int, int] = {}
            for entry in some:
                code = entry >> CODE_SHIFT & CODE_MASK
                counts[code] = counts.get(code, 0) + (entry & MOST_COUNT)
            self._add(slot, counts)
