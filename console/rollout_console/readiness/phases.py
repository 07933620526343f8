"""Phases of the routes: exit checks, ticks by people, and the move to another phase."""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

import msgspec

from rollout_console.changes.plan import Plan
from rollout_console.changes.switch import Done, Switch
from rollout_console.common.errors import OperationError
from rollout_console.guard.evidence.verdict import Verdict
from rollout_console.readiness.exit_checks import CheckState, ExitFacts
from rollout_console.readiness.plan_file import PlanFile, PlanState, Sample, Tick
from rollout_console.readiness.playbook import Place, playbook, playbook_path, put_playbook
from rollout_gate.file.errors import UnknownRoute
from rollout_gate.file.model import MEDIA_FORMATS, PHASES, RolloutFile, Route
from rollout_gate.file.phases import checks_between, exit_checks
from rollout_gate.secret import redacted

if TYPE_CHECKING:
    from rollout_console.readiness.shadow import Tally

_NONE: Mapping[str, Verdict] = MappingProxyType({})


class PhaseState(msgspec.Struct, frozen=True):
    """A route's phase with its exit checks."""

    route: str
    phase: str
    owner: str
    states: tuple[CheckState, ...]

    @property
    def missing(self) -> list[CheckState]:
        """The exit checks that are not done."""
        return [state for state in self.states if not state.done]


class Phases:
    """Evaluates exit checks, stores ticks, and moves routes between phases."""

    def __init__(
        self,
        switch: Switch,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._switch = switch
        self._clock = clock
        publisher = switch.publisher("plan")
        self._plan_file = PlanFile(switch.path, switch.access, publisher)
        self.plan_name = self._plan_file.path.name if publisher is None else publisher.name
        """How the plan file is called in a sentence; it has owners, ticks and samples."""

    def plan(self) -> PlanState:
        """Return owners, ticks and samples; raises StoreError."""
        return self._plan_file.read()

    def states(
        self, file: RolloutFile, verdicts: Mapping[str, Verdict] = _NONE
    ) -> list[PhaseState]:
        """Return every route's phase with its exit checks; reads logs, so not for the UI thread.

        Raises StoreError.
        """
        facts = self._facts(file, verdicts)
        return [
            PhaseState(
                route.name,
                route.phase,
                facts.plan.route(route.name).owner,
                tuple(
                    facts.judge(route, check)
                    for check in exit_checks(route.phase, media=_is_media(route))
                ),
            )
            for route in file.routes.values()
        ]

    def missing(
        self, file: RolloutFile, route: str, wanted: str, verdicts: Mapping[str, Verdict] = _NONE
    ) -> list[CheckState]:
        """Return the checks not done of those needed to move a route to the phase ``wanted``.

        Raises UnknownRoute, StoreError, and OperationError for an unknown phase.
        """
        found = _route(file, route)
        if wanted not in PHASES:
            raise OperationError(f"there is no phase {wanted!r}; there are: {', '.join(PHASES)}")
        facts = self._facts(file, verdicts)
        needed = checks_between(found.phase, wanted, media=_is_media(found))
        return [s for s in (facts.judge(found, check) for check in needed) if not s.done]

    def plan_move(self, route: str, wanted: str) -> Plan:
        """Plan the move of a route to another phase."""
        return self._switch.planner.plan_phase(route, wanted)

    def move(self, plan: Plan, missing: Sequence[CheckState], reason: str) -> Done:
        """Apply the move; with checks missing it needs a reason, which the history records.

        Raises what Switch.apply does.
        """
        what = "; ".join(state.check.words for state in missing)
        return self._switch.apply(
            plan, reason=reason, held=f"missing: {what}" if missing else "", override=True
        )

    def check_tick(self, file: RolloutFile, route: str, check_id: str) -> None:
        """Raise OperationError for an unknown exit check, or one that no person may tick."""
        media = _is_media(_route(file, route))
        checks = [c for p in PHASES for c in exit_checks(p, media=media)]
        found = next((check for check in checks if check.id == check_id), None)
        people = ", ".join(check.id for check in checks if check.by == "person")
        if found is None:
            raise OperationError(
                f"there is no exit check {check_id!r}; checks that can be ticked: {people}"
            )
        if found.by != "person":
            raise OperationError(
                f"{check_id} is evaluated by the console and cannot be ticked: {found.fix}"
            )

    def tick(self, file: RolloutFile, route: str, check_id: str, note: str) -> None:
        """Tick an exit check as this user, with a redacted note.

        Raises ReadOnly, UnknownRoute, OperationError (see ``check_tick``) and StoreError.
        """
        self._switch.access.require()
        self.check_tick(file, route, check_id)
        at = self._clock().replace(microsecond=0)
        self._plan_file.tick(route, check_id, Tick(self._switch.who.name, at, redacted(note)))

    def untick(self, file: RolloutFile, route: str, check_id: str) -> None:
        """Remove a tick; raises as ``tick`` does."""
        self._switch.access.require()
        self.check_tick(file, route, check_id)
        self._plan_file.tick(route, check_id, None)

    def own(
        self, file: RolloutFile, route: str, owner: str, contacts: tuple[str, ...] | None = None
    ) -> None:
        """Set a route's owner, and its contacts where given, redacted.

        Raises ReadOnly, UnknownRoute and StoreError.
        """
        self._switch.access.require()
        _route(file, route)
        kept = None if contacts is None else tuple(redacted(one) for one in contacts)
        self._plan_file.own(route, redacted(owner), kept)

    def keep_sample(self, file: RolloutFile, route: str, sample: Sample) -> None:
        """Store the result of a shadow sample; raises ReadOnly, UnknownRoute and StoreError."""
        self._switch.access.require()
        _route(file, route)
        self._plan_file.keep_sample(route, sample)

    def keep_tally(self, file: RolloutFile, route: str, tally: "Tally", model: str) -> Sample:
        """Store a tally as a sample, and return it; raises OperationError for an empty tally.

        Otherwise it raises as ``keep_sample`` does.
        """
        if not tally.pairs:
            raise OperationError("nothing was judged, nothing is kept")
        sample = tally.sample(self._clock(), self._switch.who.name, model)
        self.keep_sample(file, route, sample)
        return sample

    def playbook(self, file: RolloutFile, verdicts: Mapping[str, Verdict] = _NONE) -> str:
        """Render the support playbook of the file as it is now; reads logs, raises StoreError."""
        states = self.states(file, verdicts)
        return playbook(self._switch.path, file, self.plan(), states, self._clock(), self._place())

    def _place(self) -> Place | None:
        shared = self._switch.shared
        if shared is None:
            return None
        servers = tuple((one.host, one.path) for one in shared.spread.mirrors)
        return Place(self._switch.name, shared.location, servers)

    def write_playbook(
        self, file: RolloutFile, verdicts: Mapping[str, Verdict] = _NONE, path: Path | None = None
    ) -> Path:
        """Write the support playbook, and return its path; raises ReadOnly and StoreError."""
        self._switch.access.require()
        path = path or playbook_path(self._switch.path)
        put_playbook(path, self.playbook(file, verdicts), self._switch.path)
        return path

    def _facts(self, file: RolloutFile, verdicts: Mapping[str, Verdict]) -> ExitFacts:
        return ExitFacts(self._switch, file, self.plan(), verdicts, self._clock())


def _route(file: RolloutFile, name: str) -> Route:
    if name not in file.routes:
        raise UnknownRoute(name, list(file.routes))
    return file.routes[name]


def _is_media(route: Route) -> bool:
    return route.format in MEDIA_FORMATS
