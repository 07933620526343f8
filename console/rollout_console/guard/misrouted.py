"""Misrouted requests: on the side that the file forbids, by an application that does not read it.

Only requests that no share could explain count: those to TokenLab of what is rolled back, and those
to the previous side of an org at 100%. Requests in flight when the file changed do not count.
"""

from collections.abc import Collection, Sequence

import msgspec

from rollout_console.health.log.record import AccessRecord
from rollout_console.health.windows.batch import SKEW_S
from rollout_console.health.windows.windows import Seen
from rollout_gate.file.model import RolloutFile, Route
from rollout_gate.file.percent import FULL

GRACE_S = 5.0
"""Seconds after a change of the file in which nothing counts as misrouted: the gate promises to
reload the file within a second, but a slow disk may take longer."""
SHOWN_FOR_S = 60.0

_MOST = 1_000


class _Found(msgspec.Struct):
    count: int
    first_at: float
    last_at: float


class Misrouted:
    """Counts misrouted requests since the last change of the file. Times are epoch seconds."""

    def __init__(self, file: RolloutFile, written_at: float) -> None:
        self._file = file
        self._since = written_at + GRACE_S
        self._found: dict[tuple[str, str, str], _Found] = {}

    def configure(self, file: RolloutFile, now: float) -> None:
        """Reset the counts for a new version of the file."""
        if file.revision != self._file.revision:
            self._file = file
            self._since = now + GRACE_S
            self._found.clear()

    def add(self, records: Sequence[AccessRecord], seen: Collection[Seen], now: float) -> None:
        """Count misrouted records; ``seen`` has the distinct route, org and side of them all.

        A record that is dated after ``now`` proves a wrong clock, and nothing of the routing.
        """
        # Fast path: nearly always none is forbidden, and then no record has to be looked at.
        astray = {one for one in seen if one[2] == self._forbidden(one[0], one[1])}
        if astray:
            for record in records:
                is_astray = (record.route, record.org, record.side) in astray
                if is_astray and record.at <= now + SKEW_S:
                    self._note(record)

    def sentences(self, now: float) -> list[str]:
        """Return a sentence for each org and route misrouted within SHOWN_FOR_S, most first."""
        fresh = [
            (found, place)
            for place, found in self._found.items()
            if now - found.last_at <= SHOWN_FOR_S
        ]
        fresh.sort(key=lambda pair: -pair[0].count)
        return [_sentence(*place, found, now) for found, place in fresh]

    def _note(self, record: AccessRecord) -> None:
        # Judge by the start of the request: one sent before the change cannot have obeyed it.
        if record.at - record.latency_ms / 1000 <= self._since:
            return
        place = (record.route, record.org, record.side)
        found = self._found.get(place)
        if found is not None:
            found.count += 1
            found.last_at = max(found.last_at, record.at)
        elif len(self._found) < _MOST:
            self._found[place] = _Found(1, record.at, record.at)

    def _forbidden(self, name: str, org: str) -> str:
        route = self._file.routes.get(name)
        if route is None:
            return ""
        if self._file.is_latched(name, org):
            return "tokenlab"
        return "previous" if _all_to_tokenlab(route, org) else ""


def _all_to_tokenlab(route: Route, org: str) -> bool:
    """Whether every request of an org goes to TokenLab, whatever its alias or flags."""
    shares = (*route.keys.values(), *route.flags.values())
    return route.org_points(org) == FULL and all(share == FULL for share in shares)


def _sentence(route: str, org: str, side: str, found: _Found, now: float) -> str:
    told = "although it is rolled back" if side == "tokenlab" else "although it is at 100%"
    where = "TokenLab" if side == "tokenlab" else "previous"
    some = "1 request" if found.count == 1 else f"{found.count} requests"
    ago = max(0, round(now - found.last_at))
    return (
        f"{route} / {org} sent {some} to {where} {told}, the last {ago} s ago: "
        "an application does not read this file"
    )
