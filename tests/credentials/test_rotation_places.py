"""A rotation while another place has a key for the profile, and the way back to the old key."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from rollout_console.common.errors import OperationError
from rollout_console.credentials.api_keys import ApiKeys
from rollout_console.credentials.rotation import Rotations
from rollout_console.credentials.vault.config import VaultConfig
from rollout_console.credentials.vault.environment import Given
from rollout_console.credentials.vault.errors import StoreClosed, UnfitKeyring
from rollout_console.sim.server import SimServer
from rollout_console.tokenlab.client import ManagementClient
from rollout_console.tokenlab.errors import ApiError, Refused
from rollout_console.tokenlab.types import CreatedKey
from rollout_gate.secret import Secret
from tests.credentials.rotations import (
    MODEL,
    Clock,
    in_a_command,
    old_key,
    other_room,
    secret,
    status_of,
    works,
)
from tests.credentials.vault.test_vault import vault_of

pytestmark = pytest.mark.usefixtures("quick")


@pytest.mark.parametrize("source", ["$TOKENLAB_API_KEY", "credential_command", "keyring"])
@pytest.mark.parametrize("late", [False, True])
async def test_the_old_key_stays_while_the_profile_gets_it_from_elsewhere(
    room: ApiKeys, rotations: Rotations, sim: SimServer, clock: Clock, tmp_path: Path,
    source: str, late: bool,
) -> None:  # fmt: skip
    """``late``: it came there after the step that puts the new one into the vault."""
    created = await room.create(f"elsewhere {late} {source}"[:50])
    key, place = created.key, "encrypted" if source == "keyring" else "keyring"
    assert place in ("encrypted", "keyring")
    given = room.vault.given

    def put() -> None:
        if source == "$TOKENLAB_API_KEY":
            room.vault.given = Given(
                variables={**given.variables, "api_key": created.secret.reveal()}
            )
        elif source == "credential_command":
            in_a_command(room, tmp_path, created.secret)
        else:
            room.vault.keyring.put("prod", "api_key", created.secret)

    room.keep("prod", "api_key", created.secret, place)  # type: ignore[arg-type]
    if not late:
        put()
    progress = await rotations.start(key, place, MODEL)  # type: ignore[arg-type]
    assert progress.rotation.step == ("silence" if late else "use")
    put()
    for hours in (1, 30):
        clock.ahead = timedelta(hours=hours)
        progress = await rotations.advance(progress.rotation)
        assert progress.rotation.step == ("deactivate" if late else "use")
        assert f"prod to use the new key: {source} goes before" in progress.waits_for
        assert status_of(sim, key.id) == "active"
        assert await works(room, room.vault.present("prod", "api_key").secret)
    # That place is emptied, and the rotation goes on by itself.
    room.vault.given, room.vault.config = given, VaultConfig()
    room.vault.keyring.delete("prod", "api_key") if source == "keyring" else None
    progress = await rotations.advance(progress.rotation)
    clock.ahead = timedelta(hours=90)
    progress = await rotations.advance(progress.rotation)
    assert progress.rotation.step in ("revoke", "done")
    assert await works(room, room.vault.present("prod", "api_key").secret)


@pytest.mark.parametrize(
    ("error", "goes_on"),
    [(StoreClosed("it is locked"), False), (UnfitKeyring("it keeps nothing"), True)],
)
async def test_a_place_before_that_cannot_be_looked_at_is_waited_for(
    room: ApiKeys, rotations: Rotations, sim: SimServer, clock: Clock,
    error: StoreClosed, goes_on: bool,
) -> None:  # fmt: skip
    """A keyring that is locked now may have the old key; one that is never used may not."""
    created = await room.create(f"behind a lock {goes_on}")

    def closed(profile: str, purpose: str) -> str | None:
        raise error

    room.vault.keyring.get = closed  # type: ignore[method-assign]
    room.keep("prod", "api_key", created.secret, "encrypted")
    progress = await rotations.start(created.key, "encrypted", MODEL)
    if goes_on:
        assert progress.rotation.step == "silence"
    else:
        assert progress.waits_for.endswith("cannot be looked at: it is locked")
        assert status_of(sim, created.key.id) == "active"


async def test_the_old_secret_put_back_keeps_the_old_key(
    room: ApiKeys, rotations: Rotations, sim: SimServer, clock: Clock
) -> None:
    key = await old_key(room, "put back")
    before = secret(room)
    progress = await rotations.start(key, "keyring", MODEL)
    assert before is not None
    room.keep("prod", "api_key", before, "keyring")
    clock.ahead = timedelta(hours=30)
    progress = await rotations.advance(progress.rotation)
    assert progress.rotation.step == "deactivate"
    assert "keyring has another for it" in progress.waits_for
    assert await works(room, secret(room))
    said = await rotations.abandon(progress.rotation)
    assert "the new one is revoked" in said
    assert await works(room, secret(room))
    assert secret(room, "prod.old") is None
    assert secret(room, "prod.new") is None


async def test_an_old_key_that_came_into_use_again_is_not_deactivated(
    room: ApiKeys, rotations: Rotations, sim: SimServer, clock: Clock
) -> None:
    """The last step may have waited for days after the old key had fallen silent."""
    key = await old_key(room, "noisy again")
    progress = await rotations.start(key, "keyring", MODEL)
    new, before = secret(room), secret(room, "prod.old")
    assert new is not None
    assert before is not None
    room.keep("prod", "api_key", before, "keyring")
    clock.ahead = timedelta(hours=30)
    progress = await rotations.advance(progress.rotation)
    assert progress.rotation.step == "deactivate"
    room.keep("prod", "api_key", new, "keyring")
    sim.state.keys[key.id].last_used_at = clock() - timedelta(minutes=2)
    progress = await rotations.advance(progress.rotation)
    assert "to fall silent: last used 2 m ago" in progress.waits_for
    assert status_of(sim, key.id) == "active"


async def test_a_key_typed_for_this_run_is_not_replaced(
    room: ApiKeys, rotations: Rotations
) -> None:
    created = await room.create("typed")
    room.keep("prod", "api_key", created.secret, None)
    progress = await rotations.start(created.key, "keyring", MODEL)
    assert "a key typed for it alone" in progress.waits_for
    found = room.vault.resolve("prod", "api_key")
    assert found.secret is not None
    assert found.secret.reveal() == created.secret.reveal()
    assert secret(room) is None
    # In another run the profile has no key, and gets the new one.
    vault = vault_of(rotations.file.path.parent, room.vault.given)
    vault.keyring = room.vault.keyring
    later = Rotations(other_room(room, "prod", vault), rotations.file.path)
    assert (await later.advance(progress.rotation)).rotation.step == "silence"


# -- going back -----------------------------------------------------------------------------------


async def test_no_way_back_leaves_the_profile_with_a_revoked_key(
    room: ApiKeys, rotations: Rotations, sim: SimServer
) -> None:
    """Where the old secret is not kept, it is asked for, and nothing is revoked until then."""
    created = await room.create("secret elsewhere")
    progress = await rotations.start(created.key, "keyring", MODEL)
    with pytest.raises(OperationError, match="give it with keys add prod, then abandon again"):
        await rotations.abandon(progress.rotation)
    assert status_of(sim, progress.rotation.new_id) == "active"
    assert await works(room, secret(room))
    room.add("prod", created.secret.reveal(), "keyring")
    assert "the new one is revoked" in await rotations.abandon(progress.rotation)
    assert status_of(sim, progress.rotation.new_id) == "revoked"
    assert await works(room, secret(room))
    assert rotations.under_way() == []


async def test_going_back_to_a_key_in_another_place(
    room: ApiKeys, rotations: Rotations, sim: SimServer
) -> None:
    created = await room.create("in the other store")
    room.keep("prod", "api_key", created.secret, "encrypted")
    progress = await rotations.start(created.key, "keyring", MODEL)
    assert await works(room, secret(room))
    said = await rotations.abandon(progress.rotation)
    assert "profile prod has its key from encrypted store again" in said
    assert secret(room) is None
    assert await works(room, room.vault.present("prod", "api_key").secret)
    assert room.profiles.all()["prod"].base_url == room.base_url
    assert status_of(sim, progress.rotation.new_id) == "revoked"


async def test_the_new_key_is_not_revoked_while_a_command_gives_it(
    room: ApiKeys, rotations: Rotations, sim: SimServer, tmp_path: Path
) -> None:
    key = await old_key(room, "in pass too")
    progress = await rotations.start(key, "keyring", MODEL)
    new = secret(room)
    assert new is not None
    in_a_command(room, tmp_path, new)
    with pytest.raises(OperationError, match="has the new key from credential_command"):
        await rotations.abandon(progress.rotation)
    assert status_of(sim, progress.rotation.new_id) == "active"
    room.vault.config = VaultConfig()
    await rotations.abandon(progress.rotation)
    assert await works(room, secret(room))


async def test_a_third_key_of_the_profile_is_left_alone(
    room: ApiKeys, rotations: Rotations
) -> None:
    key = await old_key(room, "of three")
    progress = await rotations.start(key, "keyring", MODEL)
    room.keep("prod", "api_key", Secret("sk-sim-demo"), "keyring")
    said = await rotations.abandon(progress.rotation)
    assert "profile prod has another key, so prod.old is kept" in said
    found = secret(room)
    assert found is not None
    assert found.reveal() == "sk-sim-demo"
    assert await works(room, secret(room, "prod.old"))


async def test_a_key_made_by_a_request_that_failed_is_revoked(
    room: ApiKeys, rotations: Rotations, sim: SimServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = await old_key(room, "made, then 500")
    create = ManagementClient.create_key

    async def made_then_500(self: ManagementClient, *rest: Any, **more: Any) -> CreatedKey:
        await create(self, *rest, **more)
        raise Refused(500, "internal error")

    monkeypatch.setattr(ManagementClient, "create_key", made_then_500)
    with pytest.raises(Refused):
        await rotations.start(key, "keyring", MODEL)
    (found,) = rotations.under_way()
    (made,) = [k for k in sim.state.keys.values() if k.name == found.new_name]
    assert (found.new_id, made.status) == ("", "active")
    said = await rotations.abandon(found)
    assert made.status == "revoked"
    assert f"the new one is revoked: {found.new_name} ({made.id})" in said
    assert await works(room, secret(room))


async def test_what_was_never_made_is_not_said_to_be_revoked(
    room: ApiKeys, rotations: Rotations, sim: SimServer
) -> None:
    key = await old_key(room, "never made")
    sim.state.faults.add({"status": 503, "path": "/v1/management"})
    with pytest.raises(ApiError):
        await rotations.start(key, "keyring", MODEL)
    sim.state.faults.clear()
    (found,) = rotations.under_way()
    assert await rotations.abandon(found) == "key never made stays; there is no new one"
