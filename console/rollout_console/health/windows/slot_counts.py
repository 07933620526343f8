"""Time-slot counters of one track at one width, bit-packed in eight bytes a count.

Ten thousand orgs have millions of counts in an hour; a dict for each slot would take gigabytes.
"""

from array import array
from bisect import bisect_left
from collections.abc import Callable, Mapping
from itertools import chain

CODE_SHIFT, MOST_COUNT = 16, (1 << 16) - 1
"""Layout of an entry: count in the low bits, code from CODE_SHIFT on. A count over MOST_COUNT takes
several entries."""

SLOT_SHIFT = 32
"""The slot is in the bits from this one on."""

CODE_MASK = (1 << SLOT_SHIFT - CODE_SHIFT) - 1


Take = Callable[[int, "array[int]"], None]
"""A callback that receives evicted entries: their slot width in seconds, and the entries."""


class SlotCounts:
    """Counts by code (0 to 65,535) for each slot: the epoch second // ``width_s``.

    The newest slot is open, as a dict. Older ones are entries, with slot, code and count in one
    integer; entries are sorted by slot, and a code may occur in a slot more than once. Slots older
    than ``keep_s`` before the newest are evicted in batches, once the oldest exceeds it by an
    eighth. Evicted entries are passed to ``take``.
    """

    __slots__ = ("_entries", "_open", "_slot", "keep_s", "take", "width_s")

    def __init__(self, width_s: int, keep_s: int) -> None:
        self.take: Take | None = None
        self.width_s = width_s
        self.keep_s = keep_s
        self._entries = array("Q")
        self._slot = -1
        self._open: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._entries) + len(self._open)

    def add_slots(self, slots: Mapping[int, Mapping[int, int]]) -> None:
        """Add counts by code to those of each slot."""
        *older, newest = sorted(slots)
        if older and older[0] > self._slot:
            # Fast path: if all slots are new, only the last one is opened as a dict.
            self._close()
            for slot in older:
                self._entries.fromlist(packed(slot << SLOT_SHIFT, slots[slot]))
            older = []
        for slot in (*older, newest):
            self.add_counts(slot, slots[slot])

    def add_counts(self, slot: int, more: Mapping[int, int]) -> None:
        """Add counts by code to those of a slot."""
        counts = self._counts_of(slot)
        if counts:
            get = counts.get
            for code, count in more.items():
                counts[code] = get(code, 0) + count
        else:
            counts.update(more)
        if slot != self._slot:
            self._put(slot, counts)

    def counts(self, first: int, end: int) -> dict[int, int]:
        """Return the counts by code of the slots from ``first`` to before ``end``."""
        entries = self._entries
        found: dict[int, int] = dict(self._open) if first <= self._slot < end else {}
        get = found.get
        for entry in entries[self._place(first) : self._place(end)]:
            code = entry >> CODE_SHIFT & CODE_MASK
            found[code] = get(code, 0) + (entry & MOST_COUNT)
        return found

    def by_slot(self, first: int, end: int) -> dict[int, dict[int, int]]:
        """Return what ``counts`` does for each slot with requests, in one pass over the entries."""
        entries, found = self._entries, dict[int, dict[int, int]]()
        for entry in entries[self._place(first) : self._place(end)]:
            of_slot = found.setdefault(entry >> SLOT_SHIFT, {})
            code = entry >> CODE_SHIFT & CODE_MASK
            of_slot[code] = of_slot.get(code, 0) + (entry & MOST_COUNT)
        if self._open and first <= self._slot < end:
            of_slot = found.setdefault(self._slot, {})
            for code, count in self._open.items():
                of_slot[code] = of_slot.get(code, 0) + count
        return found

    def entries(self) -> "array[int]":
        """Close the open slot, and return all counts as entries."""
        self._close()
        return self._entries

    def merge(self, more: "array[int]") -> None:
        """Merge the entries of another instance of this width."""
        if not more:
            return
        last = more[-1] >> SLOT_SHIFT
        if last > self._slot:
            self._close()
            self._slot = last
        known = self._entries
        # Sort only the overlap: mostly one is older than the other, or they share a single slot.
        apart = bisect_left(more, known[0]) if known else len(more)
        until = bisect_left(known, more[-1])
        between = array("Q", sorted(chain(more[apart:], known[:until])))
        self._entries = more[:apart] + between + known[until:]

    def forget(self, first: int) -> None:
        """Evict the slots before ``first``, passing their entries to ``take``."""
        if self._slot < first:
            self._close()
        gone = self._place(first)
        if gone:
            forgotten = self._entries[:gone]
            # Copy: deleting in place would keep the array's allocated capacity.
            self._entries = self._entries[gone:]
            if self.take is not None:
                self.take(self.width_s, forgotten)

    def _place(self, slot: int) -> int:
        return bisect_left(self._entries, slot << SLOT_SHIFT)

    def _counts_of(self, slot: int) -> dict[int, int]:
        """Return the counts of a slot to add to: the open slot's dict, or a copy of an older one's.

        A slot newer than the open one is opened in its place.
        """
        if slot < self._slot:
            return self.counts(slot, slot + 1)
        if slot > self._slot:
            self._close()
            self._slot = slot
            keep = self.keep_s // self.width_s
            if self._entries and self._entries[0] >> SLOT_SHIFT < slot - keep - keep // 8 - 1:
                self.forget(slot - keep - 1)
        return self._open

    def _put(self, slot: int, counts: Mapping[int, int]) -> None:
        start, end = self._place(slot), self._place(slot + 1)
        self._entries[start:end] = array("Q", packed(slot << SLOT_SHIFT, counts))

    def _close(self) -> None:
        if self._open:
            self._entries.fromlist(packed(self._slot << SLOT_SHIFT, self._open))
            self._open = {}


def packed(base: int, counts: Mapping[int, int]) -> list[int]:
    """Bit-pack counts by code into entries, each combined with ``base`` (a shifted slot)."""
    if not counts or max(counts.values()) <= MOST_COUNT:
        return [base | code << CODE_SHIFT | count for code, count in counts.items()]
    entries = []
    for code, count in counts.items():
        place = base | code << CODE_SHIFT
        whole, rest = divmod(count, MOST_COUNT)
        entries += [place | MOST_COUNT] * whole
        if rest:
            entries.append(place | rest)
    return entries
