"""What metrics cost a request: beside the line that it writes, and in the gate's client.

A record is appended to the access log with and without an observer, in turn, so that a noisy
machine hits all alike; the least of the rounds counts. The scrape is of as many orgs as have label
values of their own, in one process and of the files of several.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import process_time

from rollout_gate import AccessLine, AccessLog, Gate, timestamp

ROUNDS = 40
LINES = 500
ORGS = 1000
WORKERS = 4


def a_line(org: str = "acme") -> AccessLine:
    return AccessLine(
        ts=timestamp(), route="chat", org=org, side="tokenlab", model="gpt-5.4", status=200,
        latency_ms=812.5, outcome="ok", ttft_ms=210.0, stream=True, finish_reason="stop",
        input_tokens=812, output_tokens=240, request_id="req-" + "4f" * 12, attempt=1,
        bucket=2441, revision="0123456789ab", host="gw-01",
    )  # fmt: skip


def main() -> None:
    """Print the cost of a record, of a scrape, and of a request of the gate's client."""
    with tempfile.TemporaryDirectory() as folder:
        records(Path(folder))
        files = Path(folder) / "metrics"
        files.mkdir()
        environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(files)}
        here = [sys.executable, "-m", "tests.benchmarks.gate_metrics"]
        print("with PROMETHEUS_MULTIPROC_DIR:", flush=True)
        subprocess.run([*here, "records", folder], env=environment, check=True)
        for _ in range(WORKERS):
            subprocess.run([*here, "orgs"], env=environment, check=True)
        scrapes(files)
    clients()


def records(folder: Path) -> None:
    """Print what a record costs, each way."""
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader
    from prometheus_client import CollectorRegistry

    from rollout_gate.metrics import OpenTelemetryMetrics, PrometheusMetrics

    otel = MeterProvider([InMemoryMetricReader()])
    ways: dict[str, Callable[[AccessLine], None] | None] = {
        "no metrics": None,
        "Prometheus": PrometheusMetrics(CollectorRegistry()).observe,
        "OpenTelemetry": OpenTelemetryMetrics(otel, gen_ai=False).observe,
        "with gen_ai": OpenTelemetryMetrics(otel).observe,
    }
    logs = {
        name: AccessLog(folder / f"{number}.jsonl", on_line=way)
        for number, (name, way) in enumerate(ways.items())
    }
    line = a_line()
    least = dict.fromkeys(logs, float("inf"))
    for _ in range(ROUNDS):
        for name, log in logs.items():
            start = process_time()
            for _ in range(LINES):
                log.append(line)
            least[name] = min(least[name], (process_time() - start) / LINES)
    floor = least.pop("no metrics")
    print(f"  a record appended to the access log: {1e6 * floor:.1f} us of CPU time")
    for name, cost in least.items():
        print(
            f"  and counted, {name}: {1e6 * (cost - floor):.1f} us more, {cost / floor:.2f} times"
        )
    otel.shutdown()


def of_many_orgs() -> None:
    """Count requests of many orgs on both sides of a route, as one of several workers."""
    from rollout_gate.metrics import PrometheusMetrics

    metrics = PrometheusMetrics()
    for number in range(ORGS):
        for side in ("tokenlab", "previous"):
            line = a_line(f"org-{number:04d}")
            line.side = side
            metrics.observe(line)


def scrapes(files: Path) -> None:
    """Print what a scrape takes."""
    from prometheus_client import CollectorRegistry, generate_latest

    from rollout_gate.metrics import PrometheusMetrics
    from rollout_gate.serve.metrics import Totals

    registry = CollectorRegistry()
    metrics = PrometheusMetrics(registry)
    for number in range(ORGS):
        for side in ("tokenlab", "previous"):
            line = a_line(f"org-{number:04d}")
            line.side = side
            metrics.observe(line)
    several, _ = _timed(lambda: _of_files(files))
    totals = Totals(files)
    totals.text("")  # merges the files of the processes, which have ended
    size = sum(one.stat().st_blocks * 512 for one in files.glob("*.db"))
    took, found = _timed(lambda: generate_latest(registry))
    print(f"a scrape of {ORGS} orgs on two sides, {len(found) / 1e6:.1f} MB of text:")
    print(f"  of one process: {took:.2f} s of CPU time")
    print(f"  of the files of {WORKERS} processes: {several:.2f} s")
    took, _ = _timed(lambda: totals.text("")[0])
    print(f"  of their files once merged ({size / 1e6:.1f} MB): {took:.2f} s")


def _of_files(files: Path) -> bytes:
    from prometheus_client import CollectorRegistry, generate_latest
    from prometheus_client.multiprocess import MultiProcessCollector

    registry = CollectorRegistry()
    MultiProcessCollector(registry, path=str(files))  # type: ignore[no-untyped-call]
    return generate_latest(registry)


def _timed(call: Callable[[], bytes]) -> tuple[float, bytes]:
    took = []
    for _ in range(3):
        start = process_time()
        found = call()
        took.append(process_time() - start)
    return min(took), found


def clients() -> None:
    """Print what the gate's client adds to a request, with metrics."""
    from tests.benchmarks import gate_client

    def watch(gate: Gate) -> None:
        from prometheus_client import CollectorRegistry

        from rollout_gate.metrics import PrometheusMetrics

        PrometheusMetrics(CollectorRegistry()).watch(gate)

    print("with Prometheus metrics:")
    gate_client.main(watch)


if __name__ == "__main__":
    if "records" in sys.argv:
        records(Path(sys.argv[2]))
    elif "orgs" in sys.argv:
        of_many_orgs()
    else:
        main()
