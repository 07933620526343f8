"""Changing the switch: the same rules for screen and commands."""

from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from rollout_console.changes.errors import Conflict, NotReadable
from rollout_console.changes.plan import ALL_ORGS
from rollout_console.changes.share_group import share_group
from rollout_console.changes.switch import Switch
from rollout_console.common.durations import spoken_change
from rollout_console.common.errors import Held, NothingToDo, NotRecorded, ReadOnly
from rollout_console.common.write_access import WriteAccess
from rollout_console.history.actor import Actor
from rollout_console.history.history import History
from rollout_console.history.location import history_of
from rollout_console.history.rows import NewChange
from rollout_gate.file.errors import RolloutError, UnknownOrg, UnknownRoute
from rollout_gate.file.parse import parse
from rollout_gate.file.revision import revision_of


def org(switch: Switch, name: str = "acme") -> tuple[int, bool]:
    route = parse(switch.path.read_bytes()).routes["chat"]
    return route.org_points(name), route.org_rolled_back(name)


def test_a_path_that_cannot_be_looked_at_is_no_missing_file(switch: Switch, file: Path) -> None:
    file.unlink()
    file.symlink_to(file.name)
    with pytest.raises(RolloutError):
        switch.refresh()
    with pytest.raises(NotReadable, match="Too many levels of symbolic links"):
        switch.planner.plan_rollback("chat", "acme")


def test_a_rollback_and_its_undo_are_exact(switch: Switch) -> None:
    before = switch.path.read_bytes()
    plan = switch.planner.plan_rollback("chat", "acme", "5xx 4.2%")
    assert plan.effect == "chat / acme 25% to 0% in rollout.toml: rolled back until resumed"
    assert plan.direction == "down"
    switch.apply(plan, reason="5xx 4.2%")
    assert org(switch) == (2500, True)
    assert b"jo@gw-01: 5xx 4.2%\n" in switch.path.read_bytes()
    switch.apply(switch.planner.plan_undo(), reason="drill")
    assert switch.path.read_bytes() == before
    assert [row.action for row in switch.recent(9)[0]] == ["undo", "rollback"]
    with pytest.raises(NothingToDo):
        switch.planner.plan_undo()


def test_undo_after_somebody_elses_edit_keeps_it(switch: Switch) -> None:
    switch.apply(switch.planner.plan_set("chat", "acme", 500))
    switch.path.write_bytes(switch.path.read_bytes() + b"# theirs\n")
    found = switch.refresh()
    assert found is not None
    assert found[1], "somebody else's edit was not told apart"
    switch.apply(switch.planner.plan_undo(), reason="x")
    assert org(switch) == (2500, False)
    assert switch.path.read_bytes().endswith(b"# theirs\n")
    assert [row.action for row in switch.recent(9)[0]] == ["undo", "external", "set"]


def test_a_rollback_goes_on_top_of_somebody_elses_edit(switch: Switch) -> None:
    plan = switch.planner.plan_rollback("chat", "acme")
    switch.path.write_bytes(switch.path.read_bytes().replace(b"12.5", b"99"))
    switch.apply(plan)
    assert org(switch) == (2500, True)
    assert org(switch, "globex.eu") == (9900, False)


def test_a_raise_never_does(switch: Switch) -> None:
    plan = switch.planner.plan_set("chat", "acme", 5000)
    switch.path.write_bytes(switch.path.read_bytes().replace(b"12.5", b"99"))
    with pytest.raises(Conflict, match="another writer"):
        switch.apply(plan)
    assert org(switch) == (2500, False)
    assert switch.recent(9)[0] == []


def test_a_held_raise_needs_a_reason_and_a_lowering_none(switch: Switch) -> None:
    plan = switch.planner.plan_set("chat", "acme", 5000)
    for more in ({}, {"override": True}, {"override": True, "reason": "  "}, {"reason": "x"}):
        with pytest.raises(Held, match="no data"):
            switch.apply(plan, held="no data", **more)
    switch.apply(plan, held="no data", override=True, reason="known cause")
    assert switch.recent(1)[0][0].verdict == "no data"
    switch.apply(switch.planner.plan_set("chat", "acme", 100), held="no data")
    assert org(switch) == (100, False)


def test_directions_and_width(switch: Switch) -> None:
    assert not switch.planner.plan_set("chat", "acme", 5000).wide
    assert switch.planner.plan_set("chat", "acme", 10_000).wide
    assert switch.planner.plan_set("chat", ALL_ORGS, 100).wide
    switch.apply(switch.planner.plan_rollback())
    resume = switch.planner.plan_resume()
    assert (resume.direction, resume.wide) == ("up", True)
    assert switch.planner.plan_resume("chat", "initech").direction == "none"
    assert "stays rolled back" in switch.planner.plan_set("chat", "acme", 10_000).effect


