"""The sample files for metrics of others, against a real Prometheus that scrapes such metrics."""

import json
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from email.utils import formatdate
from pathlib import Path

import pytest

from rollout_console.guard.monitor import Monitor
from rollout_console.health.log.record import StatusClass
from rollout_console.readiness.checks.prometheus import check_answers
from rollout_console.readiness.checks.result import Result
from rollout_gate.file.model import Side
from rollout_gate.file.parse import parse
from tests.health.prometheus.odd_server import Odd, odd_server
from tests.support.prometheus import Exporter, Prometheus, next_scrape, scraped
from tests.support.waiting import until

SAMPLES = Path(__file__).resolve().parents[2] / "sample_configs"
ENVOY_MS = (0.5, 1, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000, 30_000, 60_000)
OTEL_S = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)
GEN_AI_S = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
LITELLM_S = (0.005, 0.05, 0.1, 0.5, 1, 1.5, 2, 2.5, 3, 4, 5, 6, 7, 7.5, 8, 8.5, 9, 10, 15, 30, 60)

pytestmark = pytest.mark.slow

Send = Callable[[Exporter, Side, str, float], None]
"""Counts one request as the exporter of that kind does: its side, status and latency in seconds."""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Prometheus, Exporter]]:
    with scraped(tmp_path_factory.mktemp("world")) as (prometheus, (exporter,)):
        yield prometheus, exporter


def otel_http(exporter: Exporter, side: Side, status: str, latency_s: float) -> None:
    host = "api.tokenlab.sh" if side == "tokenlab" else "api.openai.com"
    labels = {"http_request_method": "POST", "server_address": host, "server_port": "443"}
    more = {"http_response_status_code": status} if status != "0" else {"error_type": "timeout"}
    name = "http_client_request_duration_seconds"
    exporter.observe(name, {**labels, **more}, latency_s, OTEL_S)


def gen_ai(exporter: Exporter, side: Side, status: str, latency_s: float) -> None:
    host = "api.tokenlab.sh" if side == "tokenlab" else "api.openai.com"
    labels = {
        "gen_ai_operation_name": "chat", "gen_ai_request_model": "gpt-5.4",
        "gen_ai_provider_name": "openai", "server_address": host,
    }  # fmt: skip
    errors = {"200": "", "429": "openai.RateLimitError", "404": "NotFoundError", "0": "timeout",
              "401": "AuthenticationError"}  # fmt: skip
    error = errors.get(status, status)
    more = {"error_type": error} if error else {}
    name = "gen_ai_client_operation_duration_seconds"
    exporter.observe(name, {**labels, **more}, latency_s, GEN_AI_S)


def litellm(exporter: Exporter, side: Side, status: str, latency_s: float) -> None:
    base = "https://api.tokenlab.sh/v1" if side == "tokenlab" else "https://old.openai.azure.com"
    model = "openai/gpt-5.4" if side == "tokenlab" else "azure/gpt-5.4"
    who = {"requested_model": "gpt-5.4", "team": "t-1", "team_alias": "acme"}
    labels = {**who, "litellm_model_name": model, "api_base": base, "api_provider": "x"}
    if status == "200":
        exporter.count("litellm_deployment_success_responses_total", labels)
        for name in ("litellm_llm_api_latency", "litellm_llm_api_time_to_first_token"):
            exporter.observe(f"{name}_metric", {**who, "model": model}, latency_s, LITELLM_S)
        return
    failed = {"exception_status": status, "exception_class": "SomeError"}
    exporter.count("litellm_deployment_failure_responses_total", {**labels, **failed})


def envoy(exporter: Exporter, side: Side, status: str, latency_s: float) -> None:
    cluster = {"envoy_cluster_name": f"chat_{side}"}
    code = "504" if status == "0" else status  # so Envoy answers where nobody else does
    exporter.count("envoy_cluster_upstream_rq", {**cluster, "envoy_response_code": code})
    exporter.count("envoy_cluster_upstream_rq_retry", cluster, float(status == "503"))
    name = "envoy_cluster_upstream_rq_time"
    exporter.observe(name, cluster, 1000 * latency_s, ENVOY_MS)


KINDS: Mapping[str, Send] = {
    "otel-http": otel_http, "gen-ai": gen_ai, "litellm": litellm, "envoy": envoy,
}  # fmt: skip
SENT = ("200", "200", "200", "200", "429", "503", "404", "401", "0")
CLASSES = {
    StatusClass.OK: 8, StatusClass.RATE_LIMIT: 2, StatusClass.GATEWAY: 4, StatusClass.CONTRACT: 2,
    StatusClass.AUTH: 2,
}  # fmt: skip


