"""The async media jobs of a rollout, read from the ledger of the gate's clients beside the log."""

import json
import os
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from math import inf
from pathlib import Path
from typing import Any, Literal, get_args

import msgspec

from rollout_console.common.errors import OperationError
from rollout_console.common.folders import folder_of
from rollout_console.jobs.outcomes import Ended, Jobs, Outcome, by_side, outcomes
from rollout_gate.file.model import OPEN_LIMITS_S, RolloutFile
from rollout_gate.http.create_records import SENDING_S, Create
from rollout_gate.http.job_ledger import TaskLedger
from rollout_gate.http.shared_database import opened_to_read_once, storable
from rollout_gate.http.task_answers import TaskAnswer
from rollout_gate.paths import LEDGER_NAME

LOST_AFTER_S = 600
"""A task that the application has not asked about for so many seconds after its create is lost."""
REPEATED_WITHIN_S = 600.0
"""The same request within so many seconds is a repetition."""
MOST_ROWS = 1_000
MOST_ENDED = 50_000
"""Limit of the ended jobs that ``look`` reads, the newest: it bounds the time of one read."""
NEAR_S = 3_600.0
FAR_S = 6 * 3_600.0
ENOUGH = 2_000
"""Jobs of the last NEAR_S seconds are evidence, and of a ledger with fewer than ENOUGH in that time
as many older ones, of up to FAR_S."""
_WAIT_S = 2.0
_ENDED_AFTER_S = 86_400.0
_NOT_OVER = "state in ('unknown', 'open')"
"""The condition of the ledger's partial index."""
_STEPS = 50_000
"""How many steps of SQLite's virtual machine are between two looks at whether to stop."""
_NAMES = Create.__struct_fields__
_TIMES = ("sent_at", "seen_at", "ended_at")
_MOST_TIME = 7_258_118_400.0
"""The year 2200 in epoch seconds: a time after it is none."""
_OUTCOME = "route, side, org, sent_at, state, ended_at, seen_at, error"
"""What ``outcomes`` reads of a row."""
_HAS_OUTCOME = "task_id is not null and state in ('open', 'completed', 'failed')"

Standing = Literal["unknown", "lost", "late", "open", "sending", "failed", "cancelled", "completed"]
"""How a job stands, the most urgent first. ``sending``: no answer yet. ``unknown``: the answer to
the create is lost, and nobody knows whether there is a task. ``open``, ``late``: it runs, and for
longer than its limit. ``lost``: nobody has asked for it since it was created."""
STANDINGS: Sequence[Standing] = get_args(Standing)
TROUBLE: frozenset[Standing] = frozenset(("unknown", "lost", "late"))
"""The standings that need somebody to look."""

_STANDING = f"""
case
  when state = 'unknown' and status is null and sent_at > :now - {SENDING_S} then 'sending'
  when state = 'unknown' then 'unknown'
  when state in ('failed', 'cancelled') then state
  when polls = 0 and task_id is not null and sent_at < :now - {LOST_AFTER_S} then 'lost'
  when state = 'completed' then 'completed'
  when sent_at < :now - coalesce(
    (select value from json_each(:limits) where key = route), {max(OPEN_LIMITS_S.values())}
  ) then 'late'
  else 'open'
end
"""  # noqa: S608 - numbers of ours alone
_ALL = f"select {', '.join(_NAMES)}, {_STANDING} as standing from creates"  # noqa: S608 - ours alone


class JobRow(msgspec.Struct, frozen=True):
    """One job and how it stands."""

    create: Create
    standing: Standing


Order = Literal["trouble", "newest", "oldest", "route"]
ORDERS: Sequence[Order] = get_args(Order)


class Wanted(msgspec.Struct, frozen=True):
    """Which jobs ``look`` returns, and in which order.

    A job is wanted that has every word, or with ``inverted`` one that has not. The word of a
    standing, and ``trouble``, are those of the standing alone; any other is a part of a route, org,
    side, id, model, host or error code, ignoring the case of ASCII letters.
    """

    words: tuple[str, ...] = ()
    inverted: bool = False
    order: Order = "trouble"

    @classmethod
    def of(cls, text: str, order: Order = "trouble") -> "Wanted":
        """Return what a typed filter asks for; a leading ``!`` inverts it."""
        text = text.strip()
        words = text.removeprefix("!").split()
        return cls(tuple(words), text.startswith("!") and bool(words), order)


