"""Requests that a host could not send for want of its own resources: no side is at fault."""

from collections.abc import Sequence

from rollout_console.common.durations import set_back
from rollout_console.common.listing import counted, first_of
from rollout_console.health.log.record import AccessRecord
from rollout_console.health.windows.batch import SKEW_S
from rollout_gate.answers.status_class import UNSENT
from rollout_gate.secret import redacted

SHOWN_FOR_S = 60.0
_MOST_HOSTS = 1_000
_NAMED = 3


class UnsentRequests:
    """Counts, by host, the lines with error ``unsent``. Times are epoch seconds."""

    def __init__(self) -> None:
        self._hosts: dict[str, tuple[int, float]] = {}

    def add(self, records: Sequence[AccessRecord], now: float) -> None:
        """Count the records of the last SHOWN_FOR_S; one dated ahead of the clock is of now."""
        first = now - SHOWN_FOR_S
        if not records or max(records[0].at, records[-1].at) < first:
            return  # fast path: a cold start reads a day of them
        for record in records:
            if record.error != UNSENT or not record.was_not_sent or record.at < first:
                continue
            host = record.host or ""
            if host not in self._hosts and len(self._hosts) >= _MOST_HOSTS:
                host = ""
            count, last_at = self._hosts.get(host, (0, 0.0))
            at = record.at if record.at <= now + SKEW_S else now
            self._hosts[host] = count + 1, max(last_at, at)

    def set_back(self, now: float, by: float) -> None:
        """Date what is in the future by ``by`` seconds less: the clock was set back."""
        self._hosts = {
            host: (count, set_back(at, now, by)) for host, (count, at) in self._hosts.items()
        }

    def words(self, now: float) -> str:
        """Return the sentence about them; empty SHOWN_FOR_S after the last one of each host."""
        for host, (_, last_at) in list(self._hosts.items()):
            if now - last_at > SHOWN_FOR_S:
                del self._hosts[host]
        if not self._hosts:
            return ""
        requests = sum(count for count, _ in self._hosts.values())
        ago = max(0, round(now - max(last_at for _, last_at in self._hosts.values())))
        most = sorted(self._hosts, key=lambda host: (-self._hosts[host][0], host))
        names = [redacted(host) for host in most if host]
        of = f" of {first_of(names, _NAMED)}" if names else ""
        return (
            f"{counted(requests, 'request')}{of} could not be sent, the last {ago} s ago: out of"
            " open files, ports, memory or pooled connections there; a rollback does not help"
        )
