"""What is wrong with the async jobs of each route, from the gate's ledger beside the access log."""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from msgspec.structs import replace

from rollout_console.common.errors import OperationError
from rollout_console.common.folders import folder_of
from rollout_console.guard.evidence.previous import allowed_rate
from rollout_console.guard.evidence.wilson import wilson_lower
from rollout_gate.file.model import RolloutFile, Route
from rollout_gate.paths import LEDGER_NAME

if TYPE_CHECKING:  # not at run time: it loads sqlite3, which a rollout without jobs need not
    from rollout_console.jobs.job_book import Repeated, Standing
    from rollout_console.jobs.outcomes import Ended, Jobs

EVERY_S = 5.0
"""How often the ledger is read, in seconds."""
LOOK_BACK_S = 86_400.0
"""How far back jobs that have ended are looked at, in seconds."""
ENDED_S = 3_600.0
"""How far back the ends of jobs are judged, in seconds: most take minutes."""
LEAST_FAILED = 3
LEAST_ENDED = 10
_WAIT_S = 0.2
_MOST_S = 1.0
"""How long one read may take in seconds: a rollback may be waiting for it."""
_LONG_S = 0.3
"""How long a read may take in seconds for another one to follow in the same call."""
_REST = 30.0
"""How many times the CPU time of a read there is none: where the host was busy with something else,
one slow read must not keep the guard from what fails meanwhile."""
_DAY_FOR_S = 60.0
"""How long the jobs of a day are read on after they were asked for, in seconds."""


class JobTrouble(msgspec.Struct, frozen=True):
    """The jobs of one route that need somebody to look, on TokenLab's side and the previous one.

    ``twice`` counts the jobs of the last day that TokenLab has perhaps made twice, and
    ``last_twice`` names the latest of them.
    """

    unknown: int = 0
    lost: int = 0
    late: int = 0
    twice: int = 0
    last_twice: str = ""
    failing: str = ""
    """How many of TokenLab's jobs fail, in words, where they are too many; empty otherwise."""

    @property
    def twice_words(self) -> str:
        """Which jobs were perhaps made twice, empty where none was."""
        if not self.twice:
            return ""
        jobs = "1 async job" if self.twice == 1 else f"{self.twice:,} async jobs"
        return f"{jobs} perhaps made twice within a day: {self.last_twice}"

    @property
    def open_words(self) -> str:
        """What is to be looked at, empty where there is nothing."""
        counts = ((self.unknown, "unknown"), (self.lost, "lost"), (self.late, "late"))
        words = ", ".join(f"{count:,} {standing}" for count, standing in counts if count)
        jobs = "async job" if self.unknown + self.lost + self.late == 1 else "async jobs"
        return f"{words} {jobs}: see the jobs screen or jobs list" if words else ""


