"""Evaluation of a phase's exit checks, and the facts that they use."""

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import msgspec

from rollout_console.changes.switch import Switch
from rollout_console.changes.traffic_diff import DEFAULT_SHARE
from rollout_console.common.folders import folder_of
from rollout_console.common.listing import counted
from rollout_console.guard.evidence.verdict import Verdict
from rollout_console.health.log.multi_file import MOST_FILES, matching
from rollout_console.health.log.probe_log import ProbeLine, last_probes, probe_log_path, probe_text
from rollout_console.health.log.sources import cannot_be_read
from rollout_console.history.rows import Change
from rollout_console.jobs.job_book import REPEATED_WITHIN_S, Repeated, job_book
from rollout_console.readiness.checks.offline import check_offline
from rollout_console.readiness.checks.result import Result
from rollout_console.readiness.plan_file import PlanState, Sample
from rollout_console.readiness.playbook import playbook_path, playbook_revision
from rollout_gate.file.model import RolloutFile, Route
from rollout_gate.file.percent import FULL, percent_text
from rollout_gate.file.phases import (
    EXIT_CHECKS,
    LEAST_JUDGED,
    MOST_SLOWER,
    MOST_WORSE,
    PROBE_DAYS,
    STABLE_DAYS,
    ExitCheck,
)
from rollout_gate.untrusted import UndecodableError, decode_json

HEALTHY = "rollout.healthy"
"""The id of the check on the guard's verdict, which has figures of its own each second."""
_TAIL_BYTES = 8 * 1024 * 1024


class CheckState(msgspec.Struct, frozen=True):
    """The state of one exit check now: whether it is done, with the evidence or what is missing."""

    check: ExitCheck
    done: bool
    why: str


class _LogLine(msgspec.Struct):
    route: str
    side: str
    org: str = ""
    request_id: str | None = None
    job_id: str | None = None
    task_id: str | None = None


