"""The gate and the console are two distributions of one checkout: they must not drift."""

import tomllib
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rollout_gate.version import __version__

ROOT = Path(__file__).resolve().parents[2]


def _project(path: str) -> dict[str, Any]:
    project: dict[str, Any] = tomllib.loads((ROOT / path).read_text())["project"]
    return project


GATE, WHOLE = _project("gate/pyproject.toml"), _project("pyproject.toml")


def test_both_are_of_one_version_python_and_licence() -> None:
    for field in ("requires-python", "license"):
        assert GATE[field] == WHOLE[field], field


def test_the_version_is_in_one_place() -> None:
    assert (GATE["dynamic"], WHOLE["dynamic"]) == (["version"], ["version"])
    for distribution in ("rollout-gate", "rollout-console"):
        assert version(distribution) == __version__


def test_the_console_needs_the_gate_of_its_version() -> None:
    assert f"rollout-gate=={__version__}" in WHOLE["dependencies"]
    extras = GATE["optional-dependencies"]
    assert set(extras["httpx"]) <= set(WHOLE["dependencies"])
    known = {name.split(">")[0]: name for name in WHOLE["dependencies"]}
    for name in GATE["dependencies"]:
        assert known.get(name.split(">")[0], name) == name, "one range for both"