class Look(msgspec.Struct, frozen=True):
    """One read of the ledger.

    ``counts`` are of all jobs read, by standing; ``matched`` is how many of them are wanted, of
    which ``rows`` are the first. ``is_cut`` where older ones have ended than were read.
    """

    rows: list[JobRow]
    counts: Mapping[Standing, int]
    matched: int
    is_cut: bool


class Repeated(msgspec.Struct, frozen=True):
    """Two creates that may have made the same asset twice, the earlier first, and why."""

    first: Create
    second: Create
    kind: Literal["job_id", "after_unknown", "request"]
    """The same job id with two tasks; the same request after one whose answer was lost; the same
    request again within the window."""


class JobBook:
    """Reads and corrects the ledger of one rollout file.

    Raises OperationError where the ledger cannot be used; one that is not there has no jobs.
    """

    def __init__(
        self, path: Path, limits: Mapping[str, int] | None = None, *, wait_s: float = _WAIT_S,
        most_s: float = inf,
    ) -> None:  # fmt: skip
        self.path = path
        self._wait_s = wait_s
        self._ends_at = time.monotonic() + most_s
        self.limits = dict(limits or {})
        self._writer = TaskLedger(path)

    @property
    def exists(self) -> bool:
        """Whether there is a ledger yet."""
        try:
            return self.path.exists()
        except OSError:  # a folder that may not be looked into
            return False

    def rows(
        self, now: float, *, since: float = 0.0, standings: Sequence[Standing] = (),
        route: str = "", org: str | None = None, most: int = MOST_ROWS,
    ) -> list[JobRow]:  # fmt: skip
        """Return jobs, the most urgent first, then the newest: those that are not over, of any
        age, and those sent since a time (epoch seconds)."""
        wanted = []
        given: dict[str, object] = {"since": since, "most": most}
        if route:
            wanted.append("route = :route")
            given["route"] = route
        if org is not None:
            wanted.append("org = :org")
            given["org"] = org
        if standings:
            slots = [f":s{i}" for i, _ in enumerate(standings)]
            wanted.append(f"standing in ({', '.join(slots)})")
            given |= {f"s{i}": one for i, one in enumerate(standings)}
        rest = f"where {' and '.join(wanted) or 'true'} order by {_ORDER_BY['trouble']} limit :most"
        return [*self._read(now, rest, given, self._current())]

    def counts(
        self, now: float, *, since: float = 0.0, route: str = "", org: str | None = None
    ) -> dict[tuple[str, Standing], int]:
        """Return how many jobs of each route stand how; the same jobs as in ``rows``."""
        query = (
            f"select route, standing, count(*) from ({self._current()})"  # noqa: S608 - ours alone
            " where :route in ('', route) and (:org is null or org = :org) group by route, standing"
        )
        given = {"now": now, "since": since, "route": route, "org": org}
        return {(route, standing): n for route, standing, n in self._query(query, given)}

    def look(
        self, now: float, since: float, wanted: Wanted, *, most: int = MOST_ROWS,
        stop: threading.Event | None = None,
    ) -> Look:  # fmt: skip
        """Return the jobs that are not over, of any age, and the newest that ended since a time.

        Unlike ``rows`` it reads at most MOST_ENDED of those that have ended, so that the time it
        takes does not grow with the ledger. It ends early once ``stop`` is set: OperationError.
        """
        match, given = _match(wanted)
        given |= {"now": now, "since": since, "ended": MOST_ENDED, "most": most}
        order = _ORDER_BY[wanted.order]
        # In a temporary table, as each row of the ledger is then looked up once.
        read = (
            f"create temp table seen as select *, {match} as matched"  # noqa: S608 - ours alone
            f" from ({self._bounded()})"
        )
        counted = "select standing, count(*), sum(matched), sum(not is_open) from seen group by 1"
        listed = (
            f"select {', '.join(f'creates.{name}' for name in _NAMES)}, standing"  # noqa: S608
            " from (select create_id, standing, row_number() over (order by"
            f" {order}) as place from seen where matched order by place limit :most)"
            " join creates using (create_id) order by place"
        )
        _, found, rows = self._query_all((read, counted, listed), given, stop) or ([], [], [])
        return Look(
            [JobRow(_create(values), standing) for *values, standing in rows],
            {standing: count for standing, count, _, _ in found},
            sum(matched for _, _, matched, _ in found),
            sum(ended for _, _, _, ended in found) >= MOST_ENDED,
        )

    def find(self, text: str, now: float) -> list[JobRow]:
        """Return the jobs with this task id, job id or id of the ledger, the newest first."""
        each = " union ".join(
            f"{_ALL} where {condition}"
            for condition in (
                "task_id = :text", "job_id = :text and job_id != ''", "create_id = :text",
            )
        )  # fmt: skip
        return [*self._read(now, "order by sent_at desc", {"text": text}, each)]

    def to_poll(self, most: int = MOST_ROWS) -> list[Create]:
        """Return TokenLab's tasks that have not ended, the oldest first."""
        rest = (
            f"where {_NOT_OVER} and state = 'open' and side = 'tokenlab' and task_id is not null"
            " order by sent_at limit :most"
        )
        return [row.create for row in self._read(0.0, rest, {"most": most})]

    def repeated(
        self, *, since: float, window_s: float, stop: threading.Event | None = None
    ) -> list[Repeated]:
        """Return the pairs of creates since a time that may be one job made twice.

        ``window_s`` is how long after a request the same one counts as its repetition, in seconds.
        """
        columns = ", ".join(f"{{0}}.{name}" for name in _NAMES)
        pair = f"{columns.format('a')}, {columns.format('b')}"
        by_job = (
            f"select {pair} from creates a cross join creates b"  # noqa: S608 - names of ours alone
            " on b.job_id = a.job_id and b.route = a.route and b.org = a.org and b.job_id != ''"
            " where a.sent_at >= :since and a.job_id != '' and a.create_id < b.create_id"
            " and a.task_id != b.task_id order by a.sent_at"
        )
        by_request = (
            f"select {pair} from creates a cross join creates b"  # noqa: S608 - names of ours alone
            " on b.route = a.route and b.org = a.org and b.fingerprint = a.fingerprint"
            " and b.sent_at > a.sent_at and b.sent_at <= a.sent_at + :window"
            " where a.sent_at >= :since and a.fingerprint != x''"
            " and (a.state = 'unknown' or a.task_id is not null) and b.task_id is not null"
            " and a.state not in ('failed', 'cancelled')"
            " and not exists (select 1 from creates c where c.route = a.route and c.org = a.org"
            " and c.fingerprint = a.fingerprint and c.sent_at > a.sent_at"
            " and c.sent_at < b.sent_at) order by a.sent_at"
        )
        given = {"since": since, "window": window_s}
        found: dict[tuple[str, str], Repeated] = {}
        pairs, again = self._query_all((by_job, by_request), given, stop) or ([], [])
        for row in pairs:
            first, second = sorted(_pair(row), key=lambda one: one.sent_at)
            found[first.create_id, second.create_id] = Repeated(first, second, "job_id")
        for row in again:
            first, second = _pair(row)
            kind: Literal["after_unknown", "request"] = (
                "after_unknown" if first.task_id is None else "request"
            )
            found.setdefault((first.create_id, second.create_id), Repeated(first, second, kind))
        return [*found.values()]

    def ended(
        self, *, since: float, now: float | None = None, route: str = "", org: str | None = None
    ) -> dict[tuple[str, str], Ended]:
        """Return how jobs have ended since a time (epoch seconds), by route and side.

        Those that were created more than a day before are left out.
        """
        every = self.outcomes(since=since, now=now)
        sides = by_side(one for one in every if route in ("", one.route) and org in (None, one.org))
        ended = {place: side.ended(since) for place, side in sides.items()}
        return {place: one for place, one in ended.items() if one.count}

    def outcomes(
        self, *, since: float, until: float = inf, now: float | None = None
    ) -> list[Outcome]:
        """Return how jobs turn out that were created from a day before a time on, to another."""
        rows = self._query(
            f"select {_OUTCOME} from creates where sent_at between :sent and :until"  # noqa: S608
            f" and {_HAS_OUTCOME} order by sent_at",
            {"sent": since - _ENDED_AFTER_S, "until": until},
        )
        return outcomes(rows, self.limits, time.time() if now is None else now)

    def judged(self, now: float, *, since: float = inf, most: int = MOST_ENDED) -> Jobs:
        """Return how the newest jobs turn out, at most ``most`` of them, by route and side.

        The guard judges those of the last hour, or of twice the longest time that a job may be
        open; where these are fewer than ENOUGH, as many, of up to FAR_S. Those sent after ``since``
        (epoch seconds) are there as well.
        """
        near = now - max(NEAR_S, *(2.0 * one for one in self.limits.values()), 0.0)
        given: dict[str, object] = {"now": now, "enough": ENOUGH}
        nth = (
            f"select sent_at from creates where sent_at <= :now and {_HAS_OUTCOME}"  # noqa: S608
            " order by sent_at desc limit 1 offset :enough"
        )
        enough = next((float(at) for (at,) in self._query(nth, given)), -inf)
        judged_since = max(min(near, enough), min(now - FAR_S, near))
        given |= {"since": min(since, judged_since), "most": most}
        rows = self._query(
            f"select {_OUTCOME} from creates where sent_at between :since and :now"  # noqa: S608
            f" and {_HAS_OUTCOME} order by sent_at desc limit :most",
            given,
        )
        rows.reverse()
        found = outcomes(rows, self.limits, now)
        begins = found[0].sent_at if found and len(rows) >= most else min(since, judged_since)
        return by_side(found, max(judged_since, begins), begins)

    def seen(self, task_id: str, answer: TaskAnswer) -> None:
        """Record what TokenLab answers about a task of its side."""
        self._writer.seen(task_id, "tokenlab", answer, by_application=False)

    def forget(self, route: str, job_id: str, org: str) -> None:
        """Delete a job, so that it may be created again; its known tasks stay listed."""
        self._writer.forget(route, job_id, org=org)
        left = "where route = :route and org = :org and job_id = :job_id and task_id is null"
        self._check_forgotten(left, {"route": route, "org": org, "job_id": job_id})

    def forget_create(self, create: Create) -> None:
        """Delete a create whose outcome is unknown, and with it its job, if it has an id."""
        if create.job_id:
            self.forget(create.route, create.job_id, create.org)
        else:
            self._writer.dropped(create.create_id)
            self._check_forgotten("where create_id = :one", {"one": create.create_id})

    def close(self) -> None:
        """Close the ledger's file, if it was written to."""
        self._writer.close()

    def _check_forgotten(self, rest: str, given: Mapping[str, object]) -> None:
        """Read back: the ledger buffers in memory what it cannot write.

        The buffer is dropped: flushed later, it would delete what was created again meanwhile.
        """
        if self._query(f"select 1 from creates {rest} limit 1", given):  # noqa: S608 - ours alone
            self._writer = TaskLedger(self.path)
            raise OperationError(f"{self.path} cannot be written: nothing was forgotten")

    def _read(
        self, now: float, rest: str, given: Mapping[str, object], source: str = ""
    ) -> Iterator[JobRow]:
        query = f"select * from ({source or _ALL}) {rest}"  # noqa: S608 - ours alone
        for *values, standing in self._query(query, {**given, "now": now}):
            yield JobRow(_create(values), standing)

    def _current(self) -> str:
        """Return the query of the jobs that are not over, and of those sent since ``:since``."""
        every = _ALL
        return (
            f"{every} where sent_at >= :since"
            f" union all {every} where {_NOT_OVER} and sent_at < :since"
        )

    def _bounded(self) -> str:
        """Return the query for what is not over, and for the newest that has ended.

        Each part has the condition of its index. An ended job is found by its time, and each such
        lookup reads another page: hence the limit.
        """
        every = f"{_ALL} where state"
        return (
            f"select *, 1 as is_open from ({every} in ('unknown', 'open'))"  # noqa: S608
            f" union all select *, 0 as is_open from ({every} not in ('unknown', 'open')"
            " and sent_at >= :since order by sent_at desc limit :ended)"
        )

    def _is_over(self, stop: threading.Event | None) -> bool:
        return time.monotonic() > self._ends_at or (stop is not None and stop.is_set())

    def _query(self, query: str, given: Mapping[str, object]) -> list[tuple[Any, ...]]:
        return next(iter(self._query_all((query,), given)), [])

    def _query_all(
        self, queries: Sequence[str], given: Mapping[str, object],
        stop: threading.Event | None = None,
    ) -> list[list[tuple[Any, ...]]]:  # fmt: skip
        """Return the rows of each query, all of one moment; nothing where there is no ledger."""
        if not self.exists:
            return []
        try:
            with closing(opened_to_read_once(self.path, self._wait_s)) as database:
                if stop is not None or self._ends_at < inf:
                    database.set_progress_handler(lambda: self._is_over(stop), _STEPS)
                database.execute("pragma temp_store = memory")
                database.execute("begin")
                values = {"limits": json.dumps(self.limits), **given}
                return [database.execute(query, values).fetchall() for query in queries]
        except sqlite3.Error as error:
            if "no such table" in str(error):
                return []  # a ledger of an older gate: it has no creates yet
            if time.monotonic() > self._ends_at:
                raise OperationError(f"{self.path} takes too long to be read") from None
            if self.exists and not os.access(self.path, os.R_OK):
                said = f"{self.path} cannot be read: its mode closes it to this user"
                raise OperationError(f"{said}; add the user to its group") from None
            raise OperationError(f"{self.path} cannot be read: {error}") from None


