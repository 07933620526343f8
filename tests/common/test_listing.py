"""Names in a sentence: the first of them, then how many more there are."""

import pytest

from rollout_console.common.listing import first_of


@pytest.mark.parametrize(
    ("count", "said"),
    [
        (0, ""), (1, "o0"), (3, "o0, o1, o2"), (4, "o0, o1, o2 and 1 more"),
        (2003, "o0, o1, o2 and 2,000 more"),
    ],
)  # fmt: skip
def test_the_first_are_named_and_the_rest_is_counted(count: int, said: str) -> None:
    assert first_of([f"o{number}" for number in range(count)], 3) == said
