"""Charts: always the size that was asked for, whatever the data."""

import re

from hypothesis import given, settings
from hypothesis import strategies as st

from rollout_console.charts.line_chart import Line, render

ANSI = re.compile(r"\x1b\[[0-9;]*m")
FLOATS = st.one_of(st.none(), st.floats(allow_nan=True, allow_infinity=True))


@settings(max_examples=80)
@given(
    st.lists(st.lists(FLOATS, max_size=300), max_size=3),
    st.integers(0, 90),
    st.integers(0, 24),
    st.booleans(),
)
def test_the_size_is_kept(
    series: list[list[float | None]], width: int, height: int, color: bool
) -> None:
    lines = [Line(str(i), values, "#2ac3de") for i, values in enumerate(series)]
    drawn = render(lines, width=width, height=height, color=color)
    rows = drawn.split("\n") if width and height else []
    assert len(rows) == (height if width else 0)
    assert all(len(ANSI.sub("", row)) <= width for row in rows)
    if not color:
        assert "38;2" not in drawn


def test_two_lines_differ_without_colour() -> None:
    drawn = ANSI.sub(
        "",
        render([Line("a", [1.0] * 40), Line("b", [5.0] * 40)], width=50, height=10, color=False),
    )
    assert "•" in drawn
    assert any("⠀" < c <= "⣿" for c in drawn)


def test_a_gap_stays_a_gap() -> None:
    values = [1.0] * 20 + [None] * 20 + [1.0] * 20
    drawn = ANSI.sub("", render([Line("a", values)], width=66, height=8, y_max=2.0))
    row = next(r for r in drawn.split("\n") if any("⠀" < c <= "⣿" for c in r))
    assert re.search(r"[⠁-⣿]\s{10,}[⠁-⣿]", row)


def test_the_limit_and_the_marks_are_rules_where_the_axis_reaches_them() -> None:
    values = [1.0] * 30 + [8.0] * 30
    drawn = ANSI.sub("", render([Line("a", values)], width=66, height=9, limit=5.0, marks=(20,)))
    rows = drawn.split("\n")
    (limit,) = [row for row in rows if row.count("┄") > 20]
    assert 1 < rows.index(limit) < 6
    columns = {row.index("┊") for row in rows if "┊" in row}
    assert len(columns) == 1
    assert sum("┊" in row for row in rows) >= 4
    beyond = ANSI.sub("", render([Line("a", values)], width=66, height=9, limit=500.0))
    assert "┄" not in beyond
