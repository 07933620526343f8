"""The export for flagd, evaluated by flagd's own core: every decision is the gate's."""

import json
import random
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openfeature.contrib.tools.flagd.core import FlagdCore
from openfeature.evaluation_context import EvaluationContext
from openfeature.flag_evaluation import Reason

from rollout_console.changes.edits import SetPercent, SetRolledBack, applied
from rollout_console.export.flagd import CONTEXT, as_flagd
from rollout_gate.bucketing import bucket_prefix
from rollout_gate.decision.decision import Decider
from rollout_gate.file.model import OrgShare, RolloutFile, Route

NAMES = [
    "acme", "globex.eu", "ACME", "é", "e\u0301", "漢字", "😀", 'a"b', "a'b", "a b", "null", "true",
    "1", "1.0", "01", "0", "", "var", "{}", "[]", "$flagd", "a,b", "acm", "cme", "\u202egro", "\\",
]  # fmt: skip
POINTS = [0, 1, 5, 1250, 2500, 5000, 9999, 10_000]


def made(rng: random.Random) -> RolloutFile:
    """A file with everything in it that can be there."""
    routes = {}
    for name in rng.sample(["chat", "claude", "été", "a.b", "x" * 30], 3):
        orgs = {
            org: OrgShare(rng.choice([None, *POINTS]), rng.random() < 0.15)
            for org in rng.sample(NAMES, rng.randint(0, 20))
        }
        routes[name] = Route(
            name=name,
            format="image",
            default_points=rng.choice(POINTS),
            rolled_back=rng.random() < 0.1,
            orgs=orgs,
            keys={alias: rng.choice(POINTS) for alias in rng.sample(NAMES, rng.randint(0, 4))},
            flags={flag: rng.choice(POINTS) for flag in rng.sample(NAMES, rng.randint(0, 4))},
            hash_prefix=bucket_prefix(name),
        )
    return RolloutFile("revision", rolled_back=rng.random() < 0.05, routes=routes)


def theirs(core: FlagdCore, route: str, org: str, key: str, **more: Any) -> str:
    context = {"org": org, **{name: value for name, value in more.items() if value is not None}}
    found = core.resolve_string_value(
        route, "?", EvaluationContext(targeting_key=key or org, attributes=context)
    )
    return str(found.value)


def core_of(file: RolloutFile) -> FlagdCore:
    core = FlagdCore()
    core.set_flags(json.dumps(as_flagd(file)))
    return core


@pytest.mark.slow
def test_100_000_decisions_are_the_gates() -> None:
    rng, checked = random.Random(6), 0
    sides = set()
    while checked < 100_000:
        file = made(rng)
        core, decider = core_of(file), Decider(file)
        for _ in range(1_000):
            route = rng.choice(list(file.routes))
            org = rng.choice([*NAMES, f"other-{rng.randrange(99)}"])
            key = rng.choice(["", f"user-{rng.randrange(10_000)}", rng.choice(NAMES)])
            alias = rng.choice([None, None, *NAMES])
            flags = rng.choice([None, [], rng.sample(NAMES, rng.randint(1, 5))])
            ours = decider.decide(route, org, key=key, key_alias=alias, flags=flags or ())
            if not (key or org) and 0 < ours.points < 10_000:
                continue  # flagd gives its default where there is nothing to hash
            found = theirs(core, route, org, key, key_alias=alias, flags=flags)
            assert found == ours.side, (route, org, key, alias, flags, ours)
            sides.add((found, ours.rule.split(".")[0]))
            checked += 1
    assert {("previous", "rolled_back"), ("tokenlab", "keys"), ("tokenlab", "flags")} <= sides
    assert {("tokenlab", "orgs"), ("previous", "orgs"), ("tokenlab", "default_percent")} <= sides


@settings(max_examples=200)
@given(st.text(), st.text(), st.text(min_size=1), st.sampled_from(POINTS))
def test_any_names_are_told_apart(org: str, other: str, key: str, points: int) -> None:
    route = Route("chat", "image", orgs={org: OrgShare(points)}, hash_prefix=bucket_prefix("chat"))
    file = RolloutFile("revision", routes={"chat": route})
    for asked in (org, other):
        ours = Decider(file).decide("chat", asked, key=key).side
        assert theirs(core_of(file), "chat", asked, key) == ours


def test_raising_only_adds_subjects_and_a_latch_is_in_the_next_export() -> None:
    route = Route("chat", "image", orgs={"a": OrgShare(1000)}, hash_prefix=bucket_prefix("chat"))
    file = RolloutFile("revision", routes={"chat": route})
    keys = [f"user-{i}" for i in range(2_000)]
    before = {key for key in keys if theirs(core_of(file), "chat", "a", key) == "tokenlab"}
    raised = core_of(applied(file, [SetPercent("chat", "a", 3000)]))
    after = {key for key in keys if theirs(raised, "chat", "a", key) == "tokenlab"}
    assert before < after
    latched = core_of(applied(file, [SetRolledBack(True, "chat", "a")]))
    assert {theirs(latched, "chat", "a", key) for key in keys[:200]} == {"previous"}


