"""Metrics of several processes: forks, workers that are killed, gunicorn, a folder that is full."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from rollout_gate.metrics.file_counts import MOST_REVISIONS
from tests.gate.metrics.lines import total, values
from tests.support.loopback import TwoSides
from tests.support.parts import missing_part
from tests.support.waiting import PATIENCE_S, until

ROOT = Path(__file__).parents[3]

WORKER = """
import os, sys
from rollout_gate import Gate
from rollout_gate.metrics import PrometheusMetrics
from tests.gate.metrics.lines import a_line
path, count, org = sys.argv[1], int(sys.argv[2]), sys.argv[3]
gate = Gate(path, poll_s=0.05)
PrometheusMetrics().watch(gate)
for number in range(count):
    gate.line_appended(a_line(org=org, stream=True, ttft_ms=100.0))
print("counted", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of the processes' files."""
    made = tmp_path / "metrics"
    made.mkdir()
    return made


def started(script: str, folder: Path, *arguments: str) -> "subprocess.Popen[str]":
    environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(folder)}
    return subprocess.Popen(
        [sys.executable, "-c", script, *arguments], env=environment, cwd=ROOT, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


@contextmanager
def workers(folder: Path, path: Path, count: int) -> Iterator[list["subprocess.Popen[str]"]]:
    """Processes that have counted, each 100 requests of an org of its own and of one of all."""
    found = [
        started(WORKER, folder, str(path), str(100 + number), "acme") for number in range(count)
    ]
    try:
        for one in found:
            assert one.stdout is not None
            assert one.stdout.readline() == "counted\n", one.communicate(timeout=PATIENCE_S)
        yield found
    finally:
        for one in found:
            one.kill()
            one.communicate(timeout=PATIENCE_S)


def scraped(folder: Path) -> bytes:
    registry = CollectorRegistry()
    MultiProcessCollector(registry, path=str(folder))  # type: ignore[no-untyped-call]
    until(lambda: all(one.stat().st_size for one in folder.glob("*.db")))  # not being made
    return generate_latest(registry)


def test_processes_add_up_also_those_that_were_killed(sides: TwoSides, folder: Path) -> None:
    with workers(folder, sides.path, 3) as found:
        first = scraped(folder)
        assert total(first, "rollout_gate_requests_total", org="acme") == 100 + 101 + 102
        name = "rollout_gate_request_duration_seconds"
        assert total(first, f"{name}_count") == total(first, f"{name}_bucket", le="1.0") == 303
        assert total(first, "rollout_gate_time_to_first_token_seconds_count") == 303
        assert total(first, "rollout_gate_revision_info") == 1
        assert total(first, "rollout_gate_file_trouble") == 0
        found[0].kill()
        found[0].wait(PATIENCE_S)
        mark_process_dead(found[0].pid, str(folder))  # type: ignore[no-untyped-call]
        assert total(scraped(folder), "rollout_gate_requests_total") == 303


def test_the_revision_is_that_of_the_living(sides: TwoSides, folder: Path) -> None:
    def revisions() -> list[str]:
        found = values(scraped(folder), "rollout_gate_revision_info", host=os.uname().nodename)
        return [dict(labels)["revision"] for labels, value in found.items() if value == 1]

    def trouble() -> float:
        return total(scraped(folder), "rollout_gate_file_trouble")

    with workers(folder, sides.path, 2) as found:
        before = revisions()
        found[0].send_signal(signal.SIGSTOP)  # it does not notice what comes
        sides.decide(50)
        until(lambda: len(revisions()) == 2)
        assert set(before) < set(revisions())
        found[0].kill()
        found[0].wait(PATIENCE_S)
        mark_process_dead(found[0].pid, str(folder))  # type: ignore[no-untyped-call]
        assert len(revisions()) == len(before) == 1
        assert revisions() != before
        sides.path.unlink()
        until(lambda: trouble() == 1)
        sides.decide(50)
        until(lambda: trouble() == 0)


MANY_REVISIONS = """
import sys
from rollout_gate import Gate
from rollout_gate.metrics import PrometheusMetrics
from pathlib import Path
path = Path(sys.argv[1])
gate = Gate(path, poll_s=60)
PrometheusMetrics().watch(gate)
text = path.read_text()
for number in range(int(sys.argv[2])):
    new = path.with_suffix(".new")
    new.write_text(text + f"# {number}\\n")
    import os
    os.utime(new, ns=(new.stat().st_mtime_ns - 10_000_000,) * 2)
    new.replace(path)
    before = gate.file.revision
    gate.refresh(); gate.refresh()
    assert gate.file.revision != before
"""


def test_revisions_are_bounded(sides: TwoSides, folder: Path) -> None:
    count = MOST_REVISIONS + 20
    done = started(MANY_REVISIONS, folder, str(sides.path), str(count))
    _, said = done.communicate(timeout=PATIENCE_S)
    assert done.returncode == 0, said
    found = values(scraped(folder), "rollout_gate_revision_info")
    assert len(found) == MOST_REVISIONS + 1
    assert [dict(one)["revision"] for one, value in found.items() if value] == ["(others)"]


FORKS = """
import os, sys, threading, time
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from prometheus_client import REGISTRY, generate_latest
from rollout_gate import Gate
from rollout_gate.metrics import PrometheusMetrics, OpenTelemetryMetrics
from tests.gate.metrics.lines import a_line
gate = Gate(sys.argv[1], poll_s=0.05)
metrics = PrometheusMetrics()
metrics.watch(gate)
provider = MeterProvider([InMemoryMetricReader()])
OpenTelemetryMetrics(provider).watch(gate)
line = a_line(stream=True, ttft_ms=5.0)
over = threading.Event()
def count():
    while not over.is_set():
        gate.line_appended(line)
def scrape():
    while not over.is_set():
        generate_latest(REGISTRY)
threads = [threading.Thread(target=one) for one in (count, count, scrape)]
for one in threads:
    one.start()
sys.setswitchinterval(1e-6)  # so that a thread is often stopped with a lock that it holds
for _ in range(100):
    child = os.fork()
    if child == 0:
        gate.line_appended(line)
        os._exit(7)     # no scrape: a registry of prometheus-client has a lock of its own
    deadline = time.monotonic() + 20
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            break
        if time.monotonic() > deadline:
            os.kill(child, 9)
            os._exit(3)     # a child that hangs: a lock that nobody holds any more
        time.sleep(0.001)
    assert os.waitstatus_to_exitcode(status) == 7
over.set()
for one in threads:
    one.join()
print("well")
"""


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["memory", "files"])
def test_a_fork_while_threads_count_and_scrape(sides: TwoSides, folder: Path, mode: str) -> None:
    """A child has the locks of its parent as they were, and none of the threads that hold them."""
    environment = {**os.environ, "PYTHONWARNINGS": "ignore"}
    if mode == "files":
        environment["PROMETHEUS_MULTIPROC_DIR"] = str(folder)
    done = subprocess.run(
        [sys.executable, "-c", FORKS, str(sides.path)], env=environment, cwd=ROOT, text=True,
        capture_output=True, timeout=PATIENCE_S,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "well\n"), done.stderr


