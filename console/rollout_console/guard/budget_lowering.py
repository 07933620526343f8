"""Lower shares for budgets that are spent, a step of the ramp at a time.

Only what a budget with ``at_limit = "lower"`` covers, on routes in mode ``enforce``, and not again
before a count knows of the lowering before and its bake time has passed. What is rolled back stays
as it is. The ramp record knows each lowering as a step of the guard's own (write-ahead), so that
the org stays in its ramp, which climbs again in the next period.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from itertools import islice
from time import monotonic
from typing import Literal

import msgspec
from msgspec.structs import replace

from rollout_console.budgets.standing import STALE_S, Standing
from rollout_console.changes.errors import StoreError
from rollout_console.changes.plan import ALL_ORGS, Plan
from rollout_console.changes.share_group import points_of, share_words
from rollout_console.changes.switch import Done, Switch
from rollout_console.changes.traffic_diff import DEFAULT_SHARE
from rollout_console.common.errors import OperationError
from rollout_console.common.listing import first_of
from rollout_console.guard.ladder import next_down, step_down
from rollout_console.guard.monitor import Monitor
from rollout_console.guard.ramp import MOST_S_A_TURN
from rollout_console.guard.ramp_record import Place, RampRecord, RouteRamp
from rollout_console.history.errors import HistoryError
from rollout_gate.file.errors import RolloutError
from rollout_gate.file.model import Route
from rollout_gate.file.percent import percent_text
from rollout_gate.secret import is_credential, redacted

MOST_AT_ONCE = 500
"""Limit of the orgs that are lowered in one change: a rollback may be waiting."""
_AHEAD_S = 60.0
"""How far a time that was recorded may be ahead; a later one is of a clock that was set back."""
_MOST_NAMED = 3
_Table = Literal["keys", "flags"]
_Due = Mapping[str, list[Standing]]
"""The shares to lower by their org, or ALL_ORGS, with the budgets that ask for it."""


class Lowered(msgspec.Struct, frozen=True):
    """Shares of a route that were lowered; ``org`` is None where it is more than one org's."""

    route: str
    org: str | None
    words: str
    reason: str
    done: Done


