"""Counts of several processes: prometheus-client's multi-process mode, and what it leaves open.

Each process has memory-mapped files in the folder of ``PROMETHEUS_MULTIPROC_DIR``; who is scraped
reads those of all.
"""

import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from rollout_gate.metrics.counted import BUCKETS_S, Counted
from rollout_gate.metrics.families import Family, Operation, State
from rollout_gate.metrics.labels import BoundedNames
from rollout_gate.metrics.watching import FORK_SAFE, HOST, Whose

FOLDER = "PROMETHEUS_MULTIPROC_DIR"
"""The environment variable that prometheus-client reads when it is imported."""

MOST_REVISIONS = 200
"""How many revisions a process names, as the files forget no label value."""

ROOM_BYTES = 4 * 2**20
"""Free space that a new series asks for. The files are sparse and memory-mapped, so that the first
write to a page of them on a full disk is a SIGBUS, which ends the process."""
_SERIES_BYTES = 16 * 2**10
"""What the metrics of one route, org and side take in them; a forked child writes all of them."""


class _Series:
    """The metrics of one route, org and side; those that are not yet needed are not made."""

    __slots__ = ("duration", "first_token", "repeated", "requests")

    def __init__(self) -> None:
        self.requests: dict[tuple[str, str], Any] = {}
        self.repeated: Any = None
        self.duration: dict[str, Any] = {}
        self.first_token: Any = None


class FileCounts:
    """Counts in the files of a folder. Raises OSError where they cannot be written.

    The gauge of a revision that is no more is 0, as a label value is never forgotten.
    """

    def __init__(self, client: ModuleType, folder: str, state: Callable[[], State]) -> None:
        self._folder = folder
        self._state = state
        self._process = 0
        self._series: dict[Whose, _Series] = {}
        self._operation_series: dict[Operation, Any] = {}
        self._revision_names = BoundedNames(MOST_REVISIONS)
        self._shown: set[str] = set()
        self._ask_for_room(ROOM_BYTES)
        live: dict[str, Any] = {"registry": None, "multiprocess_mode": "livemax"}
        buckets: dict[str, Any] = {"registry": None, "buckets": BUCKETS_S}
        self._requests = client.Counter(*Family.REQUESTS.value, registry=None)
        self._repeated = client.Counter(*Family.REPEATED.value, registry=None)
        self._operations = client.Counter(*Family.OPERATIONS.value, registry=None)
        self._durations = client.Histogram(*Family.DURATION.value, **buckets)
        self._first_tokens = client.Histogram(*Family.FIRST_TOKEN.value, **buckets)
        self._revisions = client.Gauge(*Family.REVISION.value, **live)
        self._trouble = client.Gauge(*Family.TROUBLE.value, **live)

    def add(self, whose: Whose, facts: Counted) -> None:
        """Count a generation; the caller holds the lock."""
        self._begin()
        series = self._series.get(whose)
        if series is None:
            series = self._series[whose] = _Series()
        kind = (facts.status_class, facts.outcome)
        requests = series.requests.get(kind)
        if requests is None:
            requests = series.requests[kind] = self._made(self._requests, *whose, *kind)
        requests.inc()
        if facts.duration_s is not None:
            duration = series.duration.get(facts.status_class)
            if duration is None:
                duration = self._made(self._durations, *whose, facts.status_class)
                series.duration[facts.status_class] = duration
            duration.observe(facts.duration_s)
        if facts.first_token_s is not None:
            if series.first_token is None:
                series.first_token = self._made(self._first_tokens, *whose)
            series.first_token.observe(facts.first_token_s)
        if facts.is_repeated:
            if series.repeated is None:
                series.repeated = self._made(self._repeated, *whose)
            series.repeated.inc()

    def add_operation(self, operation: Operation) -> None:
        """Count an operation; the caller holds the lock."""
        self._begin()
        requests = self._operation_series.get(operation)
        if requests is None:
            requests = self._made(self._operations, *operation)
            self._operation_series[operation] = requests
        requests.inc()

    def changed(self) -> None:
        """Write the gauges; the caller holds the lock."""
        self._begin()
        revisions, trouble = self._state()
        now = {self._revision_names.value(revision) for _, revision in revisions}
        for one in self._shown | now:
            self._revisions.labels(HOST, one).set(float(one in now))
        self._shown |= now
        self._trouble.set(float(trouble))

    def families(self) -> Iterator[Any]:
        """Return the families of this process alone, without the times of creation."""
        for metric in (
            self._requests, self._repeated, self._durations, self._first_tokens, self._operations,
            self._revisions, self._trouble,
        ):  # fmt: skip
            with FORK_SAFE.lock:
                found = list(metric.collect())
            for family in found:
                named = (one for one in family.samples if not one.name.endswith("_created"))
                family.samples = list(named)
                yield family

    def _made(self, metric: Any, *labels: str) -> Any:
        self._ask_for_room(ROOM_BYTES)
        return metric.labels(*labels)

    def _begin(self) -> None:
        """Ask for the room of this process's files, unless it has them."""
        process = os.getpid()
        if self._process != process:
            self._ask_for_room(ROOM_BYTES + _SERIES_BYTES * len(self._series))
            self._process = process

    def _ask_for_room(self, size: int) -> None:
        if free_bytes(self._folder) < size:
            raise OSError(errno.ENOSPC, f"too little space in {FOLDER}")


def free_bytes(folder: str | Path) -> int:
    """Return how much space is left where a folder is."""
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize
