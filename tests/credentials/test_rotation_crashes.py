"""A rotation whose process ends at any write: a working key is left, and no other."""

import inspect
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from rollout_console.credentials.api_keys import ApiKeys
from rollout_console.credentials.rotation import Rotations
from rollout_console.credentials.rotation_file import RotationFile
from rollout_console.credentials.vault.environment import Given
from rollout_console.credentials.vault.profiles import ProfileList
from rollout_console.sim.server import SimServer
from rollout_console.tokenlab.client import ManagementClient
from rollout_console.tokenlab.types import ApiKey
from rollout_gate.secret import Secret
from tests.credentials.rotations import MODEL, Clock
from tests.credentials.vault.test_vault import Drawer, vault_of

pytestmark = pytest.mark.usefixtures("quick")


WRITES = (
    (ApiKeys, "change"), (ApiKeys, "create"), (Drawer, "put"), (Drawer, "delete"),
    (ProfileList, "_write"), (RotationFile, "_write"),
)  # fmt: skip


class Killed(BaseException):
    """Stands for kill -9: nothing below catches it."""


class Killer:
    """Ends the process at the ``at``-th write from now on, before it or just after it."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.at, self.after, self.seen = -1, False, 0
        for owner, name in WRITES:
            patch.setattr(owner, name, self._around(getattr(owner, name)))

    def arm(self, at: int, *, after: bool) -> None:
        self.at, self.after, self.seen = at, after, 0

    def _around(self, write: Any) -> Any:
        if inspect.iscoroutinefunction(write):

            async def patched_async(*rest: Any, **more: Any) -> Any:
                number = self._begin()
                done = await write(*rest, **more)
                self._end(number)
                return done

            return patched_async

        def patched(*rest: Any, **more: Any) -> Any:
            number = self._begin()
            done = write(*rest, **more)
            self._end(number)
            return done

        return patched

    def _begin(self) -> int:
        number = self.seen
        self.seen += 1
        if number == self.at and not self.after:
            raise Killed
        return number

    def _end(self, number: int) -> None:
        if number == self.at and self.after:
            raise Killed


@pytest.mark.slow
@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("back", [False, True])
async def test_an_end_at_any_write_leaves_a_working_key(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch, back: bool, after: bool
) -> None:
    """Each write is cut once, before or after it, and a new process goes on each time.

    ``back``: the rotation is abandoned once the old key is inactive, and that is cut as well.
    """
    killer = Killer(monkeypatch)
    with SimServer(seed=11) as sim:
        for at in range(60):
            sim.state.keys.clear()
            folder = tmp_path / str(at)
            drawer, key = Drawer(), await _made_old(sim, folder, "killed")
            drawer.kept[("prod", "api_key")] = sim.state.keys[key.id].secret
            killer.arm(at, after=after)
            if not await _whole_life(sim, folder, drawer, key, clock, back=back):
                break
    assert 15 < at < 59, "fewer writes than were expected, or more"


async def _made_old(sim: SimServer, folder: Path, name: str) -> ApiKey:
    folder.mkdir()
    async with ManagementClient(sim.base_url, Secret("mt-sim-demo")) as client:
        return (await client.create_key(name)).key


async def _whole_life(
    sim: SimServer, folder: Path, drawer: Drawer, key: ApiKey, clock: Clock, *, back: bool
) -> bool:
    """Run each command in a process of its own until all is done; return whether one was cut."""
    clock.ahead, cut, turned = timedelta(0), False, False
    for _ in range(12):
        vault = vault_of(folder, Given(variables={"management_token": "mt-sim-demo"}))
        vault.keyring = drawer
        room = ApiKeys(
            vault, ProfileList(folder / "profiles.json"), "prod", sim.base_url, clock=clock
        )
        rotations = Rotations(room, folder / "rotations.json")
        found = rotations.find(key)
        try:
            if found is None and (turned or sim.state.keys[key.id].status == "revoked"):
                break
            if found is None:
                await rotations.start(key, "keyring", MODEL)
            elif turned or (back and found.step == "revoke"):
                turned = True
                await rotations.abandon(found)
            else:
                await rotations.advance(found)
        except Killed:
            assert not cut
            cut = True
        _no_moment_without_a_key(sim, drawer, key)
        clock.ahead += timedelta(hours=13)
    assert rotations.under_way() == []
    assert set(drawer.kept) == {("prod", "api_key")}
    active = [k for k in sim.state.keys.values() if k.status == "active"]
    assert len(active) == 1, "a key was left behind"
    assert (sim.state.keys[key.id].status == "active") is back
    return cut


def _no_moment_without_a_key(sim: SimServer, drawer: Drawer, key: ApiKey) -> None:
    own = drawer.kept[("prod", "api_key")]
    # Raises where the simulator would answer 401 to an application that has the profile's key.
    used = sim.state.key_for(own)
    if sim.state.keys[key.id].status != "active":
        assert used.id != key.id
        assert used.last_used_at is not None, "never proven"
