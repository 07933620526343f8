"""Collect garbage after each test: what a test left open then fails that test, and no later one.

Sockets and transports that nobody closed are told when the collector frees them, which is by
chance during another test. `python -m pytest -p tests.support.unclosed tests/gate` names the test
that left them, for a collection each.
"""

import gc
import sys
import warnings
from collections.abc import Generator

import pytest


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown() -> Generator[None, None, None]:
    """Collect once the test's fixtures are gone, and its event loop with them."""
    yield
    left: list[str] = []
    before = sys.unraisablehook
    sys.unraisablehook = lambda error: left.append(repr(error.exc_value))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", ResourceWarning)
            gc.collect()
    finally:
        sys.unraisablehook = before
    if left:
        pytest.fail(f"left open: {', '.join(left)}", pytrace=False)
