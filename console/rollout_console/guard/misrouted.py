"""Misrouted requests: on a side where the file did not send them.

A line with the bucket and the revision of its decision is a proof by itself: its bucket is under
the share, or not. Of lines with neither, only requests that no share could explain count: those to
TokenLab of what is rolled back, and those to the previous side of an org at 100%; and a share that
is far from the percent is reported as such. Requests in flight when the file changed do not count.
"""

from collections.abc import Collection, Mapping, Sequence

import msgspec

from rollout_console.common.durations import set_back, target_text
from rollout_console.common.listing import counted, first_of
from rollout_console.guard.evidence.wilson import wilson_lower, wilson_upper
from rollout_console.guard.writers import GRACE_S, SHOWN_DIGITS
from rollout_console.health.log.record import AccessRecord
from rollout_console.health.windows.batch import SKEW_S
from rollout_console.health.windows.windows import Seen
from rollout_gate.access_log import REVISION_DIGITS
from rollout_gate.file.model import RolloutFile, Route
from rollout_gate.file.percent import FULL, percent_text
from rollout_gate.secret import redacted

SHOWN_FOR_S = 60.0
LEAST_UNPROVEN = 200
"""Requests from which on a share without proof is compared with the percent."""
FAR = 0.2
"""Distance of an observed share from the percent (0 to 1) from which on it is reported."""
_Z = 6.0
"""Standard deviations of the bound on an observed share: sticky keys make it vary more than chance
does, so only a share that is far off counts."""

_MOST = 1_000
_MOST_HOSTS = 20
_NAMED = 3

Place = tuple[str, str, str]
"""Route, org and side."""


class MisroutedRequests(msgspec.Struct, frozen=True):
    """The requests of one route and org that went to a side where the file did not send them.

    ``since`` and ``last_at`` are the times of the first and the last of them (epoch seconds),
    ``decided_by`` the requests by host and revision, as far as their lines name both.
    """

    route: str
    org: str
    side: str
    requests: int
    since: float
    last_at: float
    decided_by: Mapping[tuple[str, str], int]
    sentence: str


class FarShare(msgspec.Struct, frozen=True):
    """A route and org whose share, by lines without bucket and revision, is far from its percent.

    ``tokenlab`` of ``requests`` went there, ``basis_points`` is what the file says.
    """

    route: str
    org: str
    requests: int
    tokenlab: int
    basis_points: int
    last_at: float
    sentence: str


class _Found(msgspec.Struct):
    count: int
    first_at: float
    last_at: float
    hosts: dict[tuple[str, str], int] = msgspec.field(default_factory=dict)
    """Requests by the host and the revision that their lines name."""