@pytest.mark.parametrize("name", KINDS)
async def test_a_sample_counts_the_metrics_that_it_is_for(
    world: tuple[Prometheus, Exporter], tmp_path: Path, name: str
) -> None:
    prometheus, exporter = world
    text = (SAMPLES / f"prometheus-{name}.toml").read_text()
    text = text.replace("http://prometheus:9090", prometheus.url).replace('"15s"', '"1s"', 1)
    path = tmp_path / "rollout.toml"
    path.write_text(text)
    file = parse(path.read_bytes())
    assert not file.warnings

    def send_each() -> None:
        for side in ("tokenlab", "previous"):
            for status in SENT:
                KINDS[name](exporter, side, status, 2.2)

    send_each()  # where only what is known counts, this makes it known
    for _ in range(3):
        next_scrape(exporter)
    monitor = Monitor(path, file)
    try:
        now = time.time()
        monitor.catch_up(now)
        before = monitor.summary("chat", None, "tokenlab", time.time()).requests
        for _ in range(2):
            send_each()

        def counted() -> int:
            monitor.go_on(time.time())
            return monitor.summary("chat", None, "tokenlab", time.time()).requests - before

        until(lambda: counted() >= 2 * len(SENT))
        assert monitor.source_trouble(time.time()) == ""
        found = monitor.summary("chat", None, "tokenlab", time.time())
        other = monitor.summary("chat", None, "previous", time.time())
        assert other.by_class == found.by_class
        scale = found.requests / (2 * len(SENT))  # the first lot counts where series may be new
        assert scale in (1.0, 1.5)
        for cls, count in CLASSES.items():
            assert found.by_class[cls] == scale * count, cls
        assert found.p95 is not None
        assert 2200 <= found.p95 <= 2600
        if name == "litellm":
            assert monitor.summary("chat", "acme", "tokenlab", time.time()).requests
        if name == "envoy":
            assert found.repeated == 2 * scale
        results = await check_answers(file, tmp_path)
        assert [one for one in results if not one.ok] == []
        assert {"health.requests", "health.newest", "health.latency_limit"} <= rules(results)
    finally:
        monitor.close()


async def test_the_check_says_what_is_wrong_with_each_query(
    world: tuple[Prometheus, Exporter], tmp_path: Path
) -> None:
    prometheus, exporter = world
    for _ in range(4):
        otel_http(exporter, "tokenlab", "200", 1.0)
        next_scrape(exporter)
    text = (SAMPLES / "prometheus-otel-http.toml").read_text()
    text = text.replace("http://prometheus:9090", prometheus.url).replace('"15s"', '"1s"', 1)
    text = text.replace("max_p95_ms = 7500", "max_p95_ms = 20000")
    wrong = '"side", "both", "server_address"'
    text = text.replace('"side", "tokenlab", "server_address"', wrong, 1)
    text = re.sub(r"newest = .*", "newest = 'max(timestamp(no_such_metric))'", text)
    path = tmp_path / "rollout.toml"
    path.write_text(text)
    results = await check_answers(parse(path.read_bytes()), tmp_path)
    bad = {one.rule: one for one in results if not one.ok}
    assert "no side tokenlab or previous, but 'both'" in bad["health.requests"].reason
    assert "there is no such metric" in bad["health.newest"].reason
    assert bad["health.latency_limit"].where == "routes.chat.guard.max_p95_ms"
    assert all(one.fix for one in bad.values())


async def test_the_check_says_that_clocks_differ_and_routes_have_other_names(
    tmp_path: Path,
) -> None:
    def answer(odd: Odd, asked: Mapping[str, str]) -> None:
        series = []
        if "requests_total" in asked["query"] and "timestamp" not in asked["query"]:
            labels = {"route": "Chat", "org": "acme", "side": "tokenlab", "class": "ok"}
            series = [(labels, [[float(asked["end"]), "4"]])]
        body = {"resultType": "matrix", "result": [{"metric": a, "values": b} for a, b in series]}
        ahead = formatdate(time.time() + 300, usegmt=True)
        odd.say(json.dumps({"status": "success", "data": body}).encode(), Date=ahead)

    text = (SAMPLES / "rollout.toml").read_text()
    with odd_server(answer) as server:
        asked = f'[health]\nprometheus = "{server.url}"\nprometheus_step = "5s"\n'
        file = parse(text.replace("[health]\n", asked, 1).encode())
        bad = {one.rule: one for one in await check_answers(file, tmp_path) if not one.ok}
    assert "s ahead of this host's" in bad["health.clock"].reason
    assert bad["health.routes"].where.startswith("routes.")
    assert "routes that the file does not have: Chat" in bad["health.routes"].reason


async def test_the_check_says_that_a_query_that_is_late_reads_too_many_series(
    tmp_path: Path,
) -> None:
    ended = threading.Event()

    def answer(odd: Odd, asked: Mapping[str, str]) -> None:
        if "duration" in asked["query"]:
            ended.wait(60)
        odd.matrix()

    text = (SAMPLES / "rollout.toml").read_text()
    with odd_server(answer) as server:
        file = parse(
            text.replace("[health]\n", f'[health]\nprometheus = "{server.url}"\n').encode()
        )
        bad = {one.rule: one for one in await check_answers(file, tmp_path) if not one.ok}
        ended.set()
    assert "did not answer within 10 s" in bad["health.duration"].reason
    assert "fewer buckets" in bad["health.duration"].fix


async def test_the_check_says_where_nobody_answers(tmp_path: Path) -> None:
    text = (SAMPLES / "prometheus-envoy.toml").read_text()
    path = tmp_path / "rollout.toml"
    path.write_text(text.replace("http://prometheus:9090", "http://127.0.0.1:9"))
    results = await check_answers(parse(path.read_bytes()), tmp_path)
    assert "cannot be reached" in next(one for one in results if not one.ok).reason


def rules(results: list[Result]) -> set[str]:
    return {one.rule for one in results}
