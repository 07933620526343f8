"""Edits of a file in every style that TOML has: only lines that name the org, its route's orgs or
the latch may differ, and nothing moves."""

import difflib
import itertools
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rollout_console.changes.edits import (
    Edit,
    SetDefaultPercent,
    SetPercent,
    SetRolledBack,
    SetShare,
    SetText,
    applied,
    same_meaning,
)
from rollout_console.changes.file_store import RolloutStore
from rollout_gate.file.parse import parse
from tests.changes.test_edits import store_of
from tests.support.examples import folder_of_example

STAMP = "2026-11-23T19:31:04Z jo@gw-01: 5xx after two"
HEAD = 'schema = 1\nalgorithm = "fractional-v3"\n'
BETWEEN = """\
# the first owner
[[owners]]
name = "a"  # on call
[[pagers]]
number = 1
# the second owner, on leave
[[owners]]
name = "b"
tags = [
  "x", # one
]
[owners.more] # of b
rolled_back = "no"
"""
ROUTE = 'format = "image"\nmodel = "m"  # the model\n'

STYLES = {
    "plain lines": "[routes.c]\n" + ROUTE + "\n[routes.c.orgs]  # orgs\nacme = 5 # five\nb = 7\n",
    "indented": "[routes.c]\n" + ROUTE + "  [routes.c.orgs]\n\tacme = 5\n\tb = 7\n",
    "inline orgs": "[routes.c]\n" + ROUTE + 'orgs = { acme = 5, b = 7, "x.y" = 1 } # all\n',
    "inline org": "[routes.c]\n" + ROUTE
    + "[routes.c.orgs]\nacme = {percent=5}\nb = {percent = 7 }\n",
    "inline with more": "[routes.c]\n" + ROUTE
    + "[routes.c.orgs]\nacme = { note = 'a, b = { }', percent = 5 } # five\nb = 7\n",
    "inline in inline": "[routes.c]\n" + ROUTE
    + "orgs = { acme = { percent=5 }, b = {percent=7} }\n",
    "dotted in inline": "[routes.c]\n" + ROUTE + "orgs = {acme.percent = 5, b.percent = 7}\n",
    "sub-tables": "[routes.c]\n" + ROUTE
    + "[routes.c.orgs.acme]  # contract 7, ask Kim first\npercent = 5\n\n"
    + "[routes.c.orgs.b]\npercent = 7\n",
    "sub-tables and lines": "[routes.c]\n" + ROUTE
    + "[routes.c.orgs.acme]\npercent = 5 # five\n[routes.c.orgs]\nb = 7\n",
    "sub-tables apart": "[routes.c.orgs.acme]\npercent = 5\n" + BETWEEN.replace("owners", "others")
    + "[routes.c.orgs.b]\npercent = 7\n[routes.c]\n" + ROUTE,
    "dotted orgs": "[routes.c]\n" + ROUTE + "[routes.c.orgs]\nacme.percent = 5\nb.percent = 7\n",
    "dotted in the route": "[routes.c]\n" + ROUTE + "orgs.acme = 5 # five\norgs.b.percent = 7\n",
    "dotted and a sub-table": "[routes.c]\n" + ROUTE
    + "orgs.acme.percent = 5\n[routes.c.orgs.b]\npercent = 7\n",
    "dotted in routes": '[routes]\nc.format = "image"\nc.orgs.acme = 5\nc . orgs . "b" = 7\n',
    "dotted at the top": 'routes.c.format = "image"\nroutes.c.orgs.acme = 5\nroutes.c.orgs.b = 7\n',
    "one inline route": '[routes]\nc = { format = "image", orgs = { acme = 5, b = 7 } } # c\n',
    "all in one": 'routes = { c = { format = "image", orgs = { acme = {percent=5}, b = 7 } } }\n',
    "quoted": "[routes.'c']\n" + ROUTE + "['routes'.\"c\".orgs]\n'acme' = 5\n\"b\" = 7\n",
    "arrays inside": "[routes]\nc = { tags = [\n 'acme = 1', # }\n], orgs = { acme = 5, b = 7 }, "
    'format = "image" } # end\n',
    "no orgs": "[routes.c]\n" + ROUTE,
    "empty orgs": "[routes.c]\n" + ROUTE + "orgs = {}\n",
    "empty table": "[routes.c]\n" + ROUTE + "[routes.c.orgs]\n# nobody yet\n",
    "no orgs, dotted": '[routes]\nc.format = "image"\n',
    "no orgs, inline": '[routes]\nc = {format = "image"}\n',
}  # fmt: skip
TOP = ("dotted at the top", "all in one")
"""Styles whose lines stand before any header."""

EDITS: dict[str, Edit] = {
    "percent": SetPercent("c", "acme", 1250),
    "percent of b": SetPercent("c", "b", 100),
    "new org": SetPercent("c", 'new "one"', 1),
    "org": SetRolledBack(True, "c", "acme", STAMP),
    "new org back": SetRolledBack(True, "c", "gone.eu", STAMP),
    "route": SetRolledBack(True, "c", None, STAMP),
    "all": SetRolledBack(True, None, None, STAMP),
    "default": SetDefaultPercent("c", 100),
    "alias": SetShare("c", "keys", "prod key", 100),
    "flag": SetShare("c", "flags", "beta", 10_000),
    "alias out": SetShare("c", "keys", "prod key", None),
    "flag out": SetShare("c", "flags", "beta", None),
    "model": SetText("c", "model", "n"),
}


