"""Edits by others: what they did in words, whose they were, and what is told when a latch goes."""

import itertools
from pathlib import Path

import pytest

from rollout_console.changes.external_edits import described, gives_back
from rollout_console.changes.recorded import Moved, moved_by
from rollout_console.changes.switch import Switch
from rollout_console.common.write_access import WriteAccess
from rollout_console.history.actor import Actor
from rollout_console.history.history import History
from rollout_console.history.location import history_of
from rollout_gate.file.parse import parse

HEAD = (
    'schema = 1\nalgorithm = "fractional-v3"\n[routes.chat]\nformat = "image"\n'
    "default_percent = 0\n[routes.chat.orgs]\nacme = 25\nstark = 100\n"
)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("stark = 100", "stark = { percent = 100, rolled_back = true }",
         "chat / stark 100% to rolled back"),
        ("acme = 25", "acme = 50", "chat / acme 25% to 50%"),
        ("acme = 25\n", "", "chat / acme 25% to no line"),
        ("schema = 1", "schema = 1\nrolled_back = true", "everything in force to rolled back"),
        ('"image"\n', '"image"\nrolled_back = true\n', "chat in force to rolled back"),
        ("default_percent = 0", "default_percent = 5", "chat / (default) 0% to 5%"),
        ("[routes.chat.orgs]", "[routes.chat.flags]\nbeta = 5\n[routes.chat.orgs]",
         "chat / flag beta no line to 5%"),
        ('"image"\n', '"image"\nmodel = "m"\n', "chat model none to m"),
        ("[routes.chat.orgs]", '[routes.art]\nformat = "3d"\n[routes.chat.orgs]',
         "route art added"),
        ("acme = 25", "acme = 25  # ours", "no share, latch, model or phase differs"),
    ],
)  # fmt: skip
def test_what_an_edit_did_is_said_in_words(old: str, new: str, words: str) -> None:
    assert old in HEAD
    assert described(HEAD.encode(), HEAD.replace(old, new).encode()).words == words


def test_of_many_differences_a_few_are_named() -> None:
    more = "".join(f"org-{number} = 1\n" for number in range(10_000))
    found = described(HEAD.encode(), (HEAD + more).encode())
    assert found.words.endswith("chat / org-4 no line to 1%; and 995 more")
    assert found.who is None


def test_whose_it_was_is_in_the_comment_of_a_rollback() -> None:
    stamped = HEAD.replace("schema = 1", "schema = 1\nrolled_back = true  # STAMP")
    stamp = "2026-11-23T19:31:04Z jo@gw-01: 5xx 4.2%"
    found = described(HEAD.encode(), stamped.replace("STAMP", stamp).encode())
    assert found.who == Actor("jo", "gw-01")


def rows(switch: Switch) -> list[tuple[str, str]]:
    return [(row.action, row.after) for row in switch.recent(9)[0]]


def test_a_text_that_is_put_back_takes_the_latch_along_and_is_told(file: Path) -> None:
    switch = Switch(file, history_of(file), Actor("jo", "gw-01"))
    before = switch.open().data
    switch.apply(switch.planner.plan_rollback("chat", None, "5xx"))
    file.write_bytes(before)  # git checkout, or a sync
    found = switch.refresh()
    assert found is not None
    assert found[1], "somebody else's"
    assert switch.edit.gives_back
    assert not switch.edit.ours
    assert switch.edit.words == "somebody else: chat resumed"
    assert rows(switch) == [
        ("external", "chat resumed"), ("rollback", "rolled back"),
    ]  # fmt: skip


def test_a_colleagues_change_is_known_by_name_and_no_edit(file: Path) -> None:
    mine = Switch(file, history_of(file), Actor("jo", "gw-01"))
    theirs = Switch(file, history_of(file), Actor("al", "gw-02"))
    mine.open()
    theirs.open()
    theirs.apply(theirs.planner.plan_rollback("chat", "acme", "5xx"))
    theirs.apply(theirs.planner.plan_set("chat", "globex.eu", 100))
    for at in range(60):  # while this console was suspended
        theirs.note_acknowledged("chat", None, f"alarm {at}")
    assert mine.refresh() is not None
    assert mine.edit.words == "al@gw-02: set chat / globex.eu: 12.5% to 1%"
    assert mine.edit.ours
    assert [row.action for row in mine.recent(9, notes=False)[0]] == ["set", "rollback"]
    assert "globex.eu" in mine.planner.plan_undo().effect


def test_what_was_edited_while_nobody_watched_is_a_row_at_the_next_look(file: Path) -> None:
    first = Switch(file, history_of(file), Actor("jo", "gw-01"))
    first.open()
    first.apply(first.planner.plan_set("chat", "acme", 1000))
    file.write_text(file.read_text().replace("acme = 10", "acme = 75"))
    later = Switch(file, history_of(file), Actor("al", "gw-02"))
    later.open()
    assert rows(later)[0] == ("external", "chat / acme 10% to 75%")
    (row, _) = later.recent(9)[0]
    assert moved_by(row) == [Moved("chat", "acme", raised=True, lowered=False, latched=False)]
    assert (row.route, row.org) == ("chat", "acme")
    later.apply(later.planner.plan_set("chat", "acme", 500))
    found = later.recent(9)[0]
    for newer, older in itertools.pairwise(found):
        assert newer.previous_revision == older.revision, "rows join"


def test_a_read_only_console_writes_nothing(file: Path) -> None:
    switch = Switch(
        file, history_of(file), Actor("jo", "gw-01"), access=WriteAccess(read_only=True)
    )
    switch.open()
    file.write_text(file.read_text().replace("acme = 25", "acme = 75"))
    assert switch.refresh() is not None
    assert switch.edit.words == "somebody else: chat / acme 25% to 75%"
    assert [one.name for one in file.parent.iterdir()] == ["rollout.toml"]


def test_a_latch_that_goes(tmp_path: Path) -> None:
    latched = HEAD.replace("acme = 25", "acme = { percent = 25, rolled_back = true }")
    for text in (latched, HEAD.replace("schema = 1", "schema = 1\nrolled_back = true")):
        one, two = parse(text.encode()), parse(HEAD.encode())
        assert gives_back(one, two)
        assert not gives_back(two, one)
    assert not History(tmp_path / "h").is_there
