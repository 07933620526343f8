"""Rolling back several orgs and routes: one write, one row for each, and one undo of all."""

import itertools
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rollout_console.changes.change_details import details_of
from rollout_console.changes.errors import StoreError
from rollout_console.changes.plan import Plan
from rollout_console.changes.recorded import moved_by
from rollout_console.changes.switch import Switch
from rollout_console.common.errors import NothingToDo
from rollout_console.history.actor import Actor
from rollout_console.history.history import History
from rollout_gate.file.errors import UnknownOrg, UnknownRoute
from rollout_gate.file.model import RolloutFile
from rollout_gate.file.parse import parse

THREE: list[tuple[str, str | None]] = [("chat", "acme"), ("chat", "globex.eu"), ("claude", None)]
AT = datetime(2026, 11, 26, 3, 0, tzinfo=UTC)


def file_of(switch: Switch) -> RolloutFile:
    return parse(switch.path.read_bytes())


def latches(switch: Switch) -> list[bool]:
    file = file_of(switch)
    return [
        file.routes[route].rolled_back if org is None else file.routes[route].org_rolled_back(org)
        for route, org in THREE
    ]


def three(switch: Switch) -> Plan:
    return switch.planner.plan_rollbacks(THREE, "5xx 44%")


def assert_rows_join(switch: Switch) -> None:
    rows, _ = switch.recent(99)
    for newer, older in itertools.pairwise(rows):
        assert newer.previous_revision == older.revision
    assert rows[0].revision == file_of(switch).revision


def test_the_details_of_each_row_are_its_own_moves(switch: Switch) -> None:
    before = file_of(switch)
    after = switch.apply(three(switch), reason="5xx 44%").snapshot.revision
    rows = [row for row in switch.recent(99)[0] if row.revision == after]
    found = [details_of(switch.history, switch.path, row) for row in reversed(rows)]
    assert [(one.previous, one.others) for one in found] == [(before.revision, 2)] * 3
    moved = [{(move.route, move.who) for move in one.moves} for one in found]
    assert moved[:2] == [{("chat", "acme")}, {("chat", "globex.eu")}]
    assert moved[2]
    assert {route for route, _ in moved[2]} == {"claude"}
    assert all(one.diff == found[0].diff for one in found)


def test_several_are_one_write_and_a_row_for_each(switch: Switch) -> None:
    before = file_of(switch).revision
    plan = three(switch)
    assert plan.effect == (
        "3 lines to 0% in rollout.toml, rolled back until resumed: chat / acme, chat / globex.eu,"
        " route claude"
    )
    assert plan.latches
    assert plan.direction == "down"
    assert plan.targets == tuple(THREE)
    done = switch.apply(plan, reason="5xx 44%", verdict="rollback: 5xx")
    assert latches(switch) == [True, True, True]
    rows = switch.recent(9)[0][::-1]
    assert [(row.action, row.route, row.org) for row in rows] == [
        ("rollback", *target) for target in THREE
    ]
    assert {(row.before, row.after) for row in rows} == {("in force", "rolled back")}
    assert {(row.reason, row.verdict) for row in rows} == {("5xx 44%", "rollback: 5xx")}
    assert rows[0].previous_revision == before
    assert {row.revision for row in rows} == {done.snapshot.revision}
    assert {row.group_id for row in rows} == {rows[0].id}
    assert [[(one.route, one.org) for one in moved_by(row)] for row in rows] == [
        [("chat", "acme")], [("chat", "globex.eu")], [("claude", "acme")],
    ]  # fmt: skip
    assert_rows_join(switch)


def test_a_reason_for_each_is_in_its_stamp_and_its_row(switch: Switch) -> None:
    reasons = {THREE[0]: "5xx 44%", THREE[2]: "p95 9 s"}
    switch.apply(switch.planner.plan_rollbacks(THREE, reasons), reason="together")
    assert [row.reason for row in switch.recent(9)[0][::-1]] == ["5xx 44%", "together", "p95 9 s"]
    text = switch.path.read_text()
    assert "jo@gw-01: 5xx 44%\n" in text
    assert "jo@gw-01: p95 9 s\n" in text


