"""The lock files: they fit the project's own ranges, each pin has hashes, none names a host."""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
LOCKS = {path.stem: path for path in (ROOT / "requirements").glob("*.txt")}
CONSOLE = tomllib.loads((ROOT / "pyproject.toml").read_text())
GATE = tomllib.loads((ROOT / "gate/pyproject.toml").read_text())


def _locked(name: str) -> dict[str, tuple[Requirement, list[str]]]:
    found: dict[str, tuple[Requirement, list[str]]] = {}
    for entry in re.sub(r"\\\n\s*", " ", LOCKS[name].read_text()).splitlines():
        if entry and not entry.startswith("#"):
            text, *hashes = entry.split("--hash=")
            pin = Requirement(text)
            found[canonicalize_name(pin.name)] = (pin, [one.strip() for one in hashes])
    return found


def _group(name: str) -> Iterator[str]:
    groups: dict[str, Any] = CONSOLE["dependency-groups"]
    for one in groups[name]:
        yield from [one] if isinstance(one, str) else _group(one["include-group"])


def _extra(name: str) -> list[str]:
    return list(CONSOLE["project"]["optional-dependencies"][name])


def _declared(name: str) -> list[str]:
    project = [*CONSOLE["project"]["dependencies"], *GATE["project"]["dependencies"]]
    return {
        "console": project,
        "build": list(_group("build")),
        "web": [*project, *_extra("web")],
        "dev": [*project, *_extra("web"), *_group("dev")],
        "release": list(_group("release")),
    }[name]


def _all_declared() -> list[str]:
    extras = [
        *GATE["project"]["optional-dependencies"].values(),
        *CONSOLE["project"]["optional-dependencies"].values(),
    ]
    groups = [list(_group(name)) for name in CONSOLE["dependency-groups"]]
    built = [CONSOLE["build-system"]["requires"], GATE["build-system"]["requires"]]
    return [one for part in [_declared("console"), *extras, *groups, *built] for one in part]


@pytest.mark.parametrize("name", ["build", "console", "web", "dev", "release"])
def test_every_entry_is_one_version_with_its_hashes(name: str) -> None:
    locked = _locked(name)
    assert locked
    for pin, hashes in locked.values():
        assert [one.operator for one in pin.specifier] == ["=="], pin
        assert hashes, pin
        assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", one) for one in hashes), pin
    assert "rollout-gate" not in locked
    assert "://" not in LOCKS[name].read_text()


@pytest.mark.parametrize("name", ["build", "console", "web", "dev", "release"])
def test_what_is_declared_is_locked_within_its_range(name: str) -> None:
    """A dependency that was added or bounded anew asks for ``make lock``."""
    locked = _locked(name)
    for text in _declared(name):
        wanted = Requirement(text)
        if wanted.name == "rollout-gate":
            continue
        assert canonicalize_name(wanted.name) in locked, f"make lock: {wanted} is not locked"
        (version,) = (one.version for one in locked[canonicalize_name(wanted.name)][0].specifier)
        assert wanted.specifier.contains(version), f"make lock: {wanted} is locked as {version}"


def test_demo_and_tests_run_on_the_same_versions() -> None:
    dev = _locked("dev")
    for name, (pin, hashes) in (_locked("web") | _locked("console") | _locked("build")).items():
        assert (dev[name][0].specifier, dev[name][1]) == (pin.specifier, hashes), name


@pytest.mark.parametrize("text", sorted({*_all_declared()}))
def test_every_declared_dependency_has_an_upper_bound(text: str) -> None:
    operators = {one.operator for one in Requirement(text).specifier}
    assert operators & {"==", "<", "~="}, text


def test_what_runs_here_is_what_is_locked() -> None:
    from importlib.metadata import PackageNotFoundError, version

    for name, (pin, _hashes) in _locked("dev").items():
        if pin.marker is None or pin.marker.evaluate():
            try:
                found = version(name)
            except PackageNotFoundError:
                pytest.fail(f"{pin} is not installed: make test sets it up")
            assert pin.specifier.contains(found), f"{name} {found} runs, {pin} is locked"
