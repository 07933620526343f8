"""The Grafana dashboard: Grafana's own types take it, and a real Prometheus answers each query."""

import json
import math
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.sdk.metrics import MeterProvider
from prometheus_client import REGISTRY, CollectorRegistry, start_http_server

from rollout_console.sim.server import SimServer
from rollout_console.sim.state import DEMO_KEY
from rollout_gate import Gate, subject
from rollout_gate.http import client
from rollout_gate.metrics import OpenTelemetryMetrics, PrometheusMetrics
from tests.support.prometheus import Prometheus, prometheus
from tests.support.waiting import PATIENCE_S, until

PATH = Path(__file__).parents[3] / "sample_configs" / "rollout-grafana.json"
DASHBOARD: dict[str, Any] = json.loads(PATH.read_text())
QUERIES = [
    (panel["title"], target["expr"])
    for panel in DASHBOARD["panels"]
    for target in panel.get("targets", ())
]
VALUES = {
    "$__rate_interval": "1m", "$__range": "5m", "$route": "chat|claude", "$org": ".*",
}  # fmt: skip
"""What Grafana puts in place of its variables."""


def filled(expression: str) -> str:
    for name, value in VALUES.items():
        expression = expression.replace(name, value)
    assert "$" not in expression, "a variable that the dashboard does not have"
    return expression


def lost(given: Any, read: Any, at: str = "") -> Iterator[str]:
    """Say which parts of a value are not in what was made of it."""
    if isinstance(given, dict) and isinstance(read, dict):
        for name, value in given.items():
            if name not in read:
                yield f"{at}/{name}"
            else:
                yield from lost(value, read[name], f"{at}/{name}")
    elif isinstance(given, list) and isinstance(read, list) and len(given) == len(read):
        for number, (one, other) in enumerate(zip(given, read, strict=True)):
            yield from lost(one, other, f"{at}/{number}")
    elif given != read:
        yield at


def as_grafana_reads(given: dict[str, Any]) -> Any:
    # Imported here: each worker collects this module, and one needs these.
    from grafana_foundation_sdk.cog import plugins
    from grafana_foundation_sdk.cog.encoder import JSONEncoder
    from grafana_foundation_sdk.models.dashboard import Dashboard

    plugins.register_default_plugins()
    return json.loads(JSONEncoder().encode(Dashboard.from_json(given)))


def test_grafana_s_types_have_each_field() -> None:
    assert list(lost(DASHBOARD, as_grafana_reads(DASHBOARD))) == []


def test_a_field_that_grafana_does_not_have_is_found() -> None:
    broken = json.loads(PATH.read_text())
    broken["panels"][0]["targets"][0]["expression"] = "up"
    broken["panels"][6]["options"]["tooltip"]["modus"] = "multi"
    assert list(lost(broken, as_grafana_reads(broken))) == [
        "/panels/0/targets/0/expression", "/panels/6/options/tooltip/modus",
    ]  # fmt: skip


