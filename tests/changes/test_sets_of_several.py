"""Raising and lowering several orgs: one write, a row for each, one undo; what is left out."""

import itertools
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rollout_console.changes.effect_words import by_reason, left_out_by_reason
from rollout_console.changes.errors import Conflict
from rollout_console.changes.plan import ALL_ORGS, LeftOut, Plan, Target
from rollout_console.changes.recorded import moved_by
from rollout_console.changes.switch import Switch
from rollout_console.changes.text_diff import changed_lines
from rollout_console.common.errors import Held, NothingToDo, ReadOnly
from rollout_console.common.write_access import WriteAccess
from rollout_console.guard.ladder import next_down, next_up
from rollout_console.history.actor import Actor
from rollout_console.history.history import History
from rollout_gate.file.errors import UnknownRoute
from rollout_gate.file.model import RolloutFile, Route
from rollout_gate.file.parse import parse

TWO: list[tuple[str, str | None]] = [("chat", "acme"), ("chat", "globex.eu")]
AT = datetime(2026, 11, 26, 3, 0, tzinfo=UTC)


def exactly(points: int) -> Callable[[Route, str], int]:
    return lambda _route, _org: points


def file_of(switch: Switch) -> RolloutFile:
    return parse(switch.path.read_bytes())


def shares(switch: Switch) -> list[int]:
    return [file_of(switch).routes[route].org_points(str(org)) for route, org in TWO]


def up(switch: Switch) -> Plan:
    return switch.planner.plan_sets(TWO, next_up)


def test_several_are_one_write_and_a_row_for_each(switch: Switch) -> None:
    before = file_of(switch).revision
    plan = up(switch)
    assert plan.effect == (
        "2 lines in rollout.toml: chat / acme 25% to 50%, chat / globex.eu 12.5% to 25%"
    )
    assert (plan.direction, plan.wide, plan.latches, plan.asked_name) == ("up", True, False, "chat")
    done = switch.apply(plan, reason="step", verdict="ok")
    assert shares(switch) == [5000, 2500]
    rows = switch.recent(9)[0][::-1]
    assert [(row.action, row.route, row.org, row.before, row.after) for row in rows] == [
        ("set", "chat", "acme", "25", "50"), ("set", "chat", "globex.eu", "12.5", "25"),
    ]  # fmt: skip
    assert {(row.reason, row.verdict, row.group_id) for row in rows} == {("step", "ok", rows[0].id)}
    made = done.snapshot.revision
    assert [(row.previous_revision, row.revision) for row in rows] == [(before, made), (made, made)]
    assert [[(one.org, one.raised) for one in moved_by(row)] for row in rows] == [
        [("acme", True)], [("globex.eu", True)],
    ]  # fmt: skip


def test_undo_takes_the_whole_group_back(switch: Switch) -> None:
    before = switch.path.read_bytes()
    switch.apply(up(switch))
    plan = switch.planner.plan_undo()
    assert plan.effect == "undo of set of 2 lines: their percents before in rollout.toml"
    assert plan.direction == "down"
    switch.apply(plan)
    assert switch.path.read_bytes() == before
    rows = switch.recent(2)[0][::-1]
    assert [(row.action, row.before, row.after) for row in rows] == [
        ("undo", "50", "25"), ("undo", "25", "12.5"),
    ]  # fmt: skip
    with pytest.raises(NothingToDo, match="there is no change"):
        switch.planner.plan_undo()


def test_undo_keeps_what_was_changed_since(switch: Switch) -> None:
    switch.apply(up(switch))
    switch.path.write_bytes(switch.path.read_bytes().replace(b"acme = 50", b"acme = 7"))
    switch.refresh()
    plan = switch.planner.plan_undo()
    assert plan.effect.endswith("; later edits stay; changed since: chat / acme")
    switch.apply(plan)
    assert shares(switch) == [700, 1250]


def test_a_step_is_taken_from_the_share_that_is_in_the_file_then(switch: Switch) -> None:
    switch.path.write_bytes(switch.path.read_bytes().replace(b"acme = 25", b"acme = 5", 1))
    switch.refresh()
    assert "chat / acme 5% to 10%" in up(switch).effect
    down = switch.planner.plan_sets(TWO, next_down)
    assert "chat / acme 5% to 1%, chat / globex.eu 12.5% to 10%" in down.effect
    assert (down.direction, down.eases) == ("down", True)


def test_what_is_rolled_back_is_never_raised(switch: Switch) -> None:
    three = [*TWO, ("chat", "initech")]
    plan = switch.planner.plan_sets(three, next_up)
    assert plan.targets == tuple(TWO)
    why = LeftOut("chat", "initech", "rolled back, to be resumed first")
    assert plan.left_out == (why,)
    assert plan.effect.endswith("; left out: chat / initech: rolled back, to be resumed first")
    with pytest.raises(NothingToDo, match="rolled back, to be resumed first"):
        switch.planner.plan_sets([("chat", "initech")], next_up)
    lowered = switch.planner.plan_sets(three, exactly(0))
    assert lowered.left_out == ()
    assert lowered.effect.endswith(" (1 stays rolled back until resumed)")
    switch.apply(switch.planner.plan_rollback("chat"))
    with pytest.raises(NothingToDo, match="rolled back"):
        up(switch)


