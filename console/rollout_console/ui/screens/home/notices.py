"""What the two lines above the charts say: trouble first, then proofs, then what was done."""

from dataclasses import dataclass

from rollout_console.common.durations import target_text
from rollout_console.guard.monitor import Monitor
from rollout_gate.file.model import RolloutFile
from rollout_gate.secret import redacted

Pieces = tuple[tuple[str, str], ...]

TOLD_FOR_S = 15.0
PROVEN_FOR_S = 30.0


@dataclass(slots=True)
class _Rollback:
    route: str | None
    org: str | None
    since: float
    drained_at: float | None = None


_GRAVE = ("file", "history")
_LIGHT = ("keys", "balance", "lines", "log", "warning")


def _weight(trouble: tuple[str, str]) -> int:
    source = trouble[0]
    return 0 if source in _GRAVE else 2 + _LIGHT[::-1].index(source) if source in _LIGHT else 1


class Notices:
    """Holds what is to be said. Trouble stays while it lasts; the rest goes after a while."""

    def __init__(self) -> None:
        self._troubles: dict[str, str] = {}
        self._hidden: set[str] = set()
        self._rollbacks: list[_Rollback] = []
        self._failed: dict[tuple[str | None, str | None], str] = {}
        self._told: tuple[float, str, str] | None = None

    def trouble(self, source: str, sentence: str) -> None:
        """Set what is wrong with ``source``; an empty sentence ends it."""
        sentence = redacted(sentence)
        if not sentence:
            self._troubles.pop(source, None)
            self._hidden.discard(source)
        elif self._troubles.get(source) != sentence:
            if source not in self._troubles:
                self._hidden.discard(source)
            self._troubles[source] = sentence

    def tell(self, sentence: str, now: float) -> None:
        """Say something for a while."""
        self._told = (now, redacted(sentence), "$success")

    def refuse(self, sentence: str, now: float) -> None:
        """Say for a while why a key did nothing."""
        self._told = (now, redacted(sentence), "$warning")

    def rolled_back(self, route: str | None, org: str | None, since: float) -> None:
        """Start the proof of a rollback."""
        self.forget(route, org)
        self._told = None
        self._rollbacks.insert(0, _Rollback(route, org, since))
        del self._rollbacks[50:]

    def forget(self, route: str | None, org: str | None) -> None:
        """End the proof of what is not rolled back any more."""
        self._rollbacks = [r for r in self._rollbacks if (r.route, r.org) != (route, org)]

    def rollback_failed(self, route: str | None, org: str | None, sentence: str) -> None:
        """Say that a rollback was not made, until it is or this is dismissed."""
        self._failed.pop((route, org), None)
        if sentence:
            self._failed[route, org] = redacted(sentence)

    def keep_latched(self, file: RolloutFile) -> None:
        """End the proofs of what a new version of the file does not say is rolled back, and the
        failures of what it does."""
        for made in [key for key in self._failed if file.is_latched(*key)]:
            del self._failed[made]
        self._rollbacks = [r for r in self._rollbacks if file.is_latched(r.route, r.org)]

    def dismiss(self) -> None:
        """Hide what is said now; trouble comes back when it changes its source."""
        self._told = None
        self._failed.clear()
        self._hidden |= set(self._troubles) - {"file"}  # no change can be made while that lasts
        self._rollbacks = [r for r in self._rollbacks if r.drained_at is None]

    def proof_of(self, route: str, org: str | None, monitor: Monitor, now: float) -> str:
        """Return the proof for one row, where a rollback that reaches it was made here."""
        for made in self._rollbacks:
            if made.route in (None, route) and made.org in (None, org):
                return monitor.proof(route, org, made.since, now).text
        return ""

    def lines(self, monitor: Monitor, now: float) -> tuple[Pieces, Pieces]:
        """Return the two lines as pieces of text and style."""
        told: list[Pieces] = []
        grave: list[Pieces] = []
        proofs: list[Pieces] = []
        light: list[Pieces] = []
        for made in self._rollbacks[:1]:
            proof = monitor.proof(made.route, made.org, made.since, now)
            if proof.drained and made.drained_at is None:
                made.drained_at = now
            if made.drained_at is not None and now - made.drained_at > PROVEN_FOR_S:
                continue
            what = target_text(made.route, made.org)
            style = "$success" if proof.drained else "$warning"
            proofs.append(((" ↩ ", "$warning bold"), (f"{what} rolled back: {proof.text}", style)))
        for source, sentence in sorted(self._troubles.items(), key=_weight):
            if source not in self._hidden:
                style = "$error" if source in _GRAVE else "$warning"
                place = grave if source in _GRAVE else light
                place.append(((" ! ", "$error bold"), (sentence, style)))
        if self._told is not None:
            at, sentence, style = self._told
            if now - at <= TOLD_FOR_S:
                told = [((" ", ""), (sentence, style))]
        for (route, org), sentence in list(self._failed.items())[-1:]:
            said = f"NOT ROLLED BACK: {target_text(route, org)}: {sentence}"
            told.insert(0, ((" ! ", "$error bold"), (said, "$error bold")))
        found = [*told, *grave, *proofs, *light, (), ()]
        return found[0], found[1]
