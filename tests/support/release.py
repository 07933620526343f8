"""Build a release in dist/: ``python -m tests.support.release CYCLONEDX_PY``, by ``make release``.

Wheels and source archives of both distributions are built twice, from two copies of the commit in
different folders, and must be the same bytes (see reproducible-builds.org). Beside them: a
CycloneDX SBOM of the console with its locked dependencies, and SHA256SUMS.
"""

import hashlib
import json
import subprocess
import sys
import tarfile
import tempfile
import tomllib
from io import BytesIO
from pathlib import Path

from rollout_gate.version import __version__
from tests.support.tar import unpack

ROOT = Path(__file__).resolve().parents[2]
DIST = ROOT / "dist"


class ReleaseError(Exception):
    """What is missing for a release, in one sentence."""


def main() -> int:
    """Build and check; 1 with one sentence where something is missing."""
    try:
        _complete()
        first, second = _built("one"), _built("two-with-a-longer-name")
        if first != second:
            differing = sorted(name for name in first if first[name] != second.get(name))
            raise ReleaseError(f"two builds of one commit differ: {', '.join(differing)}")
        DIST.mkdir(exist_ok=True)
        for old in DIST.glob("rollout*"):
            old.unlink()
        for name, data in first.items():
            (DIST / name).write_bytes(data)
        made = [*first, _bill_of_materials(Path(sys.argv[1]))]
    except (ReleaseError, subprocess.CalledProcessError) as error:
        print(f"no release: {error}", file=sys.stderr)
        return 1
    sums = [f"{hashlib.sha256((DIST / name).read_bytes()).hexdigest()}  {name}" for name in made]
    (DIST / "SHA256SUMS").write_text("".join(f"{line}\n" for line in sorted(sums)))
    print(f"rollout-console {__version__} in dist/, built twice with the same bytes:")
    print("\n".join(sums))
    return 0


def _complete() -> None:
    changed = _git("status", "--porcelain", "--untracked-files=no").strip()
    if changed:
        raise ReleaseError(f"there are changes that are not committed:\n{changed}")
    notes = f"docs/releases/{__version__}.md"
    if not (ROOT / notes).is_file():
        raise ReleaseError(f"{notes}, the release notes, is missing")
    if f"\n## {__version__}" not in (ROOT / "CHANGELOG.md").read_text():
        raise ReleaseError(f"CHANGELOG.md has no section {__version__}")


def _git(*arguments: str) -> str:
    return subprocess.check_output(["git", "-C", ROOT, *arguments], text=True)


def _built(folder: str) -> dict[str, bytes]:
    """Build both distributions from a copy of the commit; return each archive's bytes by name."""
    archive = subprocess.check_output(["git", "-C", ROOT, "archive", "HEAD"])
    epoch = _git("show", "--no-patch", "--format=%ct", "HEAD").strip()
    with tempfile.TemporaryDirectory() as name:
        copy = Path(name) / folder
        with tarfile.open(fileobj=BytesIO(archive)) as packed:
            unpack(packed, copy)
        out = copy / "dist"
        for project in (copy / "gate", copy):
            subprocess.run(
                [sys.executable, "-m", "hatchling", "build", "-d", out],
                cwd=project,
                env={"SOURCE_DATE_EPOCH": epoch, "PATH": "/usr/bin:/bin"},
                stdout=subprocess.DEVNULL,
                check=True,
            )
        return {path.name: path.read_bytes() for path in sorted(out.iterdir())}


def _bill_of_materials(cyclonedx: Path) -> str:
    """Write the SBOM of an environment with both wheels and what is locked for them."""
    with tempfile.TemporaryDirectory() as name:
        venv = Path(name) / "venv"
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", venv], check=True)
        pip = [sys.executable, "-m", "pip", "--python", str(venv / "bin" / "python"), "install"]
        quiet = ["--quiet", "--no-deps", "--disable-pip-version-check"]
        locked = ["--require-hashes", "--requirement", str(ROOT / "requirements" / "console.txt")]
        subprocess.run([*pip, *quiet, *locked], check=True)
        wheels = sorted(DIST.glob("rollout_*.whl"))
        subprocess.run([*pip, *quiet, "--no-index", *wheels], check=True)
        found = subprocess.check_output(
            [cyclonedx, "environment", venv / "bin" / "python", "--output-reproducible"],
            stderr=subprocess.DEVNULL,
        )
    bill = json.loads(found)
    licence = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["license"]
    bill["metadata"]["component"] = {
        "bom-ref": "release",
        "type": "application",
        "name": "rollout-console",
        "version": __version__,
        "licenses": [{"license": {"id": licence}}],
    }
    for component in bill["components"]:
        component.pop("externalReferences", None)  # where this copy came from, not what it is
    path = DIST / f"rollout-console-{__version__}.cdx.json"
    path.write_text(json.dumps(bill, indent=2, sort_keys=True) + "\n")
    return path.name


if __name__ == "__main__":
    raise SystemExit(main())
