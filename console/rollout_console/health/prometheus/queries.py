"""What is asked of Prometheus: the rollout file's queries, or those for the gate's own exporter."""

import re
from collections.abc import Mapping
from types import MappingProxyType

import msgspec

from rollout_gate.file.health_queries import covered_s, expanded
from rollout_gate.file.model import PrometheusSource

_SIDES = '{side=~"tokenlab|previous"}'
"""Not what an application wrote into records of its own with another side."""
_JUDGED = '{side=~"tokenlab|previous",class=~"ok|abandoned"}'
"""The latency of an error says nothing of how fast answers are."""

DEFAULTS: Mapping[str, str] = MappingProxyType({
    "requests": "sum by (route, org, side, class, outcome)"
    f" ($increase(rollout_gate_requests_total{_SIDES}))",
    "repeated": "sum by (route, org, side)"
    f" ($increase(rollout_gate_attempts_repeated_total{_SIDES}))",
    "duration": "sum by (route, org, side, le)"
    f" ($increase(rollout_gate_request_duration_seconds_bucket{_JUDGED}))",
    "first_token": "sum by (route, org, side, le)"
    f" ($increase(rollout_gate_time_to_first_token_seconds_bucket{_SIDES}))",
    "newest": "max(timestamp(rollout_gate_requests_total)"
    " or timestamp(rollout_gate_revision_info))",
    "down": "count((up == 0) and on (job, instance)"
    " last_over_time(rollout_gate_revision_info[1h]))",
})  # fmt: skip
"""For the metrics of the gate's exporter; docs/prometheus.md has them as well."""

SCRAPES_STEPS = 6
"""Steps in which scrapes are counted."""
LEAST_SCRAPES = 3
"""Scrapes in them, under which a counter has no value before to be compared with: ``$increase``
looks back for three steps."""
_SCRAPES = (
    "max(count_over_time(up[{0}s]) and on (job, instance) last_over_time(up[{1}s] offset {0}s)"
    " and on (job, instance) rollout_gate_requests_total)"
)

COUNTED = ("requests", "repeated", "duration", "duration_ms", "first_token")
"""The queries that count in each step; the others are asked for the newest one alone."""
_SPARSE = ("requests", "repeated")
_CLASSIC = re.compile(r"\ble\b")


class Query(msgspec.Struct, frozen=True):
    """One query: its name and its text in the file, by steps of any width."""

    name: str
    text: str

    def promql(self, step_s: int) -> str:
        """Return the PromQL for steps of ``step_s`` seconds.

        Of what only counts, steps without a request are left out: most of thousands of orgs have
        none. Unequal to 0 and not above it, so that NaN is not hidden.
        """
        found = expanded(self.text, step_s)
        is_sparse = self.name in _SPARSE or (
            # Native histograms cannot be compared with a number, and have no label le.
            self.name in COUNTED and _CLASSIC.search(self.text) is not None
        )
        return f"({found}) != 0" if is_sparse else found

    def share(self, step_s: int) -> float:
        """Return which part of a value is of one step: a value may be of several."""
        return step_s / covered_s(self.text, step_s)


def scrapes_query(source: PrometheusSource) -> Query | None:
    """Return what counts the scrapes of the server that is scraped most often, of those that were
    scraped before; None for queries of the file's own, whose servers are not known."""
    if "requests" in source.queries:
        return None
    text = _SCRAPES.format(SCRAPES_STEPS * source.step_s, 2 * SCRAPES_STEPS * source.step_s)
    return Query("scrapes", text)


def queries_of(source: PrometheusSource) -> Mapping[str, Query]:
    """Return the queries by name. Where the file says how requests are counted, none of ours is
    asked beside its own: other metrics are not of the same requests."""
    texts = {**({} if "requests" in source.queries else DEFAULTS), **source.queries}
    if "duration_ms" in source.queries and "duration" not in source.queries:
        texts.pop("duration", None)
    return {name: Query(name, text) for name, text in texts.items() if text.strip()}