_TEXTS = ("route", "org", "side", "task_id", "job_id", "error", "model", "host", "request_id",
          "billing_transaction_id")  # fmt: skip
"""The columns that a word of a filter is looked for in: what a row or its details show."""
_URGENCY = " ".join(f"when '{one}' then {i}" for i, one in enumerate(STANDINGS))
_ORDER_BY: Mapping[Order, str] = {
    "trouble": f"case standing {_URGENCY} end, sent_at desc",
    "newest": "sent_at desc",
    "oldest": "sent_at",
    "route": f"route, org, case standing {_URGENCY} end, sent_at desc",
}


def _match(wanted: Wanted) -> tuple[str, dict[str, object]]:
    """Return the condition that a job is wanted, in SQL, and its parameters."""
    parts, given = [], dict[str, object]()
    for i, word in enumerate(wanted.words):
        plain = word.lower()
        if plain == "trouble":
            found = ", ".join(f"'{one}'" for one in STANDINGS if one in TROUBLE)
            parts.append(f"standing in ({found})")
        elif plain in STANDINGS:
            parts.append(f"standing = :w{i}")
        else:
            text = " || char(10) || ".join(f"coalesce({name}, '')" for name in _TEXTS)
            parts.append(f"(instr({text}, :o{i}) or instr(lower({text}), :w{i}))")
            given[f"o{i}"] = storable(word)
        given[f"w{i}"] = storable(plain)
    if not parts:
        return "1", given
    return f"{'not ' if wanted.inverted else ''}({' and '.join(parts)})", given


def job_book(
    path: Path, file: RolloutFile, *, wait_s: float = _WAIT_S, most_s: float = inf
) -> JobBook:
    """Return the jobs of a rollout file at a path: the ledger is beside its access log.

    A lock of the ledger is waited for ``wait_s`` seconds, and all reads of this book together take
    at most ``most_s``: then they are OperationError.
    """
    folder = (folder_of(path) / file.access_log).absolute().parent
    limits = {name: route.open_limit_s for name, route in file.routes.items()}
    return JobBook(folder / LEDGER_NAME, limits, wait_s=wait_s, most_s=most_s)


def _create(values: Sequence[object]) -> Create:
    named = dict(zip(_NAMES, values, strict=True))
    for name in _TIMES:
        value = named[name]
        if isinstance(value, int | float):  # clamp: no calendar has a time of infinity
            named[name] = min(max(value, 0.0), _MOST_TIME)
    try:
        return msgspec.convert({**named, "has_own_id": bool(named["has_own_id"])}, Create)
    except ValueError as error:
        raise OperationError(f"the ledger of jobs has a row that is none: {error}") from None


def _pair(row: Sequence[object]) -> tuple[Create, Create]:
    return _create(row[: len(_NAMES)]), _create(row[len(_NAMES) :])
