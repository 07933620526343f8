"""Shares by alias and flag, and defaults, changed together with orgs: set, never latched."""

from pathlib import Path
from typing import Literal

import pytest

from rollout_console.changes.change_details import what_of
from rollout_console.changes.plan import ALL_ORGS, Plan, Share, Target
from rollout_console.changes.recorded import moved_by
from rollout_console.changes.switch import Switch
from rollout_console.common.errors import NothingToDo
from rollout_console.guard.held_shares import held_shares
from rollout_console.guard.ladder import down, next_down, next_up, up
from rollout_console.history.actor import Actor
from rollout_console.history.history import History
from rollout_gate.file.parse import parse

ALIAS = Share("chat", "keys", "batch")
FLAG = Share("chat", "flags", "beta-testers")
DEFAULT = Share("chat", "", ALL_ORGS)
ALL_THREE = [ALIAS, FLAG, DEFAULT]


@pytest.fixture
def switch(file: Path) -> Switch:
    """On a file whose flag has the name of an org, and whose alias the label of that flag."""
    text = file.read_text()
    for old, new in (
        ("[routes.chat.keys]", "[routes.chat.keys]\nbatch = 50"),
        ("acme = 25", "acme = 25\nbeta-testers = 5"),
        ("default_percent = 0 ", "default_percent = 2 "),
    ):
        assert old in text
        text = text.replace(old, new, 1)
    file.write_text(text)
    made = Switch(file, History(file.parent / "h.sqlite3"), Actor("jo", "gw-01"))
    made.open()
    return made


def shares(switch: Switch) -> tuple[int, int, int, int, bool]:
    """Return alias, flag and default in basis points, acme's and whether it is latched."""
    route = parse(switch.path.read_bytes()).routes["chat"]
    acme = route.orgs["acme"]
    return (
        route.keys["batch"], route.flags["beta-testers"], route.default_points,
        acme.points or 0, acme.rolled_back,
    )  # fmt: skip


def rows(switch: Switch) -> list[tuple[str, str | None, str, str]]:
    found = switch.recent(9)[0][::-1]
    return [(row.action, row.org, row.before, row.after) for row in found]


def rollback(switch: Switch) -> Plan:
    return switch.planner.plan_rollbacks([("chat", "acme")], "5xx 44%", shares=ALL_THREE)


def test_a_rollback_latches_the_org_and_sets_the_others_to_0_in_one_write(switch: Switch) -> None:
    before = switch.path.read_bytes()
    plan = rollback(switch)
    assert plan.effect == (
        "chat / acme to 0% in rollout.toml, rolled back until resumed; without a latch: chat /"
        " alias batch 50% to 0%, chat / flag beta-testers 100% to 0%, chat / (default)"
        " 2% to 0%"
    )
    assert (plan.latches, plan.direction, plan.latched) == (True, "down", (("chat", "acme"),))
    assert plan.judged == [("chat", "acme"), ("chat", None)]
    switch.apply(plan, reason="5xx 44%")
    assert shares(switch) == (0, 0, 0, 2500, True)
    assert parse(switch.path.read_bytes()).routes["chat"].org_points("beta-testers") == 500
    assert rows(switch) == [
        ("rollback", "acme", "in force", "rolled back"), ("set_alias", "batch", "50", "0"),
        ("set_flag", "beta-testers", "100", "0"), ("set", ALL_ORGS, "2", "0"),
    ]  # fmt: skip
    found = switch.recent(9)[0]
    assert [len(moved_by(row)) for row in found] == [1, 1, 1, 1], "each moves its own share"
    assert {row.reason for row in found} == {"5xx 44%"}
    undo = switch.planner.plan_undo()
    assert "undo of rollback of 4 lines: back in force" in undo.effect
    assert undo.regrets, "one's own rollback comes back without a reason"
    switch.apply(undo)
    assert switch.path.read_bytes() == before


def test_an_undo_with_later_edits_takes_back_each_by_its_own_action(switch: Switch) -> None:
    switch.apply(rollback(switch))
    text = switch.path.read_text()
    switch.path.write_text(text.replace("batch = 0", "batch = 7") + "# theirs\n")
    switch.refresh()
    undo = switch.planner.plan_undo()
    assert undo.effect.endswith("; later edits stay; changed since: chat / alias batch")
    switch.apply(undo, reason="drill")
    assert shares(switch) == (700, 10_000, 200, 2500, False)


