"""The metrics of prometheus-client: they and the log have the same requests."""

import asyncio
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from prometheus_client import CollectorRegistry, generate_latest

from rollout_gate import AccessLine, AccessLog, Gate, subject
from rollout_gate.http import async_client, client
from rollout_gate.metrics import PrometheusMetrics
from tests.gate.metrics.lines import a_line, samples, total, values
from tests.support.loopback import CHAT, PREVIOUS, TOKENLAB, Received, Reply, TwoSides
from tests.support.waiting import until

URL = "http://before.example/v1/chat/completions"
ASK = {"model": "old", "messages": [{"role": "user", "content": "hi"}]}


def ask_for(status: int) -> dict[str, Any]:
    """A request that ``odd`` answers with a status; TokenLab is not sent just any header."""
    return {**ASK, "messages": [{"role": "user", "content": f"status {status}"}]}


@contextmanager
def clients(sides: TwoSides) -> Iterator[httpx2.Client]:
    with client(sides.gate, "chat", tokenlab_key=TOKENLAB, previous_key=PREVIOUS) as found:
        yield found


@pytest.fixture
def registry(sides: TwoSides) -> CollectorRegistry:
    """A registry with the metrics of the gate."""
    found = CollectorRegistry()
    PrometheusMetrics(found).watch(sides.gate)
    return found


def odd(one: Received) -> Reply:
    """Answer well, or not, as the request asks."""
    status = int(one.body.rpartition(b"status ")[2][:3])
    return Reply(status, CHAT if status == 200 else {"error": {"code": "because"}})


def counts_of(lines: list[dict[str, Any]]) -> Counter[tuple[str, str, str]]:
    return Counter((one["route"], one["org"], one["side"]) for one in lines)


def counts_in(text: bytes) -> Counter[tuple[str, str, str]]:
    found: Counter[tuple[str, str, str]] = Counter()
    for labels, value in values(text, "rollout_gate_requests_total").items():
        of = dict(labels)
        found[of["route"], of.get("org", ""), of["side"]] += int(value)
    return found


def test_the_log_and_the_metrics_have_the_same_counts(
    sides: TwoSides, registry: CollectorRegistry
) -> None:
    sides.tokenlab.answer = sides.previous.answer = odd
    wanted = [200, 200, 500, 429, 402, 401, 400, 200, 503]
    with clients(sides) as http, ThreadPoolExecutor(8) as pool:

        def ask(number: int) -> None:
            with subject(org=("acme", "initech", "")[number % 3], key=str(number)):
                status = wanted[number % len(wanted)]
                http.post(URL, json=ask_for(status))

        list(pool.map(ask, range(180)))
    text = generate_latest(registry)
    lines = sides.lines()
    assert len(lines) == 180
    assert counts_in(text) == counts_of(lines)
    assert len(counts_of(lines)) == 3, "acme is on TokenLab, the others are not"
    assert total(text, "rollout_gate_requests_total", **{"class": "ok"}) == 60
    by_class = {
        dict(labels)["class"]: value
        for labels, value in values(
            text, "rollout_gate_requests_total", org="acme", side="tokenlab", route="chat"
        ).items()
    }
    of_acme = Counter(one["status"] for one in lines if one["org"] == "acme")
    assert by_class["ok"] == of_acme[200]
    assert by_class["rate_limit"] == of_acme[429] > 0
    name = "rollout_gate_request_duration_seconds"
    assert total(text, f"{name}_count") == 180
    assert total(text, f"{name}_count", **{"class": "ok"}) == 60  # the guard judges good answers
    judged = sum(one["latency_ms"] for one in lines if one["status"] == 200) / 1000
    assert total(text, f"{name}_sum", **{"class": "ok"}) == pytest.approx(judged)


async def test_asyncio(sides: TwoSides, registry: CollectorRegistry) -> None:
    async with async_client(
        sides.gate, "chat", tokenlab_key=TOKENLAB, previous_key=PREVIOUS, org="acme"
    ) as http:
        await asyncio.gather(*(http.post(URL, json=ASK) for _ in range(20)))
    assert total(generate_latest(registry), "rollout_gate_requests_total") == 20


def test_operations_are_counted_apart(sides: TwoSides, registry: CollectorRegistry) -> None:
    """The guard does not judge them, so no query of its signals may find them."""
    with clients(sides) as http, subject(org="acme"):
        http.post(URL.replace("chat/completions", "embeddings"), json={"model": "m", "input": "a"})
        http.post(URL, json=ASK)
    text = generate_latest(registry)
    operations = [one["operation"] for one in sides.lines() if "operation" in one]
    assert len(operations) == 1
    assert total(text, "rollout_gate_operations_total", operation=operations[0]) == 1
    assert total(text, "rollout_gate_requests_total") == 1


