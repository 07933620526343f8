"""Real parts that tests need: a test that cannot find its part fails in CI, and skips elsewhere."""

import os
import shutil

import pytest


def need(*programs: str) -> None:
    """Skip the test, or fail it in CI, unless all programs are installed."""
    if missing := [program for program in programs if shutil.which(program) is None]:
        missing_part(f"not installed: {', '.join(missing)}; .ci/run installs it")


def missing_part(reason: str) -> None:
    """Skip the test, or fail it in CI."""
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)