class Misrouted:
    """Counts misrouted requests since the last change of the file. Times are epoch seconds."""

    def __init__(self, file: RolloutFile, written_at: float) -> None:
        self._file = file
        self._since = written_at + GRACE_S
        self._found: dict[Place, _Found] = {}
        self._shares: dict[tuple[str, str], tuple[int, int]] = {}
        self._unproven: dict[tuple[str, str], list[int]] = {}
        self._unproven_at = 0.0

    def configure(self, file: RolloutFile, now: float) -> None:
        """Reset the counts for a new version of the file."""
        if file.revision != self._file.revision:
            self._file = file
            self._since = now + GRACE_S
            for counts in (self._found, self._shares, self._unproven):
                counts.clear()

    def add(self, records: Sequence[AccessRecord], seen: Collection[Seen], now: float) -> None:
        """Count misrouted records; ``seen`` has the distinct route, org and side of them all.

        A record that is dated after ``now`` proves a wrong clock, and nothing of the routing.
        """
        # Fast paths: what is older than the file, or not recent and of no forbidden side, is no
        # news, and a cold start reads a million lines of it.
        forbidden = {one for one in seen if one[2] == self._forbidden(one[0], one[1])}
        newest = max(records[0].at, records[-1].at) if records else 0.0
        if not forbidden and newest < now - SHOWN_FOR_S:
            return
        for record in records:
            if record.bucket is not None and record.revision:
                astray = not self._fits(record, record.bucket)
            elif record.operation is not None:
                continue  # nothing was decided: it belongs to the previous side
            else:
                astray = (record.route, record.org, record.side) in forbidden
                self._count_unproven(record, now)
            if astray and record.at <= now + SKEW_S:
                self._note(record)

    def set_back(self, now: float, by: float) -> None:
        """Date what is in the future by ``by`` seconds less: the clock was set back."""
        self._since = set_back(self._since - GRACE_S, now, by) + GRACE_S
        self._unproven_at = set_back(self._unproven_at, now, by)
        for found in self._found.values():
            found.first_at = set_back(found.first_at, now, by)
            found.last_at = set_back(found.last_at, now, by)

    def found(self, now: float) -> list[MisroutedRequests]:
        """Return each route and org misrouted within SHOWN_FOR_S, most requests first."""
        fresh = [
            (found, place)
            for place, found in self._found.items()
            if now - found.last_at <= SHOWN_FOR_S
        ]
        fresh.sort(key=lambda pair: -pair[0].count)
        return [
            MisroutedRequests(
                *place, found.count, found.first_at, found.last_at, dict(found.hosts),
                self._sentence(place, found, now),
            )
            for found, place in fresh
        ]  # fmt: skip

    def sentences(self, now: float) -> list[str]:
        """Return a sentence for each route and org misrouted within SHOWN_FOR_S, most first."""
        return [one.sentence for one in self.found(now)]

    def far_shares(self, now: float) -> list[FarShare]:
        """Return each route and org whose share, by lines without bucket and revision, is far from
        its percent."""
        if now - self._unproven_at > SHOWN_FOR_S:
            return []
        each = (self._far(*place, *counts) for place, counts in self._unproven.items())
        return [one for one in each if one is not None]

    def _far(self, name: str, org: str, tokenlab: int, previous: int) -> FarShare | None:
        total, (low, high) = tokenlab + previous, self._range(name, org)
        percent = low / FULL
        latched = self._file.is_latched(name, org)
        if total < LEAST_UNPROVEN or low != high or low in (0, FULL) or latched:
            return None
        below = wilson_upper(tokenlab, total, _Z) < percent and tokenlab / total < percent - FAR
        above = wilson_lower(tokenlab, total, _Z) > percent and tokenlab / total > percent + FAR
        if not below and not above:
            return None
        count, side = (previous, "previous") if below else (tokenlab, "TokenLab")
        return FarShare(
            name, org, total, tokenlab, low, self._unproven_at,
            f"{name} / {org}: {count} of {total} requests at {percent_text(low)}% went to {side};"
            " unless a few sticky keys send most of them, an application does not obey this file",
        )  # fmt: skip

    def _count_unproven(self, record: AccessRecord, now: float) -> None:
        if self._begun(record) <= self._since or record.at > now + SKEW_S:
            return
        place = (record.route, record.org)
        counts = self._unproven.get(place)
        if counts is None:
            if len(self._unproven) >= _MOST:
                return
            counts = self._unproven[place] = [0, 0]
        counts[record.side == "previous"] += 1
        self._unproven_at = max(self._unproven_at, record.at)

    def _fits(self, record: AccessRecord, bucket: int) -> bool:
        """Whether the file may have sent a request to the side that it went to.

        The line does not name the request's alias and flags, so any share of the route that could
        have applied will do.
        """
        if (record.attempt or 1) > 1 or record.bound or record.route not in self._file.routes:
            return True  # a retry keeps the side of its first attempt, an id that of its maker
        low, high = self._range(record.route, record.org)
        return bucket < high if record.side == "tokenlab" else bucket >= low

    def _range(self, name: str, org: str) -> tuple[int, int]:
        """Return the least and the largest share that can apply to an org (basis points)."""
        known = self._shares.get((name, org))
        if known is None:
            route = self._file.routes.get(name)
            points = [0]
            if route is not None and not self._file.is_latched(name, org):
                points = [route.org_points(org), *route.keys.values(), *route.flags.values()]
            if len(self._shares) >= 20 * _MOST:
                self._shares.clear()
            known = self._shares[name, org] = min(points), max(points)
        return known

    @staticmethod
    def _begun(record: AccessRecord) -> float:
        # Judge by the start of the request: one sent before the change cannot have obeyed it.
        return record.at - record.latency_ms / 1000

    def _note(self, record: AccessRecord) -> None:
        if self._begun(record) <= self._since:
            return
        place = (record.route, record.org, record.side)
        found = self._found.get(place)
        if found is None:
            if len(self._found) >= _MOST:
                return
            found = self._found[place] = _Found(0, record.at, record.at)
        found.count += 1
        found.first_at = min(found.first_at, record.at)
        found.last_at = max(found.last_at, record.at)
        who = (record.host or "", (record.revision or "")[:REVISION_DIGITS])
        if who[1] and (who in found.hosts or len(found.hosts) < _MOST_HOSTS):
            found.hosts[who] = found.hosts.get(who, 0) + 1

    def _forbidden(self, name: str, org: str) -> str:
        route = self._file.routes.get(name)
        if route is None:
            return ""
        if self._file.is_latched(name, org):
            return "tokenlab"
        return "previous" if _all_to_tokenlab(route, org) else ""

    def _sentence(self, place: Place, found: _Found, now: float) -> str:
        route, org, side = place
        words = ("TokenLab", "previous")
        went_to, other = words if side == "tokenlab" else words[::-1]
        forbidden = self._forbidden(route, org)
        wrong = f"that this file sends to {other}"
        if forbidden:
            wrong = f"although it is {'rolled back' if forbidden == 'tokenlab' else 'at 100%'}"
        some = counted(found.count, "request")
        ago = max(0, round(now - found.last_at))
        why = self._why(found)
        sent = f"{target_text(route, org)} sent {some} to {went_to}"
        return f"{sent} {wrong}, the last {ago} s ago: {why}"

    def _why(self, found: _Found) -> str:
        """Return who does so and why, as far as their lines say it."""
        if not found.hosts:
            return "an application does not read this file"
        current = self._file.revision[:REVISION_DIGITS]
        most = sorted(found.hosts.items(), key=lambda pair: (-pair[1], pair[0]))
        stale = [f"{redacted(host)} by {revision[:SHOWN_DIGITS]}" for (host, revision), _ in most
                 if revision != current]  # fmt: skip
        if stale:
            return f"decided by another version of the file on {first_of(stale, _NAMED)}"
        hosts = ", ".join([redacted(host) for (host, _), _ in most][:_NAMED])
        return (
            f"{hosts} decided by this version and did otherwise: a client of its own, or requests"
            " whose body the gate cannot read"
        )


def _all_to_tokenlab(route: Route, org: str) -> bool:
    """Whether every request of an org goes to TokenLab, whatever its alias or flags."""
    shares = (*route.keys.values(), *route.flags.values())
    return route.org_points(org) == FULL and all(share == FULL for share in shares)
