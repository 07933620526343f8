"""Values put into a TOML text: it says them, and all else stays as it was."""

import tomllib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rollout_console.changes.toml_edit.line import key_text, quoted
from rollout_console.changes.toml_edit.values import with_values
from rollout_gate.file.positions import Path

TEXT = """\
# head
[routes.chat.at]  # by the guard
acme = { percent = 1, since = 2026-01-01T00:00:00Z }  # ours
"globex.eu" = { percent = 2 }

# before out
[routes.chat.out]
initech = { why = "a = b" }
# the end
"""


def put(text: str, values: dict[Path, str | None]) -> str:
    after, table = with_values(text, tomllib.loads(text), values)
    assert table == tomllib.loads(after)
    return after


def test_only_the_lines_of_the_values_change() -> None:
    after = put(
        TEXT,
        {
            ("routes", "chat", "at", "acme"): "{ percent = 5 }",
            ("routes", "chat", "at", "globex.eu"): None,
            ("routes", "chat", "at", "new one"): "{ percent = 7 }",
            ("routes", "chat", "out", "globex.eu"): "{ why = 'x' }",
            ("routes", "chat", "at", "unknown"): None,
            ("routes", "claude", "at", "b"): "1",
            ("routes", "claude", "at", "c"): "2",
        },
    )
    assert (
        after
        == """\
# head
[routes.chat.at]  # by the guard
acme = { percent = 5 }  # ours
"new one" = { percent = 7 }

# before out
[routes.chat.out]
initech = { why = "a = b" }
"globex.eu" = { why = 'x' }
# the end

[routes.claude.at]
b = 1
c = 2
"""
    )


@pytest.mark.parametrize(
    "text",
    [
        "", "# only a comment", "[routes]\n", "[routes]",
        "routes = { chat = { at = { a = 1 } } }\n",
        "routes.chat.at.a = 1\n", "[routes.chat]\nat = { a = 1, b = 2 }\n",
        "[routes.chat.at]\na = [\n 1,\n]\n", "[routes.chat.at]\r\na = 1\r\n",
        "[routes.chat.at.a]\nx = 1\n", "[[other]]\nx = 1\n[[other]]\n[routes.chat.at]",
        '[routes.chat.at]\na = """x\n[routes.chat.at]\n"""\n',
    ],
)  # fmt: skip
def test_unusual_shapes_say_what_was_meant(text: str) -> None:
    after = put(text, {("routes", "chat", "at", "a"): "{ percent = 5 }"})
    assert tomllib.loads(after)["routes"]["chat"]["at"]["a"] == {"percent": 5}
    gone = put(after, {("routes", "chat", "at", "a"): None})
    left = tomllib.loads(gone).get("routes", {}).get("chat", {}).get("at", {})
    assert "a" not in left


names = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
paths = st.tuples(st.just("routes"), names, st.sampled_from(["at", "out"]), names)
spelled = st.one_of(
    st.integers(0, 100).map(str), names.map(quoted), names.map(lambda n: f"{{ why = {quoted(n)} }}")
)


@pytest.mark.slow
@settings(max_examples=200)
@given(
    st.dictionaries(paths, spelled, max_size=8),
    st.dictionaries(paths, spelled | st.none()),
    st.data(),
)
def test_any_values_are_put_into_any_record(
    first: dict[Path, str], second: dict[Path, str | None], data: st.DataObject
) -> None:
    text = put("# head\n", dict(first))
    for path in first:
        if data.draw(st.booleans()):
            second[path] = data.draw(spelled | st.none())
    after = put(text, second)
    assert after.startswith("# head\n")
    untouched = set(first) - set(second)
    for path in untouched:
        assert f"{key_text(path[-1])} = {first[path]}\n" in after