@pytest.mark.parametrize("context", [{}, {"org": None}, {"org": 5}, {"flags": None}])
def test_an_odd_context_is_an_answer_all_the_same(context: dict[str, Any]) -> None:
    file = made(random.Random(1))
    core = core_of(file)
    for route in file.routes:
        found = core.resolve_string_value(
            route, "?", EvaluationContext(targeting_key="k", attributes=context)
        )
        assert found.value in ("tokenlab", "previous")


SPLIT = Route(
    "chat", "image", orgs={"acme": OrgShare(5000)}, flags={"beta": 10_000},
    default_points=5000, hash_prefix=bucket_prefix("chat"),
)  # fmt: skip


@pytest.mark.parametrize("key", [None, ""])
def test_without_a_targeting_key_a_split_is_previous(key: str | None) -> None:
    core = core_of(RolloutFile("revision", routes={"chat": SPLIT}))
    for number in range(100):
        for org in ("acme", f"other-{number}"):
            given = EvaluationContext(targeting_key=key, attributes={"org": org})
            found = core.resolve_string_value("chat", "?", given)
            assert (found.value, found.reason) == ("previous", Reason.DEFAULT)


def test_no_rule_can_name_the_org_in_place_of_the_targeting_key() -> None:
    """Why CONTEXT asks for one: a list given to be hashed is taken for a share instead."""
    shares = [["tokenlab", 10_000], ["previous", 0]]
    for named in ([{"var": "$flagd.flagKey"}, {"var": "org"}], {"merge": ["chat", {"var": "org"}]}):
        flag = {
            "state": "ENABLED", "variants": {"tokenlab": 1, "previous": 0},
            "defaultVariant": "previous", "targeting": {"fractional": [named, *shares]},
        }  # fmt: skip
        core = FlagdCore()
        core.set_flags({"flags": {"chat": flag}})
        for key in ("user", None):
            given = EvaluationContext(targeting_key=key, attributes={"org": "acme"})
            found = core.resolve_integer_value("chat", 7, given)
            assert (found.value, found.reason) == (0, Reason.DEFAULT)


@pytest.mark.parametrize(
    ("flags", "side"),
    [(["beta"], "tokenlab"), ("beta", "tokenlab"), ("not-beta", "previous"), ("bet", "previous")],
)
def test_a_flag_that_is_given_as_a_text_is_that_flag_and_no_part_of_it(
    flags: object, side: str
) -> None:
    route = Route("chat", "image", flags={"beta": 10_000}, hash_prefix=bucket_prefix("chat"))
    core = core_of(RolloutFile("revision", routes={"chat": route}))
    assert theirs(core, "chat", "acme", "k", flags=flags) == side


def test_many_names_are_few_branches_and_nothing_is_said_twice() -> None:
    shares = (0, 100, 2500, 10_000)
    route = Route(
        "chat", "image", default_points=0, hash_prefix=bucket_prefix("chat"),
        orgs={f"org-{n}": OrgShare(shares[n % 4], rolled_back=n < 100) for n in range(10_000)},
        keys={f"key-{number}": shares[number % 2] for number in range(2_000)},
    )  # fmt: skip
    branches = as_flagd(RolloutFile("revision", routes={"chat": route}))["flags"]["chat"][
        "targeting"
    ]["if"]
    lists = [branch["in"][1] for branch in branches if isinstance(branch, dict) and "in" in branch]
    assert sorted(map(len, lists)) == [100, 1_000, 1_000, 2_475, 2_475, 2_475]  # 0 is last anyway
    names = [name for one in lists for name in one]
    assert len(names) == len(set(names))


def test_the_context_is_said_in_the_metadata() -> None:
    core = core_of(RolloutFile("revision", routes={"chat": SPLIT}))
    said = core.get_flag_set_metadata()
    assert {f"context.{name}" for name in CONTEXT} < set(said)
    for name in ("org", "key_alias", "flags"):
        assert f'"var": "{name}"' in json.dumps(as_flagd(made(random.Random(2))))


def test_the_docs_say_what_the_context_has_and_their_example_runs(
    tmp_path: Path,
) -> None:
    text = (Path(__file__).resolve().parents[2] / "docs" / "flagd.md").read_text()
    for name in CONTEXT:
        assert f"| `{name}` |" in text
    (block,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    for points, side in ((0, "previous"), (10_000, "tokenlab")):
        route = Route("chat", "image", orgs={"acme": OrgShare(points)})
        exported = as_flagd(RolloutFile("revision", routes={"chat": route}))
        (tmp_path / "flags.json").write_text(json.dumps(exported))
        done = subprocess.run(
            [sys.executable, "-c", block], cwd=tmp_path, capture_output=True, text=True, timeout=60
        )
        assert (done.returncode, done.stdout) == (0, f"{side}\n"), done.stderr
