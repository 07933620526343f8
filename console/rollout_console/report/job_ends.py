"""How the async jobs of an incident ended: in the hour before its rollback, and after it."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from rollout_console.common.errors import OperationError
from rollout_console.jobs.job_book import job_book
from rollout_console.jobs.outcomes import Ended, Outcome, ended_of
from rollout_console.report.counting import SIDES, Phase
from rollout_console.report.scope import Scope
from rollout_gate.file.model import ALWAYS_ASYNC, RolloutFile

BEFORE_S = 3_600.0
"""How long before the rollback jobs are counted, in seconds: most take minutes."""


class JobEnds(msgspec.Struct, frozen=True):
    """How jobs ended in each stretch, by its name and side. ``is_all`` where all are of jobs: then
    the latencies of the requests are those of creates. ``trouble`` is why none are known."""

    phases: Sequence[Phase] = ()
    ended: Mapping[tuple[str, str], Ended] = msgspec.field(default_factory=dict)
    is_all: bool = False
    trouble: str = ""


NO_JOB_ENDS = JobEnds()


def job_ends(file: RolloutFile, path: Path, scope: Scope, during: Phase, until: float) -> JobEnds:
    """Return how the jobs of an incident's routes ended, by the ledger beside the access log.

    ``during`` is the incident, ``until`` the end of what is counted (epoch seconds). It never
    raises: what is wrong with the ledger is its ``trouble``.
    """
    routes = [one for one in file.routes.values() if _touches(scope, one.name)]
    media = [one for one in routes if one.format in ("image", *ALWAYS_ASYNC)]
    if not media:
        return NO_JOB_ENDS
    at = min(scope.began_at, during.end)
    phases = (Phase("the hour before", at - BEFORE_S, at), Phase("after", at, max(until, at)))
    names = {one.name for one in media}
    is_all = all(one.format in ALWAYS_ASYNC for one in routes)
    try:
        jobs = job_book(path, file).outcomes(since=at - BEFORE_S, until=until)
    except OperationError as error:
        return JobEnds(phases, {}, is_all, str(error))
    mine = [one for one in jobs if one.route in names and scope.covers(one.route, one.org)]
    if not mine and not is_all:
        return NO_JOB_ENDS
    ended = {
        (phase.name, side): ended_of(one for one in mine if one.side == side and _in(one, phase))
        for phase in phases
        for side in SIDES
    }
    return JobEnds(phases, ended, is_all)


def _touches(scope: Scope, route: str) -> bool:
    return not scope.cuts or any(cut.route in (None, route) for cut in scope.cuts)


def _in(one: Outcome, phase: Phase) -> bool:
    return one.fate != "open" and phase.begin <= one.at < phase.end
