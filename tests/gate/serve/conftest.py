"""What the tests of the proxy share."""

from collections.abc import Iterator

import pytest

from tests.support.loopback import TwoSides
from tests.support.serving import Proxy, gates_end, serving
from tests.support.streaming import Streamer


@pytest.fixture(scope="session", autouse=True)
def _no_server_of_gates_is_left() -> Iterator[None]:
    """End the server that forks the proxies."""
    yield
    gates_end()


@pytest.fixture
def proxy(sides: TwoSides) -> Iterator[Proxy]:
    """A proxy on a file that names both sides."""
    with serving(sides.path) as found:
        yield found


@pytest.fixture
def provider() -> Iterator[Streamer]:
    """A provider whose answers the test writes piece by piece."""
    with Streamer() as found:
        yield found
