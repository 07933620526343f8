"""Unusable lines of the access log, and lines with clock skew: their counts and warnings."""

from collections import deque
from math import inf

from rollout_console.health.log.lines import Unusable

UNUSABLE_S = 300.0
"""Seconds that unusable lines are reported for after the last of them."""

MUCH_UNUSABLE = 0.01
"""The share of unusable lines (0 to 1) above which a log's figures are not to be trusted."""

_ARRIVALS = 600


class LineQuality:
    """Counts what arrives by the second, usable or not, and the lines dated ahead of this host.

    Times are epoch seconds.
    """

    def __init__(self) -> None:
        self._unusable_known = 0
        self._unusable_at = -inf
        self._skewed_known = 0
        self._skewed_at = -inf
        self._arrived: deque[tuple[float, int, int]] = deque(maxlen=_ARRIVALS)

    def arrived(self, usable: int, unusable_known: int, now: float | None = None) -> None:
        """Note how many usable lines came, and of how many unusable ones one knows by now.

        Without ``now`` they came with those that were noted last.
        """
        if now is None:
            now = self._arrived[-1][0] if self._arrived else 0.0
        known, self._unusable_known = self._unusable_known, unusable_known
        unusable = unusable_known - known
        if unusable:
            self._unusable_at = now
        if not usable and not unusable:
            return
        if self._arrived and self._arrived[-1][0] > now - 1:
            at, before, more = self._arrived.pop()
            self._arrived.append((at, before + usable, more + unusable))
        else:
            self._arrived.append((now, usable, unusable))

    def skewed(self, known: int, now: float) -> None:
        """Note of how many lines that are dated ahead one knows by now."""
        before, self._skewed_known = self._skewed_known, known
        if known > before:
            self._skewed_at = now

    def unusable_words(self, unusable: Unusable, now: float) -> str:
        """Return the count and reason of unusable lines; empty UNUSABLE_S after the last of them.

        They are not counted as requests, so without this warning they would look like no traffic.
        """
        lines, why = unusable
        if not lines or abs(now - self._unusable_at) > UNUSABLE_S:
            return ""
        word = "line" if lines == 1 else "lines"
        return f"{lines:,} {word} of the access log cannot be used; the first: {why}"

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
        since = now - UNUSABLE_S
        usable = sum(one for at, one, _ in self._arrived if at >= since)
        unusable = sum(one for at, _, one in self._arrived if at >= since)
        return unusable > MUCH_UNUSABLE * (usable + unusable)
