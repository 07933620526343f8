"""Rollback tiers of one route by different evidence, put together."""

from rollout_console.guard.evidence.blame import Tier
from rollout_console.guard.evidence.verdict import Verdict, mode_of
from rollout_gate.file.model import GUARD_MODES, GuardSettings


def stronger(limits: GuardSettings, one: Tier, other: Tier) -> Tier:
    """Return what two tiers of a route ask for together; of two verdicts the one that acts more."""
    orgs = dict(one.orgs)
    for org, verdict in other.orgs.items():
        if org not in orgs or _rank(limits, verdict) > _rank(limits, orgs[org]):
            orgs[org] = verdict
    route = max((one.route, other.route), key=lambda verdict: _rank(limits, verdict))
    return one._replace(route=route, orgs=dict(sorted(orgs.items())))


def _rank(limits: GuardSettings, verdict: Verdict) -> tuple[int, bool]:
    if verdict.kind == "ok":
        return -1, False
    return GUARD_MODES.index(mode_of(limits, verdict.signal)), verdict.kind == "rollback"
