"""Counts of several processes: prometheus-client's multi-process mode, and what it leaves open.

Each process has memory-mapped files in the folder of ``PROMETHEUS_MULTIPROC_DIR``; who is scraped
reads those of all.
"""

import errno
import os
from collections.abc import Callable, Iterator
from logging import getLogger
from pathlib import Path
from types import ModuleType
from typing import Any

from rollout_gate.metrics.counted import BUCKETS_S, Counted
from rollout_gate.metrics.families import Family, Operation, State
from rollout_gate.metrics.labels import BoundedNames
from rollout_gate.metrics.watching import FORK_SAFE, HOST, Whose

log = getLogger("rollout_gate")

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


class _Metrics:
    """prometheus-client's metrics; the gauge without labels writes to its file at once."""

    def __init__(self, client: ModuleType) -> None:
        live: dict[str, Any] = {"registry": None, "multiprocess_mode": "livemax"}
        buckets: dict[str, Any] = {"registry": None, "buckets": BUCKETS_S}
        self.trouble = client.Gauge(*Family.TROUBLE.value, **live)
        self.revisions = client.Gauge(*Family.REVISION.value, **live)
        self.requests = client.Counter(*Family.REQUESTS.value, registry=None)
        self.repeated = client.Counter(*Family.REPEATED.value, registry=None)
        self.operations = client.Counter(*Family.OPERATIONS.value, registry=None)
        self.durations = client.Histogram(*Family.DURATION.value, **buckets)
        self.first_tokens = client.Histogram(*Family.FIRST_TOKEN.value, **buckets)


class FileCounts:
    """Counts in the files of a folder. Raises OSError where they cannot be written.

    On a disk that is full when it is made, which must not keep an application from starting,
    counting begins once there is room. The gauge of a revision that is no more is 0, as a label
    value is never forgotten.
    """

    def __init__(self, client: ModuleType, folder: str, state: Callable[[], State]) -> None:
        self._folder = folder
        self._state = state
        self._process = 0
        self._series: dict[Whose, _Series] = {}
        self._operation_series: dict[Operation, Any] = {}
        self._revision_names = BoundedNames(MOST_REVISIONS)
        self._shown: set[str] = set()
        self._client = client
        self._metrics: _Metrics | None = None
        try:
            self._begin()
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            log.warning("no request is in the metrics until there is room: %s", error.strerror)

    def add(self, whose: Whose, facts: Counted) -> None:
        """Count a generation; the caller holds the lock."""
        metrics = self._begin()
        series = self._series.get(whose)
        if series is None:
            series = self._series[whose] = _Series()
        kind = (facts.status_class, facts.outcome)
        requests = series.requests.get(kind)
        if requests is None:
            requests = series.requests[kind] = self._made(metrics.requests, *whose, *kind)
        requests.inc()
        if facts.duration_s is not None:
            duration = series.duration.get(facts.status_class)
            if duration is None:
                duration = self._made(metrics.durations, *whose, facts.status_class)
                series.duration[facts.status_class] = duration
            duration.observe(facts.duration_s)
        if facts.first_token_s is not None:
            if series.first_token is None:
                series.first_token = self._made(metrics.first_tokens, *whose)
            series.first_token.observe(facts.first_token_s)
        if facts.is_repeated:
            if series.repeated is None:
                series.repeated = self._made(metrics.repeated, *whose)
            series.repeated.inc()

    def add_operation(self, operation: Operation) -> None:
        """Count an operation; the caller holds the lock."""
        metrics = self._begin()
        requests = self._operation_series.get(operation)
        if requests is None:
            requests = self._made(metrics.operations, *operation)
            self._operation_series[operation] = requests
        requests.inc()

    def changed(self) -> None:
        """Write the gauges; the caller holds the lock."""
        self._write_gauges(self._begin())

    def _write_gauges(self, metrics: _Metrics) -> None:
        revisions, trouble = self._state()
        now = {self._revision_names.value(revision) for _, revision in revisions}
        for one in self._shown | now:
            metrics.revisions.labels(HOST, one).set(float(one in now))
        self._shown |= now
        metrics.trouble.set(float(trouble))

    def families(self) -> Iterator[Any]:
        """Return the families of this process alone, without the times of creation."""
        made = self._metrics
        if made is None:  # their names alone, by which a registry refuses a second one
            yield from (
                Family.REQUESTS.counter(), Family.REPEATED.counter(), Family.DURATION.histogram(),
                Family.FIRST_TOKEN.histogram(), Family.OPERATIONS.counter(),
                Family.REVISION.gauge({}), Family.TROUBLE.gauge({}),
            )  # fmt: skip
            return
        for metric in (
            made.requests, made.repeated, made.durations, made.first_tokens, made.operations,
            made.revisions, made.trouble,
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

    def _begin(self) -> _Metrics:
        """Return the metrics; ask for the room of this process's files, unless it has them."""
        process, made = os.getpid(), self._metrics
        if self._process != process:
            self._ask_for_room(ROOM_BYTES + _SERIES_BYTES * len(self._series))
            self._process = process
        if made is None:
            made = self._metrics = _Metrics(self._client)
            self._write_gauges(made)
        return made

    def _ask_for_room(self, size: int) -> None:
        if free_bytes(self._folder) < size:
            raise OSError(errno.ENOSPC, f"too little space in {FOLDER}")


def free_bytes(folder: str | Path) -> int:
    """Return how much space is left where a folder is."""
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize
