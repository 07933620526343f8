"""Edits: the fewest bytes, verified, and back again to the byte."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rollout_console.changes.edits import (
    Edit,
    SetDefaultPercent,
    SetPercent,
    SetRolledBack,
    SetText,
    applied,
    same_meaning,
)
from rollout_console.changes.file_store import RolloutStore
from rollout_gate.file.parse import parse
from tests.support.examples import folder_of_example

STAMP = "2026-11-23T19:31:04Z jo@gw-01: 5xx 4.2%"


def store_of(path: Path, text: str) -> RolloutStore:
    path.write_bytes(text.encode())
    store = RolloutStore(path)
    store.open()
    return store


def diff(store: RolloutStore, *edits: Edit) -> list[str]:
    return list(store.prepare(edits).diff)


def test_the_edits_of_the_sample(file: Path) -> None:
    store = RolloutStore(file)
    store.open()
    assert diff(store, SetPercent("chat", "acme", 3000)) == ["-acme = 25", "+acme = 30"]
    assert diff(store, SetPercent("chat", "initech", 550)) == [
        "-initech = { percent = 10, rolled_back = true }",
        "+initech = { percent = 5.5, rolled_back = true }",
    ]
    assert diff(store, SetRolledBack(True, "chat", "globex.eu", STAMP)) == [
        '-"globex.eu" = 12.5',
        f'+"globex.eu" = {{ percent = 12.5, rolled_back = true }}  # {STAMP}',
    ]
    assert diff(store, SetRolledBack(False, "chat", "initech"))[1] == "+initech = 10"
    assert diff(store, SetRolledBack(True, "chat", None, STAMP)) == [
        f"+rolled_back = true  # {STAMP}"
    ]
    assert diff(store, SetPercent("chat", "new", 5)) == ["+new = 0.05"]
    assert diff(store, SetDefaultPercent("chat", 300))[1].startswith("+default_percent = 3   ")
    assert diff(store, SetPercent("chat", "acme", 2500)) == []
    assert diff(store, SetText("chat", "model", "gpt-5.5")) == [
        '-model = "gpt-5.4"',
        '+model = "gpt-5.5"',
    ]
    assert diff(store, SetText("chat", "phase", "cleanup"))[1].startswith('+phase = "cleanup"   ')
    assert diff(store, SetText("claude", "model", 'a"b\n')) == [
        '-model = "claude-sonnet-4-6"',
        '+model = "a\\"b\\u000a"',
    ]


@pytest.mark.parametrize(
    "text",
    [
        "[routes.c.orgs.acme]\npercent = 5\n",
        "[routes.c]\norgs.acme = 5\n",
        "[routes.c]\norgs = { acme = 5 }\n",
        "[routes]\nc.orgs.acme = 5\nc.model = 'x'\n",
        "[routes.c.orgs]\r\nacme = 5 # five\r\n",
        "[routes.c.orgs]\nacme = 5",
        "[routes.c]\n",
        "",
    ],
)
@pytest.mark.parametrize(
    "edit",
    [
        SetPercent("c", "acme", 1250),
        SetPercent("c", 'odd "name" \n é', 1),
        SetRolledBack(True, "c", "acme", STAMP),
        SetRolledBack(True, "c", None, STAMP),
        SetRolledBack(True, None, None, STAMP),
        SetDefaultPercent("c", 100),
    ],
)
def test_unusual_shapes_say_what_was_meant(tmp_path: Path, text: str, edit: Edit) -> None:
    head = 'schema = 1\nalgorithm = "fractional-v3"\n'
    if "[routes]" in text:
        whole = head + text.replace("c.model = 'x'", 'c.format = "image"')
    else:
        whole = head + '[routes.c]\nformat = "image"\n' + text.replace("[routes.c]\n", "")
    store = store_of(tmp_path / "r.toml", whole)
    assert store.snapshot is not None
    meant = applied(store.snapshot.file, [edit])
    prepared = store.prepare([edit])
    assert same_meaning(parse(prepared.after.data), meant)
    store.write(prepared)
    assert same_meaning(RolloutStore(store.path).open().file, meant)


ORGS = st.dictionaries(
    st.one_of(st.from_regex(r"[a-z]{1,6}", fullmatch=True), st.text(min_size=1, max_size=8)),
    st.tuples(st.integers(0, 10_000), st.sampled_from(["", " # by hand", "\t# \u00fc = 3"])),
    min_size=1,
    max_size=8,
)


@pytest.mark.slow
@settings(max_examples=150)
@given(ORGS, st.booleans(), st.data())
def test_only_the_meant_line_changes(
    tmp_path_factory: pytest.TempPathFactory,
    orgs: dict[str, tuple[int, str]],
    crlf: bool,
    data: st.DataObject,
) -> None:
    from rollout_console.changes.toml_edit.line import key_text
    from rollout_gate.file.percent import percent_text

    if any(0xD800 <= ord(c) <= 0xDFFF for org in orgs for c in org):
        return
    body = "".join(f"{key_text(o)} = {percent_text(p)}{c}\n" for o, (p, c) in orgs.items())
    text = 'schema = 1\nalgorithm = "fractional-v3"\n\n[routes.c]  # r\nformat = "image"\n'
    text += f"# orgs\n[routes.c.orgs]\n{body}\n# the end\n"
    text = text.replace("\n", "\r\n") if crlf else text
    store = store_of(folder_of_example(tmp_path_factory) / "r.toml", text)
    org = data.draw(st.sampled_from(sorted(orgs)))
    points = data.draw(st.integers(0, 10_000))
    after = store.prepare([SetPercent("c", org, points)]).after
    pairs = zip(text.encode().split(b"\n"), after.data.split(b"\n"), strict=True)
    assert sum(one != other for one, other in pairs) == (points != orgs[org][0])
    assert parse(after.data).routes["c"].orgs[org].points == points
    there = store.prepare([SetRolledBack(True, "c", org, STAMP)])
    store.write(there)
    back = store.prepare([SetRolledBack(False, "c", org)])
    assert back.after.data == text.encode()


def test_a_stamp_cannot_leave_its_comment(file: Path) -> None:
    store = RolloutStore(file)
    store.open()
    hostile = f"{STAMP}\nrolled_back = false\x1b[31m\u202e" + "x" * 500
    prepared = store.prepare([SetRolledBack(True, "chat", "acme", hostile)])
    assert len(prepared.diff) == 2
    assert "\x1b" not in prepared.diff[1]
    assert len(prepared.diff[1]) < 300


HEAD = 'schema = 1\nalgorithm = "fractional-v3"\n[routes.chat]\nformat = "image"\nmodel = "m"\n'


def latched_and_resumed(tmp_path: Path, line: str, org: str = "acme", stamp: str = STAMP) -> str:
    """Return what the org's line says after a rollback and a resume."""
    text = f"{HEAD}[routes.chat.orgs]\n{line}\nother = 1\n"
    path = tmp_path / "rollout.toml"
    store = store_of(path, text)
    store.write(store.prepare([SetRolledBack(True, "chat", org, stamp)]))
    assert parse(path.read_bytes()).routes["chat"].org_rolled_back(org)
    store.write(store.prepare([SetRolledBack(False, "chat", org)]))
    after = path.read_text()
    assert after.startswith(f"{HEAD}[routes.chat.orgs]\n")
    return after.removeprefix(f"{HEAD}[routes.chat.orgs]\n").removesuffix("other = 1\n")


@pytest.mark.parametrize(
    ("line", "org"),
    [
        ("acme = 25", "acme"),
        ("acme = 25   ", "acme"),
        ("acme = 25  # the largest, ask jo@gw-01: first", "acme"),
        ('"x # 2026-01-01T00:00:00Z a@b: y" = 25', "x # 2026-01-01T00:00:00Z a@b: y"),
        ("rolled_back = 25", "rolled_back"),
        ("percent = 25", "percent"),
        ('acme = { percent = 25, note = "INC-5" }', "acme"),
    ],
)
def test_a_rollback_and_a_resume_leave_the_line_as_it_was(
    tmp_path: Path, line: str, org: str
) -> None:
    assert latched_and_resumed(tmp_path, line, org) == line + "\n"


def test_a_resume_keeps_what_people_wrote_on_a_line_without_a_share(tmp_path: Path) -> None:
    text = f"{HEAD}[routes.chat.orgs]\nacme = {{ rolled_back = true }}  # do not touch\n"
    store = store_of(tmp_path / "rollout.toml", text)
    assert diff(store, SetRolledBack(False, "chat", "acme")) == [
        "-acme = { rolled_back = true }  # do not touch",
        "+acme = { rolled_back = false }  # do not touch",
    ]
    bare = text.replace("  # do not touch", "")
    store = store_of(tmp_path / "rollout.toml", bare)
    assert diff(store, SetRolledBack(False, "chat", "acme")) == ["-acme = { rolled_back = true }"]


def test_an_org_in_a_table_of_the_same_name_is_the_one_that_is_set(tmp_path: Path) -> None:
    path = tmp_path / "rollout.toml"
    store = store_of(path, f"{HEAD}orgs = {{ orgs = 12.5, acme = 5 }}\n")
    store.write(store.prepare([SetPercent("chat", "orgs", 2000)]))
    orgs = parse(path.read_bytes()).routes["chat"].orgs
    assert {name: share.points for name, share in orgs.items()} == {"orgs": 2000, "acme": 500}


@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_a_sub_table_gets_nothing_that_was_not_asked_for(tmp_path: Path, line_end: str) -> None:
    path = tmp_path / "rollout.toml"
    text = f"{HEAD}[routes.chat.orgs.acme]\npercent = 5\n".replace("\n", line_end)
    store = store_of(path, text)
    store.write(store.prepare([SetPercent("chat", "acme", 700)]))
    assert path.read_bytes() == text.replace("percent = 5", "percent = 7").encode()
