"""The JSON Schema: what docs/ has is what the parser reads, and both say the same of a file."""

import json
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft7Validator

from rollout_console.cli.main import run
from rollout_console.export.json_schema import _ABOUT, json_schema
from rollout_gate.file.errors import FileError
from rollout_gate.file.parse import parse

ROOT = Path(__file__).resolve().parents[2]
SCHEMA = json_schema()
VALIDATOR = Draft7Validator(SCHEMA)

BASE: dict[tuple[str, ...], Any] = {
    ("schema",): 1,
    ("algorithm",): "fractional-v3",
    ("routes", "chat", "format"): "image",
}
NUMBERS = [-1, 0, 0.5, 1, 12.25, 99.5, 100, 100.5, 10**9, 10**9 + 1]
VALUES = [
    *NUMBERS, True, False, "", "hold", "enforce", "image", "rollout", "5m", "0m", "5x", "90s",
    "https://api.example.com/v1", "http://", "ftp://x", "x y", "fractional-v3", [], [1, 10, 100],
    [5, 5], [0, 1], ["22:00 - 06:00"], [1, "x"],
]  # fmt: skip


def _keys(schema: dict[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for one in schema.get("anyOf", [schema]):
        for name, inner in one.get("properties", {}).items():
            yield (*path, name)
            yield from _keys(inner, (*path, name))
        if isinstance(any_name := one.get("additionalProperties"), dict):
            yield (*path, "some")
            yield from _keys(any_name, (*path, "some"))


KEYS = sorted({*_keys(SCHEMA)})


def test_it_is_a_schema() -> None:
    Draft7Validator.check_schema(SCHEMA)


def test_every_key_has_a_description_and_every_description_a_key() -> None:
    keys = {".".join("*" if one == "some" else one for one in path) for path in KEYS}
    tables = {key for key in keys if any(other.startswith(f"{key}.") for other in keys)}
    assert _ABOUT.keys() <= keys
    assert keys - tables - _ABOUT.keys() <= {"routes.*.keys.*", "routes.*.flags.*"}


def test_the_samples_are_valid() -> None:
    for path in {*(ROOT / "sample_configs").glob("*.toml")} - {ROOT / "sample_configs/demo.toml"}:
        VALIDATOR.validate(tomllib.loads(path.read_text()))


@given(changes=st.dictionaries(st.sampled_from(KEYS), st.sampled_from(VALUES), max_size=4))
def test_schema_and_parser_agree_on_any_file(changes: dict[tuple[str, ...], Any]) -> None:
    """The parser's only further rules are ranges that no pattern says, ladders that rise, and what
    one key asks of another."""
    tree: dict[str, Any] = {}
    for path, value in {**BASE, **changes}.items():
        _put(tree, path, value)
    said = [error.message for error in VALIDATOR.iter_errors(tree)]
    problems = _problems(tree)
    if said:
        assert problems, said
    else:
        further = [one for one in problems if not any(w in one for w in _FURTHER)]
        assert not further


_FURTHER = (
    "must rise", "has a window", " s to ", "is no URL", "and have a host", "must be a path",
    "needs newest", "beside duration", "must divide", "is empty", "closed", "closes", "has $",
)  # fmt: skip


def _put(tree: dict[str, Any], path: tuple[str, ...], value: object) -> None:
    for part in path[:-1]:
        inner = tree.get(part)
        if not isinstance(inner, dict):
            inner = tree[part] = {}
        tree = inner
    tree[path[-1]] = value


def _problems(tree: dict[str, Any]) -> list[str]:
    lines = list(_toml(tree))
    try:
        file = parse("\n".join(lines).encode())
    except FileError as error:
        return [problem.message for problem in error.problems]
    return [one.message for one in file.warnings if "is not a key" in one.message]


def _toml(tree: dict[str, Any], path: tuple[str, ...] = ()) -> Iterator[str]:
    if path:
        yield f"[{'.'.join(path)}]"
    tables = {name: value for name, value in tree.items() if isinstance(value, dict)}
    for name, value in tree.items():
        if name not in tables:
            yield f"{name} = {json.dumps(value)}"
    for name, value in tables.items():
        yield from _toml(value, (*path, name))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (("gaurd",), {"mode": "hold"}),
        (("routes", "chat", "format"), "openai"),
        (("routes", "chat", "orgs", "acme"), "25"),
        (("routes", "chat", "orgs", "acme"), {"percent": 10, "rolledback": True}),
        (("routes", "chat", "default_percent"), True),
        (("schema",), 2),
    ],
)
def test_what_an_editor_underlines(key: tuple[str, ...], value: object) -> None:
    tree: dict[str, Any] = {}
    for path, given_value in {**BASE, key: value}.items():
        _put(tree, path, given_value)
    assert not VALIDATOR.is_valid(tree)


def test_the_command_needs_no_rollout_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["export", "schema", "--out", "rollout.schema.json"]) == 0
    assert json.loads((tmp_path / "rollout.schema.json").read_text()) == SCHEMA
    assert capsys.readouterr().err == "rollout.schema.json: the JSON Schema of the rollout file\n"
