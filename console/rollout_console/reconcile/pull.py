"""Pull usage records into the store: incrementally, resumably, from a list that changes meanwhile.

The list of a key is read in windows of time with both ends fixed, so that new requests do not
shift its pages. What does shift them (late settlement, refunds) changes the list's own count or
sum, and the window is read again until one reading is proven: as many records as the list counts,
which cost what it says in sum.
"""

import itertools
import math
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from decimal import Decimal
from typing import Protocol

import msgspec

from rollout_console.reconcile.errors import Unstable
from rollout_console.reconcile.money import plain, total
from rollout_console.reconcile.pacing import Pacer
from rollout_console.reconcile.store import KnownKey, Listing, UsageStore, Window
from rollout_console.tokenlab.errors import Garbage, Refused
from rollout_console.tokenlab.types import ApiKey, RateLimit, UsagePage, UsageRecord

OVERLAP_S = 24 * 3600
"""How long after its end a window is still compared with the API: records may settle late."""
REREAD_S = 3600
"""How long after its end a window is read again as a whole; later its count and sum are enough."""
MOST_RECORDS = 2_000
"""Records of one window; a range with more is split."""
_MERGED = 300
_TRIES = 6
_ROUNDS = 3
_MOST_DEPTH = 6
_MOST_MOVED = 50
_TAIL_S = 600
_CREATED_SLACK_S = 86_400


class UsageApi(Protocol):
    """What a pull needs of the management API's client."""

    @property
    def rate_limit(self) -> RateLimit | None:
        """What the last answer said of the rate limit."""
        ...

    async def keys(self) -> list[ApiKey]:
        """Fetch all API keys."""
        ...

    async def usage(self, key_id: str, *, page: int, start: datetime, end: datetime) -> UsagePage:
        """Fetch one page of usage records; both ends are inclusive."""
        ...


class Progress(msgspec.Struct, frozen=True):
    """How far a pull is: the ``key``-th of ``keys``, and the part of its time that is read."""

    key: int
    keys: int
    name: str
    records: int
    requests: int
    part: float


class Pulled(msgspec.Struct, frozen=True):
    """What a pull did. ``until`` is the epoch second up to which every key was read."""

    requests: int
    records: int
    until: int
    unreadable: Sequence[str]


class Task(msgspec.Struct, frozen=True):
    """A range of time to read; with ``known`` its count and sum are compared first."""

    begins: int
    ends: int
    total: int = 0
    known: Window | None = None


def plan(
    windows: Sequence[Window], since: int, until: int, now: float, done: frozenset[int] | set[int],
    *, again: bool = False,
) -> list[Task]:  # fmt: skip
    """Return what is to be read of a key between two times, oldest first.

    That is what no window covers, and windows that were read before their records were all
    settled; ``done`` are ids of windows read in this pull. With ``again`` every window is read.
    """
    found: list[Task] = []
    at = since
    for window in windows:
        if window.ends <= since or window.begins >= until:
            continue
        if window.begins > at:
            found.append(Task(at, window.begins))
        # A time of reading that is still to come is from a clock that was set back since.
        age = min(window.read_at, now) - window.ends
        if window.id not in done and (again or age < OVERLAP_S):
            known = None if again or age < REREAD_S else window
            found.append(Task(window.begins, window.ends, window.total, known))
        at = max(at, window.ends)
    if at < until:
        found.append(Task(at, until))
    return _merged(found)


def _merged(tasks: Sequence[Task]) -> list[Task]:
    """Join neighbours with few records: a pull every few minutes leaves many small windows."""
    found: list[Task] = []
    for task in tasks:
        last = found[-1] if found else None
        if last and last.ends == task.begins and last.total + task.total <= _MERGED:
            found[-1] = Task(last.begins, task.ends, last.total + task.total)
        else:
            found.append(task)
    return found


class NoSuchKey(Exception):
    """The API has no usage of a key, which was deleted."""