def test_read_only_is_enforced_here_too(file: Path, tmp_path: Path) -> None:
    switch = Switch(
        file, History(tmp_path / "h"), Actor("jo", "x"), access=WriteAccess(read_only=True)
    )
    switch.open()
    with pytest.raises(ReadOnly):
        switch.apply(switch.planner.plan_rollback())
    assert not (tmp_path / "h").exists()


def test_a_history_that_cannot_be_written_stops_a_raise_and_no_rollback(
    file: Path, tmp_path: Path
) -> None:
    (tmp_path / "no").write_text("")
    switch = Switch(file, History(tmp_path / "no" / "h"), Actor("jo", "x"))
    switch.open()
    with pytest.raises(NotRecorded):
        switch.apply(switch.planner.plan_set("chat", "acme", 5000))
    done = switch.apply(switch.planner.plan_rollback("chat"))
    assert "not in the history" in done.warnings[0]
    assert parse(file.read_bytes()).routes["chat"].rolled_back


def test_restore_puts_the_bytes_back(switch: Switch) -> None:
    before = switch.path.read_bytes()
    switch.apply(switch.planner.plan_set("chat", "acme", 100))
    revision = switch.recent(1)[0][0].previous_revision
    plan = switch.planner.plan_restore(revision[:9])
    assert plan.direction == "up"
    switch.apply(plan)
    assert switch.path.read_bytes() == before


def test_nothing_to_do_and_unknown_names(switch: Switch) -> None:
    with pytest.raises(NothingToDo):
        switch.apply(switch.planner.plan_set("chat", "acme", 2500))
    with pytest.raises(UnknownRoute, match="chat, claude"):
        switch.planner.plan_set("nope", "acme", 1)
    with pytest.raises(RolloutError):
        switch.planner.plan_set("chat", "", 1)


def test_a_broken_file_is_told_and_nothing_is_lost(switch: Switch) -> None:
    broken = b"[routes.chat\n"
    switch.path.write_bytes(broken)
    for _ in range(2):
        with pytest.raises(RolloutError, match="line 1"):
            switch.refresh()
    with pytest.raises(NotReadable, match=r"line 1, .*; correct it first"):
        switch.planner.plan_set("chat", "acme", 500)
    assert switch.path.read_bytes() == broken


BROKEN = b'schema = 1\n[routes.chat\nformat = "half an edit'


def test_a_broken_file_is_rolled_back_on_its_last_good_version(switch: Switch) -> None:
    switch.path.write_bytes(BROKEN)
    with pytest.raises(RolloutError, match="line 2"):
        switch.refresh()
    plan = switch.planner.plan_rollback("chat", "acme", "5xx 9%")
    assert "line 2" in plan.rescues
    assert "last good version" in plan.effect
    assert [move.who for move in plan.moves] == ["acme"]
    done = switch.apply(plan, reason="5xx 9%")
    assert org(switch) == (2500, True)
    assert org(switch, "globex.eu") == (1250, False)
    assert (switch.path.parent / done.kept_as).read_bytes() == BROKEN
    switch.apply(switch.planner.plan_undo(), reason="over")
    assert org(switch) == (2500, False), "the undo resumes; it does not break the file again"


def test_a_file_that_is_gone_is_rolled_back_too(switch: Switch) -> None:
    switch.path.unlink()
    with pytest.raises(RolloutError, match="does not exist"):
        switch.refresh()
    done = switch.apply(switch.planner.plan_rollback(None, None, "gone"))
    assert parse(switch.path.read_bytes()).rolled_back
    assert done.kept_as == ""
    assert [p.name for p in switch.path.parent.iterdir()] == ["rollout.toml"]


def test_a_file_that_comes_back_meanwhile_is_not_replaced(switch: Switch) -> None:
    good = switch.path.read_bytes()
    switch.path.unlink()
    with pytest.raises(RolloutError):
        switch.refresh()
    plan = switch.planner.plan_rollback("chat", "acme")
    theirs = good.replace(b"12.5", b"99")
    switch.path.write_bytes(theirs)
    switch.apply(plan)
    assert org(switch) == (2500, True)
    assert org(switch, "globex.eu") == (9900, False)


def test_a_file_that_breaks_after_the_confirm_is_not_replaced_unasked(switch: Switch) -> None:
    plan = switch.planner.plan_rollback("chat", "acme")
    switch.path.write_bytes(BROKEN)
    with pytest.raises(RolloutError, match="line 2"):
        switch.apply(plan)
    assert switch.path.read_bytes() == BROKEN
    assert switch.planner.plan_rollback("chat", "acme").rescues


def test_a_write_in_place_is_left_until_it_settles(switch: Switch) -> None:
    good = switch.path.read_bytes()
    with switch.path.open("r+b") as stream:
        stream.truncate(0)
        stream.write(good[:-20])
        stream.flush()
        assert switch.refresh(settled=True) is None
        stream.write(good[-20:].replace(b"12000", b"12001"))
    assert switch.refresh(settled=True) is None
    found = switch.refresh(settled=True)
    assert found is not None
    assert found[1]


