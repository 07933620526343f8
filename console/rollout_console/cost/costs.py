"""The use case of ``cost``: pull, match, attribute; burn, runway and the difference of periods."""

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from msgspec.structs import replace

from rollout_console.changes.recorded import Recorded
from rollout_console.common.durations import seconds_text
from rollout_console.common.errors import Misused, OperationError
from rollout_console.cost.bill import Bill
from rollout_console.cost.burn import BURN_S, Burn, Runway, burn_of, runways
from rollout_console.cost.difference import Difference, Sample, explain
from rollout_console.cost.share_costs import INCOMPLETE_S, ShareTally, keep, kept_path
from rollout_console.cost.side_by_side import SideBySide, side_by_side
from rollout_console.reconcile.reconciliation import (
    HOW_TO_PULL,
    SETTLE_ASYNC_S,
    Asked,
    Outcome,
    Watcher,
    find_key,
    reconcile,
)
from rollout_console.reconcile.store import KnownKey, UsageStore, store_path
from rollout_console.tokenlab.errors import ApiError
from rollout_gate.file.formats import root_of
from rollout_gate.file.model import RolloutFile

if TYPE_CHECKING:
    from rollout_console.credentials.api_keys import ApiKeys
    from rollout_console.tokenlab.types import ApiKey, Balance

_RECENT_S = 3600.0


class CostAsked(msgspec.Struct, frozen=True):
    """What costs are asked for; times are in epoch seconds, ``key`` is an API key's id or name.

    With ``against_s`` the period is compared with the one that was so many seconds before it. From
    ``pull_since`` on, where that is earlier, records are pulled too. ``how_to_pull`` is as in
    ``Asked``.
    """

    since: float
    until: float
    route: str = ""
    org: str = ""
    key: str = ""
    offline: bool = False
    against_s: float | None = None
    pull_since: float = inf
    how_to_pull: str = HOW_TO_PULL


class Costs(msgspec.Struct, frozen=True):
    """The costs of a period, and what is to be known of their sources.

    ``horizon`` is the epoch second up to which usage records were read, and ``now`` when that was
    told. ``balance`` and ``limits`` are the runways, where the API was asked for them. ``words``
    say what limits the result.
    """

    asked: CostAsked
    bill: Bill
    burn: Burn
    profile: str
    base_url: str
    keys: Sequence[KnownKey]
    horizon: float
    now: float
    words: Sequence[str]
    balance: Runway | None = None
    limits: Sequence[Runway] = ()
    difference: Difference | None = None
    is_by_place: bool = True
    sides: Sequence[SideBySide] = ()

    def key_name(self, key_id: str) -> str:
        """Return the name of a key; its id where it has none."""
        return next((key.name for key in self.keys if key.id == key_id and key.name), key_id)

    @property
    def is_settling(self) -> bool:
        """Whether records of the period may still be to come."""
        return self.asked.until > self.horizon - SETTLE_ASYNC_S

    @property
    def age_s(self) -> float:
        """How old what was pulled is, in seconds."""
        return max(self.now - self.horizon, 0.0)


def costs(
    asked: CostAsked, room: "ApiKeys", file: RolloutFile, path: Path, folder: Path,
    watcher: Watcher | None = None, clock: Callable[[], float] = time.time,
    recorded: Recorded | None = None,
) -> Costs:  # fmt: skip
    """Return the costs of a period of the rollout file at ``path``; ``folder`` is the state's.

    What each share costs is kept there for the confirms of raises; ``recorded`` tells since when
    the shares are what they are. Raises OperationError, Misused for periods that overlap, and
    ApiError unless ``offline``; what was pulled before an error is kept.
    """
    with attributed(asked, room, file, path, folder, watcher, clock, recorded) as (found, _):
        pass
    if asked.offline or asked.until <= found.now - _RECENT_S:
        return found
    known = find_key(found.keys, asked.key) if asked.key else ""
    balance, limits, problem = ask_money(room, found.burn, known)
    words = [*found.words, problem] if problem else found.words
    return replace(found, balance=balance, limits=limits, words=words)


