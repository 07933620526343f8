"""A server with a mirrored file."""

from pathlib import Path

import pytest

from tests.mirror.servers import Server


@pytest.fixture
def server(tmp_path: Path) -> Server:
    return Server(tmp_path / "srv")