def test_what_has_that_share_or_is_held_is_left_out(switch: Switch) -> None:
    held: dict[Target, str] = {("chat", "globex.eu"): "bakes for 30 s"}
    plan = switch.planner.plan_sets(TWO, next_up, held=held)
    assert (plan.route, plan.org, plan.parts) == ("chat", "acme", ())
    assert plan.effect == (
        "chat / acme 25% to 50% in rollout.toml; left out: chat / globex.eu: held: bakes for 30 s"
    )
    assert [one.missed for one in plan.left_out] == [True]
    plan = switch.planner.plan_sets(TWO, exactly(2500))
    assert plan.left_out == (LeftOut("chat", "acme", "at 25% already", missed=False),)
    with pytest.raises(NothingToDo, match="nothing is named"):
        switch.planner.plan_sets([], next_up)


def test_a_route_is_all_its_orgs_with_a_line_once_each(switch: Switch) -> None:
    text = switch.path.read_bytes().replace(b"default_percent = 0 ", b"default_percent = 5 ")
    switch.path.write_bytes(text)
    switch.refresh()
    plan = switch.planner.plan_sets([("chat", "acme"), ("chat", None), ("claude", None)], next_up)
    assert plan.targets == (*TWO, ("claude", "acme"))
    assert plan.asked_name == "all"
    assert [str(one) for one in plan.left_out] == [
        "chat / initech: rolled back, to be resumed first",
        "chat: its default, aliases and flags are set by themselves",
    ]
    assert plan.prepared.after.file.routes["chat"].default_points == 500, "no flag, no default"


def test_the_default_is_one_of_several_and_its_row_has_what_it_moved(switch: Switch) -> None:
    switch.apply(switch.planner.plan_sets([("chat", ALL_ORGS), ("chat", "acme")], exactly(3000)))
    rows = switch.recent(9)[0][::-1]
    assert [(row.org, row.before, row.after) for row in rows] == [
        ("*", "0", "30"), ("acme", "25", "30"),
    ]  # fmt: skip
    assert [[one.org for one in moved_by(row)] for row in rows] == [[None], ["acme"]]
    switch.apply(switch.planner.plan_undo())
    assert file_of(switch).routes["chat"].default_points == 0


def test_an_org_gets_a_line_only_where_that_was_chosen(switch: Switch) -> None:
    """Another editor took it out of the file while the confirm was open: it is not put back."""
    targets = [*TWO, ("chat", "new.org"), ("chat", 'we"ird.org'), ("gone", "acme")]
    new = {("chat", 'we"ird.org')}
    plan = switch.planner.plan_sets(targets, exactly(3000), new=new)
    assert plan.targets == (*TWO, ("chat", 'we"ird.org'))
    assert plan.effect.split("; ")[0].endswith(" (1 new line)")
    assert [str(one) for one in plan.left_out] == [
        "chat / new.org: no longer in the file", "gone / acme: no longer in the file",
    ]  # fmt: skip
    switch.apply(plan)
    assert file_of(switch).routes["chat"].org_points('we"ird.org') == 3000
    with pytest.raises(UnknownRoute):
        switch.planner.plan_sets([("caht", "acme")], next_up, new={("caht", "acme")})
    secret = ("chat", "sk-live-abcdef12345678")
    with pytest.raises(NothingToDo, match="credential"):
        switch.planner.plan_sets([*TWO, secret], exactly(100), new={secret})


def test_an_edit_in_between_is_a_conflict_for_all(switch: Switch) -> None:
    plan = up(switch)
    edited = switch.path.read_bytes().replace(b'"globex.eu" = 12.5\n', b"")
    switch.path.write_bytes(edited)
    with pytest.raises(Conflict):
        switch.apply(plan)
    assert switch.path.read_bytes() == edited
    assert [row.action for row in switch.recent(9)[0]] in ([], ["external"])


def test_held_and_read_only_change_nothing(switch: Switch, file: Path) -> None:
    before = file.read_bytes()
    with pytest.raises(Held):
        switch.apply(up(switch), held="2 of 2: chat / acme: no data")
    with pytest.raises(Held):
        switch.apply(up(switch), held="2 of 2: chat / acme: no data", override=True, reason=" ")
    looker = Switch(file, switch.history, Actor("kim", "gw-02"), access=WriteAccess(read_only=True))
    looker.open()
    with pytest.raises(ReadOnly):
        looker.apply(up(looker))
    assert file.read_bytes() == before
    down = switch.planner.plan_sets(TWO, next_down)
    switch.apply(down, held="whatever")
    assert shares(switch) == [1000, 1000], "what lowers is never held"


def test_another_console_is_told_of_all(switch: Switch) -> None:
    other = Switch(switch.path, switch.history, Actor("sam", "gw-02"))
    other.open()
    switch.apply(up(switch))
    assert other.refresh() is not None
    assert other.edit.words == "jo@gw-01: set chat / acme 25% to 50% and 1 more"


