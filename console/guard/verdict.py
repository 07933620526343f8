"""Verdicts: the rollback tier of a route, and the hold tier of anything that could be raised."""

from dataclasses import dataclass
from typing import Literal

from console.guard.eprocess import EProcess
from console.guard.evidence import clean_requests_needed, wilson_upper
from console.guard.previous import PreviousSide
from console.rollout.model import GuardSettings

Kind = Literal["ok", "hold", "rollback"]

FLOOR_REQUESTS = 10
FLOOR_ERRORS = 3
IN_A_ROW = 3
SLOW_SHARE = 0.05
STALE_AFTER_S = 30.0
GATES = ("gateway", "contract", "rate_limit", "latency")
"""What has an e-process; ``auth`` and ``balance`` go by errors in a row."""
_BY_CLASS = GATES[:3]
WORDS = {"gateway": "5xx", "contract": "4xx", "rate_limit": "429", "latency": "slow"}


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the guard thinks, why in words, and which gate it rests on."""

    kind: Kind
    reason: str = ""
    gate: str = ""

    @property
    def words(self) -> str:
        """The verdict as one says it: ``ok``, or its kind and reason."""
        return "ok" if self.kind == "ok" else f"{self.kind}: {self.reason}"


OK = Verdict("ok")


class RouteGuard:
    """Judges one route's TokenLab side, request by request.

    Classes of status: ``ok``, ``contract``, ``auth``, ``balance``, ``rate_limit``, ``gateway``.
    Times are epoch seconds, and only as good as the log's.
    """

    def __init__(self, limits: GuardSettings) -> None:
        self.limits = limits
        self.reset()

    def reset(self) -> None:
        """Forget all evidence, as after a change of the shares."""
        self._processes = {gate: EProcess(self._limit(gate)) for gate in GATES}
        self._requests = 0
        self._orgs: dict[str, set[str]] = {}
        self._orgs_in: set[str] = set()
        self._row_of, self._row = "", 0
        self._previous = PreviousSide(self.limits.window_s)
        self._p0: dict[str, float] = {gate: self._limit(gate) for gate in GATES}
        self._p0_at = 0

    def observe(
        self, org: str, side: str, status_class: str, latency_ms: float, at: float = 0.0
    ) -> None:
        """Take one request into account."""
        slow = latency_ms > self.limits.max_p95_ms
        if side != "tokenlab":
            self._previous.add(status_class, slow, at)
            return
        if int(at) != self._p0_at or not at:
            # From what came before this second: a limit must be known before what it judges.
            self._p0, self._p0_at = self._limits_now(), int(at)
        self._requests += 1
        self._orgs_in.add(org)
        for gate in _BY_CLASS:
            self._step(gate, org, status_class == gate)
        # Only an answer has a latency worth judging.
        if status_class == "ok":
            self._step("latency", org, slow)
        if status_class == self._row_of:
            self._row += 1
        else:
            self._row_of, self._row = status_class, 1

    def rollback_verdict(self) -> Verdict:
        """Return ``rollback`` with the gate that asks for it, else ``ok``.

        A credential or the balance that fails in a row is a ``hold``, and a ``rollback`` in mode
        ``enforce`` alone.
        """
        asking = [
            gate for gate in GATES if self._processes[gate].tripped and self._over_floor(gate)
        ]
        if asking:
            gate = max(asking, key=lambda gate: self._processes[gate].value)
            return Verdict("rollback", self._reason(gate), gate)
        kind: Kind = "rollback" if self.limits.mode == "enforce" else "hold"
        for gate, word in (("auth", "401/403"), ("balance", "402")):
            if self._row_of == gate and self._row >= IN_A_ROW:
                return Verdict(kind, f"{self._row}x {word}, all in a row", gate)
        return OK

    def _step(self, gate: str, org: str, error: bool) -> None:
        process = self._processes[gate]
        process.observe(error, self._p0[gate])
        if not process.requests:
            self._orgs.pop(gate, None)  # the suspicion is over, and with it whom it was about
        elif error:
            self._orgs.setdefault(gate, set()).add(org)

    def _limit(self, gate: str) -> float:
        if gate == "latency":
            return SLOW_SHARE
        percent = {
            "gateway": self.limits.max_5xx_percent,
            "contract": self.limits.max_4xx_percent,
            "rate_limit": self.limits.max_429_percent,
        }[gate]
        return percent / 100

    def _limits_now(self) -> dict[str, float]:
        """Return the limits, raised by what the previous side itself cannot do better."""
        return {gate: max(self._limit(gate), self._previous.allows(gate)) for gate in GATES}

    def _over_floor(self, gate: str) -> bool:
        several = len(self._orgs_in) >= 2
        return (
            self._requests >= FLOOR_REQUESTS
            and self._processes[gate].errors >= FLOOR_ERRORS
            and (not several or len(self._orgs.get(gate, ())) >= 2)
        )

    def _reason(self, gate: str) -> str:
        process = self._processes[gate]
        share = 100 * process.errors / max(process.requests, 1)
        limit = f"{100 * process.p0:.2g}%"
        by = " (previous)" if process.p0 > self._limit(gate) else ""
        counts = f"{process.errors} of {process.requests}"
        return f"{WORDS[gate]} {percent_words(share)}, {counts}, limit {limit}{by}"


def percent_words(share: float) -> str:
    """Return a percent in three or four characters: a tenth says nothing more from 10% on."""
    return f"{share:.1f}%" if share < 9.95 else f"{share:.0f}%"


@dataclass(frozen=True, slots=True)
class Counts:
    """Requests of a time, and how many of them were errors of each class."""

    requests: int
    contract: int = 0
    gateway: int = 0
    limited: int = 0


def hold_tier(
    limits: GuardSettings,
    *,
    recent: Counts,
    evidence: Counts,
    p95_ms: float | None,
    age_s: float | None,
    bake_left_s: float = 0.0,
) -> Verdict:
    """Return ``ok`` where the counts are evidence of health, else ``hold`` and why.

    Rates are judged on ``recent``, the window; that there were requests enough on ``evidence``,
    which reaches back over the bake time but not to before the last raise. ``age_s`` is the age
    of the newest request, None where there was none; ``bake_left_s`` what is left of the bake time.
    """
    if age_s is None:
        return Verdict("hold", "no data", "data")
    if age_s > STALE_AFTER_S:
        return Verdict("hold", f"no data {_time(age_s)}", "data")
    if evidence.requests == 0:
        return Verdict("hold", "no data since the step" if bake_left_s else "no data", "data")
    if p95_ms is not None and p95_ms > limits.max_p95_ms:
        return Verdict("hold", f"p95 {p95_ms:.0f} ms", "latency")
    signals = (
        ("5xx", recent.gateway, evidence.gateway, limits.max_5xx_percent),
        ("4xx", recent.contract, evidence.contract, limits.max_4xx_percent),
        ("429", recent.limited, evidence.limited, limits.max_429_percent),
    )
    for word, now, _, percent in signals:
        if recent.requests and 100 * now / recent.requests > percent:
            return Verdict("hold", f"{word} {percent_words(100 * now / recent.requests)}", word)
    for word, _, errors, percent in signals:
        if wilson_upper(errors, evidence.requests) > percent / 100:
            needed = clean_requests_needed(percent / 100)
            if errors == 0:
                return Verdict("hold", f"{evidence.requests} of {needed} ok", word)
            few = f"{word} {errors} of {evidence.requests}, too few to tell"
            return Verdict("hold", few, word)
    if bake_left_s > 0:
        return Verdict("hold", f"bakes for {_time(bake_left_s)}", "bake")
    return OK


def _time(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} m" if seconds < 6000 else f"{seconds / 3600:.0f} h"