def test_what_is_needless_is_left_out_and_named(switch: Switch) -> None:
    plan = switch.planner.plan_rollbacks(
        [("chat", "acme"), ("chat", "acme"), ("chat", "initech"), ("claude", "acme"),
         ("claude", None)]
    )  # fmt: skip
    assert plan.targets == (("chat", "acme"), ("claude", None))
    assert plan.effect.endswith(
        "; left out: chat / acme (named twice), chat / initech (rolled back already),"
        " claude / acme (its route is in the list)"
    )
    one = switch.planner.plan_rollbacks([("chat", "initech"), ("chat", "acme")])
    assert (one.route, one.org, one.parts) == ("chat", "acme", ())
    assert one.effect == (
        "chat / acme 25% to 0% in rollout.toml: rolled back until resumed; left out:"
        " chat / initech (rolled back already)"
    )
    with pytest.raises(NothingToDo, match=r"chat / initech \(rolled back already\)"):
        switch.planner.plan_rollbacks([("chat", "initech")])
    with pytest.raises(NothingToDo):
        switch.planner.plan_rollbacks([])


def test_one_wrong_name_refuses_all(switch: Switch) -> None:
    before = switch.path.read_bytes()
    with pytest.raises(UnknownRoute):
        switch.planner.plan_rollbacks([("chat", "acme"), ("caht", None)])
    with pytest.raises(UnknownOrg):
        switch.planner.plan_rollbacks([("chat", "acme"), ("claude", "acmee")])
    with pytest.raises(NothingToDo, match="cannot be rolled back by itself"):
        switch.planner.plan_rollbacks([("chat", "acme"), ("claude", "*")])
    assert switch.path.read_bytes() == before


def test_undo_takes_the_whole_group_back(switch: Switch) -> None:
    switch.apply(switch.planner.plan_set("chat", "acme", 2600))
    before = switch.path.read_bytes()
    switch.apply(three(switch))
    plan = switch.planner.plan_undo()
    assert plan.effect == "undo of rollback of 3 lines: back in force in rollout.toml"
    assert plan.regrets
    assert plan.direction == "up"
    switch.apply(plan, reason="drill")
    assert switch.path.read_bytes() == before
    rows = switch.recent(3)[0]
    assert [(row.action, row.route, row.org) for row in rows[::-1]] == [
        ("undo", *target) for target in THREE
    ]
    assert {(row.before, row.after) for row in rows} == {("rolled back", "in force")}
    assert_rows_join(switch)
    again = switch.planner.plan_undo()
    assert again.effect.startswith("undo of set chat / acme"), "the group was undone as one"


def test_a_group_that_the_guard_asked_for_is_not_regretted(switch: Switch) -> None:
    switch.apply(three(switch), verdict="chat / acme rollback: 5xx 44%")
    assert not switch.planner.plan_undo().regrets


def test_undo_of_a_group_keeps_later_edits(switch: Switch) -> None:
    switch.apply(three(switch))
    switch.path.write_bytes(switch.path.read_bytes() + b"# theirs\n")
    switch.refresh()
    plan = switch.planner.plan_undo()
    assert plan.effect == (
        "undo of rollback of 3 lines: back in force in rollout.toml; later edits stay"
    )
    assert not plan.regrets
    switch.apply(plan, reason="drill")
    assert latches(switch) == [False, False, False]
    assert switch.path.read_bytes().endswith(b"# theirs\n")
    assert_rows_join(switch)


def test_undo_of_a_group_leaves_what_was_changed_since(switch: Switch) -> None:
    switch.apply(three(switch))
    text = switch.path.read_bytes()
    (line,) = [one for one in text.split(b"\n") if one.startswith(b"acme = {") and b"25" in one]
    switch.path.write_bytes(text.replace(line, b"acme = 3"))
    switch.refresh()
    plan = switch.planner.plan_undo()
    assert plan.effect.endswith("; later edits stay; changed since: chat / acme")
    switch.apply(plan, reason="drill")
    assert latches(switch) == [False, False, False]
    assert file_of(switch).routes["chat"].org_points("acme") == 300
    assert len([row for row in switch.recent(9)[0] if row.action == "undo"]) == 2
    with pytest.raises(NothingToDo):
        switch.planner.plan_undo()


