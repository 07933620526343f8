"""The gate's own metrics as figures: Prometheus and the access log have one verdict."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, start_http_server

from rollout_console.guard.condemned import OTHERS, may_have_traffic
from rollout_console.guard.monitor import Monitor
from rollout_console.health.windows.summary import Summary
from rollout_gate import AccessLine, AccessLog, timestamp
from rollout_gate.bucketing import ALGORITHM
from rollout_gate.file.parse import parse
from rollout_gate.metrics import PrometheusMetrics
from rollout_gate.metrics import labels as metric_labels
from rollout_gate.metrics.counted import BUCKETS_S
from tests.support import prometheus as support
from tests.support.waiting import until

pytestmark = pytest.mark.slow

_FILE = f"""schema = 1
algorithm = "{ALGORITHM}"
[health]
access_log = "access.jsonl"
[guard]
window = "60s"
mode = "enforce"
[ramp]
bake = "1s"
[routes.chat]
format = "openai_chat_completions"
model = "m"
default_percent = 50
"""
ANSWERS: tuple[dict[str, object], ...] = (
    {"status": 200, "outcome": "ok"}, {"status": 200, "outcome": "ok", "finish_reason": "length"},
    {"status": 200, "outcome": "filtered"}, {"status": 200, "outcome": "empty"},
    {"status": 200, "outcome": "truncated"}, {"status": 429}, {"status": 503}, {"status": 0},
    {"status": 401}, {"status": 402}, {"status": 404}, {"status": 200, "outcome": "abandoned"},
    {"status": 200, "outcome": "ok", "attempt": 2},
    {"status": 200, "outcome": "ok", "stream": True, "ttft_ms": 240.0},
)  # fmt: skip


@contextmanager
def exported(folder: Path, most_orgs: int) -> Iterator[tuple[str, PrometheusMetrics]]:
    """Run the gate's exporter and a Prometheus that has scraped it; its address."""
    registry = CollectorRegistry()
    metrics = PrometheusMetrics(registry, most_orgs=most_orgs)
    server, thread = start_http_server(0, "127.0.0.1", registry)
    prometheus = support.Prometheus(folder / "prometheus", [server.server_port])
    try:
        prometheus.start()
        until(lambda: prometheus.has("max_over_time(up[2s] offset 1s) > 0"))
        yield prometheus.url, metrics
    finally:
        prometheus.kill()
        server.shutdown()
        thread.join()
        server.server_close()


class Both:
    """One file judged by the log, and the same file by Prometheus, of the same requests."""

    def __init__(self, folder: Path, url: str, metrics: PrometheusMetrics) -> None:
        path = folder / "rollout.toml"
        path.write_text(_FILE)
        by_prometheus = folder / "other.toml"
        by_prometheus.write_text(
            _FILE.replace("[health]", f'[health]\nprometheus = "{url}"\nprometheus_step = "1s"')
        )
        self.log = Monitor(path, parse(path.read_bytes()))
        self.prometheus = Monitor(by_prometheus, parse(by_prometheus.read_bytes()))
        self._writer = AccessLog(folder / "access.jsonl", on_line=metrics.observe)

    def send(self, org: str, **fields: object) -> None:
        line = {"route": "chat", "org": org, "side": "tokenlab", "model": "m", "latency_ms": 700.0}
        self._writer.append(AccessLine(**{"ts": timestamp(), **line, **fields}))  # type: ignore[arg-type]

    def go_on(self) -> tuple[Monitor, Monitor]:
        for monitor in (self.log, self.prometheus):
            monitor.go_on(time.time())
        return self.log, self.prometheus

    def summaries(self, org: str | None = None) -> tuple[Summary, Summary]:
        log, other = (
            one.summary("chat", org, "tokenlab", time.time()) for one in self.go_on()
        )  # fmt: skip
        return log, other

    def verdicts(self, org: str | None = None) -> tuple[str, str]:
        log, other = (one.health("chat", org, time.time()).verdict for one in self.go_on())
        return log.kind, other.kind

    def close(self) -> None:
        self._writer.close()
        for monitor in (self.log, self.prometheus):
            monitor.close()


@contextmanager
def both(folder: Path, most_orgs: int = 1000) -> Iterator[Both]:
    with exported(folder, most_orgs) as (url, metrics):
        found = Both(folder, url, metrics)
        try:
            yield found
        finally:
            found.close()


def sending(send: Callable[[], None], true: Callable[[], object]) -> None:
    def sent() -> object:
        send()
        return true()

    until(sent)


def test_log_and_prometheus_have_one_figure_and_one_verdict(tmp_path: Path) -> None:
    with both(tmp_path) as run:
        for org in ("acme", "globex", "initech"):
            for answer in ANSWERS:
                run.send(org, **answer)
        until(lambda: run.summaries()[1].requests == 3 * len(ANSWERS))
        log, other = run.summaries()
        assert other.by_class == log.by_class
        for name in ("bad", "repeated", "percent_filtered", "percent_length", "percent_4xx"):
            assert getattr(other, name) == getattr(log, name), name
        assert log.p95 is not None
        assert other.p95 is not None
        assert log.p95 <= other.p95 <= 1.05 * 1000  # the bound of its bucket
        assert other.ttft_p95 is not None

        def good() -> None:
            for org in ("acme", "globex", "initech"):
                run.send(org, status=200, outcome="ok")

        sending(good, lambda: run.verdicts() == ("rollback", "rollback"))  # 401, 402 and 503 above

        def sick() -> None:
            good()
            run.send("umbrella", status=503)

        sending(sick, lambda: run.verdicts("umbrella") == ("rollback", "rollback"))


def test_orgs_without_a_label_of_their_own_are_no_org_to_roll_back(tmp_path: Path) -> None:
    with both(tmp_path, most_orgs=2) as run:

        def sick() -> None:
            for org in ("acme", "globex"):
                run.send(org, status=200, outcome="ok")
            for org in ("initech", "umbrella"):
                run.send(org, status=503)

        sending(sick, lambda: OTHERS in run.go_on()[1].condemned(time.time())["chat"])
        now = time.time()
        assert run.prometheus.health("chat", None, now).verdict.kind != "rollback"
        assert run.prometheus.sick_targets(now) == []
        assert not may_have_traffic(run.prometheus.file.routes["chat"], OTHERS)


def test_what_both_know_is_the_same() -> None:
    assert OTHERS == metric_labels.OTHERS
    assert BUCKETS_S == support.BUCKETS_S
