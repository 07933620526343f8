"""The vector file for other languages: it is what this code decides, and another one agrees."""

import json
import subprocess
import tomllib
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from rollout_gate.decision.decision import Decider, Decision, decide
from rollout_gate.file.errors import PercentError
from rollout_gate.file.parse import parse
from rollout_gate.file.percent import basis_points
from tests.support.decision_vectors import (
    COMPOSED,
    COUNT,
    DECOMPOSED,
    PATH,
    Case,
    arguments,
    made,
    text,
)
from tests.support.parts import need

VECTORS: dict[str, Any] = json.loads(PATH.read_text())
CASES: list[Case] = VECTORS["cases"]
CHECK = Path(__file__).resolve().parents[2] / "support" / "decision_check.mjs"
FILES = {name: parse(file["toml"].encode()) for name, file in VECTORS["files"].items()}


def told(found: Decision) -> dict[str, Any]:
    return {
        "side": found.side,
        "points": found.points,
        "bucket": found.bucket,
        "rule": found.rule,
    }


def run_node(path: Path) -> subprocess.CompletedProcess[str]:
    need("node")
    return subprocess.run(["node", CHECK, path], capture_output=True, text=True, timeout=60)


def test_the_file_is_what_the_script_makes() -> None:
    assert PATH.read_text() == made(), "run python -m tests.support.decision_vectors"
    assert len(CASES) == COUNT == 1_000
    assert PATH.stat().st_size < 1_500_000


def test_the_parsed_files_are_the_toml_ones() -> None:
    for file in VECTORS["files"].values():
        assert file["parsed"] == tomllib.loads(file["toml"])


def test_decide_agrees() -> None:
    for case in (case for case in CASES if case["file"] is not None):
        assert told(decide(FILES[case["file"]], **arguments(case))) == case["expect"], case


def test_the_decider_agrees() -> None:
    deciders = {None: Decider(), **{name: Decider(file) for name, file in FILES.items()}}
    for case in CASES:
        assert told(deciders[case["file"]].decide(**arguments(case))) == case["expect"], case


def test_every_rule_and_both_sides_of_each_share_are_there() -> None:
    rules = [case["expect"]["rule"] for case in CASES]
    latches = {rule for rule in rules if rule.startswith("rolled_back.")}
    assert latches == {"rolled_back.file", "rolled_back.route", "rolled_back.org"}
    for rule in ("no_file", "bad_argument", "unknown_route"):
        assert rule in rules
    for kind in ("keys.", "flags.", "orgs.", "default_percent"):
        sides = {
            case["expect"]["side"] for case in CASES if case["expect"]["rule"].startswith(kind)
        }
        assert sides == {"tokenlab", "previous"}, kind
    for points in (1, 1_250, 9_999):
        buckets = {c["expect"]["bucket"] for c in CASES if c["expect"]["points"] == points}
        assert {points - 1, points} <= buckets, points
    assert {0, 10_000} <= {case["expect"]["points"] for case in CASES}


def test_the_awkward_texts_are_there() -> None:
    keys = {text(case["key"] or case["org"]) for case in CASES}
    sizes = {len(key.encode("utf-8", "replace")) for key in keys if isinstance(key, str)}
    assert {0, 23, 24, 255, 256, 65_535, 65_536} <= sizes
    assert {COMPOSED, DECOMPOSED, "", "globex.eu", 'say "hi"', "\U0001f600", "\ud800"} <= keys


def test_the_published_vectors_are_the_first_two() -> None:
    found = [(case["route"], case["org"], case["expect"]["bucket"]) for case in CASES[:2]]
    assert found == [("tokenlab-chat", "org_acme", 2441), ("tokenlab-messages", "org_acme", 4065)]


def by_doubles(number: str) -> int | None:
    """The points of a TOML number by the rule that decision.md gives for doubles."""
    percent = tomllib.loads(f"x = {number}")["x"]
    points = round(percent * 100)
    return points if 0 <= points <= 10_000 and points / 100 == percent else None


def by_digits(number: str) -> int | None:
    try:
        return basis_points(tomllib.loads(f"x = {number}", parse_float=Decimal)["x"])
    except PercentError:
        return None


def test_the_rule_for_doubles_is_exact_for_every_percent_there_is() -> None:
    for points in range(10_001):
        number = f"{points // 100}.{points % 100:02d}"
        assert by_doubles(number) == by_digits(number) == points
    for number in (
        "-0",
        "-0.0",
        "12.500",
        "1e1",
        "1e-2",
        "1e-3",
        "0.005",
        "100.01",
        "-0.01",
        "101",
    ):
        assert by_doubles(number) == by_digits(number), number
    long = "12.5000000000000000001"  # the one difference, as decision.md says
    assert (by_doubles(long), by_digits(long)) == (1_250, None)


def test_node_agrees() -> None:
    done = run_node(PATH)
    assert (done.returncode, done.stdout) == (0, "1000 of 1000 agree\n"), done.stderr


@pytest.mark.parametrize(
    ("field", "wrong"),
    [("side", "previous"), ("points", 2_441), ("bucket", 2_442), ("rule", "default_percent")],
)
def test_node_sees_a_changed_vector(tmp_path: Path, field: str, wrong: object) -> None:
    first = CASES[0]
    assert first["expect"][field] != wrong
    changed = {**first, "expect": {**first["expect"], field: wrong}}
    path = tmp_path / "vectors.json"
    path.write_text(json.dumps({**VECTORS, "cases": [changed, *CASES[1:]]}))
    done = run_node(path)
    assert (done.returncode, done.stdout) == (1, "999 of 1000 agree\n"), done.stderr
    assert "case 0:" in done.stderr
