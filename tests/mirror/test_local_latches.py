"""What is rolled back on one server alone, by files and by invariant."""

from hypothesis import given
from hypothesis import strategies as st

from rollout_console.changes.edits import applied
from rollout_console.mirror.local_latches import LocalLatch, holds, safer
from rollout_gate.decision.decision import Decider
from rollout_gate.file.model import OrgShare, RolloutFile, Route

NAMES = st.sampled_from(["a", "b", "c/d"])
POINTS = st.sampled_from([0, 1, 5000, 10_000])


@st.composite
def routes(draw: st.DrawFn) -> Route:
    lines = st.builds(OrgShare, st.none() | POINTS, st.booleans())
    return Route(
        name="r", format="openai_chat_completions", model="m", phase="rollout",
        rolled_back=draw(st.booleans()), default_points=draw(POINTS),
        orgs=draw(st.dictionaries(NAMES, lines)), keys=draw(st.dictionaries(NAMES, POINTS)),
        flags=draw(st.dictionaries(NAMES, POINTS)),
    )  # fmt: skip


@st.composite
def files(draw: st.DrawFn) -> RolloutFile:
    found = draw(st.dictionaries(st.sampled_from(["chat", "video"]), routes()))
    return RolloutFile("", draw(st.booleans()), routes=found)


@given(files(), files())
def test_a_merged_file_is_as_safe_as_both(local: RolloutFile, mirrored: RolloutFile) -> None:
    """Each rollback of the server holds in it, each of etcd too, and it only ever lowers."""
    found = safer(local, mirrored)
    merged = applied(mirrored, [latch.edit("") for latch in found])
    assert all(holds(merged, latch) for latch in found)
    assert safer(local, merged) == []
    assert all(holds(merged, latch) for latch in safer(mirrored, merged))
    one, other = Decider(), Decider()
    one.take(mirrored)
    other.take(merged)
    for route in mirrored.routes:
        for org in ("a", "b", "c/d", "x"):
            for key in ("k1", "k2"):
                if one.decide(route, org, key=key).side == "previous":
                    assert other.decide(route, org, key=key).side == "previous"
                for name in ("a", "b"):
                    if local.routes.get(route, merged.routes[route]).keys.get(name) == 0:
                        decided = other.decide(route, org, key=key, key_alias=name)
                        assert decided.side == "previous"
                    if local.routes.get(route, merged.routes[route]).flags.get(name) == 0:
                        decided = other.decide(route, org, key=key, flags=(name,))
                        assert decided.side == "previous"


def test_names() -> None:
    assert str(LocalLatch("latch")) == "all"
    assert str(LocalLatch("latch", "chat")) == "chat"
    assert str(LocalLatch("latch", "chat", "acme")) == "chat/acme"
    assert str(LocalLatch("keys", "chat", "big")) == "chat/alias big"
    assert str(LocalLatch("flags", "chat", "beta")) == "chat/flag beta"
    assert str(LocalLatch("default", "chat")) == "chat/(default)"
