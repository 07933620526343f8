"""Ramps: raises a route's orgs step by step, for as long as the evidence is good.

The guard never fights an operator: an org whose share was changed, latched or resumed by another
party is taken out of its ramp until it is put back. Each org's place is persisted next to the
rollout file, with a write-ahead record of the step in progress, so that neither a restart nor
another guard takes a step twice.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from datetime import UTC, datetime
from time import monotonic

import msgspec

from rollout_console.changes.recorded import moved_by
from rollout_console.changes.switch import Done, Switch
from rollout_console.common.listing import first_of
from rollout_console.guard.monitor import Monitor
from rollout_console.guard.ramp_record import Out, Place, RampRecord, RouteRamp
from rollout_console.history.actor import GUARD
from rollout_console.history.rows import Change
from rollout_gate.file.model import RolloutFile, Route
from rollout_gate.file.percent import percent_text

PHASE = "rollout"
"""The only phase with ramps: routes before it are not proven yet, those after it are done."""

MOST_A_TURN = 20
MOST_S_A_TURN = 1.0
"""Limits on the raises of one turn: their number, and the seconds after which no other is started,
so that verdicts are computed in between."""

_MOST_NAMED = 4


class Standing(msgspec.Struct, frozen=True):
    """State of one org of a ramp: its share and the next step, both in basis points.

    ``waits_for`` is the reason that holds the step, ``out`` why the org is out of its ramp;
    ``next`` is None where there is no further step.
    """

    org: str
    points: int
    next: int | None
    waits_for: str = ""
    out: str = ""


class Raised(msgspec.Struct, frozen=True):
    """A step that was taken, from ``before`` to ``after`` basis points."""

    route: str
    org: str
    before: int
    after: int
    done: Done


class Ramps:
    """Raises orgs along their ramps, and keeps the ramp record."""

    def __init__(self, switch: Switch, monitor: Monitor, record: RampRecord) -> None:
        self._switch = switch
        self._monitor = monitor
        self._record = record
        self._known_to = 0
        self._resumed: dict[tuple[str, str | None], float] = {}
        self._moved: dict[tuple[str, str | None], float] = {}

    def follow(self, changes: Iterable[Change]) -> None:
        """Take the history's rows: what was rolled back and resumed, or moved and moved back, while
        no turn looked is in no version of the file that one has seen. Rows may come again.

        A guard's own steps do not count. Of a move without an org, of a default or of many orgs,
        the rows do not tell whose share it was.
        """
        changes = list(changes)
        newest = max((change.id for change in changes), default=self._known_to)
        if newest < self._known_to:
            self._known_to = 0  # another database, whose ids begin again
        for change in changes:
            if change.id > self._known_to:
                at = change.at.timestamp()
                for move in moved_by(change):
                    if move.route is None:
                        continue
                    if move.latched:
                        self._resumed[move.route, move.org] = at
                    elif move.org is not None and change.user != GUARD:
                        self._moved[move.route, move.org] = at
        self._known_to = newest

    def remember(self) -> None:
        """Restore the bake times of steps taken before this start; raises StoreError."""
        for route, ramp in self._record.read().items():
            for org, place in ramp.places.items():
                if place.since is not None:
                    self._monitor.note_raise(route, org, place.since.timestamp())

    def look(self, now: float) -> list[str]:
        """Reconcile the record with the file: add new orgs, take out those changed by others.

        Returns sentences naming those taken out. Raises StoreError.
        """
        file, record = self._monitor.file, self._record.read()
        since = self._record.written_at()  # a guard writes after it has looked
        resumed, moved = (
            {place for place, at in places.items() if at > since}
            for places in (self._resumed, self._moved)
        )
        self._resumed.clear()
        self._moved.clear()
        said: list[str] = []
        at = datetime.fromtimestamp(now, UTC)
        for route in ramped(file):
            ramp = record.get(route.name, RouteRamp())
            new, settled, out = _compared(file, route, ramp, resumed, moved, at)
            if out:
                self._record.take_out(route.name, out)
                said += _out_words(route.name, out)
            if new or settled:
                self._record.keep(route.name, new | settled)
        return said

    def standings(self, held: Callable[[Route, str, int, int], str]) -> dict[str, list[Standing]]:
        """Return the state of every org of every ramp; ``held`` returns what holds a raise."""
        record = self._record.read()
        return {
            route.name: list(_standings(self._monitor.file, route, record, held))
            for route in ramped(self._monitor.file)
        }

    def climb(
        self,
        standings: Mapping[str, list[Standing]],
        now: float,
        leads: Callable[[], bool] = lambda: True,
    ) -> Iterator[Raised]:
        """Take the steps that nothing holds, within the limits of a turn, while this guard leads.

        Raises as Switch.apply does, and StoreError.
        """
        ready: list[tuple[str, Standing]] = [
            (route, one)
            for route, found in standings.items()
            for one in found
            if one.next is not None and not one.waits_for and not one.out
        ]
        ready = ready[:MOST_A_TURN]
        # Write-ahead: record the steps, so that recovery does not take them for manual edits.
        places = self._begin(ready)
        end = monotonic() + MOST_S_A_TURN
        try:
            for route, one in ready:
                if monotonic() >= end or not leads():
                    return
                # If the step raises, its outcome is unknown: the write-ahead record must stay.
                del places[route, one.org]
                raised = self._step(route, one, now)
                places[route, one.org] = Place(raised.after, datetime.fromtimestamp(now, UTC))
                yield raised
        finally:
            if leads():  # another that leads by now has what became of the steps from the file
                self._keep(places)

    def _begin(self, ready: Iterable[tuple[str, Standing]]) -> dict[tuple[str, str], Place]:
        """Write ahead the steps about to be taken; return the places before them, to restore."""
        record = self._record.read()
        before: dict[tuple[str, str], Place] = {}
        begun: dict[tuple[str, str], Place] = {}
        for route, one in ready:
            known = record.get(route, RouteRamp()).places.get(one.org, Place(one.points))
            before[route, one.org] = Place(one.points, known.since)
            begun[route, one.org] = Place(one.points, known.since, to=one.next)
        self._keep(begun)
        return before

    def _keep(self, places: Mapping[tuple[str, str], Place]) -> None:
        by_route: dict[str, dict[str, Place]] = {}
        for (route, org), place in places.items():
            by_route.setdefault(route, {})[org] = place
        for route, of_route in by_route.items():
            self._record.keep(route, of_route)

    def _step(self, route: str, one: Standing, now: float) -> Raised:
        assert one.next is not None
        plan = self._switch.planner.plan_set(route, one.org, one.next)
        steps = self._monitor.file.routes[route].ramp.steps
        step = sum(share <= one.next for share in steps)
        verdict = self._monitor.spoken_verdict(route, one.org, now)
        done = self._switch.apply(
            plan, reason=f"ramp: step {step} of {len(steps)}", verdict=verdict
        )
        return Raised(route, one.org, one.points, one.next, done)


def ramped(file: RolloutFile) -> list[Route]:
    """Return the routes whose orgs are on a ramp."""
    return [route for route in file.routes.values() if route.phase == PHASE]


def _compared(
    file: RolloutFile,
    route: Route,
    ramp: RouteRamp,
    resumed: Set[tuple[str, str | None]],
    moved: Set[tuple[str, str | None]],
    at: datetime,
) -> tuple[dict[str, Place], dict[str, Place], dict[str, Out]]:
    """Diff file and record: new orgs, orgs whose recorded step is done, orgs changed by others.

    ``resumed`` are those that were rolled back and resumed since the record was written, ``moved``
    those that others than a guard have moved.
    """
    new: dict[str, Place] = {}
    settled: dict[str, Place] = {}
    out: dict[str, Out] = {}
    for org in route.orgs:
        if org in ramp.out:
            continue
        points, place = route.org_points(org), ramp.places.get(org)
        if file.is_latched(route.name, org):
            out[org] = Out(at, "it was rolled back")
        elif place is not None and resumed & {(route.name, org), (route.name, None)}:
            out[org] = Out(at, "it was rolled back, and resumed since")
        elif place is None:
            if points:
                new[org] = Place(points)
        elif points == place.to:
            settled[org] = Place(points, place.since or at)
        elif points != place.points:
            was, now = percent_text(place.points), percent_text(points)
            out[org] = Out(at, f"changed outside the guard from {was}% to {now}%")
        elif (route.name, org) in moved:
            out[org] = Out(at, f"changed outside the guard, and back to {percent_text(points)}%")
    for org in ramp.places:
        if org not in route.orgs and org not in ramp.out:
            out[org] = Out(at, "its line was removed outside the guard")
    return new, settled, out


def _out_words(route: str, out: Mapping[str, Out]) -> Iterator[str]:
    """Yield a sentence for each reason with its orgs, truncated: a route may have thousands."""
    by_reason: dict[str, list[str]] = {}
    for org, one in out.items():
        by_reason.setdefault(one.why, []).append(org)
    for why, orgs in by_reason.items():
        yield f"out of the ramp of {route}: {first_of(orgs, _MOST_NAMED)}: {why}"


def _standings(
    file: RolloutFile,
    route: Route,
    record: Mapping[str, RouteRamp],
    held: Callable[[Route, str, int, int], str],
) -> Iterator[Standing]:
    ramp = record.get(route.name, RouteRamp())
    for org in route.orgs:
        points = route.org_points(org)
        if org in ramp.out:
            yield Standing(org, points, None, out=ramp.out[org].why)
        elif org in ramp.places:
            after = next((step for step in route.ramp.steps if step > points), None)
            waits = "" if after is None else held(route, org, points, after)
            yield Standing(org, points, after, waits)
