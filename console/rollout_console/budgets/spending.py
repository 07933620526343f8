"""What was spent, as it was last counted: a small file in the state folder, and beside the file.

``cost`` and ``budgets`` count and write it; guard, screens and confirms read it, which asks no
network and no log. It is by scope and not by budget, so that another limit is in force at once.
Beside the rollout file it is for all who work on that: the guard of a service counts, and the
raises of every operator are held.
"""

import hashlib
import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple

import msgspec
from msgspec.structs import replace

from rollout_console.budgets.periods import Period, period_at
from rollout_console.common.files import real_path, replacing, write_private
from rollout_console.common.flock import best_effort_lock
from rollout_gate.file.model import Budget, BudgetPeriod, RolloutFile
from rollout_gate.file.read import read_regular
from rollout_gate.untrusted import UndecodableError, decode_json

_MOST_BYTES = 64 * 1024 * 1024
_MOST_DIGITS, _MOST_DECIMALS = 18, 100
"""Limits of an amount of dollars that can be one."""
_MOST_TIME = 7_258_118_400.0
"""The year 2200 in epoch seconds: a time after it is none."""
_AHEAD_S = 300.0
"""How far in the future a count may be, in seconds: clocks of hosts differ a little."""
_LOCK_WAIT_S = 0.5
"""How long another process that writes the spending is waited for, in seconds."""


class Scope(NamedTuple):
    """What a budget is of: a route, an org and an API key (empty: all), in a calendar period."""

    route: str
    org: str
    key: str
    per: BudgetPeriod

    @property
    def is_by_line(self) -> bool:
        """Whether only the access log says what is of it: usage records have no route or org."""
        return bool(self.route or self.org)


class Spend(msgspec.Struct, frozen=True):
    """What was spent of a scope in the period that began at ``begins`` (epoch seconds), exactly.

    ``unattributed`` is what no line of the access log explains, so that it may be of this scope or
    of another; of one that is not by line it is a part of ``cost``. ``last_day`` is the cost of
    the last 24 hours, ``since`` the time from which on the log has lines, where it begins after
    costs do. ``places`` are the orgs with cost, by route, of a scope with a key. ``problem`` is
    why nothing can be known.
    """

    scope: Scope
    begins: int
    cost: Decimal = Decimal(0)
    unattributed: Decimal = Decimal(0)
    last_day: Decimal = Decimal(0)
    since: float | None = None
    places: Mapping[str, Sequence[str]] = {}
    problem: str = ""


class Spending(msgspec.Struct, frozen=True):
    """What was spent, from usage records of a profile up to ``until``; times in epoch seconds.

    ``burn`` is the cost of the last ``burn_s`` seconds, a day at most, of all keys; None where it
    is not known. ``counted_at`` is when that count began, and ``took_s`` how many seconds it took.
    ``problem`` is why a later one failed, at ``failed_at``; empty where none did.
    """

    until: float = 0.0
    spends: Sequence[Spend] = ()
    burn: Decimal | None = None
    burn_s: float = 0.0
    counted_at: float = 0.0
    took_s: float = 0.0
    failed_at: float = 0.0
    problem: str = ""
    profile: str = ""

    @property
    def a_day(self) -> Decimal | None:
        """The cost of a day at the burn, rounded; None where it is not known."""
        return a_day_of(self.burn, self.burn_s)


def a_day_of(cost: Decimal | None, seconds: float) -> Decimal | None:
    """Return what a cost in some time is a day, rounded; None under an hour."""
    if cost is None or seconds < 3600:
        return None
    return cost * Decimal(86_400) / Decimal(round(seconds))


def scope_of(budget: Budget) -> Scope:
    """Return what a budget is of."""
    return Scope(budget.route, budget.org, budget.key, budget.per)


def scopes_at(file: RolloutFile, at: float) -> dict[Scope, Period]:
    """Return what all budgets of a file are of, each once, and its period at a time."""
    scopes = dict.fromkeys(scope_of(budget) for budget in file.budgets.values())
    periods = {per: period_at(per, at) for per in dict.fromkeys(one.per for one in scopes)}
    return {scope: periods[scope.per] for scope in scopes}


def spending_path(folder: Path, rollout_file: Path, profile: str) -> Path:
    """Return where the spending of a rollout file and its profile is kept."""
    digest = hashlib.sha256(f"{real_path(rollout_file)}\n{profile}".encode()).hexdigest()
    return folder / f"spending-{digest[:16]}.json"