@contextmanager
def attributed(
    asked: CostAsked, room: "ApiKeys", file: RolloutFile, path: Path, folder: Path,
    watcher: Watcher | None = None, clock: Callable[[], float] = time.time,
    recorded: Recorded | None = None, *, keeps: bool = True,
) -> Iterator[tuple[Costs, Outcome]]:  # fmt: skip
    """Yield the costs as ``costs`` does, and the reconciliation that they rest on.

    Its rows can be read within the block. Balance and limits are not asked for, and without
    ``keeps`` nothing is kept for the confirms of raises.
    """
    shift = asked.against_s
    if shift is not None and shift < asked.until - asked.since:
        raise Misused(
            "the two periods overlap: give --against at least"
            f" {seconds_text(asked.until - asked.since)}, the length of the period"
        )
    first = min(asked.until - BURN_S, asked.pull_since)
    first = min(first, asked.since - shift) if shift is not None else first
    # The log does not say which API key a line used: one key has no previous side.
    priced = frozenset(
        name for name, route in file.routes.items() if route.previous_price and not asked.key
    )
    whole = Asked(
        asked.since, asked.until, key=asked.key, offline=asked.offline, pull_since=first,
        previous_of=priced, how_to_pull=asked.how_to_pull,
    )  # fmt: skip
    bill = Bill(route=asked.route, org=asked.org)
    difference: Difference | None = None
    is_by_place, extra = True, list[str]()
    with reconcile(whole, room, file, path, folder, watcher, clock) as outcome:
        now = clock()
        samples = Sample(), Sample(places=False)
        shares = _share_tally(asked, file, path, recorded or Recorded(), outcome, now)
        for row in outcome.piles.rows():
            bill.add(row)
            if shares is not None:
                shares.add(row)
            if shift is not None and row.cost is not None and bill.has_row(row):
                for sample in samples:
                    sample.add(row)
        if shift is not None:
            begins_later = outcome.piles.log.begins_at > asked.since
            difference, is_by_place, extra = compared(
                asked, shift, room, file, path, folder, clock, samples, begins_later
            )
        burn = _burn(asked, room, folder, outcome)
        sides = side_by_side(file, bill, outcome.piles.log.previous) if priced else ()
        if shares is not None and keeps:
            keep(shares.found(), kept_path(folder, path, file.base_url))
        words = dict.fromkeys([*outcome.words, *extra])
        found = Costs(
            asked, bill, burn, outcome.profile, outcome.base_url, outcome.keys, outcome.horizon,
            now, list(words), difference=difference, is_by_place=is_by_place, sides=sides,
        )  # fmt: skip
        yield found, outcome


def _share_tally(
    asked: CostAsked, file: RolloutFile, path: Path, recorded: Recorded, outcome: Outcome,
    now: float,
) -> ShareTally | None:  # fmt: skip
    """Return what sums the cost of shares, where the period has the newest records of all keys.

    Of a log that is younger than these it sums nothing, so that a confirm says that, and not that
    nothing was added up.
    """
    until = min(outcome.horizon, asked.until) - INCOMPLETE_S
    since = max(asked.since, outcome.piles.log.begins_at)
    if asked.key or until < now - INCOMPLETE_S - _RECENT_S or asked.since >= until:
        return None
    changed_at = now
    with suppress(OSError):
        changed_at = path.stat().st_mtime
    return ShareTally(file, recorded, changed_at, since, until)


def compared(
    asked: CostAsked, shift: float, room: "ApiKeys", file: RolloutFile, path: Path, folder: Path,
    clock: Callable[[], float], now: tuple[Sample, Sample], begins_later: bool,
) -> tuple[Difference, bool, list[str]]:  # fmt: skip
    """Return what explains the difference to the period ``shift`` seconds before, and words on it.

    Its records are pulled already. ``now`` is this period by route and org, and as one. Where the
    log does not have a whole period, a route or an org would seem to be new that is not: then all
    is compared as one, and False is returned. Raises OperationError.
    """
    earlier = Asked(
        asked.since - shift, asked.until - shift, key=asked.key, offline=True,
        how_to_pull=asked.how_to_pull,
    )  # fmt: skip
    kept = Bill(route=asked.route, org=asked.org)
    by_place, in_all = Sample(), Sample(places=False)
    with reconcile(earlier, room, file, path, folder, clock=clock) as outcome:
        for row in outcome.piles.rows():
            if row.cost is not None and kept.has_row(row):
                by_place.add(row)
                in_all.add(row)
        begins_later = begins_later or outcome.piles.log.begins_at > earlier.since
        words = [f"earlier period: {one}" for one in outcome.words]
    if not begins_later or not (by_place.cost or now[0].cost):
        return explain(by_place, now[0]), True, words
    if kept.is_filtered:
        raise OperationError(
            "the log does not go back through both periods: without --route and --org they can be"
            " compared"
        )
    words.append(
        "the log does not go back through both periods: what explains the difference is not told"
        " by route and org"
    )
    return explain(in_all, now[1]), False, words


def _burn(asked: CostAsked, room: "ApiKeys", folder: Path, outcome: Outcome) -> Burn:
    key = find_key(outcome.keys, asked.key) if asked.key else ""
    with UsageStore(store_path(folder, room.profile, root_of(room.base_url))) as store:
        return burn_of(store, min(asked.until, outcome.horizon), key)


def ask_money(
    room: "ApiKeys", burn: Burn, key: str = ""
) -> tuple[Runway | None, Sequence[Runway], str]:
    """Ask for the balance and the limits of the keys, or of one (its id); return the runways.

    An error is a sentence, and not the end. Blocks for the network.
    """

    async def ask() -> "tuple[Balance, list[ApiKey]]":
        async with room.management() as client:
            return await client.balance(), await client.keys()

    try:
        balance, keys = asyncio.run(ask())
    except ApiError as error:
        return None, (), f"balance and limits are not known: {error}"
    return (*runways(balance.balance, keys, burn, key), "")