def test_a_command_finds_the_last_good_version_in_the_history(
    switch: Switch, file: Path, tmp_path: Path
) -> None:
    switch.apply(switch.planner.plan_set("chat", "acme", 500))
    file.write_bytes(BROKEN)
    other = Switch(file, History(tmp_path / "state" / "history.sqlite3"), Actor("al", "gw-02"))
    other.open_or_last_good()
    other.apply(other.planner.plan_rollback("chat", "acme", "drill"), reason="drill")
    assert org(other) == (500, True)
    (newest,), _ = other.recent(1)
    row = NewChange(
        file, newest.at, other.who, "set", "chat", "acme", "5", "6", "", "",
        newest.revision, revision_of(BROKEN), file.read_bytes(), BROKEN,
    )  # fmt: skip
    other.history.commit(other.history.begin(*[row] * 60))
    file.write_bytes(BROKEN)
    assert other.open_or_last_good().revision == newest.revision, "behind many rows of no use"
    fresh = Switch(file, History(tmp_path / "none.sqlite3"), Actor("al", "gw-02"))
    file.write_bytes(BROKEN)
    with pytest.raises(RolloutError, match="line 2"):
        fresh.open_or_last_good()


def test_a_mistyped_org_is_not_rolled_back_in_its_stead(switch: Switch) -> None:
    with pytest.raises(UnknownOrg, match="no org 'acmee'; did you mean 'acme'"):
        switch.planner.plan_rollback("claude", "acmee")
    with pytest.raises(UnknownOrg):
        switch.planner.plan_resume("claude", "nobody")
    # A flag can give any org of this route a share, so a line for it makes sense.
    assert "there is 'acme' already" in switch.planner.plan_rollback("chat", "acmee").effect
    assert "there is 'acme' already" in switch.planner.plan_set("chat", "acmee", 100).effect
    assert "(a new line)" in switch.planner.plan_set("chat", "umbrella", 100).effect
    switch.apply(switch.planner.plan_set("chat", ALL_ORGS, 100), reason="all")
    assert switch.planner.plan_rollback("chat", "umbrella").direction == "down"


def test_a_key_pasted_as_a_reason_is_not_kept(switch: Switch, tmp_path: Path) -> None:
    pasted = "because sk-canary+key/7f3a9c55e1 and mt-canary-7f3a9c55e1 leaked"
    switch.apply(switch.planner.plan_rollback("chat", "acme", pasted), reason=pasted)
    assert "canary" not in switch.path.read_text()
    assert "because sk-… and mt-… leaked" in switch.path.read_text()
    (row,) = switch.recent(1)[0]
    assert row.reason == "because sk-… and mt-… leaked"


@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize("broken", [False, True])
def test_a_rollback_is_stamped_with_the_time_at_which_it_is_made(
    file: Path, tmp_path: Path, several: bool, broken: bool
) -> None:
    now = [datetime(2026, 11, 23, 16, 2, 29, tzinfo=UTC)]
    history = History(tmp_path / "h.sqlite3")
    switch = Switch(file, history, Actor("jo", "gw-01"), clock=lambda: now[0])
    switch.open()
    if broken:
        file.write_text("[broken")
        with suppress(RolloutError):
            switch.refresh()
    orgs = ["acme", "globex.eu"] if several else ["acme"]
    targets = [("chat", org) for org in orgs]
    plan = (
        switch.planner.plan_rollbacks(targets, "5xx: 4.2%")
        if several
        else switch.planner.plan_rollback("chat", "acme", "5xx: 4.2%")
    )
    now[0] += timedelta(seconds=15)  # the confirm dialog is open
    done = switch.apply(plan, reason="5xx: 4.2%")
    text = file.read_text()
    assert text.count("# 2026-11-23T16:02:44Z jo@gw-01: 5xx: 4.2%") == len(orgs)
    assert "16:02:29Z" not in text
    rows, _ = switch.recent(9, notes=False)
    assert {row.at for row in rows[: len(orgs)]} == {now[0]} == {done.at}
    assert revision_of(file.read_bytes()) == rows[0].revision == switch.made_as


