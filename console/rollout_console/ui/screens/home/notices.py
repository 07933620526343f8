"""The two notice lines above the charts, and the priority of what is shown in them.

A failed rollback comes first, then the last message, then problems of the file or the history, then
proofs of rollbacks, then other problems.
"""

from collections.abc import Sequence

import msgspec

from rollout_console.changes.effect_words import named_targets
from rollout_console.changes.plan import Target
from rollout_console.common.durations import set_back, target_text
from rollout_console.guard.monitor import Monitor
from rollout_console.guard.proof import Proof
from rollout_console.ui.text import wrap_in_two
from rollout_gate.file.model import RolloutFile
from rollout_gate.secret import redacted

Pieces = tuple[tuple[str, str], ...]

TOLD_FOR_S = 15.0
PROVEN_FOR_S = 30.0
_MOST_PROOFS = 50


class _Rollback(msgspec.Struct):
    route: str | None
    org: str | None
    since: float
    drained_at: float | None = None


_GRAVE = ("file", "history", "reverted")
_LIGHT = ("keys", "balance", "lines", "log", "warning")


def _weight(trouble: tuple[str, str]) -> int:
    source = trouble[0]
    if source in _GRAVE:
        return 0
    if source == "marks":  # what the next r rolls back
        return 1
    return 3 + _LIGHT[::-1].index(source) if source in _LIGHT else 2


class Notices:
    """Holds the notices. Messages and completed proofs expire; problems stay while they last.

    A failed rollback stays until it is made or dismissed. Times are epoch seconds.
    """

    def __init__(self) -> None:
        self._troubles: dict[str, str] = {}
        self._hidden: set[str] = set()
        self._rollbacks: list[_Rollback] = []
        self._failed: dict[tuple[Target, ...], tuple[str, str]] = {}
        self._told: tuple[float, str, str] | None = None

    def trouble(self, source: str, sentence: str) -> None:
        """Set the problem of ``source``, with secrets redacted; an empty sentence clears it."""
        sentence = redacted(sentence)
        if not sentence:
            self._troubles.pop(source, None)
            self._hidden.discard(source)
        elif self._troubles.get(source) != sentence:
            if source not in self._troubles:
                self._hidden.discard(source)
            self._troubles[source] = sentence

    def tell(self, sentence: str, now: float) -> None:
        """Show a message for TOLD_FOR_S seconds."""
        self._told = (now, redacted(sentence), "$success")

    def refuse(self, sentence: str, now: float) -> None:
        """Show for TOLD_FOR_S seconds why a key did nothing."""
        self._told = (now, redacted(sentence), "$warning")

    def rolled_back(self, route: str | None, org: str | None, since: float) -> None:
        """Start the proof of a rollback: track it until it has drained."""
        self.forget(route, org)
        self._told = None
        self._rollbacks.insert(0, _Rollback(route, org, since))
        del self._rollbacks[_MOST_PROOFS:]

    def forget(self, route: str | None, org: str | None) -> None:
        """End the proof of a rollback that is no longer in force."""
        self._rollbacks = [r for r in self._rollbacks if (r.route, r.org) != (route, org)]

    def rollback_failed(self, targets: Sequence[Target], head: str, sentence: str) -> None:
        """Show that a rollback failed, until it is made (an empty sentence) or dismissed."""
        self._failed.pop(tuple(targets), None)
        if sentence:
            self._failed[tuple(targets)] = head, redacted(sentence)

    @property
    def failed(self) -> str:
        """The newest rollback that failed, and why, in one sentence; empty without one."""
        for targets, (head, sentence) in list(self._failed.items())[-1:]:
            what = target_text(*targets[0]) if len(targets) == 1 else named_targets(targets, 3)
            return f"{head}: {what}: {sentence}"
        return ""

    def keep_latched(self, file: RolloutFile) -> None:
        """Reconcile the notices with a new version of the file.

        Proofs end for what it does not roll back, failures are cleared for what it does.
        """
        for made in [key for key in self._failed if all(file.is_latched(*one) for one in key)]:
            del self._failed[made]
        self._rollbacks = [r for r in self._rollbacks if file.is_latched(r.route, r.org)]

    def dismiss(self) -> None:
        """Hide the current notices; a problem is shown again when it has ended and recurs."""
        self._told = None
        self._failed.clear()
        self._troubles.pop("reverted", None)  # an event, which does not end: the next is told anew
        # An unusable file blocks all changes but rollbacks; esc clears marks before notices.
        self._hidden |= set(self._troubles) - {"file", "marks"}
        self._rollbacks = [r for r in self._rollbacks if r.drained_at is None]

    def proof_of(self, route: str, org: str | None, monitor: Monitor, now: float) -> str:
        """Return the proof for one row; empty where no tracked rollback covers it."""
        for made in self._rollbacks:
            if made.route in (None, route) and made.org in (None, org):
                return monitor.proof(route, org, made.since, now).text
        return ""

    def _newest_proof(self, monitor: Monitor, now: float) -> tuple[_Rollback, Proof, int] | None:
        """Return the newest rollback with its proof, and how many others were made with it.

        Of several made at once, it is the first that has not drained. None where all have, and the
        proof has expired.
        """
        for made in self._rollbacks:
            made.since = set_back(made.since, now, monitor.set_back_s)
        at_once = [made for made in self._rollbacks if made.since == self._rollbacks[0].since]
        proofs = [(m, monitor.proof(m.route, m.org, m.since, now)) for m in at_once]
        for made, proof in proofs:
            if proof.drained and made.drained_at is None:
                made.drained_at = now
        shown = [
            (made, proof)
            for made, proof in proofs
            if made.drained_at is None or abs(now - made.drained_at) <= PROVEN_FOR_S
        ]
        if not shown:
            return None
        made, proof = next((one for one in shown if not one[1].drained), shown[0])
        return made, proof, len(at_once) - 1

    def lines(self, monitor: Monitor, now: float, width: int = 0) -> tuple[Pieces, Pieces]:
        """Return the two notices of the highest priority, each as pieces of text and style.

        A message or a grave problem that is the only one has both lines where it is wider than
        ``width`` cells (0 for no limit).
        """
        told: list[Pieces] = []
        grave: list[Pieces] = []
        proofs: list[Pieces] = []
        light: list[Pieces] = []
        if newest := self._newest_proof(monitor, now):
            made, proof, others = newest
            what = target_text(made.route, made.org)
            what += f" and {others} more" if others else ""
            style = "$success" if proof.drained and not proof.limits else "$warning"
            said = f"{what} rolled back: {proof.text}"
            said += f"; {proof.limits}" if proof.limits else ""
            proofs.append(((" ↩ ", "$warning bold"), (said, style)))
        for source, sentence in sorted(self._troubles.items(), key=_weight):
            if source not in self._hidden:
                style = "$error" if source in _GRAVE else "$warning"
                place = grave if source in _GRAVE else light
                place.append(((" ! ", "$error bold"), (sentence, style)))
        if self._told is not None:
            at, sentence, style = self._told
            if abs(now - at) <= TOLD_FOR_S:
                told = [((" ", ""), (sentence, style))]
        if self.failed:
            told.insert(0, ((" ! ", "$error bold"), (self.failed, "$error bold")))
        found = [*told, *grave, *proofs, *light]
        if width and len(found) == 1 and not proofs and not light:
            return wrap_in_two(found[0], width)
        found += [(), ()]
        return found[0], found[1]
