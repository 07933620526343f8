"""Hosts whose new lines arrive with a time long past: their clock is behind, or their log is late.

A window of the last minutes never sees such lines, so an incident on that host is not seen either.
Lines that are dated ahead are counted when they arrive; see ``Windows``.
"""

from collections.abc import Sequence

import msgspec

from rollout_console.common.durations import seconds_text
from rollout_console.common.listing import first_of
from rollout_console.health.log.record import AccessRecord
from rollout_gate.secret import redacted

LATE_S = 30.0
"""By how many seconds a line that has just arrived may be dated before the read that it came
after: buffers and network file systems delay some."""
_PROVEN_S = 5.0
"""For how long all lines of a host are late before it is told: a process may have been stopped."""
_TOLD_S = 300.0
"""Seconds that a host is told for after its last late line."""
_MOST = 1_000
_NAMED = 3


class _Late(msgspec.Struct):
    first: float
    last: float
    by_s: float


class WriterClocks:
    """Compares the time in new lines with when they arrived. Times are epoch seconds."""

    def __init__(self) -> None:
        self._late: dict[str, _Late] = {}

    def add(
        self, records: Sequence[AccessRecord], before: float, now: float, *, is_all: bool = True
    ) -> None:
        """Look at lines that were not in the log at the time ``before``.

        Where there are more to read (not ``is_all``), newer ones may be among these.
        """
        due, newest = min(before, now) - LATE_S, dict[str, float]()
        for record in records:
            host = record.host or ""
            # Some writers date a line to the begin of its request.
            ended = record.at + record.latency_ms / 1000
            newest[host] = max(ended, newest.get(host, ended))
        for host, at in newest.items():
            if at >= due:
                self._late.pop(host, None)
            elif not is_all:
                continue
            elif (known := self._late.get(host)) is not None:
                known.last, known.by_s = now, now - at
            elif len(self._late) < _MOST:
                self._late[host] = _Late(now, now, now - at)

    def set_back(self) -> None:
        """Forget what was found: the clock was set back."""
        self._late.clear()

    def found(self, now: float) -> dict[str, float]:
        """Return the hosts whose lines are late, and by how many seconds."""
        return {
            host: one.by_s
            for host, one in self._late.items()
            if one.last - one.first >= _PROVEN_S and now - one.last <= _TOLD_S
        }

    def most_s(self, now: float) -> float:
        """Return by how many seconds lines are late at most; 0 where none are."""
        return max(self.found(now).values(), default=0.0)

    def named(self, now: float) -> str:
        """Return the hosts whose lines are late, named; empty without one."""
        some = sorted(self.found(now))
        return first_of([redacted(one) or "a host without a name" for one in some], _NAMED)

    def words(self, now: float) -> str:
        """Return what is wrong in one sentence; empty where nothing is."""
        late = self.found(now)
        if not late:
            return ""
        least, most = min(late.values()), max(late.values())
        by = seconds_text(round(most))
        by = by if seconds_text(round(least)) == by else f"up to {by}"
        return (
            f"new lines of {self.named(now)} are dated {by} ago: set the clocks, or mend what"
            " brings the log; verdicts see them too late meanwhile, or never"
        )
