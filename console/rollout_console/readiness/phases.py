"""Each route's phase: what must be so before it ends, what is, who said so, and moving on."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from rollout_console.changes.plan import Plan
from rollout_console.changes.switch import Done, Switch
from rollout_console.common.errors import OperationError, ReadOnly
from rollout_console.guard.evidence.verdict import Verdict
from rollout_console.readiness.exit_checks import CheckState, ExitFacts
from rollout_console.readiness.plan_file import PlanFile, PlanState, Sample, Tick
from rollout_console.readiness.playbook import playbook, playbook_path, put_playbook
from rollout_gate.file.errors import UnknownRoute
from rollout_gate.file.model import MEDIA_FORMATS, PHASES, RolloutFile, Route
from rollout_gate.file.phases import checks_between, exit_checks
from rollout_gate.secret import redacted

if TYPE_CHECKING:
    from rollout_console.readiness.shadow import Tally

_NONE: Mapping[str, Verdict] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class PhaseState:
    """A route's phase with its exit checks."""

    route: str
    phase: str
    owner: str
    states: tuple[CheckState, ...]

    @property
    def missing(self) -> list[CheckState]:
        """What is not done yet."""
        return [state for state in self.states if not state.done]


class Phases:
    """Judges phases, keeps ticks, and moves routes on."""

    def __init__(
        self,
        switch: Switch,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._switch = switch
        self._clock = clock
        self._plan_file = PlanFile(switch.path)

    @property
    def plan_path(self) -> Path:
        """Where owners, ticks and samples are kept."""
        return self._plan_file.path

    def plan(self) -> PlanState:
        """Return owners, ticks and samples; raises StoreError."""
        return self._plan_file.read()

    def states(
        self, file: RolloutFile, verdicts: Mapping[str, Verdict] = _NONE
    ) -> list[PhaseState]:
        """Return every route's phase with its exit checks; reads logs, so not for a UI thread."""
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
        """Return what is not done of all that stands between a route's phase and another."""
        found = _route(file, route)
        if wanted not in PHASES:
            raise OperationError(f"there is no phase {wanted!r}; there are: {', '.join(PHASES)}")
        facts = self._facts(file, verdicts)
        needed = checks_between(found.phase, wanted, media=_is_media(found))
        return [s for s in (facts.judge(found, check) for check in needed) if not s.done]

    def plan_move(self, route: str, wanted: str) -> Plan:
        """Plan the move of a route to another phase."""
        return self._switch.plan_phase(route, wanted)

    def move(self, plan: Plan, missing: Sequence[CheckState], reason: str) -> Done:
        """Move on; where something is missing, only with a reason, which the history keeps.

        Raises what Switch.apply does.
        """
        what = "; ".join(state.check.words for state in missing)
        return self._switch.apply(
            plan, reason=reason, held=f"missing: {what}" if missing else "", override=True
        )

    def check_tick(self, file: RolloutFile, route: str, check_id: str) -> None:
        """Raise OperationError for an exit check that is none, or is not a person's to tick."""
        media = _is_media(_route(file, route))
        checks = [c for p in PHASES for c in exit_checks(p, media=media)]
        found = next((check for check in checks if check.id == check_id), None)
        people = ", ".join(check.id for check in checks if check.by == "person")
        if found is None:
            raise OperationError(f"there is no exit check {check_id!r}; to tick are: {people}")
        if found.by != "person":
            raise OperationError(f"{check_id} is seen by the console itself: {found.fix}")

    def tick(self, file: RolloutFile, route: str, check_id: str, note: str) -> None:
        """Say that something is so that only a person can say; raises StoreError."""
        self._may_change()
        self.check_tick(file, route, check_id)
        at = self._clock().replace(microsecond=0)
        self._plan_file.tick(route, check_id, Tick(self._switch.who.name, at, redacted(note)))

    def untick(self, file: RolloutFile, route: str, check_id: str) -> None:
        """Take a tick away; raises StoreError."""
        self._may_change()
        self.check_tick(file, route, check_id)
        self._plan_file.tick(route, check_id, None)

    def own(
        self, file: RolloutFile, route: str, owner: str, contacts: tuple[str, ...] | None = None
    ) -> None:
        """Name a route's owner, and its contacts where given; raises StoreError."""
        self._may_change()
        _route(file, route)
        kept = None if contacts is None else tuple(redacted(one) for one in contacts)
        self._plan_file.own(route, redacted(owner), kept)

    def keep_sample(self, file: RolloutFile, route: str, sample: Sample) -> None:
        """Keep what a shadow sample showed; raises StoreError."""
        self._may_change()
        _route(file, route)
        self._plan_file.keep_sample(route, sample)

    def keep_tally(self, file: RolloutFile, route: str, tally: "Tally", model: str) -> Sample:
        """Keep how a sample was judged, and return it; raises OperationError, StoreError."""
        if not tally.pairs:
            raise OperationError("nothing was judged, nothing is kept")
        sample = tally.sample(self._clock(), self._switch.who.name, model)
        self.keep_sample(file, route, sample)
        return sample

    def playbook(self, file: RolloutFile, verdicts: Mapping[str, Verdict] = _NONE) -> str:
        """Return the support playbook of the file as it is now; reads logs."""
        states = self.states(file, verdicts)
        return playbook(self._switch.path, file, self.plan(), states, self._clock())

    def write_playbook(
        self, file: RolloutFile, verdicts: Mapping[str, Verdict] = _NONE, path: Path | None = None
    ) -> Path:
        """Write the support playbook, and return where; raises StoreError."""
        self._may_change()
        path = path or playbook_path(self._switch.path)
        put_playbook(path, self.playbook(file, verdicts))
        return path

    def _may_change(self) -> None:
        if self._switch.read_only:
            raise ReadOnly

    def _facts(self, file: RolloutFile, verdicts: Mapping[str, Verdict]) -> ExitFacts:
        return ExitFacts(self._switch, file, self.plan(), verdicts, self._clock())


def _route(file: RolloutFile, name: str) -> Route:
    if name not in file.routes:
        raise UnknownRoute(name, list(file.routes))
    return file.routes[name]


def _is_media(route: Route) -> bool:
    return route.format in MEDIA_FORMATS