class JobWatch:
    """Reads the ledger now and then; ``troubles`` is the last result, which threads may read."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._next_at = self._next_look_at = 0.0
        self._day_until = -inf
        self._looked: Mapping[str, JobTrouble] = {}
        self._look_trouble = ""
        self.jobs: Jobs = {}
        """How the newest jobs turn out, as of the last read; a new object at each, of which nothing
        changes."""
        self.jobs_trouble = ""
        """Why they cannot be read, empty where they can."""
        self.no_ledger = ""
        """That there is no ledger, and where it would be; empty where there is one."""
        self.looked_at = 0.0
        """When that was looked at, in epoch seconds."""
        self.troubles: Mapping[str, JobTrouble] = {}

    @property
    def trouble(self) -> str:
        """Why the ledger cannot be read, empty where it can."""
        return self.jobs_trouble or self._look_trouble

    def refresh(self, file: RolloutFile, now: float) -> None:
        """Read the ledger if it is time to; blocks for the disk. ``now`` is in epoch seconds.

        It never raises: whatever is wrong with the ledger, a rollback goes on. What verdicts rest
        on is read by itself: the look at all jobs of a day takes longer, and waits for the next
        call where both would be long.
        """
        began, used = time.monotonic(), time.thread_time()
        if began >= self._next_at:
            self.jobs_trouble = self._tried(self._judge, file, now)
            self._next_at = began + max(EVERY_S, _REST * (time.thread_time() - used))
            if time.monotonic() - began > _LONG_S:
                return
        began, used = time.monotonic(), time.thread_time()
        if began >= self._next_look_at:
            self._look_trouble = self._tried(self._look, file, now)
            self._next_look_at = began + max(EVERY_S, _REST * (time.thread_time() - used))

    def _tried(
        self, read: Callable[[RolloutFile, float, bool], None], file: RolloutFile, now: float
    ) -> str:
        """Call what reads the ledger; return why it cannot be read, empty where it can."""
        ledger = (folder_of(self._path) / file.access_log).absolute().parent / LEDGER_NAME
        try:
            is_there = ledger.exists()
            self.no_ledger = "" if is_there else f"there is no ledger of them at {ledger}"
            self.looked_at = now
            read(file, now, is_there)
        except OperationError as error:
            return str(error)
        except Exception as error:  # noqa: BLE001 - bytes of others must not stop a rollback
            return f"{ledger} cannot be read: {type(error).__name__}"
        return ""

    def want_day(self) -> None:
        """Have the jobs of a day in ``jobs`` as well, for a while: a chart shows them."""
        if time.monotonic() > self._day_until:
            self._next_at = min(self._next_at, time.monotonic())
        self._day_until = time.monotonic() + _DAY_FOR_S

    def _judge(self, file: RolloutFile, now: float, is_there: bool) -> None:
        """Read how the newest jobs turn out, and which routes have too many that fail."""
        if not is_there:
            self.jobs = {}
        else:
            from rollout_console.jobs.job_book import job_book

            jobs = job_book(self._path, file, wait_s=_WAIT_S, most_s=_MOST_S).judged(now)
            if time.monotonic() < self._day_until:
                with suppress(OperationError):  # a chart's wish must not make verdicts unknown
                    day = job_book(self._path, file, wait_s=_WAIT_S, most_s=_MOST_S)
                    jobs = day.judged(now, since=now - LOOK_BACK_S)
            self.jobs = jobs
        self._put_together(file, now)

    def _look(self, file: RolloutFile, now: float, is_there: bool) -> None:
        """Read which jobs of the last day are unknown, lost, late, or perhaps made twice."""
        looked = {}
        if is_there:
            from rollout_console.jobs.job_book import REPEATED_WITHIN_S, job_book

            book = job_book(self._path, file, wait_s=_WAIT_S, most_s=_MOST_S)
            since = now - LOOK_BACK_S
            counts = book.counts(now, since=since)
            repeated = book.repeated(since=since, window_s=REPEATED_WITHIN_S)
            looked = {name: _looked_at(name, counts, repeated) for name in file.routes}
        self._looked = looked
        self._put_together(file, now)

    def _put_together(self, file: RolloutFile, now: float) -> None:
        found = {}
        for name, route in file.routes.items():
            failing = _failing(self.jobs, route, now)
            one = replace(self._looked.get(name, JobTrouble()), failing=failing)
            if one != JobTrouble():
                found[name] = one
        self.troubles = found


def _looked_at(
    route: str,
    counts: "Mapping[tuple[str, Standing], int]",
    repeated: "Sequence[Repeated]",
) -> JobTrouble:
    pairs = [one for one in repeated if one.second.side == "tokenlab" and one.second.route == route]
    return JobTrouble(
        counts.get((route, "unknown"), 0), counts.get((route, "lost"), 0),
        counts.get((route, "late"), 0), len(pairs), _named(pairs),
    )  # fmt: skip


def _failing(jobs: "Jobs", route: Route, now: float) -> str:
    ours, theirs = jobs.get((route.name, "tokenlab")), jobs.get((route.name, "previous"))
    if ours is None:
        return ""
    since = now - ENDED_S
    return failing_jobs(
        ours.ended(since), None if theirs is None else theirs.ended(since),
        route.guard.max_failed_jobs_percent, sum(one.fate == "open" for one in ours.sent),
    )  # fmt: skip


def failing_jobs(
    ours: "Ended | None", theirs: "Ended | None", limit_percent: float, still_open: int = 0
) -> str:
    """Return in words that too many of TokenLab's jobs fail; empty where they do not.

    Too many are LEAST_FAILED with a lower bound (one-sided 95%, Wilson) of their share over the
    limit, or over what the previous side's own share allows: what fails on both sides is not
    TokenLab's fault. One that is late counts as failed until it ends. Those that are ``still_open``
    count as good so far: failures are known sooner than assets.
    """
    if ours is None or ours.bad < LEAST_FAILED:
        return ""
    limit = limit_percent / 100
    if theirs is not None:
        limit = max(limit, allowed_rate(theirs.count, theirs.bad, limit))
    if wilson_lower(ours.bad, ours.count + still_open) <= limit:
        return ""
    before = f", previous {theirs.failed_percent:.0f}%" if theirs and theirs.count else ""
    late = f" ({ours.late:,} late)" if ours.late else ""
    return (
        f"failed jobs {ours.failed_percent:.0f}%, {ours.bad:,} of {ours.count:,} in an hour{late},"
        f" limit {limit_percent:g}%{before}"
    )


def _named(pairs: "list[Repeated]") -> str:
    if not pairs:
        return ""
    last = max(pairs, key=lambda pair: pair.second.sent_at)
    first, second = last.first.task_id or "no task known", last.second.task_id
    return f"{first} and {second}"
