"""Time bins of one second: the requests of one side of a route, as the guard reads them."""

from collections.abc import Mapping, Sequence
from math import ceil, floor
from typing import NamedTuple

from rollout_console.health.windows.batch import Named
from rollout_console.health.windows.codes import (
    AUTH,
    BAD,
    BALANCE,
    BUCKETS,
    CODE_KINDS,
    CONTRACT,
    FILTERED,
    FIRST_TOKEN,
    GATEWAY,
    KINDS,
    LATENCY,
    LEFT,
    LENGTH,
    OK,
    RATE_LIMIT,
    REPEATED,
    TIMED,
    TRUNCATED,
    UNSEEN_TOKEN,
    UNTIMED,
)
from rollout_console.health.windows.quantiles import bucket_of
from rollout_console.health.windows.series import fitting
from rollout_console.health.windows.windows import Windows

NO_LIMIT_MS = 10_000_000
"""As the limit of a latency, in ms: none is higher."""


class Bin(NamedTuple):
    """Request counts of one bin, which begins ``at`` (epoch seconds), by the records' own times.

    ``requests`` are those that the application did not leave. ``timed`` have a latency to judge,
    which of ``slow`` is over a limit; ``streams`` have a first token to judge, which of ``late``
    came after a limit. ``bad`` are cut or empty answers, ``repeated`` second and later attempts.
    """

    at: int
    requests: int
    contract: int = 0
    auth: int = 0
    balance: int = 0
    rate_limit: int = 0
    gateway: int = 0
    timed: int = 0
    slow: int = 0
    bad: int = 0
    streams: int = 0
    late: int = 0
    repeated: int = 0
    filtered: int = 0
    length: int = 0

    def errors(self, signal: str) -> tuple[int, int]:
        """Return the number of requests that a signal judges, and how many of them are errors."""
        if signal in ("latency", "asset"):
            return self.timed, self.slow  # the latency of a failed request is not judged
        if signal == "first_token":
            return self.streams, self.late
        if signal == "jobs":
            return self.requests, self.gateway  # of a bin of jobs in place of requests
        return self.requests, int(getattr(self, signal))


class Limits(NamedTuple):
    """Latency limits in ms, from which on a request is slow and a first token is late."""

    slow_ms: float
    late_ms: float


class Bins:
    """Reads bins from windows, with a cache of those that are unchanged since the last read.

    A window longer than the retention of one-second slots has bins of five seconds or more.
    """

    def __init__(self, windows: Windows) -> None:
        self._windows = windows
        self._known: dict[Named, tuple[tuple[int, Buckets], dict[int, Bin | None]]] = {}

    def between(
        self, route: str, side: str, begin: float, now: float, limits: Limits
    ) -> Sequence[Bin]:
        """Return the bins that begin in ``begin`` to ``now`` (epoch seconds), oldest first.

        Seconds without a request have no bin. Latencies are in buckets 4% wide (2% either way), and
        those in the bucket of a limit are not over it.
        """
        key = (route, None, side)
        windows = self._windows
        parts = fitting(
            windows.kept.tracks.get(key), now - begin, windows.kept.reaches_s(None, now)
        )
        if parts is None:
            return ()
        limit = buckets_of(limits)
        width = parts.width_s
        changed_from = windows.changed_from(key, width)
        made_for, known = self._known.get(key, ((0, (0, 0)), {}))
        first, end = ceil(begin / width), floor(now / width) + 1
        if made_for != (width, limit):
            known = {}
        elif changed_from < end * width or len(known) > 2 * (end - first):
            known = {at: one for at, one in known.items() if first * width <= at < changed_from}
        self._known[key] = (width, limit), known
        found = []
        for slot in range(first, end):
            at = slot * width
            if at not in known:
                known[at] = bin_of(at, parts.counts(slot, slot + 1), limit)
            if (one := known[at]) is not None:
                found.append(one)
        return found


Buckets = tuple[int, int]
"""The latency buckets of Limits."""


def buckets_of(limits: Limits) -> Buckets:
    """Return the latency buckets of limits."""
    return bucket_of(limits.slow_ms), bucket_of(limits.late_ms)


def bin_of(at: int, counts: Mapping[int, int], limits: Buckets) -> Bin | None:
    """Return counts by code as a bin, or None without any.

    A request that the application left counts once it took longer than the limit: its latency is
    at least that (right-censored). One pass, as a turn may read the slots of 10,000 orgs.
    """
    if not counts:
        return None
    slow_from, late_from = limits
    kinds = [0] * CODE_KINDS
    slow = left = late = unseen = untimed = 0
    for code, count in counts.items():
        kind, bucket = code // BUCKETS, code % BUCKETS
        kinds[kind] += count
        if kind == FIRST_TOKEN:
            late += count if bucket > late_from else 0
        elif kind == UNSEEN_TOKEN:
            unseen += count if bucket > late_from else 0
        elif bucket > slow_from:
            if bucket == UNTIMED:
                untimed += count if kind in TIMED else 0
            elif kind in TIMED or kind == LATENCY:
                slow += count
            elif kind == LEFT:
                left += count
    truncated, empty = kinds[TRUNCATED], kinds[BAD]
    return Bin(
        at,
        requests=sum(kinds[:KINDS]) - kinds[LEFT],
        contract=kinds[CONTRACT],
        auth=kinds[AUTH],
        balance=kinds[BALANCE],
        rate_limit=kinds[RATE_LIMIT],
        gateway=kinds[GATEWAY] + truncated,
        timed=kinds[OK] + kinds[FILTERED] + kinds[LENGTH] - untimed + kinds[LATENCY] + left,
        slow=slow + left,
        bad=truncated + empty,
        streams=kinds[FIRST_TOKEN] + unseen,
        late=late + unseen,
        repeated=kinds[REPEATED],
        filtered=kinds[FILTERED],
        length=kinds[LENGTH],
    )