@dataclass(frozen=True)
class Shape:
    """How a file of a style is written."""

    style: str
    crlf: bool
    ended: bool
    before: bool

    def text(self) -> str:
        body = STYLES[self.style]
        if self.style in TOP:
            text = HEAD + body + BETWEEN
        else:
            text = HEAD + (BETWEEN + body if self.before else body + "\n" + BETWEEN)
        if not self.ended:
            text = text.removesuffix("\n")
        return text.replace("\n", "\r\n") if self.crlf else text


SHAPES = st.builds(
    Shape, st.sampled_from(sorted(STYLES)), st.booleans(), st.booleans(), st.booleans()
)


@pytest.mark.parametrize("style", sorted(STYLES))
def test_an_edit_changes_its_own_lines_alone(style: str) -> None:
    store = RolloutStore(Path("rollout.toml"))
    for crlf, ended, before in itertools.product([False, True], repeat=3):
        text = Shape(style, crlf, ended, before).text()
        file = store.adopt(text.encode()).file
        for edit in EDITS.values():
            after = store.prepare([edit]).after
            assert same_meaning(parse(after.data), applied(file, [edit]))
            _check_lines(text, after.data.decode(), edit)


@pytest.mark.parametrize("style", sorted(STYLES))
def test_without_a_share_that_was_added_it_says_what_it_said(style: str) -> None:
    store = RolloutStore(Path("rollout.toml"))
    for crlf, ended, before in itertools.product([False, True], repeat=3):
        file = store.adopt(Shape(style, crlf, ended, before).text().encode()).file
        for added in ("alias", "flag"):
            with_it = store.prepare([EDITS[added]]).after
            store.adopt(with_it.data)
            without = store.prepare([EDITS[f"{added} out"]]).after
            assert same_meaning(parse(without.data), file)
            _check_lines(with_it.data.decode(), without.data.decode(), EDITS[f"{added} out"])
            store.adopt(Shape(style, crlf, ended, before).text().encode())


def _check_lines(text: str, after: str, edit: Edit) -> None:
    gone, new = _changed(text, after)
    assert len(gone) <= 1
    assert len(new) <= len(gone) + 3, "a line in place of it, or a header and a line"
    named = ("acme", "b", "new", "gone", "c", "orgs", "rolled_back", "prod", "beta", "model")
    assert all(any(word in line for word in named) for line in gone + new if line.strip())
    assert _comments(text) <= _comments(after), "comments are kept"
    if isinstance(edit, SetRolledBack):
        assert any("5xx after two" in line for line in new), "the reason is a comment"
    if "\r" in text:
        assert after.count("\n") == after.count("\r\n")


@pytest.mark.slow
@settings(max_examples=200)
@given(SHAPES, st.lists(st.sampled_from(sorted(EDITS)), min_size=2, max_size=8))
def test_many_edits_in_turn_say_what_was_meant(
    tmp_path_factory: pytest.TempPathFactory, shape: Shape, names: list[str]
) -> None:
    store = store_of(folder_of_example(tmp_path_factory) / "r.toml", shape.text())
    assert store.snapshot is not None
    edits: list[Edit] = []
    for name in names:
        edit = EDITS[name]
        edits.append(edit)
        if isinstance(edit, SetRolledBack) and len(edits) % 2:
            edits.append(SetRolledBack(False, edit.route, edit.org))
    meant = applied(store.snapshot.file, edits)
    assert same_meaning(parse(store.prepare(edits).after.data), meant), "in one go"
    for edit in edits:
        store.write(store.prepare([edit]))
    assert same_meaning(RolloutStore(store.path).open().file, meant), "one after the other"


@pytest.mark.slow
@settings(max_examples=200)
@given(SHAPES, st.permutations(["acme", "b", "gone.eu"]), st.permutations(["acme", "b", "gone.eu"]))
def test_resuming_takes_back_to_the_byte(
    tmp_path_factory: pytest.TempPathFactory, shape: Shape, there: list[str], back: list[str]
) -> None:
    text = shape.text()
    store = store_of(folder_of_example(tmp_path_factory) / "r.toml", text)
    assert store.snapshot is not None
    orgs = store.snapshot.file.routes["c"].orgs
    known = [org for org in there if org in orgs]
    for org in known:
        store.write(store.prepare([SetRolledBack(True, "c", org, f"{STAMP} ({org})")]))
        assert f"({org})" in store.path.read_text()
    for org in back:
        if org in known:
            store.write(store.prepare([SetRolledBack(False, "c", org)]))
    assert store.path.read_bytes() == text.encode()


def _changed(before: str, after: str) -> tuple[list[str], list[str]]:
    found = [
        line
        for line in difflib.ndiff(before.split("\n"), after.split("\n"))
        if line[:1] in "+-"
    ]  # fmt: skip
    # A last line gets an end, or loses it, where another comes behind it.
    gone = [line[2:] for line in found if line[0] == "-"]
    new = [line[2:] for line in found if line[0] == "+"]
    for line in list(gone):
        for other in (line + "\r", line.removesuffix("\r")):
            if line in gone and other != line and other in new:
                gone.remove(line)
                new.remove(other)
    return gone, new


def _comments(text: str) -> set[str]:
    return {part.strip() for line in text.splitlines() for part in line.split("#")[1:]}