# The file's bytes are the same as one by one, however it is written.

TEXTS = (
    b'[routes.chat]\nformat = "image"\ndefault_percent = 5\n[routes.chat.orgs]\nacme = 25 # why\n'
    b'  "b.c" = 3.50\r\nlatched = { percent = 4, rolled_back = true }\n[routes.x]\n'
    b'format = "image"\norgs = { acme = 5, "d" = 6 }\n[routes.x.flags]\nacme = 1\n',
    b'routes.chat.format = "image"\nroutes.chat.orgs.acme = 25\nroutes.chat.orgs."b.c" = 1\n'
    b'routes.x = { format = "image", orgs = { acme = { percent = 5 } } }',
    b'[routes.x]\nformat = "image"\n[routes.chat]\nformat = "image"\n[routes.chat.orgs.acme]\n'
    b"percent = 25\n[routes.chat.orgs]\nlatched.rolled_back = true\nd = 1",
)
ORGS = ("acme", "b.c", "latched", "d", "new 1", "new.2", ALL_ORGS)
WANTED = st.dictionaries(
    st.tuples(st.sampled_from(("chat", "x")), st.sampled_from(ORGS)),
    st.sampled_from((0, 1, 500, 2550, 10_000)),
    min_size=1,
    max_size=9,
)


def opened(path: Path, text: bytes) -> Switch:
    path.write_bytes(text)
    switch = Switch(
        path, History(path.with_suffix(".sqlite3")), Actor("jo", "gw"), clock=lambda: AT
    )
    switch.open()
    return switch


@settings(
    max_examples=60,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(wanted=WANTED, text=st.sampled_from(TEXTS))
def test_a_set_at_once_gives_the_same_bytes_as_one_by_one(
    wanted: dict[tuple[str, str], int], text: bytes, tmp_path: Path
) -> None:
    text = b'schema = 1\nalgorithm = "fractional-v3"\n' + text
    at_once, single = (opened(tmp_path / f"{name}.toml", text) for name in ("once", "single"))
    try:
        plan = at_once.planner.plan_sets(
            list(wanted), lambda route, org: wanted[route.name, org], new=set(wanted)
        )
    except NothingToDo:
        return
    at_once.apply(plan)
    for route, org in plan.targets:
        single.apply(single.planner.plan_set(str(route), str(org), wanted[str(route), str(org)]))
    assert at_once.path.read_bytes() == single.path.read_bytes()
    after = parse(at_once.path.read_bytes())
    for (route, org), points in wanted.items():
        found = after.routes[route]
        share = found.default_points if org == ALL_ORGS else found.org_points(org)
        left_out = {(one.route, one.org): one.missed for one in plan.left_out}
        assert share == points or left_out.get((route, org)) or (route, org) in left_out
    at_once.apply(at_once.planner.plan_undo(), reason="drill")
    assert at_once.path.read_bytes() == text


LINES = st.lists(st.sampled_from(("a", "b", "c = 1", "d", "-- e", "")), min_size=1, max_size=12)


@given(old=LINES, new=LINES)
def test_a_diff_takes_away_and_adds_what_differs(old: list[str], new: list[str]) -> None:
    found = changed_lines("\n".join(old).encode(), "\n".join(new).encode())
    left = sorted([*old, *(line[1:] for line in found if line[0] == "+")])
    assert left == sorted([*new, *(line[1:] for line in found if line[0] == "-")])


def test_a_diff_of_a_move_and_of_many_lines() -> None:
    many = [f"org-{number} = {number % 101}" for number in range(3_000)]
    other = [f"{line}0" if number % 30 == 0 else line for number, line in enumerate(many)]
    found = changed_lines("\n".join(many).encode(), "\n".join(other).encode())
    assert found == tuple(
        itertools.chain.from_iterable(
            (f"-{one}", f"+{two}") for one, two in zip(many, other, strict=True) if one != two
        )
    )
    assert changed_lines(b"a\nb\nc", b"b\nc\na") == ("-a", "+a")


def test_a_reason_that_several_have_is_said_once(switch: Switch) -> None:
    held: dict[Target, str] = dict.fromkeys(
        [("chat", "globex.eu"), ("chat", ALL_ORGS), ("claude", "acme")], "a budget is spent"
    )
    plan = switch.planner.plan_sets([*TWO, ("claude", "acme")], next_up, held=held)
    assert plan.effect == "chat / acme 25% to 50% in rollout.toml; 2 left out"
    assert left_out_by_reason(plan.left_out) == [
        "chat / globex.eu, claude / acme: held: a budget is spent"
    ]
    assert by_reason([*held.items(), (("claude", "b"), "bakes"), (("claude", None), "gone")]) == [
        "chat / globex.eu, (default), claude / acme: a budget is spent",
        "claude / b: bakes",
        "claude: gone",
    ]
    assert by_reason(held.items(), 1) == ["chat / globex.eu and 2 more: a budget is spent"]
