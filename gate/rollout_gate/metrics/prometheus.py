"""The gate's metrics by prometheus-client, in one process or several.

With ``PROMETHEUS_MULTIPROC_DIR`` prometheus-client keeps each process's values in files of that
folder (memory-mapped), and whoever is scraped adds them up. Without it they are in memory.
"""

import errno
import logging
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from rollout_gate.access_log import AccessLine
from rollout_gate.metrics.counted import BUCKETS_S, class_of, counted, side_of
from rollout_gate.metrics.labels import MOST_ORGS, BoundedNames
from rollout_gate.metrics.watching import FORK_SAFE, HOST, Metrics, Whose

if TYPE_CHECKING:  # not at run time: it is an extra, and imported once metrics are made
    from prometheus_client import CollectorRegistry

log = logging.getLogger("rollout_gate")

FOLDER = "PROMETHEUS_MULTIPROC_DIR"
"""The environment variable that prometheus-client reads when it is imported."""

MOST_REVISIONS = 200
"""How many revisions a process names in multi-process mode, whose files forget no label value."""

ROOM_BYTES = 4 * 2**20
"""Free space that a new series asks for. The files are sparse and memory-mapped, so that the first
write to a page of them on a full disk is a SIGBUS, which ends the process."""
_SERIES_BYTES = 16 * 2**10
"""What the metrics of one route, org and side take in them; a forked child writes all of them."""

_WHOSE = ("route", "org", "side")


class _Series:
    """The metrics of one route, org and side; those that are not yet needed are not made."""

    __slots__ = ("duration", "first_token", "repeated", "requests")

    def __init__(self) -> None:
        self.requests: dict[tuple[str, str], Any] = {}
        self.repeated: Any = None
        self.duration: Any = None
        self.first_token: Any = None


class PrometheusMetrics(Metrics):
    """Counts requests in a registry of prometheus-client, by default its global one.

    ``most_orgs`` is how many orgs have label values of their own; later ones are ``(others)``.

    Raises ModuleNotFoundError without prometheus-client, and ValueError for a registry that has
    the gate's metrics already, a bad ``most_orgs``, or a ``PROMETHEUS_MULTIPROC_DIR`` that is none.
    """

    def __init__(
        self, registry: "CollectorRegistry | None" = None, *, most_orgs: int = MOST_ORGS
    ) -> None:
        super().__init__(most_orgs)
        client = _client()
        counter, histogram = client.Counter, client.Histogram
        self._requests = counter(
            "rollout_gate_requests", "Requests by side, status class and outcome.",
            (*_WHOSE, "class", "outcome"), registry=None,
        )  # fmt: skip
        self._repeated = counter(
            "rollout_gate_attempts_repeated", "Second and later attempts.", _WHOSE, registry=None
        )
        self._durations = histogram(
            "rollout_gate_request_duration_seconds",
            "Time to the last byte, of requests whose latency is judged.",
            _WHOSE, registry=None, buckets=BUCKETS_S,
        )  # fmt: skip
        self._first_tokens = histogram(
            "rollout_gate_time_to_first_token_seconds", "Time to a stream's first content.",
            _WHOSE, registry=None, buckets=BUCKETS_S,
        )  # fmt: skip
        self._other_requests = counter(
            "rollout_gate_operations", "Requests that are no generation.",
            ("route", "side", "operation", "class"), registry=None,
        )  # fmt: skip
        self._series: dict[Whose, _Series] = {}
        self._operation_series: dict[tuple[str, str, str, str], Any] = {}
        self._folder = os.environ.get(FOLDER, "") if _is_multi_process(client) else ""
        self._process = 0
        state = _Files if self._folder else _Memory
        self._state: _Memory | _Files = state(client, self)
        collector = _Collector(self)
        try:
            (client.REGISTRY if registry is None else registry).register(collector)
        except ValueError as error:
            raise ValueError(
                "this registry has the gate's metrics already: watch all gates with one"
                f" PrometheusMetrics, or give another registry ({error})"
            ) from None

    def families(self) -> Iterable[Any]:
        """Return the metric families of this process."""
        for one in (
            self._requests, self._repeated, self._durations, self._first_tokens,
            self._other_requests,
        ):  # fmt: skip
            yield from one.collect()
        yield from self._state.families()

    def _count(self, line: AccessLine) -> None:
        if self._folder and self._process != os.getpid():
            self._begin_files()
        if line.operation is not None:
            self._count_operation(line, line.operation)
            return
        facts = counted(line)
        whose = self._whose(line)
        series = self._series.get(whose)
        if series is None:
            series = self._series[whose] = _Series()
        kind = (facts.status_class, facts.outcome)
        requests = series.requests.get(kind)
        if requests is None:
            requests = series.requests[kind] = self._made(self._requests, *whose, *kind)
        requests.inc()
        if facts.duration_s is not None:
            if series.duration is None:
                series.duration = self._made(self._durations, *whose)
            series.duration.observe(facts.duration_s)
        if facts.first_token_s is not None:
            if series.first_token is None:
                series.first_token = self._made(self._first_tokens, *whose)
            series.first_token.observe(facts.first_token_s)
        if facts.is_repeated:
            if series.repeated is None:
                series.repeated = self._made(self._repeated, *whose)
            series.repeated.inc()

    def _count_operation(self, line: AccessLine, operation: str) -> None:
        labels = (
            self._route_value(line.route), side_of(line), self._operations.value(operation),
            class_of(line).value,
        )  # fmt: skip
        requests = self._operation_series.get(labels)
        if requests is None:
            requests = self._made(self._other_requests, *labels)
            self._operation_series[labels] = requests
        requests.inc()

    def _made(self, metric: Any, *labels: str) -> Any:
        if self._folder:
            self._ask_for_room(ROOM_BYTES)
        return metric.labels(*labels)

    def _begin_files(self) -> None:
        self._ask_for_room(ROOM_BYTES + _SERIES_BYTES * len(self._series))
        self._process = os.getpid()

    def _ask_for_room(self, size: int) -> None:
        if free_bytes(self._folder) < size:
            raise OSError(errno.ENOSPC, f"too little space in {FOLDER}")

    def _changed(self, change: object = None) -> None:
        with FORK_SAFE.lock:
            try:
                if self._folder:
                    self._begin_files()
                self._state.changed()
            except OSError as error:
                log.warning("the state of the file is not in the metrics: %s", error.strerror)

    def _in_forked_child(self) -> None:
        if self._folder:
            # The child's files have no gauges yet. Not now: a fork's hook must not write to disk.
            for gate in self._watched():
                gate.later(self._changed)


