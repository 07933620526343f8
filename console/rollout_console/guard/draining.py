"""Report when what was rolled back has drained: one line for all that was rolled back at once."""

from itertools import islice

import msgspec
from msgspec.structs import replace

from rollout_console.changes.effect_words import named_targets
from rollout_console.changes.external_edits import rolled_back
from rollout_console.common.durations import set_back, target_text
from rollout_console.guard.monitor import Monitor
from rollout_console.guard.proof import QUIET_S, Proof
from rollout_console.guard.state_change import StateChange
from rollout_gate.file.model import RolloutFile

_MOST_TARGETS = 1_000
_MOST_AT_A_TIME = 50
_MOST_NAMED = 3


class _Rollback(msgspec.Struct, frozen=True):
    targets: tuple[tuple[str | None, str | None], ...]
    since: float


class Draining:
    """Tracks rollbacks, whoever made them, until the log proves that they have drained."""

    def __init__(self) -> None:
        self._rollbacks: list[_Rollback] = []

    def begin(self, before: RolloutFile, after: RolloutFile, now: float) -> None:
        """Track what a new version of the file rolls back, at a time in epoch seconds."""
        found = tuple(islice(rolled_back(before, after), _MOST_TARGETS))
        if found:
            self._rollbacks = [*self._rollbacks, _Rollback(found, now)][-_MOST_AT_A_TIME:]

    def drained(self, monitor: Monitor, now: float) -> list[StateChange]:
        """Return those that have drained by now, each once; a resume ends what it is of."""
        changes = []
        self._rollbacks = [
            replace(one, since=set_back(one.since, now, monitor.set_back_s))
            for one in self._rollbacks
        ]
        for one in list(self._rollbacks):
            targets = [place for place in one.targets if monitor.file.is_latched(*place)]
            moving = [place for place in targets if _had_traffic(monitor, place, one.since)]
            proofs = [monitor.proof(*place, one.since, now) for place in moving]
            if not targets:
                self._rollbacks.remove(one)
            elif proofs and all(proof.drained for proof in proofs):
                self._rollbacks.remove(one)
                changes.append(_change(moving, proofs))
        return changes


def _had_traffic(
    monitor: Monitor, place: tuple[str | None, str | None], since: float
) -> bool:  # fmt: skip
    last = monitor.last_seen(*place, "tokenlab")
    return last is not None and last >= since - QUIET_S


def _change(places: list[tuple[str | None, str | None]], proofs: list[Proof]) -> StateChange:
    limits = f"; {proofs[0].limits}" if proofs[0].limits else ""
    if len(places) > 1:
        named = named_targets(places, _MOST_NAMED)
        return StateChange("drained", f"{named} have drained{limits}")
    (route, org), proof = places[0], proofs[0]
    words = proof.text.partition(" · ")[0]
    return StateChange("drained", f"{target_text(route, org)}: {words}{limits}", route, org)