def test_panels_have_an_id_a_place_and_the_data_source_that_is_chosen() -> None:
    panels = DASHBOARD["panels"]
    assert len({one["id"] for one in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for one in panels:
        place = one["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, f"{one['title']} is on another panel"
        assert max(x for x, _ in cells) < 24
        taken |= cells
        for target in one["targets"]:
            assert target["datasource"] == one["datasource"]
            assert target["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
    assert [one["name"] for one in DASHBOARD["templating"]["list"]] == [
        "datasource", "route", "org",
    ]  # fmt: skip


class Traffic:
    """Real requests through the gate's client, on both sides, good and bad, until it is stopped."""

    def __init__(self, gate: Gate, sim: SimServer) -> None:
        self._gate = gate
        self._sim = sim
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._ask)

    def __enter__(self) -> "Traffic":
        for kind, side in (("error", "tokenlab"), ("failure", "previous"), ("cut", "tokenlab")):
            self._fault({"kind": kind, "side": side, "share": 0.2})
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        self._thread.join(PATIENCE_S)

    def _fault(self, fault: dict[str, Any]) -> None:
        request = urllib.request.Request(
            f"{self._sim.base_url}/_sim/faults", json.dumps(fault).encode(), method="POST"
        )
        urllib.request.urlopen(request, timeout=PATIENCE_S).close()

    def _client(self, route: str) -> Any:
        return client(self._gate, route, tokenlab_key=DEMO_KEY, previous_key="prev")

    def _ask(self) -> None:
        number = 0
        chat = f"{self._sim.previous_base_url}/v1/chat/completions"
        messages = f"{self._sim.previous_base_url}/v1/messages"
        count = f"{messages}/count_tokens"
        body = {
            "model": "gpt-5.4", "max_tokens": 16, "messages": [{"role": "user", "content": "hi"}],
        }  # fmt: skip
        with self._client("chat") as one, self._client("claude") as two:
            while not self._over.is_set():
                number += 1
                with subject(org=("acme", "globex.eu", "initech")[number % 3], key=str(number)):
                    stream = number % 2 == 0
                    sent = one.post(chat, json={**body, "stream": stream})
                    if sent.status_code >= 500 or number % 5 == 0:
                        one.post(chat, json={**body, "stream": stream})  # again, as SDKs do
                    claude = {**body, "model": "claude-sonnet-4-6", "stream": stream}
                    two.post(messages, json=claude)
                    if number % 7 == 0:
                        two.post(count, json=claude)


@pytest.fixture
def gate(sim: SimServer, tmp_path: Path) -> Iterator[Gate]:
    """A gate that sends half to each side of the simulator."""
    path = tmp_path / "rollout.toml"
    path.write_text(
        'schema = 1\nalgorithm = "fractional-v3"\n'
        f'[tokenlab]\nbase_url = "{sim.base_url}"\n'
        '[routes.chat]\nformat = "openai_chat_completions"\nmodel = "gpt-5.4"\n'
        f'previous_base_url = "{sim.previous_base_url}/v1"\ndefault_percent = 50\n'
        '[routes.claude]\nformat = "anthropic_messages"\nmodel = "claude-sonnet-4-6"\n'
        f'previous_base_url = "{sim.previous_base_url}"\ndefault_percent = 50\n'
    )
    with Gate(path, poll_s=60) as found:
        yield found


@contextmanager
def exported(registry: CollectorRegistry) -> Iterator[str]:
    server, thread = start_http_server(0, "127.0.0.1", registry)
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(PATIENCE_S)


def without_data(server: Prometheus) -> list[str]:
    """The panels of which a query has no data, or no numbers."""
    found = []
    for title, expression in QUERIES:
        numbers = [float(value) for _, value in server.ask(filled(expression))]
        if not numbers or not all(math.isfinite(one) for one in numbers):
            found.append(f"{title}: {expression}: {numbers}")
    return found


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["prometheus", "otel"])
def test_each_query_has_data_of_real_requests(
    gate: Gate, sim: SimServer, tmp_path: Path, kind: str
) -> None:
    registry, provider = CollectorRegistry(), None
    if kind == "prometheus":
        PrometheusMetrics(registry).watch(gate)
    else:
        registry, provider = REGISTRY, MeterProvider([PrometheusMetricReader()])
        OpenTelemetryMetrics(provider).watch(gate)
    try:
        with (
            exported(registry) as target,
            prometheus(tmp_path / "prometheus", target) as server,
            Traffic(gate, sim),
        ):
            missing = ["all"]

            def complete() -> bool:
                missing[:] = without_data(server)
                return not missing

            try:
                until(complete)
            except AssertionError:
                raise AssertionError(f"without data: {missing}") from None
            check_figures(server)
            check_variables(server)
    finally:
        if provider is not None:
            provider.shutdown()


def check_figures(server: Prometheus) -> None:
    """Shares are shares, and both sides are there."""
    by_title = dict(QUERIES)
    for title in ("Errors by side", "Share of TokenLab by route", "Repeated attempts"):
        for _, value in server.ask(filled(by_title[title])):
            assert 0 <= float(value) <= 100, title
    sides = {labels["side"] for labels, _ in server.ask(filled(by_title["Errors by side"]))}
    assert sides == {"tokenlab", "previous"}
    orgs = {labels["org"] for labels, _ in server.ask(filled(by_title["Top orgs by errors"]))}
    assert orgs <= {"acme", "globex.eu", "initech"}
    assert orgs


def check_variables(server: Prometheus) -> None:
    """Ask what Grafana's label_values(SERIES, LABEL) asks."""
    for variable, wanted in (("route", {"chat", "claude"}), ("org", {"acme", "globex.eu"})):
        (one,) = [each for each in DASHBOARD["templating"]["list"] if each["name"] == variable]
        series, _, label = one["query"]["query"].removeprefix("label_values(").rpartition(", ")
        assert label == f"{variable})"
        found = server.api(f"label/{variable}/values", **{"match[]": filled(series)})
        assert wanted <= set(found.json()["data"])


def test_a_query_that_does_not_parse_is_found(tmp_path: Path) -> None:
    with prometheus(tmp_path / "prometheus") as server:
        assert server.api("query", query="sum by (rate(x[1m])").status_code == 400
        for _, expression in QUERIES:
            assert server.ask(filled(expression)) == []