class _Memory:
    """The state of the gates, read from them at each scrape."""

    def __init__(self, client: ModuleType, metrics: PrometheusMetrics) -> None:
        from prometheus_client.metrics_core import GaugeMetricFamily

        self._family = GaugeMetricFamily
        self._metrics = metrics

    def changed(self) -> None:
        """Do nothing: nothing is kept."""

    def families(self) -> Iterator[Any]:
        """Return the gauges."""
        revisions = self._family(*_REVISION, labels=("host", "revision"))
        for one in self._metrics._revisions():
            revisions.add_metric((HOST, one), 1)
        yield revisions
        yield self._family(*_TROUBLE, value=float(self._metrics._has_trouble()))


class _Files:
    """The state of the gates, written to the files of multi-process mode.

    A label value is never forgotten there, so the gauge of a revision that is no more is 0.
    """

    def __init__(self, client: ModuleType, metrics: PrometheusMetrics) -> None:
        self._metrics = metrics
        self._names = BoundedNames(MOST_REVISIONS)
        self._shown: set[str] = set()
        mode: dict[str, Any] = {"registry": None, "multiprocess_mode": "livemax"}
        try:
            metrics._ask_for_room(ROOM_BYTES)
            self._revisions = client.Gauge(*_REVISION, ("host", "revision"), **mode)
            self._trouble = client.Gauge(*_TROUBLE, **mode)
        except OSError as error:
            raise ValueError(
                f"{FOLDER} is no folder that can be written ({error.strerror}): make it before the"
                " application starts, empty"
            ) from None

    def changed(self) -> None:
        """Write the gauges."""
        now = {self._names.value(one) for one in self._metrics._revisions()}
        for one in self._shown - now:
            self._revisions.labels(HOST, one).set(0)
        for one in now:
            self._revisions.labels(HOST, one).set(1)
        self._shown |= now
        self._trouble.set(float(self._metrics._has_trouble()))

    def families(self) -> Iterator[Any]:
        """Return the gauges of this process alone."""
        yield from self._revisions.collect()
        yield from self._trouble.collect()


_REVISION = ("rollout_gate_revision_info", "The revision of the rollout file that decides.")
_TROUBLE = (
    "rollout_gate_file_trouble", "1 while the rollout file is not in force as it is, else 0.",
)  # fmt: skip


class _Collector:
    """What is registered: a scrape holds the lock of all metrics, for the sake of forks."""

    def __init__(self, metrics: PrometheusMetrics) -> None:
        self._metrics = metrics

    def describe(self) -> Iterable[Any]:
        """Return the families without samples, by which a registry refuses a second one."""
        return [_without_samples(one) for one in self.collect()]

    def collect(self) -> list[Any]:
        """Return the families; without the times of creation, which double a counter's series."""
        with FORK_SAFE.lock:
            found = list(self._metrics.families())
        for family in found:
            family.samples = [one for one in family.samples if not one.name.endswith("_created")]
        return found


def _without_samples(family: Any) -> Any:
    family.samples = []
    return family


def free_bytes(folder: str | Path) -> int:
    """Return how much space is left where a folder is."""
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize


def _is_multi_process(client: ModuleType) -> bool:
    return bool(client.values.ValueClass._multiprocess)


def _client() -> ModuleType:
    try:
        import prometheus_client
        import prometheus_client.values
    except ModuleNotFoundError as error:
        if error.name != "prometheus_client":
            raise
        raise ModuleNotFoundError(
            "PrometheusMetrics needs prometheus-client, which is not installed; install it, or the"
            " gate with its extra: rollout-gate[metrics]",
            name="prometheus_client",
        ) from None
    return prometheus_client
