"""What tests of the keys screen look at: a simulator and a vault of their own."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from rollout_console.credentials.vault.environment import Given
from rollout_console.credentials.vault.vault import Vault
from rollout_console.sim.server import SimServer
from tests.credentials.vault.test_vault import vault_of


@pytest.fixture
def sim_keys() -> Iterator[SimServer]:
    """A simulator of its own: the list of keys is what these tests look at."""
    with SimServer(seed=5) as server:
        yield server


@pytest.fixture
def vault(tmp_path: Path) -> Vault:
    return vault_of(tmp_path, Given(variables={"management_token": "mt-sim-demo"}))
