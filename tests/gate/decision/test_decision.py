"""The rules of a decision, in their order."""

import copy
import pickle
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollout_console.changes.edits import SetPercent, SetRolledBack, applied
from rollout_gate.decision.decision import Decider, Decision, decide
from rollout_gate.file.model import RolloutFile
from rollout_gate.file.parse import parse

TEXT = b"""
schema = 1
algorithm = "fractional-v3"
[routes.chat]
format = "openai_chat_completions"
model = "gpt-5.4"
default_percent = 7
[routes.chat.orgs]
acme = 100
zero = 0
latched = { percent = 100, rolled_back = true }
unset = { rolled_back = true }
[routes.chat.keys]
special = 100
[routes.chat.flags]
beta = 100
gamma = 1
delta = 1
"""
FILE = parse(TEXT)


def rule(org: str = "acme", **more: object) -> tuple[str, str]:
    found = decide(FILE, "chat", org, **more)  # type: ignore[arg-type]
    return found.side, found.rule


def test_the_first_rule_that_matches_decides() -> None:
    assert rule("acme") == ("tokenlab", "orgs.acme")
    assert rule("zero") == ("previous", "orgs.zero")
    assert rule("zero", key_alias="special") == ("tokenlab", "keys.special")
    assert rule("zero", flags=["gamma", "beta"]) == ("tokenlab", "flags.beta")
    assert rule("zero", key_alias="other", flags=["other"]) == ("previous", "orgs.zero")
    assert rule("somebody")[1] == "default_percent"


def test_a_latch_beats_every_share() -> None:
    assert rule("latched", key_alias="special") == ("previous", "rolled_back.org")
    for latch, name in (
        (SetRolledBack(True, "chat"), "rolled_back.route"),
        (SetRolledBack(True), "rolled_back.file"),
    ):
        found = decide(applied(FILE, [latch]), "chat", "acme", key_alias="special")
        assert (found.side, found.rule, found.points) == ("previous", name, 10_000)


def test_an_unknown_route_goes_to_previous() -> None:
    assert decide(FILE, "nope", "acme").rule == "unknown_route"


def test_the_org_is_the_key_where_there_is_none() -> None:
    assert decide(FILE, "chat", "acme").bucket == decide(FILE, "chat", "x", key="acme").bucket
    assert decide(FILE, "chat", "acme", key="").bucket == decide(FILE, "chat", "acme").bucket


def test_rolling_back_and_resuming_is_exact() -> None:
    for org in ("acme", "unset", "nobody"):
        there = applied(FILE, [SetRolledBack(True, "chat", org)])
        assert there.routes["chat"].org_points(org) == FILE.routes["chat"].org_points(org)
        if org != "unset":
            assert applied(there, [SetRolledBack(False, "chat", org)]) == FILE


def test_a_percent_of_a_latched_org_keeps_the_latch() -> None:
    share = applied(FILE, [SetPercent("chat", "latched", 50)]).routes["chat"].orgs["latched"]
    assert (share.points, share.rolled_back) == (50, True)


names = st.one_of(
    st.sampled_from(
        [
            "acme",
            "zero",
            "latched",
            "unset",
            "",
            "x" * 23,
            "x" * 24,
            "é" * 12,
            "x" * 255,
            "x" * 256,
            "é" * 127,
            "é" * 128,
        ]
    ),
    st.text(max_size=30),
)


Latches = tuple[tuple[str, ...], ...]
LATCHES: list[Latches] = [(), (("chat",),), ((),), ((), ("chat",)), (("chat", "acme"),)]


def latched_by(latches: Latches) -> RolloutFile:
    return applied(FILE, [SetRolledBack(True, *of) for of in latches])


def same(one: Decision, other: Decision) -> bool:
    assert (repr(one), hash(one), type(one)) == (repr(other), hash(other), type(other))
    return one == other


@given(
    st.sampled_from(LATCHES),
    st.sampled_from(["chat", "nope"]),
    names,
    st.none() | names,
    st.sampled_from([None, "special", "other", ""]),
    st.sampled_from([(), [], ["beta"], ["gamma", "other"], ["gamma", "delta"], ["delta", "gamma"]]),
    st.booleans(),
)
def test_the_quick_way_decides_the_same(
    latches: Latches,
    route: str,
    org: str,
    key: str | None,
    key_alias: str | None,
    flags: list[str],
    once: bool,
) -> None:
    file = latched_by(latches)
    given = iter(flags) if once else flags  # a generator gives them once
    found = Decider(file).decide(route, org, key=key, key_alias=key_alias, flags=given)
    assert same(found, decide(file, route, org, key=key, key_alias=key_alias, flags=flags))


