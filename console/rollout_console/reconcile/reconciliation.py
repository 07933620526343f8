"""The use case: pull what is missing, read the log, match, and yield the piles."""

import asyncio
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from rollout_console.common.errors import Misused, OperationError
from rollout_console.common.folders import folder_of
from rollout_console.reconcile.errors import CorruptStore
from rollout_console.reconcile.log_lines import Period, read_lines
from rollout_console.reconcile.matching import match
from rollout_console.reconcile.pacing import Pacer
from rollout_console.reconcile.piles import Cutoffs, Reconciled
from rollout_console.reconcile.pull import Progress, Puller
from rollout_console.reconcile.pull_lock import pull_lock
from rollout_console.reconcile.schema import refuse_damage
from rollout_console.reconcile.store import KnownKey, UsageStore, Window, store_path
from rollout_gate.file.formats import root_of
from rollout_gate.file.model import RolloutFile

if TYPE_CHECKING:
    from rollout_console.credentials.api_keys import ApiKeys

SETTLE_S = 15 * 60.0
"""How long after a text request its usage record may still be to come."""
SETTLE_ASYNC_S = 2 * 3600.0
"""The same of an async task, which is charged when it has completed."""
EDGE_S = 24 * 3600.0
"""How long before a record its line, and after a line its record, is looked for at least."""
SKEW_S = 300.0
"""How far the clocks of a host and of the API may differ at the ends of the period."""
MOST_S = 366 * 86_400.0
HOW_TO_PULL = "without --offline the rest is pulled"


class Asked(msgspec.Struct, frozen=True):
    """What is reconciled; times are in epoch seconds, ``key`` is an API key's id or name.

    From ``pull_since`` on, where that is earlier, records are pulled without being reconciled.
    ``previous_of`` names routes whose previous side's lines are counted as well. ``how_to_pull``
    ends the sentence about records that were not pulled.
    """

    since: float
    until: float
    route: str = ""
    org: str = ""
    key: str = ""
    settle_s: float = SETTLE_S
    settle_async_s: float = SETTLE_ASYNC_S
    again: bool = False
    offline: bool = False
    pull_since: float = math.inf
    previous_of: frozenset[str] = frozenset()
    how_to_pull: str = HOW_TO_PULL

    @property
    def record_range(self) -> tuple[int, int]:
        """The epoch seconds between which records may be of a line of the period."""
        return math.floor(self.since - SKEW_S), math.ceil(self.until + self.edge_s)

    @property
    def edge_s(self) -> float:
        """How far apart a line and its record are looked for."""
        return max(EDGE_S, self.settle_s, self.settle_async_s)


class Watcher:
    """What a long pull tells of itself; this one is told in vain."""

    def progress(self, progress: Progress) -> None:
        """A page was read."""

    def waits(self, seconds: float, why: str) -> None:
        """The pull waits for the API."""

    def locked(self) -> None:
        """Another process pulls the same records: it is waited for."""


class Outcome(msgspec.Struct, frozen=True):
    """A reconciliation: its piles, and what is to be known of its sources.

    ``horizon`` is the epoch second up to which the usage records were read; ``words`` say what
    limits the result. ``requests`` and ``pulled`` count the calls of the API and the records read.
    """

    asked: Asked
    piles: Reconciled
    profile: str
    base_url: str
    keys: Sequence[KnownKey]
    horizon: float
    requests: int
    pulled: int
    words: Sequence[str]

    def key_name(self, key_id: str) -> str:
        """Return the name of a key; its id where it has none."""
        return next((key.name for key in self.keys if key.id == key_id and key.name), key_id)


