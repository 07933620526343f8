"""The walks of docs/architecture.md: their files exist, and each is linked to the next."""

import ast
import itertools
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ROOTS = {"rollout_console": ROOT / "console", "rollout_gate": ROOT / "gate"}
TEXT = (ROOT / "docs" / "architecture.md").read_text()
WALKS = {
    title: re.findall(r"^\d+\. `([^`]+)`", part, re.M)
    for title, _, part in (one.partition("\n") for one in re.split(r"^## ", TEXT, flags=re.M)[1:])
}


def imported_by(path: Path) -> set[Path]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in ROOTS:
            module = str(node.module)
            for name in (module, *(f"{module}.{one.name}" for one in node.names)):
                place = ROOTS[module.split(".")[0]].joinpath(*name.split("."))
                found |= {place.with_suffix(".py"), place / "__init__.py"}
    return found


def test_there_are_five_walks() -> None:
    assert len(WALKS) == 5
    assert all(len(files) >= 5 for files in WALKS.values())


@pytest.mark.parametrize("title", WALKS)
def test_each_file_of_a_walk_is_linked_to_the_next(title: str) -> None:
    files = [ROOT / name for name in WALKS[title]]
    for one, other in itertools.pairwise(files):
        linked = other in imported_by(one) or one in imported_by(other)
        assert linked, f"{one.name} and {other.name} do not import one another"


def test_every_other_file_that_is_named_exists() -> None:
    for name in re.findall(r"`([\w/]+\.py|[\w/]+/)`", TEXT):
        folders = (ROOT, ROOT / "console/rollout_console", ROOT / "gate/rollout_gate")
        assert any((folder / name).exists() for folder in folders), name