def broken() -> Iterator[str]:
    yield "other"
    raise KeyError("of the application")


ODD: list[Any] = [None, 5, 0, b"acme", b"", [], {}, ("acme",), 1.5]


@pytest.mark.parametrize("latches", LATCHES)
@pytest.mark.parametrize("key_alias", [None, "special", "other"])
def test_the_quick_way_takes_no_other_thing_for_a_text(
    latches: Latches, key_alias: str | None
) -> None:
    file = latched_by(latches)
    quick = Decider(file)
    for field in ("route", "org", "key", "key_alias"):
        for odd in ODD:
            for key in (None, "user-1"):
                asked: dict[str, Any] = {
                    "route": "chat",
                    "org": "acme",
                    "key": key,
                    "key_alias": key_alias,
                }
                asked[field] = odd
                assert same(quick.decide(**asked), decide(file, **asked)), asked
    given: list[Any] = [None, 7, [["beta"]], [None, "beta"], iter([["beta"], "gamma"]), broken()]
    for flags in given:
        asked = {"route": "chat", "org": "zero", "key_alias": key_alias}
        alike: Any = [["beta"]] if isinstance(flags, Iterator) else flags
        assert same(quick.decide(**asked, flags=flags), decide(file, **asked, flags=alike)), flags


def test_an_org_that_is_no_text_is_a_bad_argument_whatever_the_key() -> None:
    for org in (None, 5, b"acme"):
        found = Decider(FILE).decide("chat", org, key="user-1")  # type: ignore[arg-type]
        assert (found.side, found.rule) == ("previous", "bad_argument")


@pytest.mark.parametrize("latches", LATCHES)
def test_in_an_incident_too_every_request_goes_the_quick_way(
    monkeypatch: pytest.MonkeyPatch, latches: Latches
) -> None:
    file = latched_by(latches)
    quick = Decider(file)

    def slow(*_: object, **__: object) -> Decision:
        raise AssertionError("the slow way")

    monkeypatch.setattr("rollout_gate.decision.decision.decide", slow)
    asks: list[dict[str, Any]] = [{}, {"key_alias": "special"}, {"flags": ["other", "gamma"]}]
    for org in ("acme", "zero", "latched", "unset", "nobody", ""):
        for key in (None, "user-1"):
            for more in asks:
                found = quick.decide("chat", org, key=key, **more)
                assert same(found, decide(file, "chat", org, key=key, **more))


def test_a_decision_is_what_it_says() -> None:
    made = Decision.of("tokenlab", 1_250, 7, "orgs.a.b", "rev", "chat", "gpt", "image")
    again = Decision.of(**made.as_dict())
    assert same(made, again)
    assert list(made.as_dict().values()) == [
        "tokenlab", 1_250, 7, "orgs.a.b", "rev", "chat", "gpt", "image",
    ]  # fmt: skip
    assert repr(made) == (
        "Decision.of(side='tokenlab', points=1250, bucket=7, rule='orgs.a.b', revision='rev',"
        " route='chat', model='gpt', format='image')"
    )
    for name, value in made.as_dict().items():
        assert getattr(made, name) == value
        other = value + 1 if isinstance(value, int) else value + "x"
        assert Decision.of(**made.as_dict() | {name: other}) != made
        with pytest.raises(AttributeError):
            setattr(made, name, value)
    assert made.percent == 12.5
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        assert same(pickle.loads(pickle.dumps(made, protocol)), made)
    assert same(copy.deepcopy(made), made)
    assert same(copy.copy(made), made)


def test_the_next_version_is_in_force_at_once() -> None:
    decider = Decider()
    assert decider.decide("chat", "acme").rule == "no_file"
    decider.take(FILE)
    assert decider.decide("chat", "acme").side == "tokenlab"
    decider.take(applied(FILE, [SetRolledBack(True, "chat", "acme")]))
    assert decider.decide("chat", "acme").rule == "rolled_back.org"