class ExitFacts:
    """Facts from files, logs and the history, read once for all routes.

    Reading blocks, so this is not for the UI thread. ``verdicts`` is a snapshot of the guard's, by
    route: a monitor belongs to the thread that owns it.
    """

    def __init__(
        self, switch: Switch, file: RolloutFile, plan: PlanState, verdicts: Mapping[str, Verdict],
        now: datetime,
    ) -> None:  # fmt: skip
        self._switch = switch
        self._verdicts = verdicts
        self._file = file
        self.plan = plan
        self._now = now

    # Lazy: each fact is read only when the check of some route needs it.

    @cached_property
    def _probes(self) -> dict[tuple[str, str], ProbeLine]:
        return last_probes(probe_log_path(self._switch.path, self._file))

    @cached_property
    def _log(self) -> "_Tail":
        return _tail(folder_of(self._switch.path) / self._file.access_log)

    @cached_property
    def _repeated(self) -> list[Repeated]:
        since = (self._now - timedelta(days=STABLE_DAYS)).timestamp()
        book = job_book(self._switch.path, self._file)
        return book.repeated(since=since, window_s=REPEATED_WITHIN_S)

    @cached_property
    def _broken_rules(self) -> list[Result]:
        return [
            result
            for result in check_offline(self._switch.path, self._switch.address)
            if not result.ok
        ]

    @cached_property
    def _rows(self) -> list[Change]:
        return self._switch.recent(None, notes=False)[0]

    def judge(self, route: Route, check: ExitCheck) -> CheckState:
        """Evaluate an exit check: a person's by its tick in the plan, others by the facts."""
        if check.by == "person":
            tick = self.plan.route(route.name).ticks.get(check.id)
            if tick is None:
                return CheckState(check, False, check.fix)
            note = f": {tick.note}" if tick.note else ""
            return CheckState(check, True, f"{tick.by}, {tick.at:%Y-%m-%d}{note}")
        done, why = _JUDGES[check.id](self, route)
        return CheckState(check, done, why if done else f"{why}; {check.fix}")

    def named(self, route: Route) -> tuple[bool, str]:
        """Check that the route names its model and its previous side."""
        missing = [n for n in ("model", "previous_base_url") if not getattr(route, n)]
        if missing:
            return False, f"{' and '.join(missing)} not named"
        return True, f"{route.format}, {route.model}"

    def owner(self, route: Route) -> tuple[bool, str]:
        """Check that the plan names an owner."""
        owner = self.plan.route(route.name).owner
        return bool(owner), owner or "nobody is named"

    def rules(self, route: Route) -> tuple[bool, str]:
        """Check that the offline rules of the file and of this route hold."""
        mine = [result for result in self._broken_rules if result.concerns(route.name)]
        return not mine, f"{mine[0].rule}: {mine[0].reason}" if mine else "they hold"

    def shape(self, route: Route) -> tuple[bool, str]:
        """Check the newest probe on TokenLab: no problems, this model, at most PROBE_DAYS old."""
        one: ProbeLine | None = self._probes.get((route.name, "tokenlab"))
        if one is None:
            return False, "there was none"
        words = probe_text(one, self._now.timestamp())
        age = self._now - datetime.fromisoformat(one.ts)
        if one.model != route.model:
            return False, f"the last was of {one.model}"
        return not one.problems and age <= timedelta(days=PROBE_DAYS), words

    def logs(self, route: Route) -> tuple[bool, str]:
        """Check that a TokenLab request in the access log's tail has its request id."""
        found, with_id = self._log.counts.get(route.name, (0, 0))
        if not found:
            return False, self._log.closed or "there is none"
        return with_id > 0, f"{found} TokenLab requests, {with_id} with their ids"

    def tally(self, route: Route) -> tuple[bool, str]:
        """Check this model's shadow sample: enough pairs, and few of them worse or failed."""
        sample = self._sample(route)
        if sample is None:
            return False, "there is no sample of this model"
        bad = sample.worse + sample.errors
        enough = sample.judged + sample.errors >= LEAST_JUDGED
        fine = bad <= MOST_WORSE * max(sample.judged + sample.errors, 1)
        return enough and fine, sample.words + ("" if enough else f"; {LEAST_JUDGED} are needed")

    def latency(self, route: Route) -> tuple[bool, str]:
        """Check the median latency in this model's sample: TokenLab's within MOST_SLOWER times."""
        sample = self._sample(route)
        if sample is None or not sample.previous_ms or not sample.tokenlab_ms:
            return False, "there is no sample of this model with answers of both sides"
        return sample.tokenlab_ms <= MOST_SLOWER * sample.previous_ms, sample.latency_words

    def everyone(self, route: Route) -> tuple[bool, str]:
        """Check that every share is at 100%, and nothing is rolled back."""
        if self._file.is_latched(route.name):
            return False, "it is rolled back"
        shares = {o: route.org_points(o) for o in route.orgs}
        shares[DEFAULT_SHARE] = route.default_points
        latched = next((org for org, share in route.orgs.items() if share.rolled_back), "")
        if latched:
            return False, f"{latched} is rolled back"
        low = next((org for org, points in shares.items() if points < FULL), "")
        return not low, f"{low} is at {percent_text(shares[low])}%" if low else "all at 100%"

    def healthy(self, route: Route) -> tuple[bool, str]:
        """Check that the guard's verdict is ok."""
        verdict = self._verdicts.get(route.name)
        if verdict is None:
            return False, "the log was not looked at"
        return verdict.kind == "ok", verdict.words

    def duplicates(self, route: Route) -> tuple[bool, str]:
        """Check that no job was made twice, by the ledger of jobs and the access log's tail.

        Without requests it fails.
        """
        if pairs := [one for one in self._repeated if one.second.route == route.name]:
            first, second = pairs[-1].first.task_id or "no task known", pairs[-1].second.task_id
            return False, f"{len(pairs)} perhaps made twice, the last as {first} and {second}"
        log = self._log
        if route.name in log.twice:
            return False, f"job {log.twice[route.name]} has two tasks"
        if log.closed:
            return False, f"not known: {log.closed}"
        seen = log.counts.get(route.name, (0, 0))[0]
        return (
            seen > 0,
            f"none in {counted(seen, 'request')}" if seen else "the log has no request of it",
        )

    def stable(self, route: Route) -> tuple[bool, str]:
        """Check that the newest change in the history is at least STABLE_DAYS old."""
        mine = [row for row in self._rows if row.route in (None, route.name)]
        if not mine:
            return False, "the history knows of no change yet"
        age = self._now - max(row.at for row in mine)  # a host's clock may be behind
        if age < timedelta(0):
            return False, f"the last was {mine[0].action}, dated ahead of this host's clock"
        said = f"the last was {mine[0].action}, {counted(age.days, 'day')} ago"
        return age >= timedelta(days=STABLE_DAYS), said

    def drilled(self, route: Route) -> tuple[bool, str]:
        """Check that the history has a rollback of the route or of everything."""
        back = next(
            (r for r in self._rows if r.action == "rollback" and r.route in (None, route.name)),
            None,
        )
        if back is None:
            return False, "there is none"
        return True, f"{back.user}@{back.host}, {back.at:%Y-%m-%d}"

    def playbook(self, route: Route) -> tuple[bool, str]:
        """Check that the playbook was written from this revision of the file."""
        path = playbook_path(self._switch.path)
        written = playbook_revision(path)
        if not written:
            return False, f"there is no {path.name}"
        same = written == self._file.revision
        return same, f"{path.name} is of {'this' if same else 'another'} revision"

    def _sample(self, route: Route) -> Sample | None:
        sample = self.plan.route(route.name).sample
        return sample if sample is not None and sample.model == route.model else None


