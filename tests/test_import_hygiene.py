"""What a headless part loads, in a fresh interpreter: late imports are not in the static graph."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = (
    "textual",
    "rich",
    "plotext",
    "tomlkit",
    "starlette",
    "uvicorn",
    "keyring",
    "httpx",
    "click",
    "yaml",
    "aiohttp",
    "textual_serve",
    "jinja2",
    "prometheus_client",
    "opentelemetry",
)


def loaded(statement: str) -> set[str]:
    shown = "print(json.dumps([name for name, module in sys.modules.items() if module]))"
    script = f"{statement}\nimport sys, json\n{shown}"  # None is an import that is blocked
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    return {name.split(".")[0] for name in json.loads(done.stdout.splitlines()[-1])}


@pytest.mark.parametrize(
    ("statement", "allowed"),
    [
        ("import rollout_gate", set()),
        ("import rollout_gate.file.parse, rollout_gate.decision.decision", set()),
        ("import rollout_console.changes.file_store", set()),
        ("import rollout_console.history.history", set()),
        (
            "import rollout_console.health.windows.windows, rollout_console.health.log.follower",
            set(),
        ),
        ("import rollout_console.guard.evidence.verdict", set()),
        ("import rollout_console.charts.line_chart", set()),
        ("import rollout_console.reconcile.reconciliation", set()),
        ("import rollout_console.reconcile.text, rollout_console.reconcile.tables", set()),
        ("import rollout_console.scaffold.template, rollout_console.scaffold.org_list", set()),
        ("import rollout_console.scaffold.litellm_config", set()),
        (
            "from rollout_console.ui.screens.live import events, figures",
            set(),
        ),
        ("import rollout_console.tokenlab.client", {"httpx"}),
        ("import rollout_console.changes.switch, rollout_console.guard.monitor", set()),
        (
            "from rollout_console.cli.main import run; import rollout_console.cli.commands.changes",
            set(),
        ),
    ],
)
def test_headless_parts_load_nothing_heavy(statement: str, allowed: set[str]) -> None:
    assert not (loaded(statement) & set(HEAVY)) - allowed


def test_the_gate_loads_only_what_it_decides_and_logs_with() -> None:
    console = {
        name for name in loaded("import rollout_gate") if name in (*HEAVY, "msgspec", "mmh3")
    }
    assert console == {"msgspec", "mmh3"}


def test_one_place_decodes_json_from_outside() -> None:
    """Whoever calls msgspec itself expects one of the four errors that it has for bad input."""
    ours = {
        "gate/rollout_gate/untrusted.py",
        "console/rollout_console/health/log/lines.py",
        "console/rollout_console/health/backfill/worker.py",
    }
    root = Path(__file__).resolve().parents[1]
    found = {
        path.relative_to(root).as_posix()
        for folder in ("gate", "console")
        for path in (root / folder).rglob("*.py")
        if re.search(
            r"msgspec\.json\.decode\(|msgspec.DecodeError|_decoder\.decode", path.read_text()
        )
    }
    assert {one for one in found if "/sim/" not in one} <= ours


def test_the_gate_needs_no_openfeature() -> None:
    assert "openfeature" not in loaded("import rollout_gate")
    assert "openfeature" in loaded("import rollout_gate.openfeature")


def test_metrics_load_a_library_once_they_are_made() -> None:
    made = "import rollout_gate.metrics as metrics"
    libraries = {"prometheus_client", "opentelemetry"}
    assert not loaded(f"{made}, rollout_gate.http, rollout_gate.serve.command") & libraries
    assert loaded(f"{made}; metrics.PrometheusMetrics()") & libraries == {"prometheus_client"}
    assert loaded(f"{made}; metrics.OpenTelemetryMetrics()") & libraries == {"opentelemetry"}


def test_the_domain_loads_only_the_hash_and_the_structs() -> None:
    found = loaded("import rollout_gate.file.parse, rollout_gate.decision.decision") - loaded(
        "pass"
    )
    others = {name.partition(".")[0] for name in found} - sys.stdlib_module_names
    assert others - {"typing_extensions"} == {
        "rollout_gate",
        "mmh3",
        "msgspec",
    }  # which msgspec tries


def test_the_console_s_first_screen_loads_nothing_of_the_view_in_a_browser() -> None:
    script = "import rollout_console.ui.run, rollout_console.cli.commands.console"
    assert not loaded(script) & {"aiohttp", "textual_serve", "jinja2"}
    driver = "print('textual.drivers.web_driver' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", f"{script}\nimport sys\n{driver}"], capture_output=True, check=True
    )
    assert done.stdout == b"False\n"


def test_the_web_command_loads_the_server_late() -> None:
    found = loaded("import rollout_console.cli.commands.web")
    assert not found & {"aiohttp", "textual_serve", "jinja2", "textual"}
    assert {"aiohttp", "textual_serve"} <= loaded("import rollout_console.web.server")
