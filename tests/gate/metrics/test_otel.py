"""The metrics of OpenTelemetry, with the real SDK and its exporter to Prometheus."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.metrics.view import View
from prometheus_client import REGISTRY, CollectorRegistry, generate_latest

from rollout_gate import AccessLine, subject
from rollout_gate.http import client
from rollout_gate.metrics import OpenTelemetryMetrics, PrometheusMetrics
from rollout_gate.metrics.counted import BUCKETS_S
from rollout_gate.metrics.otel import GEN_AI_BUCKETS_S, MOST_ORGS
from tests.gate.metrics.lines import a_line, samples
from tests.gate.metrics.test_prometheus import ASK, URL
from tests.support.loopback import PREVIOUS, TOKENLAB, TwoSides

OURS = (
    "rollout_gate.requests", "rollout_gate.attempts.repeated", "rollout_gate.operations",
    "rollout_gate.request.duration", "rollout_gate.time_to_first_token",
    "rollout_gate.revision.info", "rollout_gate.file.trouble",
)  # fmt: skip
DURATION = "gen_ai.client.operation.duration"
FIRST_CHUNK = "gen_ai.client.operation.time_to_first_chunk"
LINES = (
    a_line(stream=True, ttft_ms=120.0),
    a_line(outcome="error", status=503, error="server_error", attempt=2),
    a_line(org="globex.eu", side="previous", finish_reason="length"),
    a_line(outcome="abandoned", error="cancelled", status=0),
    a_line(operation="count_tokens"),
    a_line(cached=True),
    a_line(org=""),
)


class Otel:
    """Metrics of a provider of its own, and what they came to."""

    def __init__(self, **options: Any) -> None:
        self.reader = InMemoryMetricReader()
        self.provider = MeterProvider([self.reader])
        self.metrics = OpenTelemetryMetrics(self.provider, **options)

    def found(self) -> dict[str, Any]:
        data = self.reader.get_metrics_data()
        if data is None:
            return {}
        return {
            metric.name: metric
            for resource in data.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
        }

    def points(self, name: str) -> list[Any]:
        metric = self.found().get(name)
        return [] if metric is None else list(metric.data.data_points)


@pytest.fixture
def otel() -> Iterator[Otel]:
    made = Otel()
    yield made
    made.provider.shutdown()


def test_names_units_and_buckets(otel: Otel, sides: TwoSides) -> None:
    otel.metrics.watch(sides.gate)
    for line in LINES:
        sides.gate.line_appended(line)
    found = otel.found()
    assert set(found) == {*OURS, DURATION, FIRST_CHUNK}
    for name in (DURATION, FIRST_CHUNK):
        (bounds,) = {one.explicit_bounds for one in found[name].data.data_points}
        assert (found[name].unit, bounds) == ("s", GEN_AI_BUCKETS_S)
    for name in OURS[3:5]:
        (bounds,) = {one.explicit_bounds for one in found[name].data.data_points}
        assert (found[name].unit, bounds) == ("s", BUCKETS_S)


def test_the_attributes_of_the_conventions(otel: Otel, sides: TwoSides) -> None:
    otel.metrics.watch(sides.gate)
    for line in LINES:
        sides.gate.line_appended(line)
    points = [dict(one.attributes) for one in otel.points(DURATION)]
    shared = {
        "gen_ai.operation.name": "chat", "gen_ai.request.model": "m", "rollout_gate.route": "chat",
    }  # fmt: skip
    for wanted in (
        {"gen_ai.provider.name": "tokenlab", "rollout_gate.side": "tokenlab"},
        {"gen_ai.provider.name": "openai", "rollout_gate.side": "previous"},
        {"gen_ai.provider.name": "tokenlab", "rollout_gate.side": "tokenlab", "error.type": "503"},
        {
            "gen_ai.provider.name": "tokenlab", "rollout_gate.side": "tokenlab",
            "error.type": "cancelled",
        },
    ):  # fmt: skip
        assert {**shared, **wanted} in points
    assert len(points) == 4
    assert [dict(one.attributes)["gen_ai.provider.name"] for one in otel.points(FIRST_CHUNK)] == [
        "tokenlab"
    ]


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"outcome": "error", "error": "a code of the provider's own"}, "gateway"),
        ({"outcome": "error", "error": "rate_limit_exceeded"}, "rate_limit"),
        ({"outcome": "truncated", "error": "truncated"}, "truncated"),
        ({"outcome": "error", "error": "timeout", "status": 0}, "timeout"),
        ({"outcome": "error", "error": "x", "status": 429}, "429"),
        ({"outcome": "error", "error": "x", "status": 999}, "gateway"),
        ({}, None),
    ],
)
def test_the_type_of_an_error_is_bounded(fields: dict[str, Any], error: str | None) -> None:
    otel = Otel()
    otel.metrics.observe(a_line(**fields))
    (point,) = otel.points(DURATION)
    assert dict(point.attributes).get("error.type") == error
    otel.provider.shutdown()


@pytest.mark.parametrize(
    ("kind", "operation", "previous"),
    [
        ("openai_responses", "chat", "openai"),
        ("anthropic_messages", "chat", "anthropic"),
        ("gemini_generate_content", "generate_content", "gcp.gen_ai"),
        ("video", "generate_content", "previous"),
    ],
)
def test_the_operation_and_the_provider(
    otel: Otel, sides: TwoSides, kind: str, operation: str, previous: str
) -> None:
    sides.put(f'[routes.chat]\nformat = "{kind}"\nmodel = "m"\n')
    sides.gate.refresh()
    sides.gate.refresh()
    file = sides.gate.file
    assert file is not None
    assert file.routes["chat"].format == kind
    otel.metrics.watch(sides.gate)
    sides.gate.line_appended(a_line(side="previous"))
    (point,) = otel.points(DURATION)
    attributes = dict(point.attributes)
    assert attributes["gen_ai.operation.name"] == operation
    assert attributes["gen_ai.provider.name"] == previous


def test_without_the_conventions() -> None:
    otel = Otel(gen_ai=False)
    for line in LINES:
        otel.metrics.observe(line)
    assert not [name for name in otel.found() if name.startswith("gen_ai")]
    otel.provider.shutdown()


def test_real_requests(otel: Otel, sides: TwoSides) -> None:
    otel.metrics.watch(sides.gate)
    with (
        client(sides.gate, "chat", tokenlab_key=TOKENLAB, previous_key=PREVIOUS) as http,
        subject(org="acme"),
    ):
        for _ in range(3):
            http.post(URL, json=ASK)
    (point,) = otel.points("rollout_gate.requests")
    assert (point.value, len(sides.lines())) == (3, 3)
    assert dict(point.attributes) == {
        "route": "chat", "org": "acme", "side": "tokenlab", "class": "ok", "outcome": "ok",
    }  # fmt: skip


def test_the_state_of_the_file(otel: Otel, sides: TwoSides) -> None:
    otel.metrics.watch(sides.gate)

    def revisions() -> list[str]:
        points = otel.points("rollout_gate.revision.info")
        return [str(dict(one.attributes)["revision"]) for one in points]

    before = revisions()
    sides.decide(50)
    file = sides.gate.file
    assert file is not None
    assert revisions() == [file.revision[:12]] != before
    sides.path.unlink()
    sides.gate.refresh()
    assert [one.value for one in otel.points("rollout_gate.file.trouble")] == [1]


KINDS: tuple[dict[str, Any], ...] = (
    {},
    {"finish_reason": "length"},
    {"status": 500},
    {"status": 429, "outcome": "error"},
)


@pytest.mark.parametrize(("orgs", "most"), [(300, 200), (1_100, 1_000)])
def test_no_set_of_attributes_overflows(orgs: int, most: int) -> None:
    """An SDK drops all attributes of what is over its limit, side and class too."""
    view = View(instrument_name="rollout_gate.*", aggregation_cardinality_limit=20_000)
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader], views=() if most == MOST_ORGS else (view,))
    metrics = OpenTelemetryMetrics(provider, most_orgs=most)
    for number in range(orgs):
        for side in ("tokenlab", "previous"):
            for kind in KINDS:
                metrics.observe(a_line(org=f"org-{number}", side=side, **kind))
    data = reader.get_metrics_data()
    assert data is not None
    found = {one.name: one for one in data.resource_metrics[0].scope_metrics[0].metrics}
    points: Any = found["rollout_gate.requests"].data.data_points
    assert len(points) == (most + 1) * 2 * len(KINDS)
    assert sum(one.value for one in points) == orgs * 2 * len(KINDS)
    assert not [one for one in points if "org" not in one.attributes]
    provider.shutdown()


def test_models_are_bounded(otel: Otel) -> None:
    for number in range(1_005):
        otel.metrics.observe(a_line(model=f"model-{number}", side="previous"))
    models = {str(dict(one.attributes)["gen_ai.request.model"]) for one in otel.points(DURATION)}
    assert len(models) == 1_001
    assert "(others)" in models


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_its_prometheus_exporter_makes_the_series_of_ours(sides: TwoSides) -> None:
    """So the dashboard, and whoever else queries them, need not know which of the two it is."""
    reader = PrometheusMetricReader()
    provider = MeterProvider([reader])
    try:
        theirs = OpenTelemetryMetrics(provider, gen_ai=False)
        registry = CollectorRegistry()
        ours = PrometheusMetrics(registry)
        for one in (theirs, ours):
            one.watch(sides.gate)
        for line in LINES:
            sides.gate.line_appended(line)
        of_ours = samples(generate_latest(registry))
        of_theirs = {
            (name, frozenset(one for one in labels if not one[0].startswith("otel_scope"))): value
            for (name, labels), value in samples(generate_latest(REGISTRY)).items()
            if name.startswith("rollout_gate")
        }
        # An empty label is none.
        assert of_theirs == pytest.approx(of_ours)
        assert len(of_ours) > 100
    finally:
        provider.shutdown()


SET_LATER = """
from opentelemetry.metrics import set_meter_provider
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from rollout_gate.metrics import OpenTelemetryMetrics
from tests.gate.metrics.lines import a_line
metrics = OpenTelemetryMetrics()
metrics.observe(a_line())   # to nobody yet
reader = InMemoryMetricReader()
set_meter_provider(MeterProvider([reader]))
metrics.observe(a_line())
data = reader.get_metrics_data()
print(sum(point.value for resource in data.resource_metrics for scope in resource.scope_metrics
          for metric in scope.metrics if metric.name == "rollout_gate.requests"
          for point in metric.data.data_points))