@contextmanager
def reconcile(
    asked: Asked, room: "ApiKeys", file: RolloutFile, path: Path, folder: Path,
    watcher: Watcher | None = None, clock: Callable[[], float] = time.time,
) -> Iterator[Outcome]:  # fmt: skip
    """Reconcile a period of the rollout file at ``path``; the rows can be read within the block.

    ``folder`` is that of the state. Raises OperationError, and ApiError unless ``offline``; what
    was pulled before an error is kept, and another call goes on from there.
    """
    if not asked.since < asked.until:
        raise Misused("the period ends before it begins: give --until a later time")
    if asked.until - asked.since > MOST_S:
        raise Misused("a period has at most 366 days: give --since a later time")
    with UsageStore(store_path(folder, room.profile, root_of(room.base_url))) as store:
        words: list[str] = []
        requests = pulled = 0
        since, until = asked.record_range
        until = min(until, math.floor(clock()))
        horizon = float(until)
        if not asked.offline:
            times = math.floor(min(since, asked.pull_since)), until
            found = _pull(store, room, asked, times, words, watcher or Watcher(), clock)
            requests, pulled, horizon = found
        keys = store.known_keys()
        key_id = find_key(keys, asked.key) if asked.key else ""
        if asked.offline:
            horizon = _covered(store, keys, key_id, asked, until, words)
        words += _key_words(keys)
        words += store.notes(math.floor(asked.since), math.ceil(asked.until))
        period = Period(asked.since, asked.until, asked.edge_s, SKEW_S)
        formats = {name: route.format for name, route in file.routes.items()}
        cutoffs = Cutoffs(horizon - asked.settle_s, horizon - asked.settle_async_s)
        with store.snapshot() as db:
            log_path = (folder_of(path) / file.access_log).absolute()
            log = read_lines(
                db, log_path, period, formats, route=asked.route, org=asked.org,
                previous_of=asked.previous_of,
            )  # fmt: skip
            margins = since * 1_000_000, math.ceil(asked.until + asked.edge_s) * 1_000_000
            refuse_damage(db, *margins)
            match(db, *margins)
            piles = Reconciled(
                db, period, log, cutoffs, margins=margins, key_id=key_id,
                of_some_lines=bool(asked.route or asked.org),
            )  # fmt: skip
            yield Outcome(
                asked, piles, room.profile, root_of(room.base_url), keys, horizon, requests,
                pulled, [*words, *log.words],
            )  # fmt: skip


def pulled_until(path: Path) -> float | None:
    """Return up to when the store at ``path`` has records of every listed key (epoch seconds).

    It is None where nothing was pulled yet. A key whose usage was never read, as it is new, is left
    out, and so are gaps: ``reconcile`` tells both. Raises UsageStoreError.
    """
    with UsageStore(path) as store:
        ends = [
            float(max(window.ends for window in windows))
            for key in store.known_keys()
            if key.listed and (windows := store.windows(key.id))
        ]
    return min(ends, default=None)


def find_key(keys: Sequence[KnownKey], wanted: str) -> str:
    """Return the id of the key with that id or name, revoked ones too; raises OperationError."""
    found = [key for key in keys if key.id == wanted]
    found = found or [key for key in keys if key.name == wanted]
    if not found:
        raise OperationError(f"there is no API key {wanted!r}; see keys list")
    if len(found) > 1:
        ids = ", ".join(key.id for key in found[:4])
        raise OperationError(f"{len(found)} keys are named {wanted!r}; give an id: {ids}")
    return found[0].id


def _pull(
    store: UsageStore, room: "ApiKeys", asked: Asked, times: tuple[int, int], words: list[str],
    watcher: Watcher, clock: Callable[[], float],
) -> tuple[int, int, float]:  # fmt: skip
    """Pull, in a new store where there is a corrupt one; return requests, records, horizon."""

    async def pull(pacer: Pacer) -> tuple[int, int, float]:
        async with room.management() as client:
            puller = Puller(store, client, pacer, clock=clock, progress=watcher.progress)
            only = ""
            if asked.key:
                store.keep_keys(await pacer.call(client.keys, lambda: client.rate_limit))
                only = find_key(store.known_keys(), asked.key)
            found = await puller.pull(*times, only=only, again=asked.again)
        words.extend(found.unreadable)
        return found.requests, found.records, float(found.until)

    with pull_lock(store.path, waits=watcher.locked):
        pacer = Pacer(waits=watcher.waits)
        try:
            return asyncio.run(pull(pacer))
        except CorruptStore:
            aside = store.set_aside()
            words.append(f"the usage records were corrupt and were pulled anew; see {aside}")
        return asyncio.run(pull(pacer))


def _covered(
    store: UsageStore, keys: Sequence[KnownKey], key_id: str, asked: Asked, until: int,
    words: list[str],
) -> float:  # fmt: skip
    """Return up to when the usage of every key was read before; say where that is not enough."""
    begins = math.floor(asked.since)
    reached = float(until) if keys else float(begins)
    for key in keys:
        if key.listed and key_id in ("", key.id):
            reached = min(reached, _read_until(store.windows(key.id), max(begins, key.created_at)))
    if reached < min(asked.until, until) - 60:
        at = datetime.fromtimestamp(reached, UTC)
        words.append(
            f"usage records are read up to {at:%Y-%m-%d %H:%M:%S}Z alone: {asked.how_to_pull}"
        )
    return reached


def _read_until(windows: Sequence[Window], since: int) -> float:
    at = since
    for window in windows:
        if window.begins > at:
            break
        at = max(at, window.ends)
    return float(at)


def _key_words(keys: Sequence[KnownKey]) -> Iterator[str]:
    for key in keys:
        if not key.listed:
            yield f"key {key.name} ({key.id}) is no longer in the list of keys"