@pytest.mark.parametrize("table", ["keys", "flags"])
@pytest.mark.parametrize("inline", [False, True])
def test_an_undo_among_later_edits_takes_a_new_line_out(
    switch: Switch, table: Literal["keys", "flags"], inline: bool
) -> None:
    before = switch.path.read_text()
    if inline:
        head = {"keys": "[routes.chat.keys]", "flags": "[routes.chat.flags]"}[table]
        begin = before.index(head)
        end = before.index("\n[", begin)
        before = before[:begin] + before[end:]
        route = before.index("[routes.chat]\n") + len("[routes.chat]\n")
        before = f"{before[:route]}{table} = {{ old = 5 }}\n{before[route:]}"
        switch.path.write_text(before)
        switch.refresh()
    switch.apply(switch.planner.plan_share("chat", table, "gold", 100), reason="new customer")
    made = switch.path.read_text()
    switch.path.write_text(made + "# theirs\n")
    switch.refresh()
    undo = switch.planner.plan_undo()
    name = "alias" if table == "keys" else "flag"
    assert undo.effect.startswith(f"undo of set chat / {name} gold: 1% to no line")
    assert undo.effect.endswith("; later edits stay")
    assert undo.judged == [("chat", None)], "the log does not tell aliases and flags apart"
    switch.apply(undo, reason="as it was")
    assert switch.path.read_text() == before + "# theirs\n"
    (row,) = [row for row in switch.recent(9)[0] if row.action == "undo"]
    assert what_of(row, to="to") == f"undo chat / {name} gold: 1% to no line"
    switch.path.write_text(made.replace("gold = 1", "gold = 2"))
    switch.refresh()
    with pytest.raises(NothingToDo, match=r"there is no change|was changed since"):
        switch.planner.plan_undo()


def test_what_another_has_done_meanwhile_is_no_conflict_and_adds_no_line(switch: Switch) -> None:
    plan = rollback(switch)
    other = Switch(switch.path, switch.history, Actor("sam", "gw-02"))
    other.open()
    other.apply(other.planner.plan_share("chat", "keys", "batch", 0))
    text = switch.path.read_text()
    switch.path.write_text(text.replace("beta-testers = 100\n", ""))
    done = switch.apply(plan, reason="ours")
    assert done.plan.targets == (("chat", "acme"), ("chat", ALL_ORGS))
    assert "beta-testers = 0" not in switch.path.read_text()
    assert parse(switch.path.read_bytes()).routes["chat"].org_rolled_back("acme")


@pytest.mark.parametrize(
    ("targets", "some", "left_out"),
    [
        (
            [("chat", None)],
            ALL_THREE,
            "chat / flag beta-testers, chat / (default) (its",
        ),
        ([("chat", "acme")], [FLAG, Share("chat", "flags", "gone")], "flag gone (no longer"),
        ([("chat", "acme")], [ALIAS, Share("gone", "", ALL_ORGS)], "gone / (default)"),
    ],
)
def test_what_needs_nothing_is_left_out_and_named(
    switch: Switch, targets: list[tuple[str, str | None]], some: list[Share], left_out: str
) -> None:
    plan = switch.planner.plan_rollbacks(targets, shares=some)
    assert left_out in plan.effect.partition("left out: ")[2]


def test_without_an_org_it_is_a_set_to_0(switch: Switch) -> None:
    one = switch.planner.plan_rollbacks([], shares=[FLAG])
    assert (one.action, one.parts, one.judged) == ("set_flag", (), [("chat", None)])
    assert one.effect == "chat / flag beta-testers 100% to 0% in rollout.toml"
    both = switch.planner.plan_rollbacks([("chat", "initech")], shares=[FLAG, DEFAULT])
    assert both.effect.endswith("; left out: chat / initech (rolled back already)")
    switch.apply(both)
    assert rows(switch) == [
        ("set_flag", "beta-testers", "100", "0"), ("set", ALL_ORGS, "2", "0"),
    ]  # fmt: skip
    with pytest.raises(NothingToDo, match=r"flag beta-testers, .*\(at 0% already\)"):
        switch.planner.plan_rollbacks([], shares=[FLAG, DEFAULT])


def test_a_set_of_several_steps_each_from_its_share(switch: Switch) -> None:
    targets = [("chat", "beta-testers"), ("chat", ALL_ORGS)]
    plan = switch.planner.plan_sets(targets, next_up, shares=[ALIAS, FLAG], step=up)
    assert [(part.target, part.after) for part in plan.parts] == [
        (("chat", "beta-testers"), "10"), (("chat", ALL_ORGS), "5"),
        (("chat", "alias batch"), "100"),
    ]  # fmt: skip
    assert [str(one) for one in plan.left_out] == ["chat / flag beta-testers: at 100% already"]
    assert plan.wide
    assert plan.asked_name == "chat"
    asked = dict(held_shares(plan, lambda move: move.who))
    assert asked == {
        ("chat", "beta-testers"): "beta-testers", ("chat", ALL_ORGS): "(default)",
        ("chat", "alias batch"): "alias batch",
    }, "the guard judges each of them by itself"  # fmt: skip
    held: dict[Target, str] = {("chat", "alias batch"): "no data"}
    less = switch.planner.plan_sets(targets, next_up, shares=[ALIAS], step=up, held=held)
    assert [str(one) for one in less.left_out] == ["chat / alias batch: held: no data"]
    lowered = switch.planner.plan_sets(targets, next_down, shares=[ALIAS, FLAG], step=down)
    switch.apply(lowered)
    assert [row[0] for row in rows(switch)] == ["set", "set", "set_alias", "set_flag"]
    assert shares(switch)[:3] == (2500, 5000, 100)
    undo = switch.planner.plan_undo()
    assert "undo of set of 4 lines: their percents before" in undo.effect
    switch.apply(undo)
    assert shares(switch)[:3] == (5000, 10_000, 200)
