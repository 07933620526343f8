"""Several operators at the same keys: none revokes or overwrites what another uses."""

from pathlib import Path
from typing import Any

import pytest

from rollout_console.common.errors import OperationError
from rollout_console.common.flock import locked_folder
from rollout_console.credentials.api_keys import ApiKeys
from rollout_console.credentials.rotation import Rotations
from rollout_console.credentials.rotation_file import Rotation
from rollout_console.credentials.vault import folder_lock, profiles
from rollout_console.credentials.vault.errors import StoreClosed, UncertainWrite, VaultError
from rollout_console.sim.server import SimServer
from rollout_console.tokenlab.types import ApiKey
from rollout_gate.secret import Secret
from tests.credentials.rotations import MODEL, Clock, old_key, secret, status_of, works
from tests.credentials.vault.test_vault import Drawer, vault_of

ANOTHER = Secret("sk-canary-of-another")


@pytest.fixture
def other(room: ApiKeys, tmp_path: Path) -> Rotations:
    """The rotations of an operator with a state folder of their own: another host, or user."""
    vault = vault_of(tmp_path / "other", room.vault.given)
    profiles = profiles_of(tmp_path / "other")
    theirs = ApiKeys(vault, profiles, "prod", room.base_url, clock=room.now)
    return Rotations(theirs, tmp_path / "other" / "rotations.json")


def revealed(room: ApiKeys) -> str:
    found = secret(room)
    assert found is not None
    return found.reveal()


def profiles_of(folder: Path) -> profiles.ProfileList:
    folder.mkdir(exist_ok=True)
    return profiles.ProfileList(folder / "profiles.json")


async def not_made(
    other: Rotations, key: ApiKey, found: Secret, monkeypatch: pytest.MonkeyPatch
) -> Rotation:
    """Let the other operator's rotation of the same key fail where it makes the new one."""
    other._room.keep("prod", "api_key", found, "keyring")

    async def fails(*_: Any, **__: Any) -> None:
        raise StoreClosed("it is locked")

    with monkeypatch.context() as patch:
        patch.setattr(other._room, "create_kept", fails)
        with pytest.raises(StoreClosed):
            await other.start(key, "keyring", MODEL)
    (begun,) = other.under_way()
    assert (begun.step, begun.new_id) == ("make", "")
    return begun


