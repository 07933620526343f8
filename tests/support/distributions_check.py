"""Both wheels, PyPI's ``console`` and the SDKs in one environment: no file is of two of them.

``python tests/support/distributions_check.py`` builds both wheels, installs all in one order and
then in the other, and takes them out one by one: what is left must have all its files.
"""

import itertools
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SDKS = ("openai", "anthropic", "google-genai")
OTHERS = {"console": "console==0.9911"} | {name: f"{name}=={version(name)}" for name in SDKS}
LIST = """
import importlib.metadata, json
print(json.dumps({
    one.metadata["Name"]: [str(path.locate().resolve()) for path in one.files or ()
                           if "__pycache__" not in path.parts]
    for one in importlib.metadata.distributions()
}))
"""


def main() -> int:
    """Check both orders; raise CalledProcessError or AssertionError on any fault."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _pip(
            "wheel",
            "--no-deps",
            "--no-build-isolation",
            "--wheel-dir",
            name,
            str(ROOT / "gate"),
            str(ROOT),
        )
        ours = sorted(str(path) for path in folder.glob("rollout_*.whl"))
        assert len(ours) == 2, ours
        names = [Path(path).name.split("-")[0].replace("_", "-") for path in ours]
        wanted = dict(zip(names, ours, strict=True)) | OTHERS
        for number, order in enumerate((list(wanted), list(wanted)[::-1])):
            venv = folder / f"venv-{number}"
            subprocess.run([sys.executable, "-m", "venv", "--without-pip", venv], check=True)
            python = venv / "bin" / "python"
            for one in order:
                _pip("--python", str(python), "install", "--no-deps", wanted[one])
            _check(python, order)
            for taken in range(len(order)):
                _pip("--python", str(python), "uninstall", "--yes", order[taken])
                _check(python, order[taken + 1 :])
    print(f"one environment, in both orders: {', '.join(wanted)} share no file")
    return 0


def _pip(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "pip", "--quiet", *arguments], check=True)


def _check(python: Path, names: Sequence[str]) -> None:
    done = subprocess.run([python, "-c", LIST], capture_output=True, text=True, check=True)
    files = {name: set(found) for name, found in json.loads(done.stdout).items()}
    assert files.keys() == set(names), (files.keys(), names)
    for one, other in itertools.combinations(files, 2):
        assert not files[one] & files[other], (one, other, files[one] & files[other])
    missing = [path for found in files.values() for path in found if not Path(path).exists()]
    assert not missing, missing[:3]


if __name__ == "__main__":
    raise SystemExit(main())
