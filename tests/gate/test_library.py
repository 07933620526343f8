"""What the gate loads: an HTTP library, and a ledger, only where they are asked for."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

NEEDED = ("rollout_gate", "mmh3", "msgspec")
SCRIPT = """
import sys
sys.path.insert(0, {folder!r})
from rollout_gate import Gate
from rollout_gate.http import async_client, client
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
        f"{library}: the clients of rollout_gate.http need {library}, which is not installed; "
        f"install {library}, or the gate with its extra: rollout-gate[{library}]"
    )
    assert done.stdout.splitlines() == [said, said]


def test_an_openfeature_sdk_that_is_missing_is_named_with_its_extra(tmp_path: Path) -> None:
    run(tmp_path, "httpx2")
    script = f"""
import sys
sys.path.insert(0, {str(tmp_path)!r})
try:
    import rollout_gate.openfeature
except ImportError as error:
    print(error.name, error, sep=": ")
"""
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", script],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.stdout == (
        "openfeature: rollout_gate.openfeature needs openfeature-sdk, which is not installed; "
        "install it, or the gate with its extra: rollout-gate[openfeature]\n"
    ), done.stderr


def test_what_the_library_itself_misses_is_not_hidden(tmp_path: Path) -> None:
    (tmp_path / "httpx2.py").write_text("import something_that_is_not_there\n")
    done = run(tmp_path, "httpx2")
    assert (
        done.stdout.splitlines()
        == ["something_that_is_not_there: No module named 'something_that_is_not_there'"] * 2
    ), done.stderr


def test_what_only_media_jobs_need_is_loaded_for_them_alone(tmp_path: Path) -> None:
    (tmp_path / "rollout.toml").write_text(
        'schema = 1\nalgorithm = "fractional-v3"\n'
        '[routes.chat]\nformat = "openai_responses"\n[routes.video]\nformat = "video"\n'
    )
    script = """
import sys
import rollout_gate.http
from rollout_gate import Gate
heavy = {"hashlib", "socket", "sqlite3", "httpx2"}
print(sorted(heavy & set(sys.modules)))
import httpx2
gate = Gate("rollout.toml")
class Inner(httpx2.BaseTransport):
    def handle_request(self, request):
        return httpx2.Response(200, json={"id": "x"})
for route, path in (("chat", "responses"), ("video", "videos/generations")):
    with rollout_gate.http.client(
        gate, route, org="acme", tokenlab_key="sk-x", inner=Inner()
    ) as http:
        http.post(f"https://x/v1/{path}", json={"model": "m"}, headers={"X-Rollout-Job-Id": "1"})
    print("sqlite3" in sys.modules)
"""
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.stdout.splitlines() == ["[]", "False", "True"], done.stderr
