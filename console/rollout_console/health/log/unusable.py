"""Unusable lines of a log: how many, why, and when: they have no time, those next to them do."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from rollout_console.health.log.record import AccessRecord

RECENT_S = 600.0
"""Seconds for which usable lines are counted by the second as well."""

_MOST_SECONDS = 1_024


class Unusable(NamedTuple):
    """Lines that are not access-log records: their count, and what is wrong with the first."""

    lines: int = 0
    why: str = ""

    def plus(self, other: "Unusable") -> "Unusable":
        """Return the sum of these and later ones; the reason is that of the earlier."""
        return Unusable(self.lines + other.lines, self.why or other.why)


ALL_USABLE = Unusable()


class UnusableTimes(NamedTuple):
    """Unusable lines by the epoch second that the usable lines next to them are dated.

    ``last`` are those that no usable line has followed yet, each group with the modification time
    (epoch seconds) of its file when they were read.
    """

    by_second: Mapping[int, Unusable] = {}
    last: tuple[tuple[float, Unusable], ...] = ()


NO_TIMES = UnusableTimes()


class LineDater:
    """Dates unusable lines, told of a file's lines in their order.

    They are dated by the later of the usable lines directly before and after them, so that all
    processes date them alike, whenever they read them. ``waiting`` are those that no usable line
    has followed yet, and ``noted`` counts all. Only the newest seconds are kept, _MOST_SECONDS at
    least.
    """

    def __init__(self) -> None:
        self.waiting = ALL_USABLE
        self._before: AccessRecord | None = None
        self._found: dict[int, Unusable] = {}
        self.noted = 0

    def usable(self, first: AccessRecord, last: AccessRecord) -> None:
        """Note usable lines, by the first and the last of them."""
        if self.waiting.lines:
            self._date(first.at if self._before is None else max(self._before.at, first.at))
        self._before = last

    def unusable(self, lines: Unusable) -> None:
        """Note unusable lines, which follow all that were noted before."""
        self.waiting = self.waiting.plus(lines)
        self.noted += lines.lines

    def discarded(self, of: int, why: str) -> None:
        """Note those of so many unusable lines that came as no lines, as they were too long."""
        if of > self.noted:
            self.unusable(Unusable(of - self.noted, why))

    def found(self) -> dict[int, Unusable]:
        """Return the dated lines by second; what is noted later does not change it."""
        if len(self._found) > 2 * _MOST_SECONDS:
            newest = sorted(self._found)[-_MOST_SECONDS:]
            self._found = {second: self._found[second] for second in newest}
        return dict(self._found)

    def _date(self, at: float) -> None:
        add_at(self._found, int(at), self.waiting)
        self.waiting = ALL_USABLE


def add_at(by_second: dict[int, Unusable], second: int, lines: Unusable) -> None:
    """Add unusable lines of a second to those that are known of it."""
    by_second[second] = by_second.get(second, ALL_USABLE).plus(lines)


def joined(several: Iterable[UnusableTimes]) -> UnusableTimes:
    """Return the unusable lines of several files together."""
    by_second: dict[int, Unusable] = {}
    last: list[tuple[float, Unusable]] = []
    for one in several:
        for second, lines in one.by_second.items():
            add_at(by_second, second, lines)
        last += one.last
    return UnusableTimes(by_second, tuple(last))


def count_recent(records: Sequence[AccessRecord], since: float, found: dict[int, int]) -> None:
    """Add the records since an epoch second to the counts by second that are ``found``.

    Lines come in about the order of their times, so a batch whose ends are older has none.
    """
    if not records or max(records[0].at, records[-1].at) < since:
        return
    for record in records:
        if (at := record.at) >= since:
            found[int(at)] = found.get(int(at), 0) + 1
