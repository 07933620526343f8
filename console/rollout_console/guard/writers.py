"""How far each writer of the access log has come: by which version of the file it decides."""

from collections.abc import Sequence

import msgspec

from rollout_console.common.durations import set_back
from rollout_console.common.listing import first_of
from rollout_console.health.log.record import AccessRecord
from rollout_gate.access_log import REVISION_DIGITS
from rollout_gate.file.model import RolloutFile
from rollout_gate.secret import redacted

SHOWN_DIGITS = 8

SHOWN_FOR_S = 60.0
"""A host without a line for so long is not counted as a writer."""
GRACE_S = 5.0
"""Seconds after a change of the file in which nothing counts as behind or misrouted: the gate
promises to reload the file within a second, but a slow disk may take longer."""

_MOST = 10_000
_NAMED = 5


class WritersBehind(msgspec.Struct, frozen=True):
    """The hosts that still decide by another version of the file.

    ``of`` is how many hosts write lines, ``since`` when the file was changed, ``last_at`` when the
    newest of their requests began (epoch seconds).
    """

    revision: str
    hosts: Sequence[str]
    of: int
    since: float
    last_at: float
    sentence: str


class Writers:
    """The newest line of each host under each revision. Times are epoch seconds.

    A host with two processes is behind while one of them is.
    """

    def __init__(self, file: RolloutFile, written_at: float) -> None:
        self._revision = file.revision[:REVISION_DIGITS]
        self._since = written_at + GRACE_S
        self._seen: dict[tuple[str, str], float] = {}

    def configure(self, file: RolloutFile, now: float) -> None:
        """Expect the lines of a new version of the file."""
        if file.revision[:REVISION_DIGITS] != self._revision:
            self._revision, self._since = file.revision[:REVISION_DIGITS], now + GRACE_S

    def add(self, records: Sequence[AccessRecord], now: float) -> None:
        """Note who wrote lines, and by which revision each was decided."""
        first = now - SHOWN_FOR_S
        if not records or max(records[0].at, records[-1].at) < first:
            return  # fast path: a cold start reads a day of them
        for record in records:
            revision, host = record.revision, record.host
            # A retry keeps the decision of its first attempt.
            if revision is not None and host is not None and record.attempt in (None, 1):
                begun = min(record.at, now) - record.latency_ms / 1000
                if begun >= first:
                    place = (host, revision[:REVISION_DIGITS])
                    self._seen[place] = max(begun, self._seen.get(place, begun))
        if len(self._seen) > _MOST:
            self._seen = {place: at for place, at in self._seen.items() if at >= first}
            for place in list(self._seen)[:-_MOST]:
                del self._seen[place]

    def set_back(self, now: float, by: float) -> None:
        """Date what is in the future by ``by`` seconds less: the clock was set back."""
        self._since = set_back(self._since - GRACE_S, now, by) + GRACE_S
        self._seen = {place: set_back(at, now, by) for place, at in self._seen.items()}

    def behind(self, now: float) -> dict[str, list[str]]:
        """Return the hosts that still decide by another version, by its revision."""
        found: dict[str, list[str]] = {}
        since = max(self._since, now - SHOWN_FOR_S)
        for (host, revision), at in self._seen.items():
            if revision != self._revision and at > since:
                found.setdefault(revision, []).append(host)
        return {revision: sorted(hosts) for revision, hosts in found.items()}

    def count(self, now: float) -> int:
        """Return the number of hosts with a line in the last SHOWN_FOR_S seconds."""
        return len({host for (host, _), at in self._seen.items() if at >= now - SHOWN_FOR_S})

    def found(self, now: float) -> list[WritersBehind]:
        """Return who still decides by another version, for each; that of most hosts first."""
        total = self.count(now)
        each = sorted(self.behind(now).items(), key=lambda pair: (-len(pair[1]), pair[0]))
        return [
            WritersBehind(
                revision, hosts, total, self._since - GRACE_S,
                max(self._seen[host, revision] for host in hosts),
                _sentence(revision, hosts, total),
            )
            for revision, hosts in each
        ]  # fmt: skip

    def sentences(self, now: float) -> dict[str, str]:
        """Return a sentence for each other version that lines are still decided by, by revision."""
        return {one.revision: one.sentence for one in self.found(now)}


def _sentence(revision: str, hosts: Sequence[str], total: int) -> str:
    named = first_of([redacted(host) for host in hosts], _NAMED)
    who = "1 of 1 writer" if total == 1 else f"{len(hosts)} of {total} writers"
    verb = "decides" if len(hosts) == 1 else "decide"
    return f"{who} still {verb} by {revision[:SHOWN_DIGITS]}, not by this file: {named}"
