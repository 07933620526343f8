"""The most frequent errors of the last hour, with request ids to quote to support."""

import time
from collections import Counter
from collections.abc import Iterable, Iterator
from heapq import nsmallest

import msgspec

from rollout_console.health.log.record import AccessRecord, StatusClass, classify

HORIZON_S = 3600
OTHER = "(other errors)"
"""The overflow group for errors of a slot that already has MOST_AT_ONCE different ones."""
MOST_ERROR, MOST_ID = 60, 100
"""Lengths in characters to which an error and a request id are truncated."""
MOST_IDS = 5
MOST_ORGS = 5
MOST_AT_ONCE = 5_000
MOST_KEPT = 50_000

_SLOT_S = 10
_OK = frozenset(status for status in range(1000) if classify(status) is StatusClass.OK)
_NO_ERROR = (StatusClass.OK, StatusClass.ABANDONED)
ErrorKey = tuple[str, str, str, int, str]
"""Route, org, side, status and error."""
Some = list[tuple[ErrorKey, int, float, list[tuple[float, str]]]]
"""Errors: key, count, time of the last one, and the newest request ids with their times."""


class ErrorGroup(msgspec.Struct, frozen=True):
    """Errors grouped by route, side, status and error text, which is empty where there was none.

    ``last_at`` is in epoch seconds; ``orgs`` are at most five, most errors first; ``request_ids``
    at most five, newest first.
    """

    route: str
    side: str
    status: int
    error: str
    count: int
    last_at: float
    orgs: tuple[str, ...]
    request_ids: tuple[str, ...]


class _Errors(msgspec.Struct):
    count: int = 0
    last_at: float = 0.0
    ids: list[tuple[float, str]] = msgspec.field(default_factory=list)

    def add(self, count: int, last_at: float, ids: Iterable[tuple[float, str]]) -> None:
        self.count += count
        self.last_at = max(self.last_at, last_at)
        self.ids += ids
        if len(self.ids) > 8 * MOST_IDS:
            self.ids = self.newest()

    def newest(self) -> list[tuple[float, str]]:
        """Return the newest request ids, deduplicated: an id has the time of its newest line."""
        by_id = {name: (at, name) for at, name in sorted(self.ids)}
        return sorted(by_id.values())[-MOST_IDS:]


class TopErrors:
    """Counts the errors of the last hour, in ten-second slots, by ErrorKey.

    Memory is bounded for any input: above MOST_KEPT counts the oldest slots are evicted, and a slot
    has MOST_AT_ONCE different keys, above which errors are grouped as OTHER by side alone.
    """

    def __init__(self) -> None:
        self._slots: dict[int, dict[ErrorKey, _Errors]] = {}

    def add(self, records: Iterable[AccessRecord], now: float | None = None) -> None:
        """Count the records that are errors; times are clamped to ``now`` (the clock if None)."""
        now = time.time() if now is None else now
        first = now - HORIZON_S
        # Fast path: status and outcome alone rule out nearly all records.
        odd = [
            one
            for one in records
            if one.status not in _OK or (one.outcome != "ok" and (one.outcome or one.error))
        ]
        for record in odd:
            if record.status_class in _NO_ERROR and not record.was_not_sent:
                continue
            at = min(record.ts.timestamp(), now)
            if at >= first:
                error, request_id = (record.error or "")[:MOST_ERROR], record.request_id
                key = (record.route, record.org, record.side, record.status, error)
                known = self._known(int(at // _SLOT_S), key)
                known.add(1, at, [(at, request_id[:MOST_ID])] if request_id else ())
        self._bound(now)

    def slots(self) -> Iterator[tuple[int, Some]]:
        """Yield the errors of each slot (its epoch second divided by ten)."""
        for slot, kept in self._slots.items():
            yield slot, [(key, one.count, one.last_at, one.newest()) for key, one in kept.items()]

    def merge(self, slot: int, some: Some) -> None:
        """Merge the errors of a slot from another instance."""
        for key, count, last_at, ids in some:
            self._known(slot, key).add(count, last_at, ids)
        self._bound(slot * _SLOT_S)

    def _bound(self, now: float) -> None:
        kept = sum(map(len, self._slots.values()))
        for slot in sorted(self._slots):
            if kept <= MOST_KEPT and slot >= (now - HORIZON_S) // _SLOT_S:
                break
            kept -= len(self._slots.pop(slot))

    def top(
        self,
        now: float,
        window_s: float,
        route: str | None = None,
        org: str | None = None,
        side: str | None = None,
        limit: int = 20,
    ) -> list[ErrorGroup]:
        """Return the most frequent errors of the last ``window_s`` seconds, and up to ten more.

        Ties are ordered by the time of the last error, newest first, then by key. A None matches
        all.
        """
        groups: dict[tuple[str, str, int, str], _Errors] = {}
        orgs: dict[tuple[str, str, int, str], Counter[str]] = {}
        for slot, kept in self._slots.items():
            if slot >= (now - window_s) // _SLOT_S and slot * _SLOT_S <= now:
                for (of_route, of_org, of_side, status, error), one in kept.items():
                    wanted = route in (None, of_route) and org in (None, of_org)
                    if wanted and side in (None, of_side):
                        key = (of_route, of_side, status, error)
                        groups.setdefault(key, _Errors()).add(one.count, one.last_at, one.ids)
                        orgs.setdefault(key, Counter())[of_org] += one.count
        most = nsmallest(
            limit, groups, key=lambda key: (-groups[key].count, -groups[key].last_at, key)
        )
        return [
            ErrorGroup(
                *key,
                count=groups[key].count,
                last_at=groups[key].last_at,
                orgs=_most(orgs[key]),
                request_ids=tuple(name for _, name in reversed(groups[key].newest())),
            )
            for key in most
        ]

    def _known(self, number: int, key: ErrorKey) -> _Errors:
        """Return a key's counter in a slot, created on first use; that of OTHER in a full slot."""
        slot = self._slots.setdefault(number, {})
        known = slot.get(key)
        if known is None:
            if len(slot) >= MOST_AT_ONCE:
                key = ("", "", key[2], 0, OTHER)
            known = slot.setdefault(key, _Errors())
        return known


def _most(orgs: Counter[str]) -> tuple[str, ...]:
    return tuple(nsmallest(MOST_ORGS, orgs, key=lambda org: (-orgs[org], org)))
