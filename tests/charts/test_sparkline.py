"""The sparkline of a row: what is small still shows, and silence is no zero."""

import pytest

from rollout_console.charts.sparkline import sparkline


@pytest.mark.parametrize(
    ("values", "drawn"),
    [
        ([], ""),
        ([None, 0.0, None], " ▁ "),
        ([0.0, 0.1, 25.0, 50.0, 100.0], "▁▂▅██"),
    ],
)
def test_cells(values: list[float | None], drawn: str) -> None:
    assert sparkline(values, 50.0) == drawn
