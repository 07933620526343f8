"""Fixtures of the tests of costs."""

from pathlib import Path

import pytest

from rollout_console.sim.server import SimServer
from tests.reconcile.world import World


@pytest.fixture
def world(sim: SimServer, tmp_path: Path) -> World:
    return World(sim, tmp_path)