def test_whose_rollback_is_taken_back_and_when(file: Path, tmp_path: Path) -> None:
    """Only one's own, of the last two minutes, with nothing else changed since."""
    now = [datetime(2026, 11, 26, 3, 0, tzinfo=UTC)]
    history = History(tmp_path / "state" / "history.sqlite3")

    def switch_of(user: str) -> Switch:
        made = Switch(file, history, Actor(user, "gw-01"), clock=lambda: now[0])
        made.open()
        return made

    mine = switch_of("jo")
    mine.apply(mine.planner.plan_rollback("chat", "acme", ""), verdict="hold: too few to tell")
    assert mine.planner.plan_undo().regrets
    assert not switch_of("sam").planner.plan_undo().regrets
    now[0] += timedelta(seconds=121)
    assert not mine.planner.plan_undo().regrets
    now[0] -= timedelta(seconds=300)
    assert not mine.planner.plan_undo().regrets, "from the future"
    now[0] += timedelta(seconds=180)
    assert mine.planner.plan_undo().regrets
    mine.apply(mine.planner.plan_set("chat", "globex.eu", 500), reason="lower")
    assert not mine.planner.plan_undo().regrets, "it is another change"
    mine.apply(mine.planner.plan_undo(), reason="back", held="x", override=True)
    assert mine.planner.plan_undo().regrets
    file.write_text(file.read_text() + "# somebody was here\n")
    mine.refresh()
    assert not mine.planner.plan_undo().regrets, "the file is no longer as the rollback left it"


def test_a_rollback_that_the_guard_asked_for_needs_evidence_to_take_back(switch: Switch) -> None:
    switch.apply(
        switch.planner.plan_rollback("chat", "acme", ""), verdict="rollback: 5xx 9.1%, 9 of 99"
    )
    assert not switch.planner.plan_undo().regrets


@pytest.mark.parametrize(
    ("first", "second", "said"),
    [
        ((None, None), ("chat", None), "undo of rollback route chat: back in force in rollout.toml"
         " (still rolled back by the file)"),
        (("chat", None), ("chat", "acme"), "undo of rollback chat / acme: back in force in"
         " rollout.toml (still rolled back by route chat)"),
        (("chat", None), (None, None), "undo of rollback everything: back in force in rollout.toml"
         " (still rolled back: route chat, chat / initech)"),
    ],
)  # fmt: skip
def test_an_undo_names_the_latches_that_stay(
    switch: Switch, first: tuple[str | None, str | None], second: tuple[str | None, str | None],
    said: str,
) -> None:  # fmt: skip
    for route, name in (first, second):
        switch.apply(switch.planner.plan_rollback(route, name))
    assert switch.planner.plan_undo().effect == said


def test_a_rollback_on_a_deleted_file_begins_a_history(file: Path) -> None:
    switch = Switch(file, history_of(file), Actor("jo", "gw-01"))
    switch.open()
    with suppress(FileNotFoundError):
        switch.history.path.unlink()
    file.unlink()
    with pytest.raises(RolloutError):
        switch.refresh()
    done = switch.apply(switch.planner.plan_rollback("chat", "acme"))
    assert not done.warnings
    assert switch.recent(9)[0][0].action == "rollback"


def test_what_a_resume_leaves_rolled_back_is_named(switch: Switch) -> None:
    switch.apply(switch.planner.plan_rollback("chat", None, "5xx"))
    assert switch.planner.plan_resume("chat", None).effect == (
        "route chat resumed at the percents of its orgs in rollout.toml"
        " (still rolled back: chat / initech)"
    )
    switch.apply(switch.planner.plan_resume("chat", None))
    assert "still" not in switch.planner.plan_resume("chat", "initech").effect


def test_the_org_of_requests_without_one_is_an_org(switch: Switch, file: Path) -> None:
    text = file.read_text().replace("[routes.chat.orgs]", '[routes.chat.orgs]\n"" = 10\n#', 1)
    file.write_text(text)
    switch.open()
    plan = switch.planner.plan_set("chat", "", 200)
    assert plan.effect == 'chat / "" 10% to 2% in rollout.toml'
    switch.apply(plan)
    assert org(switch, "")[0] == 200
    switch.apply(switch.planner.plan_rollback("chat", "", "5xx"))
    assert org(switch, "") == (200, True)
    now = parse(file.read_bytes())
    assert not now.routes["chat"].rolled_back
    newest = switch.history.rows(file)[0]
    assert spoken_change(newest.action, newest.route, newest.org) == ("rollback", 'chat / ""')
    switch.apply(switch.planner.plan_resume("chat", ""))
    now = parse(file.read_bytes())
    group = share_group(now, [("chat", None)], lambda route, name: 100)
    assert ("", "2", "1") in [(one.org, one.before, one.after) for one in group.parts]


def test_no_line_is_made_for_the_empty_org(switch: Switch) -> None:
    """An unset variable of a shell would give traffic to requests of no org."""
    with pytest.raises(UnknownOrg, match="has no org ''; see show"):
        switch.planner.plan_set("chat", "", 200)


def test_the_undo_of_a_share_is_in_percents(switch: Switch) -> None:
    switch.apply(switch.planner.plan_set("chat", "acme", 1000))
    assert switch.planner.plan_undo().effect.startswith("undo of set chat / acme: 10% to 25% in")
