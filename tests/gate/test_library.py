"""A client where its HTTP library is not installed says so, and what to install."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

NEEDED = ("console", "mmh3", "msgspec")
SCRIPT = """
import sys
sys.path.insert(0, {folder!r})
from console.gate import Gate
from console.gate.http import async_client, client
gate = Gate("none.toml")
for make in (client, async_client):
    try:
        make(gate, "chat", org="acme", tokenlab_key="sk-x", library={library!r})
    except ImportError as error:
        print(error.name, error, sep=": ")
"""


def run(folder: Path, library: str) -> subprocess.CompletedProcess[str]:
    """Ask for clients in an interpreter that has the gate and what it needs, and no more."""
    for name in NEEDED:
        spec = importlib.util.find_spec(name)
        assert spec is not None
        assert spec.origin is not None
        found = Path(spec.origin)  # a package's __init__.py, or a module itself
        found = found.parent if found.name == "__init__.py" else found
        (folder / (name if found.is_dir() else found.name)).symlink_to(found)
    script = SCRIPT.format(folder=str(folder), library=library)
    return subprocess.run(
        [sys.executable, "-I", "-S", "-c", script],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip


@pytest.mark.parametrize("library", ["httpx2", "httpx"])
def test_a_library_that_is_missing_is_named_with_its_extra(tmp_path: Path, library: str) -> None:
    done = run(tmp_path, library)
    assert done.returncode == 0, done.stderr
    said = (
        f"{library}: the clients of console.gate.http need {library}, which is not installed; "
        f"install {library}, or the gate with its extra: rollout-gate[{library}]"
    )
    assert done.stdout.splitlines() == [said, said]


def test_what_the_library_itself_misses_is_not_hidden(tmp_path: Path) -> None:
    (tmp_path / "httpx2.py").write_text("import something_that_is_not_there\n")
    done = run(tmp_path, "httpx2")
    assert (
        done.stdout.splitlines()
        == ["something_that_is_not_there: No module named 'something_that_is_not_there'"] * 2
    ), done.stderr
