"""Places: what stands at each must be the value that tomllib reads there."""

import tomllib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rollout_gate.file.positions import scan
from tests.conftest import SAMPLE

KEYS = st.one_of(
    st.from_regex(r"[A-Za-z0-9_-]{1,8}", fullmatch=True),
    st.from_regex(r'"[a-z.=# \[\]]{0,8}"', fullmatch=True),
    st.from_regex(r"'[a-z.\"]{1,6}'", fullmatch=True),
)
VALUES = st.sampled_from(
    [
        "1", "12.5", "true", '"a # b"', "'c = d'", '"""x\n[y]\n"""', "'''p\n= q'''",
        "[1, 2, # c\n 3]", '{ a = 1, "b.c" = { d = "}" } }', "1979-05-27 07:32:00", "[]", "{}",
        '"\\" = \\u00e9"', "[{ x = 1 }, [2, 3]]",
    ]
)  # fmt: skip
LINES = st.lists(st.tuples(KEYS, VALUES, st.sampled_from(["", "  # c", "\t"])), max_size=6)


def check(text: str) -> None:
    parsed = tomllib.loads(text)
    lines = text.split("\n")
    for path, entry in scan(text).entries.items():
        cut = lines[entry.value_line : entry.end_line + 1]
        cut[-1] = cut[-1][: entry.end_column]
        cut[0] = cut[0][entry.value_column :]
        value: Any = parsed
        for part in path:
            value = value[int(part)] if isinstance(value, list) else value[part]
        assert tomllib.loads("v = " + "\n".join(cut))["v"] == value, path


@pytest.mark.slow
@settings(max_examples=300)
@given(st.lists(st.tuples(KEYS, LINES), max_size=4), LINES, st.booleans(), st.booleans())
def test_every_place_is_right(
    tables: list[tuple[str, Any]], top: Any, crlf: bool, spaced: bool
) -> None:
    def body(lines: Any) -> str:
        return "".join(f"{'  ' if spaced else ''}{k} = {v}{c}\n" for k, v, c in lines)

    text = body(top) + "".join(f"\n[ {name} ] # t\n{body(lines)}" for name, lines in tables)
    text = text.replace("\n", "\r\n") if crlf else text
    try:
        tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return  # the same key twice
    check(text)


def test_the_sample_and_arrays_of_tables() -> None:
    check(SAMPLE.read_text())
    check("[[a]]\nx = 1\n[[a.b]]\ny = 2\n[[a]]\nx = 3\n[a.c]\nz = 4\n")
    assert scan("[[a]]\nx = 1\n[[a]]\nx = 3\n").place(("a", "1", "x")) == (4, 5)