class BudgetLowering:
    """Lowers the shares of one rollout file; for the guard that is the leader."""

    def __init__(self, switch: Switch, monitor: Monitor, record: RampRecord) -> None:
        self._switch = switch
        self._monitor = monitor
        self._record = record
        self._waiting: dict[str, list[str]] = {}
        """By route, the orgs of a lowering that is begun: each turn takes some of them."""

    def lower(self, now: float) -> Iterator[Lowered]:
        """Lower what is due at a time (epoch seconds), in a change for each route.

        Raises as Switch.apply does, and StoreError.
        """
        file, spending = self._monitor.file, self._monitor.budgets.spending
        if spending is None or abs(now - spending.until) > STALE_S or not self._is_asked():
            return
        end = monotonic() + MOST_S_A_TURN
        for name in [*file.routes]:
            route = self._monitor.file.routes.get(name)
            if route is None or route.guard.mode != "enforce" or file.is_latched(name):
                continue
            orgs, others = self._shares(route, now), [*self._other_shares(route, now)]
            waiting = {org: orgs[org] for org in self._waiting.pop(name, ()) if org in orgs}
            due = waiting or self._due(route, name, orgs, now)
            if due:
                self._waiting[name] = [*due]
                yield self._lower_orgs(route, dict(islice(due.items(), MOST_AT_ONCE)), now)
                self._waiting[name] = [*due][MOST_AT_ONCE:]
            for table, share, asks in others:
                if monotonic() >= end:
                    return  # each has a time of its own: the rest is lowered in the next turn
                if self._due(route, _share_key(name, table, share), {share: asks}, now):
                    yield self._lower_share(route, table, share, asks, now)

    def _due(self, route: Route, key: str, shares: _Due, now: float) -> _Due:
        """Return the shares whose last lowering, or raise, a count and the bake time know of.

        What an operator raises over a spent budget stays for that long: they had a reason.
        ``key`` is what the record has the time of the last lowering under, for each budget.
        """
        spending = self._monitor.budgets.spending
        last = {
            budget: at.timestamp()
            for (budget, of), at in self._record.lowered().items()
            if of == key and at.timestamp() <= now + _AHEAD_S
        }
        return {
            share: asks
            for share, asks in shares.items()
            if spending is not None
            and _may(
                [last[one.budget.name] for one in asks if one.budget.name in last]
                + [self._monitor.raised_at(route.name, share if key == route.name else ALL_ORGS)],
                now,
                route.ramp.bake_s,
                spending.until,
            )
        }

    def _is_asked(self) -> bool:
        return any(one.at_limit == "lower" for one in self._monitor.file.budgets.values())

    def _asks(self, route: Route, org: str | None, now: float) -> list[Standing]:
        """Return the budgets that ask for a share to be lowered: an org's, or (None) of several.

        A share of several orgs is lowered for budgets of all orgs alone.
        """
        found = self._monitor.budgets.over(self._monitor.file, route.name, org, now, "others")
        return [
            one
            for one in found
            if one.budget.at_limit == "lower"
            and (org is not None or not (one.budget.org or one.budget.key))
        ]

    def _shares(self, route: Route, now: float) -> _Due:
        """Return the shares over 0% of orgs, and the default, that budgets ask to lower.

        An org without a percent of its own gets one where a budget is of that org, or of its key.
        """
        found: dict[str, list[Standing]] = {}
        whole = self._asks(route, None, now) if route.default_points else []
        if whole:
            found[ALL_ORGS] = whole
        for org in dict.fromkeys((*route.orgs, *self._named(route, now))):
            share = route.orgs.get(org)
            if org == ALL_ORGS or not route.org_points(org) or route.org_rolled_back(org):
                continue
            asks = self._asks(route, org, now)
            if share is None or share.points is None:  # by the default, which is lowered by itself
                asks = [one for one in asks if one.budget.org or one.budget.key]
                asks = [] if whole else asks
            if asks:
                found[org] = asks
        return found

    def _named(self, route: Route, now: float) -> Iterator[str]:
        """Yield the orgs that budgets name, or whose keys they name; they may have no line."""
        for one in self._monitor.budgets.standings(self._monitor.file, now):
            if one.budget.org:
                yield one.budget.org
            elif one.budget.key and one.spend is not None:
                # Requests without an org, or with a credential for one, can have no line.
                places = one.spend.places.get(route.name, ())
                yield from (org for org in places if org and not is_credential(org))

    def _other_shares(
        self, route: Route, now: float
    ) -> Iterator[tuple[_Table, str, list[Standing]]]:
        """Yield the shares by alias and flag over 0%, where a budget of all orgs asks for it."""
        if not (route.keys or route.flags) or not (asks := self._asks(route, None, now)):
            return
        yield from (("keys", name, asks) for name, points in route.keys.items() if points)
        yield from (("flags", name, asks) for name, points in route.flags.items() if points)

    def _lower_orgs(self, route: Route, due: _Due, now: float) -> Lowered:
        name, planner = route.name, self._switch.planner
        new = [(name, org) for org in due if org != ALL_ORGS and org not in route.orgs]
        plan = planner.plan_sets([(name, org) for org in due], next_down, new=new)
        ramp = self._record.read().get(name, RouteRamp())
        reasons = {org: _reason(asks, ramp, org) for org, asks in due.items()}
        parts = tuple(replace(part, reason=reasons[str(part.org)]) for part in plan.parts)
        plan = replace(plan, parts=parts)
        after = {org: next_down(route, org) for org in due}
        places = {
            org: (Place(points_of(route, org), ramp.places[org].since, to=to), to)
            for org, to in after.items()
            if org in ramp.places
        }
        reason = next(iter(reasons.values()))
        done = self._applied(route, name, due, plan, reason, now, places)
        only = next(iter(due)) if len(due) == 1 else None
        shares = [share_words(part) for part in parts] or [
            f"{name} / {only} {plan.before}% to {plan.after}%".replace(
                f"/ {ALL_ORGS} ", f"/ {DEFAULT_SHARE} "
            )
        ]
        words = redacted(f"lowered {first_of(shares, _MOST_NAMED)}: {reason}")
        return Lowered(name, None if only == ALL_ORGS else only, words, reason, done)

    def _lower_share(
        self, route: Route, table: _Table, share: str, asks: list[Standing], now: float
    ) -> Lowered:
        shares = route.keys if table == "keys" else route.flags
        to = step_down(route.ramp.steps, shares[share])
        plan = self._switch.planner.plan_share(route.name, table, share, to)
        reason = asks[0].held_words
        key = _share_key(route.name, table, share)
        done = self._applied(route, key, {share: asks}, plan, reason, now, {})
        kind = "alias" if table == "keys" else "flag"
        before, after = percent_text(shares[share]), percent_text(to)
        words = redacted(f"lowered {route.name} / {kind} {share} {before}% to {after}%: {reason}")
        return Lowered(route.name, None, words, reason, done)

    def _applied(
        self, route: Route, key: str, due: _Due, plan: Plan, reason: str, now: float,
        places: Mapping[str, tuple[Place, int]],
    ) -> Done:  # fmt: skip
        """Make the change, with its write-ahead record: recovery takes it for no manual edit."""
        at = datetime.fromtimestamp(now, UTC)
        names = dict.fromkeys(one.budget.name for asks in due.values() for one in asks)
        before = self._record.lowered()
        clock: dict[str, datetime | None] = dict.fromkeys(names, at)
        begun = {org: place for org, (place, _) in places.items()}
        self._record.note_lowered(route.name, key, clock, begun)
        verdict = self._monitor.spoken_verdict(route.name, None, now)
        try:
            done = self._switch.apply(plan, reason=reason, verdict=verdict)
        except (OperationError, RolloutError, HistoryError):
            # Nothing was lowered, by a conflict or a full disk: the next turn tries again.
            known = {name: before.get((name, key)) for name in names}
            with suppress(StoreError):
                self._record.note_lowered(route.name, key, known, {})
            raise
        if places:
            self._record.keep(route.name, {org: Place(to, at) for org, (_, to) in places.items()})
        return done


def _share_key(route: str, table: _Table, share: str) -> str:
    return f"{route} {'alias' if table == 'keys' else 'flag'} {share}"


def _may(times: Sequence[float], now: float, bake_s: float, until: float) -> bool:
    """Return whether a share may be lowered: the count and the bake time know of these times."""
    return now - max(times) >= bake_s and until > max(times)


def _reason(asks: list[Standing], ramp: RouteRamp, org: str) -> str:
    words = asks[0].held_words
    out = ramp.out.get(org)
    return words if out is None else f"{words}; out of its ramp before: {out.why}"