_JUDGES: dict[str, Callable[[ExitFacts, Route], tuple[bool, str]]] = {
    "inventory.named": ExitFacts.named,
    "inventory.owner": ExitFacts.owner,
    "pilot.checks": ExitFacts.rules,
    "pilot.shape": ExitFacts.shape,
    "pilot.logs": ExitFacts.logs,
    "shadow.tally": ExitFacts.tally,
    "shadow.latency": ExitFacts.latency,
    "rollout.everyone": ExitFacts.everyone,
    "rollout.healthy": ExitFacts.healthy,
    "rollout.duplicates": ExitFacts.duplicates,
    "cleanup.stable": ExitFacts.stable,
    "cleanup.drilled": ExitFacts.drilled,
    "cleanup.playbook": ExitFacts.playbook,
}
assert set(_JUDGES) == {
    check.id for checks in EXIT_CHECKS.values() for check in checks if check.by == "console"
}


class _Tail(NamedTuple):
    """What the access log's tail has of each route."""

    counts: dict[str, tuple[int, int]]
    """TokenLab requests, and those of them with a request id."""
    twice: dict[str, str]
    """A duplicated job."""
    closed: str
    """Which log cannot be read and why, in one sentence; empty where all can."""


def _tail(log: Path) -> _Tail:
    """Read the tail of a log, of each file where ``log`` is a glob.

    A job's two tasks may be in the logs of two processes, and the same job id of two orgs is two
    jobs.
    """
    counts: dict[str, tuple[int, int]] = {}
    tasks: dict[tuple[str, str, str], str] = {}
    twice: dict[str, str] = {}
    found, closed = matching(log.absolute())
    files = sorted(found, key=lambda one: one.modified)[-MOST_FILES:]
    decoder = msgspec.json.Decoder(_LogLine)
    for file in files:
        try:
            lines = _last_lines(file.path, _TAIL_BYTES // len(files))
        except FileNotFoundError:
            continue  # race: rotated since it was listed
        except OSError as error:
            closed = closed or cannot_be_read(file.path, error)
            continue
        for line in lines:
            try:
                one = decode_json(line, decoder)
            except UndecodableError:
                continue
            if one.side == "tokenlab":
                requests, with_id = counts.get(one.route, (0, 0))
                counts[one.route] = (requests + 1, with_id + bool(one.request_id))
            if one.job_id and one.task_id:
                before = tasks.setdefault((one.route, one.org, one.job_id), one.task_id)
                if before != one.task_id:
                    twice[one.route] = one.job_id
    return _Tail(counts, twice, closed)


def _last_lines(path: Path, most_bytes: int) -> list[bytes]:
    with path.open("rb") as stream:
        stream.seek(max(0, stream.seek(0, 2) - most_bytes))
        return stream.read(most_bytes).split(b"\n")
