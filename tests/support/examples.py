"""A folder of its own for each example that hypothesis makes."""

from itertools import count
from pathlib import Path

import pytest

_numbers = count()


def folder_of_example(factory: pytest.TempPathFactory) -> Path:
    """Make a folder, not numbered by pytest: that would list the hundreds before it each time."""
    folder = factory.getbasetemp() / "examples" / str(next(_numbers))
    folder.mkdir(parents=True)
    return folder
