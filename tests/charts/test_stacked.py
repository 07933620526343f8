"""Stacked columns and the time axis: sizes, sums, and that nothing that matters is lost."""

import re
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollout_console.charts.line_chart import Line, render
from rollout_console.charts.stacked import stacked
from rollout_console.charts.time_axis import time_labels

FILLS = "█▓▒"


def columns(drawn: list[str]) -> list[str]:
    """Each column from the bottom up, without blanks."""
    return ["".join(cells).rstrip() for cells in zip(*reversed(drawn), strict=True)]


@given(
    st.lists(st.lists(st.integers(-5, 10_000), min_size=3, max_size=3), max_size=40),
    st.integers(-1, 20),
    st.floats(0, 20_000),
)
def test_the_size_is_kept_and_what_is_there_shows(
    counts: list[list[int]], height: int, top: float
) -> None:
    drawn = stacked(counts, FILLS, height, top)
    assert len(drawn) == max(height, 0)
    assert all(len(row) == len(counts) for row in drawn)
    for one, text in zip(counts, columns(drawn) if drawn else [], strict=False):
        there = {fill for fill, count in zip(FILLS, one, strict=True) if count > 0}
        assert set(text) <= there
        if len(there) <= height:
            assert set(text) == there
        assert list(text) == sorted(text, key=FILLS.index), "not stacked in order"


def test_heights_are_in_proportion() -> None:
    drawn = columns(stacked([[5, 0, 0], [10, 0, 0], [5, 5, 0], [0, 0, 0]], FILLS, 10, 10))
    assert drawn == ["█" * 5, "█" * 10, "█" * 5 + "▓" * 5, ""]


def test_one_in_a_thousand_has_its_cell() -> None:
    (column,) = columns(stacked([[1000, 0, 1]], FILLS, 8, 1000))
    assert column == "█" * 7 + "▒"


@pytest.mark.parametrize("step", [1, 4, 35, 300, 900])
def test_labels_stand_where_their_time_is(step: int) -> None:
    start = int(datetime(2026, 10, 1, 23, 0, tzinfo=UTC).timestamp())
    starts = [start + step * i for i in range(100)]
    window = step * 100
    text = time_labels(starts, window)
    assert len(text) == 100
    found = list(re.finditer(r"\d\d:\d\d(:\d\d)?", text))
    assert 2 <= len(found) <= 9
    for one in found:
        at = datetime.fromtimestamp(starts[one.start()], UTC)
        hour, minute = int(one[0][:2]), int(one[0][3:5])
        passed = (at.hour * 60 + at.minute) - (hour * 60 + minute)
        assert 0 <= passed % 1440 <= max(step // 60, 0) + 1
    assert "::" not in text
    assert time_labels([], 60) == ""


def test_with_a_gutter_every_value_has_a_column_of_its_own() -> None:
    for place in range(30):
        values: list[float | None] = [None] * 30
        values[place] = 1234.0
        drawn = render(
            [Line("a", values)], width=36, height=6, y_max=2000, x_labels=None, color=False,
            gutter=6,
        )  # fmt: skip
        rows = [re.sub(r"\x1b\[[0-9;]*m", "", row) for row in drawn.split("\n")]
        marks = [x for row in rows for x, char in enumerate(row) if "⠀" < char <= "⣿"]
        assert marks == [6 + place]
        assert rows[0].startswith(" 2000┤")
        assert rows[-1].startswith("    0┤")


def test_a_line_has_the_marker_it_is_given() -> None:
    lines = [Line("a", [1.0] * 20), Line("b", [2.0] * 20, marker="x")]
    assert "xxxx" in render(lines, width=30, height=6, color=False)
