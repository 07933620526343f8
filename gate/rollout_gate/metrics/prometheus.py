"""The gate's metrics in a registry of prometheus-client, of one process or of several."""

import logging
import os
from collections.abc import Iterable, Iterator
from types import ModuleType
from typing import TYPE_CHECKING, Any

from rollout_gate.access_log import AccessLine
from rollout_gate.metrics.counted import class_of, counted, side_of
from rollout_gate.metrics.families import Operation, State
from rollout_gate.metrics.file_counts import FOLDER, FileCounts
from rollout_gate.metrics.labels import MOST_ORGS
from rollout_gate.metrics.memory_counts import MemoryCounts
from rollout_gate.metrics.watching import FORK_SAFE, HOST, Metrics

if TYPE_CHECKING:  # not at run time: it is an extra, and imported once metrics are made
    from prometheus_client import CollectorRegistry

log = logging.getLogger("rollout_gate")


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
        self._counts: MemoryCounts | FileCounts = self._of_process(client)
        try:
            (client.REGISTRY if registry is None else registry).register(_Collector(self._counts))
        except ValueError as error:
            raise ValueError(
                "this registry has the gate's metrics already: watch all gates with one"
                f" PrometheusMetrics, or give another registry ({error})"
            ) from None

    def _of_process(self, client: ModuleType) -> MemoryCounts | FileCounts:
        if not client.values.ValueClass._multiprocess:
            return MemoryCounts(self._state)
        try:
            return FileCounts(client, os.environ.get(FOLDER, ""), self._state)
        except OSError as error:
            raise ValueError(
                f"{FOLDER} is no folder that can be written ({error.strerror}): make it before the"
                " application starts, empty"
            ) from None

    def _count(self, line: AccessLine) -> None:
        if line.operation is None:
            self._counts.add(self._whose(line), counted(line))
            return
        route, name = self._route_value(line.route), self._operations.value(line.operation)
        self._counts.add_operation(Operation(route, side_of(line), name, class_of(line).value))

    def _state(self) -> State:
        return State({(HOST, one): 1.0 for one in self._revisions()}, self._has_trouble())

    def _changed(self, change: object = None) -> None:
        with FORK_SAFE.lock:
            try:
                self._counts.changed()
            except OSError as error:
                log.warning("the state of the file is not in the metrics: %s", error.strerror)

    def _in_forked_child(self) -> None:
        # The child's files have no gauges yet. Not now: a fork's hook must not write to disk.
        for gate in self._watched():
            gate.later(self._changed)


class _Collector:
    """What a registry asks."""

    def __init__(self, counts: MemoryCounts | FileCounts) -> None:
        self._counts = counts

    def describe(self) -> Iterable[Any]:
        """Return the families without samples, by which a registry refuses a second one."""
        for family in self._counts.families():
            family.samples = []
            yield family

    def collect(self) -> Iterator[Any]:
        """Return the families."""
        return self._counts.families()


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
