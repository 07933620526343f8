"""The gate alone and the whole console are two distributions of one tree: they must not drift."""

import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]


def _project(path: str) -> dict[str, Any]:
    project: dict[str, Any] = tomllib.loads((ROOT / path).read_text())["project"]
    return project


GATE, WHOLE = _project("console/gate/pyproject.toml"), _project("pyproject.toml")


def test_both_are_of_one_version_python_and_licence() -> None:
    for field in ("version", "requires-python", "license"):
        assert GATE[field] == WHOLE[field], field


def test_what_the_gate_needs_is_what_the_console_needs_of_it() -> None:
    assert set(GATE["dependencies"]) <= set(WHOLE["dependencies"])
    extras = GATE["optional-dependencies"]
    assert set(extras["httpx"]) <= set(WHOLE["dependencies"])
    assert extras["openfeature"] == WHOLE["optional-dependencies"]["openfeature"]