class Puller:
    """Pulls the usage of an organisation's keys into a store.

    What was read is committed window by window: after an interruption of any kind another pull
    goes on where this one stopped.
    """

    def __init__(
        self,
        store: UsageStore,
        api: UsageApi,
        pacer: Pacer,
        *,
        clock: Callable[[], float] = time.time,
        progress: Callable[[Progress], None] = lambda progress: None,
    ) -> None:
        self._store = store
        self._api = api
        self._pacer = pacer
        self._clock = clock
        self._progress = progress
        self._records = 0
        self._done: set[int] = set()
        self._unreadable: list[str] = []
        self._shown = ("", 1, 1, 0, 1)

    async def pull(self, since: int, until: int, *, only: str = "", again: bool = False) -> Pulled:
        """Pull everything between two epoch seconds, of all keys or of ``only`` one (its id).

        Raises ApiError, UsageStoreError, Unstable; what was read until then is kept.
        """
        for _ in range(_ROUNDS):
            replaced = self._store.replaced
            self._done.clear()
            found = await self._pull(since, until, only, again)
            if self._store.replaced == replaced:
                break  # else the store was deleted meanwhile: what it lacks is read once more
        return found

    async def _pull(self, since: int, until: int, only: str, again: bool) -> Pulled:
        started, reached = self._clock(), until
        self._store.keep_keys(await self._pacer.call(self._api.keys, lambda: self._api.rate_limit))
        keys = [key for key in self._store.known_keys() if only in ("", key.id)]
        for number, key in enumerate(keys, 1):
            begins = max(since, min(key.created_at, until) - _CREATED_SLACK_S)
            self._shown = (key.name or key.id, number, len(keys), begins, until)
            reached = min(reached, await self._pull_key(key, begins, until, again=again))
        for key_id, window in self._store.moved(started)[:_MOST_MOVED]:
            with suppress(NoSuchKey):
                await self._read(key_id, window.begins, window.ends)
        return Pulled(self._pacer.requests, self._records, reached, self._unreadable)

    async def _pull_key(self, key: KnownKey, since: int, until: int, *, again: bool) -> int:
        """Read what is missing of a key; return the time up to which it is read."""
        try:
            for _ in range(_ROUNDS):  # another process may have replaced what was read
                windows = self._store.windows(key.id)
                tasks = plan(windows, since, until, self._clock(), self._done, again=again)
                for task in tasks:
                    try:
                        await self._run(key.id, task)
                    except Unstable:
                        if task.ends != until or until < self._clock() - _TAIL_S:
                            raise
                        # The API's clock may be behind ours: the newest records are left out.
                        until = max(task.begins, until - _TAIL_S)
                        break
                if not tasks:
                    break
        except NoSuchKey:
            self._unreadable.append(
                f"usage of key {key.name} ({key.id}) can no longer be read: it is not there"
            )
        return until

    async def _run(self, key_id: str, task: Task) -> None:
        known = task.known
        if known is None:
            await self._read(key_id, task.begins, task.ends)
            return
        read_at = self._clock()
        first = await self._page(key_id, task.begins, task.ends, 1)
        if (first.total, first.cost) == (known.total, known.cost):
            self._store.confirm(known, read_at)
            self._done.add(known.id)
        else:
            await self._read(key_id, task.begins, task.ends)

    async def _read(self, key_id: str, begins: int, ends: int, depth: int = 0) -> None:
        """Read a range, in several windows where it has too many records for one."""
        read_at = self._clock()
        first = await self._page(key_id, begins, ends, 1)
        parts = min(math.ceil(first.total / (0.75 * MOST_RECORDS)), ends - begins)
        is_filtered = all(begins - 1 <= one.at.timestamp() <= ends + 1 for one in first.records)
        if first.total > MOST_RECORDS and parts > 1 and depth < _MOST_DEPTH and is_filtered:
            edges = [begins + (ends - begins) * part // parts for part in range(parts + 1)]
            for begin, end in itertools.pairwise(edges):
                await self._read(key_id, begin, end, depth + 1)
            return
        listing = await self._stable(key_id, begins, ends, read_at, first)
        self._done.add(self._store.commit(key_id, listing))
        self._records += len(listing.records)

    async def _stable(
        self, key_id: str, begins: int, ends: int, read_at: float, first: UsagePage
    ) -> Listing:
        """Read the pages of a window until one reading is proven, or equals the one before."""
        before: Counter[UsageRecord] | None = None
        page: UsagePage | None = first
        for _ in range(_TRIES):
            page = page or await self._page(key_id, begins, ends, 1)
            records = await self._pages(key_id, begins, ends, page)
            counts = None if records is None else Counter(records)
            if records is not None and counts is not None:
                cost, said = total(one.cost for one in records), page.cost
                if _is_proven(counts, cost, said) or counts == before:
                    note = "" if said in (None, cost) else _mismatch(begins, ends, said, cost)
                    return Listing(begins, ends, read_at, records, page.total, said, note)
            before, page = counts, None
            read_at = self._clock()
        raise Unstable(
            f"the usage records of key {key_id} changed each of {_TRIES} times that they were"
            " read; what was pulled is kept: try again later"
        )

    async def _pages(
        self, key_id: str, begins: int, ends: int, first: UsagePage
    ) -> list[UsageRecord] | None:
        """Return the records of all pages; None where the list changed between two of them."""
        found = list(first.records)
        for number in range(2, first.pages + 1):
            page = await self._page(key_id, begins, ends, number)
            if (page.total, page.cost) != (first.total, first.cost) or not page.records:
                return None
            found += page.records
        return found if len(found) == first.total else None

    async def _page(self, key_id: str, begins: int, ends: int, number: int) -> UsagePage:
        start, end = (datetime.fromtimestamp(at, UTC) for at in (begins, ends))
        try:
            page = await self._pacer.call(
                lambda: self._api.usage(key_id, page=number, start=start, end=end),
                lambda: self._api.rate_limit,
            )
        except Refused as error:
            raise NoSuchKey if error.status == 404 else error from None
        except Garbage as error:
            raise Garbage(f"usage of key {key_id} from {_times(begins, ends)}: {error}") from None
        name, key, keys, since, until = self._shown
        part = (begins - since + (ends - begins) * number / max(page.pages, number)) / max(
            until - since, 1
        )
        self._progress(
            Progress(key, keys, name, self._records, self._pacer.requests, min(max(part, 0), 1))
        )
        return page


def _is_proven(counts: Counter[UsageRecord], cost: Decimal, said: Decimal | None) -> bool:
    """Return whether a reading has every record once.

    A page that shifts shows one record twice and hides another: with ids that is told by the
    repeated one, without by the sum.
    """
    repeated = any(
        count > 1 and (one.billing_id is not None or one.request_id is not None)
        for one, count in counts.items()
    )
    return not repeated and said == cost


def _mismatch(begins: int, ends: int, said: Decimal | None, cost: Decimal) -> str:
    return (
        f"the API's own sum from {_times(begins, ends)} is ${plain(said or Decimal(0))}, and its"
        f" records cost ${plain(cost)}"
    )


def _times(begins: int, ends: int) -> str:
    return " to ".join(
        f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M:%S}Z" for at in (begins, ends)
    )
