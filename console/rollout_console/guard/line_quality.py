"""Unusable lines of the access log, and lines with clock skew: their counts and warnings."""

import time
from collections.abc import Mapping, Sequence
from math import inf

from rollout_console.health.log.record import AccessRecord
from rollout_console.health.log.unusable import (
    ALL_USABLE,
    NO_TIMES,
    RECENT_S,
    Unusable,
    UnusableTimes,
    count_recent,
)

UNUSABLE_S = 300.0
"""Seconds that unusable lines are reported for after the last of them."""

MUCH_UNUSABLE = 0.01
"""The share of unusable lines (0 to 1) above which a log's figures are not to be trusted."""

_MOST_SECONDS = 2 * int(RECENT_S)


class LineQuality:
    """Counts lines by the second they are dated, usable or not, and those ahead of this host.

    Unusable lines are dated by the usable ones next to them, and those at the end of a log by when
    that was last written to: so every process dates them alike, however long it has been running.
    Times are epoch seconds.
    """

    def __init__(self) -> None:
        self._skewed_known = 0
        self._skewed_at = -inf
        self._usable: dict[int, int] = {}
        self._times = NO_TIMES
        self._older: Mapping[int, Unusable] = {}
        self._ahead_s = 0.0

    def arrived(self, records: Sequence[AccessRecord], times: UnusableTimes, now: float) -> None:
        """Note usable lines that came, and when all unusable ones that are known were written."""
        self._times = times
        self._ahead_s = now - time.time()
        count_recent(records, now - RECENT_S, self._usable)
        if len(self._usable) > _MOST_SECONDS:
            since = now - RECENT_S
            self._usable = {at: lines for at, lines in self._usable.items() if at >= since}

    def came_before(self, usable: Mapping[int, int], unusable: Mapping[int, Unusable]) -> None:
        """Note lines by second that were read only later: those of the backfill."""
        for second, lines in usable.items():
            self._usable[second] = self._usable.get(second, 0) + lines
        self._older = unusable

    def skewed(self, known: int, now: float) -> None:
        """Note of how many lines that are dated ahead one knows by now."""
        before, self._skewed_known = self._skewed_known, known
        if known > before:
            self._skewed_at = now

    def unusable_lately(self, now: float) -> Unusable:
        """Return the unusable lines of the last UNUSABLE_S seconds, and the first's reason."""
        found = ALL_USABLE
        for by_second in (self._older, self._times.by_second):
            for second, lines in by_second.items():
                found = found.plus(lines) if _is_recent(second, now) else found
        for written_at, lines in self._times.last:
            at = min(written_at + self._ahead_s, now)
            found = found.plus(lines) if _is_recent(at, now) else found
        return found

    def unusable_words(self, now: float) -> str:
        """Return the count and reason of unusable lines; empty UNUSABLE_S after the last of them.

        They are not counted as requests, so without this warning they would look like no traffic.
        """
        lines, why = self.unusable_lately(now)
        word = "line" if lines == 1 else "lines"
        words = f"{lines:,} {word} of the access log cannot be used; the first: {why}"
        return words if lines else ""

    def skew_words(self, now: float) -> str:
        """Return the count of lines dated ahead of this host's clock; empty a while after them."""
        if abs(now - self._skewed_at) > UNUSABLE_S:
            return ""
        lines = self._skewed_known
        word = "line is" if lines == 1 else "lines are"
        return (
            f"{lines:,} {word} dated ahead of this host's clock: set the clocks; verdicts are wrong"
            " meanwhile"
        )

    def mostly_unusable(self, now: float) -> bool:
        """Whether over MUCH_UNUSABLE of the last UNUSABLE_S seconds' lines are unusable."""
        unusable = self.unusable_lately(now).lines
        if not unusable:
            return False
        usable = sum(lines for at, lines in self._usable.items() if _is_recent(at, now))
        return unusable > MUCH_UNUSABLE * (usable + unusable)


def _is_recent(at: float, now: float) -> bool:
    return abs(now - at) <= UNUSABLE_S
