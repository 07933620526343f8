"""What tests of the gate's clients and of its proxy need."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.loopback import TwoSides


@pytest.fixture
def sides(tmp_path: Path) -> Iterator[TwoSides]:
    """Both sides and a third party on loopback, and a gate on a file that names them."""
    with ExitStack() as stack:
        yield TwoSides(tmp_path, stack)