async def test_a_rotation_that_is_resumed_leaves_the_key_of_anothers_alone(
    room: ApiKeys, rotations: Rotations, other: Rotations, sim: SimServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    key = await old_key(room, "shared")
    found = secret(room)
    assert found is not None
    begun = await not_made(other, key, found, monkeypatch)
    mine = (await rotations.start(key, "keyring", MODEL)).rotation
    assert mine.new_name != begun.new_name
    theirs = (await other.advance(begun)).rotation
    assert theirs.new_id not in ("", mine.new_id)
    assert status_of(sim, mine.new_id) == "active"
    assert await works(room, secret(room))


async def test_a_rotation_that_is_abandoned_revokes_no_key_that_was_used(
    room: ApiKeys, rotations: Rotations, other: Rotations, sim: SimServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Even where both have the same name, as versions before gave them."""
    key = await old_key(room, "alike")
    found = secret(room)
    assert found is not None
    begun = await not_made(other, key, found, monkeypatch)
    mine = (await rotations.start(key, "keyring", MODEL)).rotation
    sim.state.keys[mine.new_id].name = begun.new_name
    said = await other.abandon(begun)
    assert "there is no new one" in said
    assert f"{mine.new_id} has its name, and is left as it is" in said
    assert status_of(sim, mine.new_id) == "active"


async def test_a_key_whose_secret_was_lost_is_revoked_and_named(
    room: ApiKeys, rotations: Rotations, sim: SimServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = await old_key(room, "cut")
    found = secret(room)
    assert found is not None
    begun = await not_made(rotations, key, found, monkeypatch)
    lost = (await room.create(begun.new_name)).key
    progress = await rotations.advance(begun)
    assert status_of(sim, lost.id) == "revoked"
    assert f"({lost.id}), whose secret an earlier try had lost" in progress.did[0]


async def test_a_key_that_is_added_while_the_old_one_is_stored_is_not_overwritten(
    room: ApiKeys, rotations: Rotations, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = await old_key(room, "added meanwhile")
    put = Drawer.put

    def slow(drawer: Drawer, profile: str, purpose: str, found: Secret) -> None:
        put(drawer, profile, purpose, found)
        if profile == "prod.old":
            put(drawer, "prod", purpose, ANOTHER)

    monkeypatch.setattr(Drawer, "put", slow)
    progress = await rotations.start(key, "keyring", MODEL)
    assert progress.rotation.step == "use"
    assert "it has another now" in progress.waits_for
    assert revealed(room) == ANOTHER.reveal()


async def test_a_key_that_is_added_while_a_rotation_is_abandoned_is_not_overwritten(
    room: ApiKeys, rotations: Rotations, clock: Clock, sim: SimServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    key = await old_key(room, "abandoned")
    progress = await rotations.start(key, "keyring", MODEL, quiet_s=0, safe_s=3600)
    assert progress.rotation.step == "revoke"
    change = room.change

    async def slow(changed: ApiKey, **changes: Any) -> ApiKey:
        if changes == {"status": "active"}:
            room.keep("prod", "api_key", ANOTHER, "keyring")
        return await change(changed, **changes)

    monkeypatch.setattr(room, "change", slow)
    said = await rotations.abandon(progress.rotation)
    assert "profile prod has another key, so prod.old is kept" in said
    assert revealed(room) == ANOTHER.reveal()
    assert status_of(sim, key.id) == "active"


async def test_a_key_that_cannot_be_kept_replaces_none(
    room: ApiKeys, sim: SimServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await old_key(room, "in use")
    before, listed = revealed(room), room.profiles.all()
    monkeypatch.setattr(folder_lock, "LOCK_WAIT_S", 0)
    room.profiles.change("prod", lambda _: None)
    with locked_folder(tmp_path, 0), pytest.raises(OperationError, match="revoked again"):
        await room.create_kept("never kept", "prod", "keyring")
    assert revealed(room) == before
    assert await works(room, secret(room))
    room.profiles.change("prod", lambda _: listed["prod"])

    def closed(*_: object) -> None:
        raise StoreClosed("it is locked")

    monkeypatch.setattr(Drawer, "put", closed)
    for profile in ("prod", "new"):
        with pytest.raises(VaultError, match="it is locked"):
            room.keep(profile, "api_key", ANOTHER, "keyring")
    assert room.profiles.all() == listed


async def test_a_key_that_may_still_be_kept_is_not_revoked(
    room: ApiKeys, sim: SimServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    put = Drawer.put

    def late(drawer: Drawer, profile: str, purpose: str, found: Secret) -> None:
        put(drawer, profile, purpose, found)
        raise UncertainWrite("the keyring did not answer within 3 s; it may still be stored then")

    monkeypatch.setattr(Drawer, "put", late)
    with pytest.raises(OperationError, match=r"is not known: .* keys revoke") as error:
        await room.create_kept("late", "prod", "keyring")
    (made,) = [key for key in await room.keys() if key.name == "late"]
    assert made.status == "active"
    assert made.id in str(error.value)
    assert await works(room, secret(room))
    assert "prod" in room.profiles.all()


async def test_a_rotation_goes_on_after_a_keyring_that_was_late(
    room: ApiKeys, rotations: Rotations, sim: SimServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The key it could not keep for sure is revoked by it, also if somebody has tried it since."""
    key = await old_key(room, "slow")
    put = Drawer.put

    def late(drawer: Drawer, profile: str, purpose: str, found: Secret) -> None:
        put(drawer, profile, purpose, found)
        raise UncertainWrite("the keyring did not answer within 3 s; it may still be stored then")

    with monkeypatch.context() as patch:
        patch.setattr(Drawer, "put", late)
        with pytest.raises(OperationError, match=r"is not known: .* Go on with the rotation"):
            await rotations.start(key, "keyring", MODEL)
    (begun,) = rotations.under_way()
    assert status_of(sim, begun.new_id) == "active"
    assert await works(room, secret(room, "prod.new"))
    after = (await rotations.advance(begun)).rotation
    assert after.new_id != begun.new_id
    assert status_of(sim, begun.new_id) == "revoked"
    assert await works(room, secret(room))