def test_a_repeated_attempt(sides: TwoSides, registry: CollectorRegistry) -> None:
    sides.tokenlab.answer = odd
    with clients(sides) as http, subject(org="acme"):
        for _ in range(3):
            http.post(URL, json=ask_for(503))
    assert [one["attempt"] for one in sides.lines()] == [1, 2, 3]
    assert total(generate_latest(registry), "rollout_gate_attempts_repeated_total") == 2


def test_a_stream_has_a_time_to_the_first_token() -> None:
    registry = CollectorRegistry()
    metrics = PrometheusMetrics(registry)
    metrics.observe(a_line(stream=True, ttft_ms=300.0))
    metrics.observe(
        a_line(stream=True, outcome="abandoned", error="abandoned", latency_ms=20_000.0)
    )
    metrics.observe(a_line(stream=True, ttft_ms=1.0, cached=True))
    metrics.observe(a_line())
    text = generate_latest(registry)
    name = "rollout_gate_time_to_first_token_seconds"
    assert total(text, f"{name}_count") == 2
    assert total(text, f"{name}_bucket", le="0.5") == 1
    assert total(text, f"{name}_bucket", le="20.0") == 2


def test_no_time_of_creation_is_exported(registry: CollectorRegistry, sides: TwoSides) -> None:
    """It would be one more series for each; a counter's reset shows without it."""
    with clients(sides) as http, subject(org="acme"):
        http.post(URL, json=ASK)
    assert not [name for name, _ in samples(generate_latest(registry)) if "_created" in name]


def test_the_revision_and_a_trouble_with_the_file(
    sides: TwoSides, registry: CollectorRegistry
) -> None:
    def revisions() -> list[str]:
        found = values(generate_latest(registry), "rollout_gate_revision_info", host=host)
        return [dict(labels)["revision"] for labels in found]

    def trouble() -> float:
        return total(generate_latest(registry), "rollout_gate_file_trouble")

    host = os.uname().nodename
    file = sides.gate.file
    assert file is not None
    assert (revisions(), trouble()) == ([file.revision[:12]], 0)
    sides.decide(50)
    after = sides.gate.file
    assert after is not None
    assert after.revision != file.revision
    assert (revisions(), trouble()) == ([after.revision[:12]], 0)
    sides.path.unlink()
    sides.gate.refresh()
    assert (revisions(), trouble()) == ([after.revision[:12]], 1)
    sides.decide(50)
    assert trouble() == 0


def test_a_route_that_the_file_does_not_have(sides: TwoSides, registry: CollectorRegistry) -> None:
    with clients(sides) as http:
        for number in range(3):
            headers = {"X-Rollout-Route": f"made-up-{number}"}
            http.post(f"{sides.previous.url}/v1/chat/completions", json=ASK, headers=headers)
    text = generate_latest(registry)
    assert total(text, "rollout_gate_requests_total", route="(others)") == len(sides.lines()) == 3


def test_two_gates_and_one_that_ends(sides: TwoSides, tmp_path: Path) -> None:
    other = tmp_path / "other.toml"
    other.write_text(sides.path.read_text().replace("routes.chat", "routes.talk"))
    registry = CollectorRegistry()
    metrics = PrometheusMetrics(registry)
    end = metrics.watch(sides.gate)
    with Gate(other, poll_s=60) as second:
        metrics.watch(second)
        assert total(generate_latest(registry), "rollout_gate_revision_info") == 2
        end()
        end()
        assert total(generate_latest(registry), "rollout_gate_revision_info") == 1
        with clients(sides) as http:
            http.post(URL, json=ASK)
        assert not values(generate_latest(registry), "rollout_gate_requests_total")
        for route in ("talk", "chat"):
            second.line_appended(a_line(route=route))
        found = values(generate_latest(registry), "rollout_gate_requests_total")
        assert sorted(dict(labels)["route"] for labels in found) == ["(others)", "talk"]


