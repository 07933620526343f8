"""What docs/metrics.md shows is run as it stands, against the simulator."""

import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from rollout_console.sim.server import SimServer
from rollout_console.sim.state import DEMO_KEY
from rollout_gate.metrics.counted import BUCKETS_S
from rollout_gate.metrics.families import Family
from rollout_gate.metrics.labels import MOST_ORGS
from tests.gate.metrics.lines import total
from tests.support.parts import need
from tests.support.waiting import PATIENCE_S, until

DOCS = (Path(__file__).parents[3] / "docs" / "metrics.md").read_text()
BLOCKS = re.findall(r"```(python|sh|yaml)\n(.*?)```", DOCS, re.DOTALL)


def block(sign: str, language: str = "python") -> str:
    (found,) = [text for kind, text in BLOCKS if kind == language and sign in text]
    return str(found)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as one:
        port: int = one.getsockname()[1]
        return port


@pytest.fixture
def folder(sim: SimServer, tmp_path: Path) -> Path:
    """A working directory with a rollout file."""
    (tmp_path / "rollout.toml").write_text(
        'schema = 1\nalgorithm = "fractional-v3"\n'
        f'[tokenlab]\nbase_url = "{sim.base_url}"\n'
        '[routes.chat]\nformat = "openai_chat_completions"\nmodel = "gpt-5.4"\n'
        f'previous_base_url = "{sim.previous_base_url}/v1"\n[routes.chat.orgs]\nacme = 100\n'
    )
    return tmp_path


def environment(**more: str) -> dict[str, str]:
    return {**os.environ, "TOKENLAB_API_KEY": DEMO_KEY, "NO_PROXY": "*", **more}


def ask(port: int, path: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def test_in_an_application(folder: Path) -> None:
    port = free_port()
    shown = block("start_http_server")
    assert "start_http_server(9464," in shown
    script = shown.replace("9464", str(port)) + (
        "\nimport urllib.request\n"
        f'print(urllib.request.urlopen("http://127.0.0.1:{port}/metrics").read().decode())'
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=folder, env=environment(), text=True,
        capture_output=True, timeout=PATIENCE_S,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    labels = {"route": "chat", "org": "acme", "side": "tokenlab", "class": "ok", "outcome": "ok"}
    assert total(done.stdout, "rollout_gate_requests_total", **labels) == 1


def test_with_opentelemetry(folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", block("OpenTelemetryMetrics().watch")], cwd=folder, text=True,
        env=environment(), capture_output=True, timeout=PATIENCE_S,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (resource,) = json.loads(done.stdout)["resource_metrics"]
    names = {one["name"] for scope in resource["scope_metrics"] for one in scope["metrics"]}
    assert {"rollout_gate.requests", "gen_ai.client.operation.duration"} <= names


@pytest.mark.slow
@pytest.mark.parametrize("preload", [False, True])
def test_under_gunicorn(folder: Path, preload: bool) -> None:
    """Workers add up; one that is killed keeps its counts, and loses its gauges."""
    (folder / "gunicorn.conf.py").write_text(block("child_exit"))
    (folder / "app.py").write_text(block("MultiProcessCollector(registry)"))
    port, metrics = free_port(), folder / "metrics"
    script = block("gunicorn --config", "sh").replace("/run/app/metrics", str(metrics))
    options = f" --workers 3 --bind 127.0.0.1:{port} --log-level error"
    script = script.rstrip() + options + (" --preload" if preload else "")
    script = script.replace("gunicorn --config", f"exec {sys.executable} -m gunicorn --config")
    with subprocess.Popen(
        ["sh", "-c", script], cwd=folder, env=environment(), stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            until(lambda: can_connect(port) or process.poll() is not None)
            assert process.poll() is None
            for _ in range(30):
                assert ask(port, "/")[0] == 200
            assert counted(port) == 30
            hosts = Counter(json.loads(line)["host"] for line in log_lines(folder))
            assert sum(hosts.values()) == 30
            victim = next(
                int(path.stem.rpartition("_")[2]) for path in metrics.glob("counter_*.db")
            )
            os.kill(victim, signal.SIGKILL)
            until(lambda: not (metrics / f"gauge_livemax_{victim}.db").exists())
            for _ in range(30):
                assert ask(port, "/")[0] == 200
            assert counted(port) == 60
            until(lambda: total(ask(port, "/metrics")[1], "rollout_gate_revision_info") == 1)
        finally:
            process.terminate()
            process.communicate(timeout=PATIENCE_S)


def can_connect(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def counted(port: int) -> float:
    return total(ask(port, "/metrics")[1], "rollout_gate_requests_total", org="acme")


def log_lines(folder: Path) -> list[str]:
    return (folder / "access.jsonl").read_text().splitlines()


def test_prometheus_takes_the_scrape_configuration(tmp_path: Path) -> None:
    need("promtool")
    config = tmp_path / "prometheus.yml"
    token = tmp_path / "token"
    token.write_text("a-token-of-the-proxy")
    shown = block("scrape_configs", "yaml")
    config.write_text(shown.replace("/etc/prometheus/rollout-gate-token", str(token)))
    done = subprocess.run(["promtool", "check", "config", str(config)], capture_output=True)
    assert done.returncode == 0, done.stdout + done.stderr
    shutil.rmtree(tmp_path / "data", ignore_errors=True)


def test_the_tables_have_each_metric_and_bound() -> None:
    rows = dict(re.findall(r"^\| `(rollout_gate_\w+)` \|[^|]*\|[^|]*\| ?(.*?) ?\|$", DOCS, re.M))
    wanted = {}
    for family in Family:
        name, _, labels = family.value
        is_counter = family in (Family.REQUESTS, Family.REPEATED, Family.OPERATIONS)
        wanted[f"{name}_total" if is_counter else name] = labels
    assert {name: tuple(re.findall(r"`(\w+)`", row)) for name, row in rows.items()} == wanted
    bounds = ", ".join(f"{one:g}" for one in BUCKETS_S)
    assert f"**Buckets**, in seconds: {bounds}." in DOCS
    assert f"the first {MOST_ORGS:,} have label values of their own" in DOCS
