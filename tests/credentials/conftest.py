"""Fixtures of the tests of API keys and rotations."""

from pathlib import Path

import pytest

from rollout_console.credentials.api_keys import ApiKeys
from rollout_console.credentials.rotation import Rotations
from rollout_console.credentials.vault.environment import Given
from rollout_console.credentials.vault.profiles import ProfileList
from rollout_console.sim.server import SimServer
from tests.credentials.rotations import Clock
from tests.credentials.vault.test_vault import vault_of


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def room(sim: SimServer, tmp_path: Path, clock: Clock) -> ApiKeys:
    vault = vault_of(tmp_path, Given(variables={"management_token": "mt-sim-demo"}))
    profiles = ProfileList(tmp_path / "profiles.json")
    return ApiKeys(vault, profiles, "prod", sim.base_url, clock=clock)


@pytest.fixture
def rotations(room: ApiKeys, tmp_path: Path) -> Rotations:
    return Rotations(room, tmp_path / "rotations.json")
