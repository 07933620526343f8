"""A rotation: each step, each interruption, and never a moment without a working key."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from console.gate.secret import Secret
from console.operations.errors import OperationError
from console.operations.keys import KeyRoom
from console.operations.rotation import STEPS, Progress, Rotations
from console.sim.server import SimServer
from console.tokenlab.errors import ApiError
from console.tokenlab.types import ApiKey
from console.vault.environment import Given
from console.vault.profiles import ProfileList
from tests.vault.test_vault import Drawer, vault_of

MODEL = "gpt-5.4-mini"


class Clock:
    """A clock that is put forward by hand."""

    def __init__(self) -> None:
        self.ahead = timedelta(0)

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self.ahead


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def room(sim: SimServer, tmp_path: Path, clock: Clock) -> KeyRoom:
    vault = vault_of(tmp_path, Given(variables={"management_token": "mt-sim-demo"}))
    profiles = ProfileList(tmp_path / "profiles.json")
    return KeyRoom(vault, profiles, "prod", sim.base_url, clock=clock)


@pytest.fixture
def rotations(room: KeyRoom, tmp_path: Path) -> Rotations:
    return Rotations(room, tmp_path / "rotations.json")


async def old_key(room: KeyRoom, name: str, **limits: Any) -> ApiKey:
    created = await room.create(name, **limits)
    room.keep("prod", "api_key", created.secret, "keyring")
    return created.key


def secret(room: KeyRoom, profile: str = "prod") -> Secret | None:
    return room.vault.kept(profile, "api_key", "keyring")


async def works(room: KeyRoom, found: Secret | None) -> bool:
    assert found is not None
    try:
        return (await room.prove(found, MODEL)).works
    except ApiError:
        return False


async def test_from_the_first_step_to_the_last(
    room: KeyRoom, rotations: Rotations, clock: Clock
) -> None:
    key = await old_key(room, "life", models=(MODEL,))
    before = secret(room)
    progress = await rotations.start(key, "keyring", MODEL)
    assert progress.rotation.step == "silence"
    assert len(progress.did) == 3
    assert "fall silent" in progress.waits_for
    assert await works(room, before)
    assert await works(room, secret(room))
    assert secret(room) is not None
    assert secret(room, "prod.old") is not None
    made = {k.id: k for k in await room.keys()}[progress.rotation.new_id]
    assert (made.models, made.limit) == (key.models, key.limit)
    assert (await rotations.advance(progress.rotation)).did == ()
    clock.ahead = timedelta(minutes=31)
    progress = await rotations.advance(progress.rotation)
    assert progress.rotation.step == "revoke"
    assert "can be reactivated" in progress.waits_for
    assert not await works(room, before)
    assert await works(room, secret(room))
    clock.ahead += timedelta(hours=25)
    progress = await rotations.advance(progress.rotation)
    assert (progress.rotation.step, progress.waits_for) == ("done", "")
    assert rotations.under_way() == []
    assert {k.id: k.status for k in await room.keys()}[key.id] == "revoked"
    assert await works(room, secret(room))
    assert secret(room, "prod.old") is None
    assert secret(room, "prod.new") is None


async def test_a_key_in_use_is_not_deactivated(
    room: KeyRoom, rotations: Rotations, clock: Clock
) -> None:
    key = await old_key(room, "busy")
    before = secret(room)
    progress = await rotations.start(key, "keyring", MODEL, quiet_s=600)
    # Long after the step, an application still uses the old key.
    clock.ahead = timedelta(minutes=9)
    assert await works(room, before)
    clock.ahead = timedelta(minutes=9, seconds=30)
    progress = await rotations.advance(progress.rotation)
    assert "last used" in progress.waits_for
    assert await works(room, before)


class Stop(Exception):
    """Stands for the end of the process."""


@pytest.mark.parametrize("at", [step for step in STEPS if step != "done"])
@pytest.mark.parametrize("late", [False, True])
async def test_it_goes_on_after_an_end_at_any_step(
    room: KeyRoom, tmp_path: Path, clock: Clock, at: str, late: bool
) -> None:
    """``late``: the step was done, and the process ended before that was written down."""
    key = await old_key(room, f"cut-{at}-{late}")
    before = secret(room)

    class Cut(Rotations):
        cut = True

        async def _do(self, rotation: Any, *rest: Any) -> Any:
            if rotation.step == at and self.cut and not late:
                raise Stop
            done = await super()._do(rotation, *rest)
            if rotation.step == at and self.cut and not done[1]:
                raise Stop
            return done

    progress: Progress | None = None
    cut = Cut(room, tmp_path / "rotations.json")
    for _ in range(12):
        try:
            found = cut.find(key)
            if found is None and progress is None:
                progress = await cut.start(key, "keyring", MODEL)
            elif found is not None:
                progress = await cut.advance(found)
            else:
                break
        except Stop:
            cut.cut = False
        assert await works(room, before) or await works(room, secret(room)), "nobody works"
        clock.ahead += timedelta(hours=25)
    assert cut.under_way() == []
    assert await works(room, secret(room))
    assert not await works(room, before)
    named = [k for k in await room.keys() if k.name.startswith(f"cut-{at}-{late}")]
    assert sorted(k.status for k in named if k.id != key.id)[0] == "active"
    assert len([k for k in named if k.status == "active"]) == 1, "a key was left behind"


async def test_it_can_be_abandoned_until_the_end(
    room: KeyRoom, rotations: Rotations, clock: Clock
) -> None:
    key = await old_key(room, "back")
    before = secret(room)
    progress = await rotations.start(key, "keyring", MODEL)
    clock.ahead = timedelta(hours=1)
    progress = await rotations.advance(progress.rotation)
    assert not await works(room, before)
    said = await rotations.abandon(progress.rotation)
    assert "the vault has the old secret again" in said
    assert await works(room, secret(room))
    found = secret(room)
    assert before is not None
    assert found is not None
    assert found.reveal() == before.reveal()
    assert {k.id: k.status for k in await room.keys()}[progress.rotation.new_id] == "revoked"
    assert rotations.under_way() == []


async def test_a_new_key_that_does_not_work_stops_it(
    room: KeyRoom, rotations: Rotations, sim: SimServer, clock: Clock
) -> None:
    key = await old_key(room, "stuck")
    before = secret(room)
    sim.state.faults.add({"status": 503, "path": "/v1/chat"})
    with pytest.raises(ApiError):
        await rotations.start(key, "keyring", MODEL)
    (found,) = [r for r in rotations.under_way() if r.old_id == key.id]
    assert found.step == "prove"
    sim.state.faults.clear()
    assert (await rotations.advance(found)).rotation.step == "silence"
    new = next(k for k in await room.keys() if k.id == found.new_id)
    await room.change(new, status="inactive")
    clock.ahead = timedelta(hours=25)
    with pytest.raises(OperationError, match="is inactive; abandon"):
        await rotations.advance(found)
    assert await works(room, before), "the old key was taken away with the new one broken"


async def test_what_is_refused(room: KeyRoom, rotations: Rotations) -> None:
    key = await old_key(room, "refused", models=(MODEL,))
    with pytest.raises(OperationError, match="may not use gpt-5"):
        await rotations.start(key, "keyring", "gpt-5.4")
    await rotations.start(key, "keyring", MODEL)
    with pytest.raises(OperationError, match="being rotated already"):
        await rotations.start(key, "keyring", MODEL)
    with rotations._alone(), pytest.raises(OperationError, match="another console"):
        await rotations.advance(rotations.under_way()[0])
    room.read_only = True
    with pytest.raises(OperationError, match="read-only"):
        await rotations.start(key, "keyring", MODEL)
    rotations.path.write_text("{")
    with pytest.raises(OperationError, match="damaged"):
        rotations.under_way()


async def test_no_secret_in_the_file(room: KeyRoom, rotations: Rotations) -> None:
    key = await old_key(room, "silent")
    await rotations.start(key, "keyring", MODEL)
    text = rotations.path.read_text()
    drawer = room.vault.keyring
    assert isinstance(drawer, Drawer)
    for kept in drawer.kept.values():
        assert kept not in text
    assert rotations.path.stat().st_mode & 0o777 == 0o600
