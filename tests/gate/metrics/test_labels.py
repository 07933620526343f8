"""Label values: hostile names break no scrape, and however many there are, memory is bounded."""

import gc
import resource
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parsed

from rollout_gate.metrics import OpenTelemetryMetrics, PrometheusMetrics
from rollout_gate.metrics.labels import MOST_LENGTH, OTHERS, BoundedNames, label_value
from rollout_gate.metrics.watching import Metrics
from tests.gate.metrics.lines import a_line, label_values, values

HOSTILE = (
    "\ud800lone", "nul\0", 'quote"\n}', "back\\slash", "\r\n# HELP x", "\u202egnp.exe",
    "x" * 100_000, "\u2028", "\x7f\x9f", "", " ", '",org="acme', "(others)", "\U0010ffff",
)  # fmt: skip
WELL = ("acme", "globex.eu", "Ünïcode", "日本", "a b", "no\u00a0break", "😀", "back\\slash")


@pytest.mark.parametrize("name", WELL)
def test_a_name_is_its_own_label_value(name: str) -> None:
    assert label_value(name) == name


@pytest.mark.parametrize("name", HOSTILE, ids=range(len(HOSTILE)))
def test_a_hostile_name_breaks_no_scrape(name: str) -> None:
    registry = CollectorRegistry()
    metrics = PrometheusMetrics(registry)
    metrics.observe(a_line(org=name, route=name, side=name))
    metrics.observe(a_line(org="acme"))
    found = values(generate_latest(registry), "rollout_gate_requests_total")
    assert sum(found.values()) == 2
    assert [dict(labels)["route"] for labels in found if ("org", "acme") in labels] == ["chat"]
    text = openmetrics(registry)  # type: ignore[no-untyped-call]
    assert len(list(parsed(text.decode()))) > 2  # type: ignore[no-untyped-call]
    for value in label_values(registry, "org"):
        assert len(value) <= MOST_LENGTH
        assert not set(value) & set("\0\r\n\u2028\u202e\x7f\ud800")


def test_the_first_have_values_of_their_own() -> None:
    names = BoundedNames(2)
    assert [names.value(one) for one in "abcab"] == ["a", "b", OTHERS, "a", "b"]
    assert len(names) == 2


def test_names_that_are_cut_to_the_same_are_one() -> None:
    names = BoundedNames(2)
    assert names.value("x" * 300) == names.value("x" * 301) == "x" * MOST_LENGTH
    assert len(names) == 1


@pytest.mark.parametrize("most", [0, -1, 100_001, True, "7", 1.0, None])
def test_a_bad_number_of_orgs_is_refused(most: object) -> None:
    with pytest.raises(ValueError, match="most_orgs is a whole number from 1 to 100000"):
        PrometheusMetrics(CollectorRegistry(), most_orgs=most)  # type: ignore[arg-type]


def _prometheus() -> Metrics:
    return PrometheusMetrics(CollectorRegistry())


def _otel() -> Metrics:
    return OpenTelemetryMetrics(MeterProvider([InMemoryMetricReader()]))


@pytest.mark.slow
@pytest.mark.parametrize(("make", "most"), [(_prometheus, 3e6), (_otel, 12e6)])
def test_100_000_hostile_orgs_take_no_more_memory_than_1_000(
    make: Callable[[], Metrics], most: float
) -> None:
    metrics = make()

    def count(begin: int, end: int) -> None:
        for number in range(begin, end):
            # Some as long as a header may be, and the same up to the length of a label value.
            is_long = number % 100 == 0
            name = "x" * 60_000 + str(number) if is_long else f"{number}\0" + "x" * 30
            metrics.observe(a_line(org=name, outcome="ok"))

    tracemalloc.start()
    try:
        count(0, 1_100)
        full, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert full < most, "1,000 orgs of one route"
    gc.collect()
    before = resident_bytes()
    count(1_100, 100_000)
    # The names alone would be 60 MB.
    assert resident_bytes() - before < 8e6


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def test_the_others_are_counted_together() -> None:
    registry = CollectorRegistry()
    metrics = PrometheusMetrics(registry, most_orgs=3)
    for number in range(100):
        metrics.observe(a_line(org=f"org-{number}"))
    found = values(generate_latest(registry), "rollout_gate_requests_total")
    orgs = {dict(labels)["org"]: value for labels, value in found.items()}
    assert orgs == {"org-0": 1, "org-1": 1, "org-2": 1, OTHERS: 97}