"""


def test_the_global_provider_may_be_set_later() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SET_LATER], capture_output=True, text=True, check=True,
        cwd=Path(__file__).parents[3],
    )  # fmt: skip
    assert done.stdout.split() == ["1"]


def test_without_an_sdk_nothing_is_recorded_and_nothing_fails(sides: TwoSides) -> None:
    script = (
        "import sys; sys.modules['opentelemetry.sdk'] = None\n"
        "from rollout_gate.metrics import OpenTelemetryMetrics\n"
        "from tests.gate.metrics.lines import a_line\n"
        "OpenTelemetryMetrics().observe(a_line(stream=True, ttft_ms=1.0))\n"
        "assert not [name for name in sys.modules if name.startswith('opentelemetry.sdk.')]\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, cwd=Path(__file__).parents[3])


def test_an_attribute_is_never_a_secret_or_a_text_of_a_request(otel: Otel) -> None:
    line = a_line(
        request_id="req-canary", billing_transaction_id="bill-canary", task_id="task-canary",
        job_id="job-canary", key_alias="alias-canary", error="error-canary",
        finish_reason="finish-canary", outcome="error",
    )  # fmt: skip
    assert isinstance(line, AccessLine)
    otel.metrics.observe(line)
    registry = CollectorRegistry()
    PrometheusMetrics(registry).observe(line)
    everything = str(otel.found()) + generate_latest(registry).decode()
    assert "canary" not in everything