def test_a_gate_is_watched_once(sides: TwoSides) -> None:
    registry = CollectorRegistry()
    metrics = PrometheusMetrics(registry)
    end = metrics.watch(sides.gate)
    with pytest.raises(ValueError, match="watch this gate already"):
        metrics.watch(sides.gate)
    sides.gate.line_appended(a_line())
    assert total(generate_latest(registry), "rollout_gate_requests_total") == 1
    end()
    metrics.watch(sides.gate)
    sides.gate.line_appended(a_line())
    assert total(generate_latest(registry), "rollout_gate_requests_total") == 2


def test_a_registry_takes_the_metrics_once(sides: TwoSides) -> None:
    registry = CollectorRegistry()
    PrometheusMetrics(registry)
    with pytest.raises(
        ValueError, match="has the gate's metrics already: watch all gates with one"
    ):
        PrometheusMetrics(registry)


def test_a_log_of_your_own(tmp_path: Path) -> None:
    registry = CollectorRegistry()
    log = AccessLog(tmp_path / "access.jsonl", on_line=PrometheusMetrics(registry).observe)
    log.append(a_line())
    log.append(a_line(route="other", side="elsewhere"))
    log.close()
    assert counts_in(generate_latest(registry)) == {
        ("chat", "acme", "tokenlab"): 1, ("other", "acme", "(others)"): 1,
    }  # fmt: skip


def test_an_error_of_an_exporter_reaches_no_request_and_costs_no_line(
    sides: TwoSides, caplog: pytest.LogCaptureFixture
) -> None:
    told: list[str] = []
    seen: list[AccessLine] = []

    def broken(line: AccessLine) -> None:
        raise RuntimeError("with a secret in it")

    sides.gate.subscribe(on_line=broken, on_trouble=told.append)
    sides.gate.subscribe(on_line=seen.append)
    with clients(sides) as http, subject(org="acme"):
        for _ in range(3):
            assert http.post(URL, json=ASK).status_code == 200
    sides.gate.refresh()
    assert len(sides.lines()) == len(seen) == 3
    assert told == ["a request is not in the metrics: RuntimeError"]
    assert caplog.text.count("not in the metrics") == 1
    assert "secret" not in caplog.text


def test_an_error_of_a_log_s_own_observer_is_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(line: AccessLine) -> None:
        raise KeyError(line.org)

    log = AccessLog(tmp_path / "access.jsonl", on_line=broken)
    for _ in range(3):
        log.append(a_line())
    log.close()
    assert len((tmp_path / "access.jsonl").read_text().splitlines()) == 3
    assert caplog.text.count("failed: KeyError") == 1
    assert "acme" not in caplog.text


def test_a_line_that_is_lost_is_counted_all_the_same(tmp_path: Path) -> None:
    registry = CollectorRegistry()
    path = tmp_path / "gone" / "access.jsonl"
    log = AccessLog(path, on_line=PrometheusMetrics(registry).observe)
    log.append(a_line())
    assert (log.lost, total(generate_latest(registry), "rollout_gate_requests_total")) == (1, 1)


def test_the_gate_keeps_the_metrics_alive(sides: TwoSides) -> None:
    registry = CollectorRegistry()

    def watch() -> None:
        PrometheusMetrics(registry).watch(sides.gate)

    watch()
    with clients(sides) as http:
        http.post(URL, json=ASK)
    assert total(generate_latest(registry), "rollout_gate_requests_total") == 1


@pytest.mark.parametrize(
    ("made", "library", "extra"),
    [
        ("PrometheusMetrics", "prometheus_client", "rollout-gate[metrics]"),
        ("OpenTelemetryMetrics", "opentelemetry", "rollout-gate[otel]"),
    ],
)
def test_without_the_library(made: str, library: str, extra: str) -> None:
    script = (
        f"import sys; sys.modules['{library}'] = None\n"
        f"from rollout_gate.metrics import {made}\n"
        f"try: {made}()\n"
        "except ModuleNotFoundError as error: print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert f"{made} needs" in done.stdout
    assert extra in done.stdout


def test_a_scrape_while_requests_are_counted(sides: TwoSides, registry: CollectorRegistry) -> None:
    sides.gate.line_appended(a_line())
    with ThreadPoolExecutor(5) as pool:
        asked = [
            pool.submit(sides.gate.line_appended, a_line(org=f"org-{number % 50}"))
            for number in range(2_000)
        ]
        scraped = pool.submit(lambda: [generate_latest(registry) for _ in range(20)])
        until(lambda: all(one.done() for one in asked))
        seen = [total(one, "rollout_gate_requests_total") for one in scraped.result()]
    assert seen == sorted(seen)
    assert total(generate_latest(registry), "rollout_gate_requests_total") == 2_001
