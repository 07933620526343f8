"""The metrics for Prometheus: names, labels and what they are, once for both ways of counting."""

from collections.abc import Mapping, Sequence
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:  # not at run time: it is an extra, and imported once metrics are made
    from prometheus_client.core import (
        CounterMetricFamily,
        GaugeMetricFamily,
        HistogramMetricFamily,
    )

WHOSE = ("route", "org", "side")


class Operation(NamedTuple):
    """The label values of a request that is no generation."""

    route: str
    side: str
    operation: str
    status_class: str


class State(NamedTuple):
    """What the gates decide by: 1 by host and revision; and whether a file has a trouble."""

    revisions: Mapping[Sequence[str], float]
    trouble: bool


class Family(Enum):
    """A metric: its name, without the suffix of its type, what it says, and its labels."""

    REQUESTS = (
        "rollout_gate_requests", "Requests by side, status class and outcome.",
        (*WHOSE, "class", "outcome"),
    )  # fmt: skip
    REPEATED = ("rollout_gate_attempts_repeated", "Second and later attempts.", WHOSE)
    OPERATIONS = (
        "rollout_gate_operations", "Requests that are no generation.",
        ("route", "side", "operation", "class"),
    )  # fmt: skip
    DURATION = (
        "rollout_gate_request_duration_seconds",
        "Time to the last byte, of what came from no cache; the guard judges ok and abandoned.",
        (*WHOSE, "class"),
    )  # fmt: skip
    FIRST_TOKEN = (
        "rollout_gate_time_to_first_token_seconds", "Time to a stream's first content.", WHOSE,
    )  # fmt: skip
    REVISION = (
        "rollout_gate_revision_info", "The revision of the rollout file that decides.",
        ("host", "revision"),
    )  # fmt: skip
    TROUBLE = (
        "rollout_gate_file_trouble",
        "1 while the rollout file is not in force as it is, else 0.", (),
    )  # fmt: skip

    def counter(self) -> "CounterMetricFamily":
        """Return the family of a counter, without samples."""
        from prometheus_client.core import CounterMetricFamily

        name, text, labels = self.value
        return CounterMetricFamily(name, text, labels=labels)

    def histogram(self) -> "HistogramMetricFamily":
        """Return the family of a histogram, without samples."""
        from prometheus_client.core import HistogramMetricFamily

        name, text, labels = self.value
        return HistogramMetricFamily(name, text, labels=labels)

    def gauge(self, values: Mapping[Sequence[str], float]) -> "GaugeMetricFamily":
        """Return the family of a gauge, with values by their label values."""
        from prometheus_client.core import GaugeMetricFamily

        name, text, labels = self.value
        found = GaugeMetricFamily(name, text, labels=labels)
        for given, value in values.items():
            found.add_metric(given, value)
        return found