PRELOADED = """
import os, sys
from rollout_gate import Gate
from rollout_gate.metrics import PrometheusMetrics
from tests.gate.metrics.lines import a_line
gate = Gate(sys.argv[1], poll_s=0.05)
PrometheusMetrics().watch(gate)
gate.line_appended(a_line())
child = os.fork()
if child == 0:
    gate.line_appended(a_line())
print("counted", flush=True)
sys.stdin.read()
"""


def test_a_child_of_a_fork_counts_for_itself_and_shows_its_revision(
    sides: TwoSides, folder: Path
) -> None:
    one = started(PRELOADED, folder, str(sides.path))
    try:
        until(lambda: len(list(folder.glob("gauge_livemax_*.db"))) == 2)
        until(lambda: total(scraped(folder), "rollout_gate_requests_total") == 2)
        mark_process_dead(one.pid, str(folder))  # type: ignore[no-untyped-call]
        assert len(list(folder.glob("gauge_livemax_*.db"))) == 1
        until(lambda: total(scraped(folder), "rollout_gate_revision_info") == 1)
    finally:
        with suppress(ProcessLookupError):
            one.kill()
        one.communicate(timeout=PATIENCE_S)


FULL = """
import sys
from rollout_gate import AccessLog
from rollout_gate.metrics import PrometheusMetrics
from tests.gate.metrics.lines import a_line
metrics = PrometheusMetrics()
log = AccessLog(sys.argv[1], on_line=metrics.observe)
for number in range(900):
    log.append(a_line(org=f"org-{number}", stream=True, ttft_ms=1.0))
print(log.lost)
"""


def test_a_full_disk_ends_no_process_and_costs_no_line(tmp_path: Path) -> None:
    """The files are memory-mapped: a write to a page that has no room is a SIGBUS."""
    small = tmp_path / "small"
    small.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(small)]
    if subprocess.run(mount, capture_output=True).returncode:
        missing_part("a tmpfs cannot be mounted here")
    try:
        log = tmp_path / "access.jsonl"
        one = started(FULL, small, str(log))
        out, said = one.communicate(timeout=PATIENCE_S)
        assert (one.returncode, out) == (0, "0\n"), said
        assert len(log.read_text().splitlines()) == 900
        assert "failed: OSError; this is said once" in said
        assert 0 < total(scraped(small), "rollout_gate_requests_total") < 900
    finally:
        subprocess.run(["umount", "-l", str(small)], check=True)


LATER = """
import sys, os
from pathlib import Path
from rollout_gate import AccessLog, Gate
from rollout_gate.metrics import PrometheusMetrics
from tests.gate.metrics.lines import a_line
metrics = PrometheusMetrics()
log = AccessLog(sys.argv[1], on_line=metrics.observe)
log.append(a_line())
Path(os.environ["PROMETHEUS_MULTIPROC_DIR"], "fill").unlink()
log.append(a_line())
print(log.lost)
"""


def test_an_application_starts_on_a_full_disk_and_counts_once_there_is_room(
    tmp_path: Path,
) -> None:
    small = tmp_path / "small"
    small.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(small)]
    if subprocess.run(mount, capture_output=True).returncode:
        missing_part("a tmpfs cannot be mounted here")
    try:
        (small / "fill").write_bytes(b" " * (3 * 2**20))
        log = tmp_path / "access.jsonl"
        one = started(LATER, small, str(log))
        out, said = one.communicate(timeout=PATIENCE_S)
        assert (one.returncode, out) == (0, "0\n"), said
        assert "no request is in the metrics until there is room: too little space" in said
        assert len(log.read_text().splitlines()) == 2
        assert total(scraped(small), "rollout_gate_requests_total") == 1
        assert b"rollout_gate_file_trouble" in b"".join(
            one.read_bytes() for one in small.glob("gauge*.db")
        )
    finally:
        subprocess.run(["umount", "-l", str(small)], check=True)


def test_a_folder_that_is_none(tmp_path: Path) -> None:
    one = started("from rollout_gate.metrics import *; PrometheusMetrics()", tmp_path / "gone")
    _, said = one.communicate(timeout=PATIENCE_S)
    assert "PROMETHEUS_MULTIPROC_DIR is no folder that can be written (No such file" in said
