"""The newest point of a chart on home: it is drawn once half of it is over."""

import pytest

from rollout_console.ui.screens.home.charts import without_begun

VALUES = [800.0, 810.0, 90.0]


@pytest.mark.parametrize(
    ("now", "is_drawn"), [(1000.0, False), (1003.4, False), (1003.6, True), (1004.9, True)]
)
def test_the_newest_point_is_drawn_once_half_of_it_is_over(now: float, is_drawn: bool) -> None:
    assert without_begun(VALUES, now) == (VALUES if is_drawn else [800.0, 810.0, None])
