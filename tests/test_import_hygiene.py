"""What a headless part loads, in a fresh interpreter: late imports are not in the static graph."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = ("textual", "rich", "plotext", "tomlkit", "starlette", "uvicorn", "keyring", "httpx")


def loaded(statement: str) -> set[str]:
    script = f"{statement}\nimport sys, json\nprint(json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    return {name.split(".")[0] for name in json.loads(done.stdout.splitlines()[-1])}


@pytest.mark.parametrize(
    ("statement", "allowed"),
    [
        ("import console.gate", set()),
        ("import console.rollout.parse, console.rollout.decision", set()),
        ("import console.store.store", set()),
        ("import console.history.history", set()),
        ("import console.health.windows, console.health.follow", set()),
        ("import console.guard.verdict", set()),
        ("import console.charts.line_chart", set()),
        ("import console.operations.live, console.operations.live_events", set()),
        # httpx loads rich for its own command line where click happens to be installed.
        ("import console.tokenlab.client", {"httpx", "rich"}),
        ("import console.operations.switch, console.operations.monitor", set()),
        ("from console.cli.main import run; import console.cli.changing", set()),
    ],
)
def test_headless_parts_load_nothing_heavy(statement: str, allowed: set[str]) -> None:
    assert not (loaded(statement) & set(HEAVY)) - allowed


def test_the_gate_loads_only_what_it_decides_and_logs_with() -> None:
    console = {
        name for name in loaded("import console.gate") if name in (*HEAVY, "msgspec", "mmh3")
    }
    assert console == {"msgspec", "mmh3"}


def test_one_place_decodes_json_from_outside() -> None:
    """Whoever calls msgspec itself expects one of the four errors that it has for bad input."""
    ours = {"gate/untrusted.py", "health/lines.py", "health/older_worker.py"}
    root = Path(__file__).resolve().parents[1] / "console"
    found = {
        path.relative_to(root).as_posix()
        for path in root.rglob("*.py")
        if re.search(
            r"msgspec\.json\.decode\(|msgspec.DecodeError|_decoder\.decode", path.read_text()
        )
    }
    assert {one for one in found if not one.startswith("sim/")} <= ours


def test_the_gate_needs_no_openfeature() -> None:
    assert "openfeature" not in loaded("import console.gate")
    assert "openfeature" in loaded("import console.gate.openfeature")


def test_the_domain_loads_only_the_hash_and_the_structs() -> None:
    found = loaded("import console.rollout.parse, console.rollout.decision") - loaded("pass")
    others = {name.partition(".")[0] for name in found} - sys.stdlib_module_names
    assert others - {"typing_extensions"} == {"console", "mmh3", "msgspec"}  # which msgspec tries
