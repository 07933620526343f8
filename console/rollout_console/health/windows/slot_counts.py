"""The parts of one track at one width: counts by slot of time, packed in eight bytes each.

Ten thousand orgs have millions of counts in an hour; a dict for each part would take gigabytes.
"""

from array import array
from bisect import bisect_left
from collections.abc import Callable, Mapping
from itertools import chain

CODE_SHIFT, MOST_COUNT = 20, (1 << 20) - 1
"""An entry has its count below this bit, and the code above it; of more it takes another entry."""

SLOT_SHIFT = 32
"""From this bit on an entry has its slot."""

CODE_MASK = (1 << SLOT_SHIFT - CODE_SHIFT) - 1


Take = Callable[[int, "array[int]"], None]
"""What takes entries: the width of their slots in seconds, and they."""


class SlotCounts:
    """Counts by code (0 to 4095) for each slot: the epoch second divided by ``width_s``, whole.

    The newest slot is open and a dict. An entry of an older one is slot, code and count in one
    number; entries are in order of slots, and a code may be in a slot more than once. A slot that
    is an eighth older than ``keep_s`` before the newest is forgotten. What is forgotten is given to
    ``take``, in entries.
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
            # Of slots that are all new only the last is opened.
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
        """Return the counts by code of the slots from ``first`` up to, not with, ``end``."""
        entries = self._entries
        found: dict[int, int] = dict(self._open) if first <= self._slot < end else {}
        get = found.get
        for entry in entries[self._place(first) : self._place(end)]:
            code = entry >> CODE_SHIFT & CODE_MASK
            found[code] = get(code, 0) + (entry & MOST_COUNT)
        return found

    def entries(self) -> "array[int]":
        """Return all counts as entries."""
        self._close()
        return self._entries

    def merge(self, more: "array[int]") -> None:
        """Add the entries of other parts of this width."""
        if not more:
            return
        last = more[-1] >> SLOT_SHIFT
        if last > self._slot:
            self._close()
            self._slot = last
        known = self._entries
        # Most often one is older than the other, or they have but a slot in common.
        apart = bisect_left(more, known[0]) if known else len(more)
        until = bisect_left(known, more[-1])
        between = array("Q", sorted(chain(more[apart:], known[:until])))
        self._entries = more[:apart] + between + known[until:]

    def forget(self, first: int) -> None:
        """Forget the slots before ``first``."""
        if self._slot < first:
            self._close()
        gone = self._place(first)
        if gone:
            forgotten = self._entries[:gone]
            # A copy: deleting in place would keep the room that the array once had.
            self._entries = self._entries[gone:]
            if self.take is not None:
                self.take(self.width_s, forgotten)

    def _place(self, slot: int) -> int:
        return bisect_left(self._entries, slot << SLOT_SHIFT)

    def _counts_of(self, slot: int) -> dict[int, int]:
        """Return the counts of a slot to add to: the open one, opened if need be, or a copy."""
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
    """Return counts by code as entries, each on top of ``base``."""
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
