"""The rules of a decision, in their order."""

from hypothesis import given
from hypothesis import strategies as st

from console.rollout.decision import Decider, decide
from console.rollout.edits import SetPercent, SetRolledBack, applied
from console.rollout.parse import parse

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


@given(
    st.sampled_from([(), ("chat",), (None,)]),
    st.sampled_from(["chat", "nope"]),
    names,
    st.none() | names,
    st.sampled_from([None, "special", "other"]),
    st.sampled_from([(), [], ["beta"], ["gamma", "other"]]),
)
def test_the_quick_way_decides_the_same(
    latches: tuple[str | None, ...],
    route: str,
    org: str,
    key: str | None,
    key_alias: str | None,
    flags: list[str],
) -> None:
    file = applied(FILE, [SetRolledBack(True, of) for of in latches])
    found = Decider(file).decide(route, org, key=key, key_alias=key_alias, flags=flags)
    assert found == decide(file, route, org, key=key, key_alias=key_alias, flags=flags)
    assert type(found) is type(decide(file, route, org))


def test_the_next_version_is_in_force_at_once() -> None:
    decider = Decider()
    assert decider.decide("chat", "acme").rule == "no_file"
    decider.take(FILE)
    assert decider.decide("chat", "acme").side == "tokenlab"
    decider.take(applied(FILE, [SetRolledBack(True, "chat", "acme")]))
    assert decider.decide("chat", "acme").rule == "rolled_back.org"