def keep_spending(found: Spending, path: Path, *, only_newer: bool = False) -> bool:
    """Write the spending, unless a count that began later was written; return whether it counts.

    With ``only_newer`` also unless another covers a later time. A failure of the write is ignored.
    """
    with best_effort_lock(path.parent, _LOCK_WAIT_S):
        before = kept_spending(path)
        if before is not None and found.until < before.until:
            is_later = found.counted_at < before.counted_at and _is_newer(before, found)
            if only_newer or is_later:
                return False
        _write(found, path)
    return True


def _is_newer(before: Spending, found: Spending) -> bool:
    """Return whether a kept count covers a later time, which is no future of a wrong clock."""
    return found.until < before.until <= found.counted_at + _AHEAD_S


def _write(found: Spending, path: Path) -> None:
    with suppress(OSError, ValueError):
        write_private(path, msgspec.json.encode(found))


def kept_spending(path: Path) -> Spending | None:
    """Return the spending that was kept, None where there is none that can be used.

    Others may write it: a FIFO is not waited for, and what cannot be an amount or a time is none.
    """
    try:
        data, _ = read_regular(path, _MOST_BYTES)
        found = decode_json(data, msgspec.json.Decoder(Spending))
    except (OSError, UndecodableError):
        return None
    amounts, times = [found.burn or Decimal(0)], [found.until, found.counted_at, found.failed_at]
    for one in found.spends:
        amounts += (one.cost, one.unattributed, one.last_day)
        times += (one.begins, one.since or 0.0)
    times += (found.burn_s, found.took_s)
    is_one = all(map(_is_amount, amounts)) and all(0 <= time <= _MOST_TIME for time in times)
    return found if is_one else None


def _is_amount(amount: Decimal) -> bool:
    """Return whether arithmetic and words can do with an amount: 1e999999 is finite as well."""
    if not amount.is_finite():
        return False
    exponent = int(amount.as_tuple().exponent)
    return exponent >= -_MOST_DECIMALS and amount.adjusted() < _MOST_DIGITS


def shared_path(rollout_file: Path) -> Path:
    """Return where the spending is for all who work on a file: ``rollout.spending.json``."""
    target = real_path(rollout_file)
    return target.with_name(f"{target.stem}.spending.json")


def known_spending(folder: Path, rollout_file: Path, profile: str, now: float) -> Spending | None:
    """Return the newest count of a rollout file and its profile, whoever made it; else None.

    One from the future of ``now`` (epoch seconds) was made by a clock that was wrong: it would be
    the newest for as long, and is taken only where there is no other. A newer failure of one's own
    stays told.
    """
    own = kept_spending(spending_path(folder, rollout_file, profile))
    shared = kept_spending(shared_path(rollout_file))
    if shared is None or shared.profile != profile:
        return own
    if own is not None and _rank(own, now) >= _rank(shared, now):
        return own
    if own is not None and own.failed_at > shared.counted_at:
        return replace(shared, problem=own.problem, failed_at=own.failed_at)
    return shared


def _rank(found: Spending, now: float) -> tuple[bool, float]:
    return found.until <= now + _AHEAD_S, found.until


def share_spending(found: Spending, rollout_file: Path) -> None:
    """Write the spending beside the rollout file, for those who can read that.

    Where that folder cannot be written to, or has a newer count, nothing is done.
    """
    path, mine = shared_path(rollout_file), replace(found, failed_at=0.0, problem="")
    with suppress(OSError, ValueError), ExitStack() as stack:
        status = rollout_file.stat()
        stack.enter_context(best_effort_lock(path.parent, _LOCK_WAIT_S))
        before = kept_spending(path)
        if before is not None and _is_newer(before, found):
            return
        with replacing(path) as stream:
            with suppress(OSError):  # the user may not be in that group
                os.fchown(stream.fileno(), -1, status.st_gid)
            os.fchmod(stream.fileno(), 0o600 | status.st_mode & 0o044)
            stream.write(msgspec.json.encode(mine))


def note_failure(path: Path, problem: str, now: float) -> None:
    """Record why counting failed, beside the last count, unless a later count has succeeded."""
    with best_effort_lock(path.parent, _LOCK_WAIT_S):
        before = kept_spending(path) or Spending()
        if not now < before.counted_at <= now + _AHEAD_S:
            _write(replace(before, problem=problem, failed_at=now), path)
