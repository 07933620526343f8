"""Edits by others: what they did in words, whose they were, and what is told when a latch goes."""

import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest

from rollout_console.changes.external_edits import described, gives_back
from rollout_console.changes.recorded import Moved, moved_by
from rollout_console.changes.settings_diff import guard_differences, other_differences
from rollout_console.changes.switch import Switch
from rollout_console.common.write_access import WriteAccess
from rollout_console.history.actor import Actor
from rollout_console.history.history import History
from rollout_console.history.location import history_of
from rollout_gate.file.model import PreviousPrice
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


FULL = """schema = 1
algorithm = "fractional-v3"
[tokenlab]
profile = "prod"
[health]
access_log = "access.jsonl"
[guard]
mode = "enforce"
max_5xx_percent = 2
window = "5m"
[ramp]
steps = [1, 5, 100]
bake = "15m"
[budgets.team]
limit_usd = 100
per = "day"
[routes.chat]
format = "openai_chat_completions"
model = "m"
previous_base_url = "https://api.openai.com/v1"
default_percent = 0
[routes.chat.guard]
max_4xx_percent = 7
[routes.chat.orgs]
acme = 25
stark = 100
[routes.claude]
format = "anthropic_messages"
model = "m"
"""
URL = "https://api.openai.com/v1"


@pytest.mark.parametrize(
    ("edits", "words"),
    [
        ({'"enforce"': '"hold"'}, "guard mode enforce to hold"),
        ({'"enforce"': '"hold"', "acme = 25": "acme = 50"},
         "chat / acme 25% to 50%; guard mode enforce to hold"),
        ({"max_5xx_percent = 2": "max_5xx_percent = 50", URL: "https://a.b/v2"},
         f"guard max_5xx_percent 2 to 50; chat previous_base_url {URL} to https://a.b/v2"),
        ({"max_4xx_percent = 7": 'max_4xx_percent = 7\nmode = "observe"'},
         "chat guard mode enforce to observe"),
        ({"[routes.chat.guard]": '[routes.chat.guard.modes]\nbad = "observe"\n[routes.chat.guard]'},
         "chat guard modes bad none to observe"),
        ({'window = "5m"': 'window = "90s"', "max_4xx_percent = 7": "max_4xx_percent = 9"},
         "guard window 5m to 90s; chat guard max_4xx_percent 7 to 9"),
        ({'bake = "15m"': 'bake = "90s"\nfreeze = ["22:00 - 06:00"]', "5, 100": "50, 100"},
         "ramp freeze none to 22:00 - 06:00; ramp steps 1, 5, 100 to 1, 50, 100;"
         " ramp bake 15m to 90s"),
        ({"limit_usd = 100": 'limit_usd = 250.5\nat_limit = "lower"'},
         "budgets team limit_usd 100 to 250.5; budgets team at_limit hold to lower"),
        ({"[budgets.team]\nlimit_usd = 100\nper = \"day\"\n": ""}, "budgets team taken out"),
        ({'"prod"': '"test"', "access.jsonl": "other.jsonl"},
         "profile prod to test; access_log access.jsonl to other.jsonl"),
    ],
)  # fmt: skip
def test_an_edit_of_what_is_no_share_is_said_too(edits: dict[str, str], words: str) -> None:
    edited = FULL
    for old, new in edits.items():
        assert old in edited
        edited = edited.replace(old, new, 1)
    assert described(FULL.encode(), edited.encode()).words == words


def other(value: Any) -> Any:
    """Another value of the same kind."""
    if isinstance(value, str):
        return f"{value}x"
    if isinstance(value, Mapping):
        return {**value, "bad": "observe"}
    if isinstance(value, tuple):
        return (*value, 1)
    if isinstance(value, msgspec.Struct):
        return msgspec.structs.replace(value, org="x-org")
    return PreviousPrice() if value is None else value + 1


@pytest.mark.parametrize("table", ["guard", "ramp", "route", "file"])
def test_no_value_of_the_file_changes_unsaid(table: str) -> None:
    """Also one whose field is added later."""
    one = parse(FULL.encode())
    derived = {"revision", "warnings", "name", "hash_prefix"}
    traffic = {"rolled_back", "default_points", "orgs", "keys", "flags", "routes"}
    of = {"guard": one.guard, "ramp": one.ramp, "route": one.routes["chat"], "file": one}[table]
    for field in {*of.__struct_fields__} - derived - traffic - {"guard", "ramp", "budgets"}:
        changed: Any = msgspec.structs.replace(of, **{field: other(getattr(of, field))})
        if table == "route":
            two = msgspec.structs.replace(one, routes={**one.routes, "chat": changed})
        else:
            two = changed if table == "file" else msgspec.structs.replace(one, **{table: changed})
        said = [*guard_differences(one, two), *other_differences(one, two)]
        assert len(said) == 1, field
        assert field.removesuffix("_s") in said[0]


def test_a_disarmed_guard_is_named_however_many_shares_differ() -> None:
    shares = "".join(f"org-{number} = 1\n" for number in range(8))
    edited = FULL.replace("stark = 100\n", f"stark = 100\n{shares}").replace('"enforce"', '"hold"')
    words = described(FULL.encode(), edited.encode()).words.split("; ")
    assert words[3:] == ["chat / org-3 no line to 1%", "guard mode enforce to hold", "and 4 more"]


@pytest.mark.parametrize(
    ("secret", "then", "words"),
    [
        ("https://jo:hunter2@a.b", "https://jo:hunter3@a.b", "changed"),
        ("https://hunter2@a.b", "https://c.d", "https://…@a.b to https://c.d"),
    ],
)
def test_no_password_of_a_url_is_said(secret: str, then: str, words: str) -> None:
    one, two = (
        msgspec.structs.replace(parse(FULL.encode()), base_url=url) for url in (secret, then)
    )
    assert list(other_differences(one, two)) == [f"base_url {words}"]


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