def test_restore_goes_back_before_a_group(switch: Switch) -> None:
    before = file_of(switch)
    switch.apply(three(switch))
    switch.apply(switch.planner.plan_restore(before.revision), reason="drill")
    assert file_of(switch) == before
    assert_rows_join(switch)


def test_a_group_is_made_on_top_of_what_another_wrote(switch: Switch) -> None:
    """What they rolled back meanwhile has a row of theirs, and none of ours."""
    plan = three(switch)
    other = Switch(switch.path, switch.history, Actor("sam", "gw-02"))
    other.open()
    other.apply(other.planner.plan_rollback("chat", "globex.eu", "theirs"), reason="theirs")
    done = switch.apply(plan, reason="ours")
    assert done.plan.targets == (THREE[0], THREE[2])
    assert "2 lines to 0%" in done.plan.effect
    assert latches(switch) == [True, True, True]
    assert b"sam@gw-02: theirs" in switch.path.read_bytes()
    assert [(row.user, row.route, row.org) for row in switch.recent(9)[0][::-1]] == [
        ("sam", *THREE[1]), ("jo", *THREE[0]), ("jo", *THREE[2]),
    ]  # fmt: skip
    assert_rows_join(switch)
    late = switch.planner.plan_rollbacks([("claude", "acme")])
    other.refresh()
    other.apply(other.planner.plan_rollback("claude", "acme"))
    with pytest.raises(NothingToDo, match="already done"):
        switch.apply(late)


def test_another_console_is_told_of_all(switch: Switch) -> None:
    other = Switch(switch.path, switch.history, Actor("sam", "gw-02"))
    other.open()
    switch.apply(three(switch))
    assert other.refresh() is not None
    assert other.edit.words == (
        "jo@gw-01: rollback chat / acme and 2 more: in force to rolled back"
    )
    assert other.edit.ours


def test_a_broken_file_is_rescued_with_all_latches(switch: Switch) -> None:
    good = switch.path.read_bytes()
    switch.path.write_bytes(b"[routes.chat\n" + good)
    with pytest.raises(StoreError):
        switch.refresh()
    plan = three(switch)
    assert plan.rescues
    assert "its last good version" in plan.effect
    switch.apply(plan, reason="5xx")
    assert latches(switch) == [True, True, True]
    rows = [row for row in switch.recent(9)[0] if row.action == "rollback"]
    assert len(rows) == 3
    assert all("on the last good version" in row.reason for row in rows)


# The file's bytes are the same as one by one.

ORGS = ("acme", "globex.eu", "initech", "new-1")
TARGETS = st.lists(
    st.one_of(
        st.tuples(st.just("chat"), st.sampled_from((None, *ORGS))),
        st.tuples(st.just("claude"), st.sampled_from((None, "acme"))),
    ),
    min_size=1,
    max_size=6,
)


@settings(
    max_examples=30,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(targets=TARGETS)
def test_a_set_at_once_gives_the_same_bytes_as_one_by_one(
    targets: list[Any], file: Path, tmp_path: Path
) -> None:
    text = file.read_bytes().replace(b"default_percent = 0 ", b"default_percent = 5 ")
    results = []
    for name in ("at-once", "one-by-one"):
        path = tmp_path / f"{name}.toml"
        path.write_bytes(text)
        history = History(tmp_path / f"{name}.sqlite3")
        switch = Switch(path, history, Actor("jo", "gw-01"), clock=lambda: AT)
        switch.open()
        try:
            plan = switch.planner.plan_rollbacks(targets, "why")
        except NothingToDo:
            assert set(targets) <= {("chat", "initech")}
            return
        if name == "at-once":
            switch.apply(plan)
        else:
            for route, org in plan.targets:
                switch.apply(switch.planner.plan_rollback(route, org, "why"))
        after = parse(path.read_bytes())
        assert all(after.is_latched(*target) for target in targets)
        results.append(path.read_bytes())
    assert results[0] == results[1]
