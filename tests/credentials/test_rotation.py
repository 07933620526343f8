"""A rotation: each step, each interruption, and never a moment without a working key."""

import asyncio
import fcntl
import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import asdict, replace

from rollout_console.common.errors import OperationError
from rollout_console.common.files import write_private
from rollout_console.credentials.api_keys import ApiKeys
from rollout_console.credentials.rotation import Progress, Rotations
from rollout_console.credentials.rotation_file import STEPS, Rotation
from rollout_console.credentials.vault.errors import StoreClosed
from rollout_console.sim.server import SimServer
from rollout_console.tokenlab.errors import ApiError
from rollout_gate.secret import Secret
from tests.credentials.rotations import (
    MODEL,
    Clock,
    old_key,
    other_room,
    secret,
    status_of,
    works,
)
from tests.credentials.vault.test_vault import Drawer

pytestmark = pytest.mark.usefixtures("quick")


async def test_from_the_first_step_to_the_last(
    room: ApiKeys, rotations: Rotations, clock: Clock
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
    room: ApiKeys, rotations: Rotations, clock: Clock
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
    room: ApiKeys, tmp_path: Path, clock: Clock, at: str, late: bool
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
    room: ApiKeys, rotations: Rotations, clock: Clock
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
    room: ApiKeys, rotations: Rotations, sim: SimServer, clock: Clock
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


async def test_what_is_refused(room: ApiKeys, rotations: Rotations) -> None:
    key = await old_key(room, "refused", models=(MODEL,))
    with pytest.raises(OperationError, match="may not use gpt-5"):
        await rotations.start(key, "keyring", "gpt-5.4")
    await rotations.start(key, "keyring", MODEL)
    with pytest.raises(OperationError, match="being rotated already"):
        await rotations.start(key, "keyring", MODEL)
    with rotations.file.alone(), pytest.raises(OperationError, match="another console"):
        await rotations.advance(rotations.under_way()[0])
    room.access.read_only = True
    with pytest.raises(OperationError, match="read-only"):
        await rotations.start(key, "keyring", MODEL)
    rotations.file.path.write_text("{")
    with pytest.raises(OperationError, match="corrupt"):
        rotations.under_way()


async def test_no_secret_in_the_file(room: ApiKeys, rotations: Rotations) -> None:
    key = await old_key(room, "silent")
    await rotations.start(key, "keyring", MODEL)
    text = rotations.file.path.read_text()
    drawer = room.vault.keyring
    assert isinstance(drawer, Drawer)
    for kept in drawer.kept.values():
        assert kept not in text
    assert rotations.file.path.stat().st_mode & 0o777 == 0o600


# -- whose key it is, and which key is whose ---------------------------------------------------


@pytest.mark.parametrize("names", [("twin", "twin"), ("x" * 30 + " of prod", "x" * 30 + " of dev")])
async def test_two_keys_of_one_name_have_rotations_of_their_own(
    room: ApiKeys, rotations: Rotations, sim: SimServer, names: tuple[str, str]
) -> None:
    first = await old_key(room, names[0])
    one = await rotations.start(first, "keyring", MODEL)
    staging = other_room(room, "staging")
    created = await staging.create(names[1])
    staging.keep("staging", "api_key", created.secret, "keyring")
    second = Rotations(staging, rotations.file.path)
    two = await second.start(created.key, "keyring", MODEL)
    assert one.rotation.new_name != two.rotation.new_name
    assert len(two.rotation.new_name) <= 50
    assert status_of(sim, one.rotation.new_id) == "active"
    assert await works(room, secret(room))
    assert await works(staging, secret(staging, "staging"))


async def test_only_a_key_that_the_rotation_made_is_revoked(
    room: ApiKeys, rotations: Rotations, sim: SimServer, clock: Clock
) -> None:
    """Others may have its name: one from before, one that is the new key of another rotation."""
    before = await room.create("takes the name 1")
    other = await room.create("takes the name 2")
    stray = await room.create("takes the name 3")
    key = await old_key(room, "named")
    sim.state.keys[before.key.id].created_at -= timedelta(days=1)
    name, now = "named (since today)", datetime.now(UTC).isoformat()
    since = (datetime.now(UTC) - timedelta(minutes=1)).isoformat()
    for made in (before, other, stray):
        sim.state.keys[made.key.id].name = name
    rotations.file._write([
        Rotation("key_demo", "demo", "staging", "keyring", MODEL, now, now,
                 step="silence", new_id=other.key.id, new_name=name),
        Rotation(key.id, key.name, "prod", "keyring", MODEL, since, since, new_name=name),
    ])  # fmt: skip
    found = rotations.find(key)
    assert found is not None
    progress = await rotations.advance(found)
    assert progress.rotation.step == "silence"
    assert [status_of(sim, made.key.id) for made in (before, other, stray)] == [
        "active", "active", "revoked",
    ]  # fmt: skip
    said = await rotations.abandon(progress.rotation)
    assert f"{before.key.id}, {other.key.id} has its name, and is left as it is" in said
    assert status_of(sim, progress.rotation.new_id) == "revoked"


async def test_a_key_that_is_not_the_profiles_is_refused(
    room: ApiKeys, rotations: Rotations, sim: SimServer, clock: Clock
) -> None:
    """With force it goes on, and the secret that was the profile's is still there at the end."""
    key = (await room.create("not of prod")).key
    room.keep("prod", "api_key", Secret("sk-sim-demo"), "keyring")
    with pytest.raises(OperationError, match=r"is not the one that profile prod has .* --force"):
        await rotations.start(key, "keyring", MODEL)
    assert rotations.under_way() == []
    assert not [k for k in sim.state.keys.values() if k.name.startswith("not of prod (")]
    progress = await rotations.start(key, "keyring", MODEL, force=True)
    for hours in (1, 26):
        clock.ahead = timedelta(hours=hours)
        progress = await rotations.advance(progress.rotation)
    assert progress.rotation.step == "done"
    assert "prod.old is another key's, so it is kept" in progress.did[-1]
    assert await works(room, secret(room, "prod.old"))


async def test_a_profile_without_a_key_gets_one_by_rotation(
    room: ApiKeys, rotations: Rotations
) -> None:
    key = (await room.create("fresh")).key
    progress = await rotations.start(key, "keyring", MODEL)
    assert progress.rotation.step == "silence"
    assert await works(room, secret(room))


async def test_what_cannot_be_told_is_refused(room: ApiKeys, rotations: Rotations) -> None:
    key = (await room.create("untold")).key

    def locked(profile: str, purpose: str) -> str | None:
        raise StoreClosed("it is locked")

    room.vault.encrypted.get = locked  # type: ignore[method-assign]
    write_private(room.vault.encrypted.path, b"there")
    with pytest.raises(OperationError, match="cannot be told: encrypted store: it is locked"):
        await rotations.start(key, "keyring", MODEL)


async def test_one_profile_is_in_one_rotation(room: ApiKeys, rotations: Rotations) -> None:
    """Both would write to PROFILE.new and PROFILE.old."""
    first = await old_key(room, "first of prod")
    await rotations.start(first, "keyring", MODEL)
    before = secret(room)
    second = (await room.create("second of prod")).key
    with pytest.raises(OperationError, match="first of prod is being rotated for profile prod"):
        await rotations.start(second, "keyring", MODEL, force=True)
    assert await works(room, before)


async def test_a_secret_of_a_rotation_before_is_not_overwritten(
    room: ApiKeys, rotations: Rotations
) -> None:
    key = await old_key(room, "after another")
    room.keep("prod.old", "api_key", Secret("sk-sim-demo"), "keyring")
    with pytest.raises(OperationError, match=r"keys remove prod\.old"):
        await rotations.start(key, "keyring", MODEL)
    assert await works(room, secret(room, "prod.old"))


async def test_a_key_that_may_spend_nothing_is_not_copied(
    room: ApiKeys, rotations: Rotations, sim: SimServer
) -> None:
    key = await old_key(room, "no money", limit=Decimal(0))
    with pytest.raises(OperationError, match=r"a limit of \$0"):
        await rotations.start(key, "keyring", MODEL)
    assert not [k for k in sim.state.keys.values() if k.name.startswith("no money (")]
    del sim.state.keys[key.id]  # for whoever looks at what ends soon


async def test_an_expiry_is_not_copied_and_an_expired_key_is_no_way_back(
    room: ApiKeys, rotations: Rotations, sim: SimServer, clock: Clock
) -> None:
    soon = datetime.now(UTC) + timedelta(hours=2)
    key = await old_key(room, "ends soon", expires_at=soon)
    progress = await rotations.start(key, "keyring", MODEL)
    assert sim.state.keys[progress.rotation.new_id].expires_at is None
    clock.ahead = timedelta(hours=3)
    with pytest.raises(OperationError, match="has expired; the rotation cannot be aborted"):
        await rotations.abandon(progress.rotation)
    assert await works(room, secret(room))
    del sim.state.keys[key.id]  # for whoever looks at what ends soon


async def test_a_model_that_was_taken_from_the_list_meanwhile_is_waited_for(
    room: ApiKeys, rotations: Rotations, sim: SimServer
) -> None:
    key = await old_key(room, "other models", models=(MODEL,))
    sim.state.keys[key.id].models = ["gpt-5.4"]
    before = secret(room)
    progress = await rotations.start(key, "keyring", MODEL)
    assert progress.rotation.step == "prove"
    assert "may not use the model" in progress.waits_for
    now = secret(room)
    assert now is not None
    assert before is not None
    assert (now.reveal(), status_of(sim, key.id)) == (before.reveal(), "active")


# -- the file, and more than one console ---------------------------------------------------------


async def test_a_rotation_that_ended_elsewhere_is_not_begun_again(
    room: ApiKeys, rotations: Rotations, sim: SimServer
) -> None:
    key = await old_key(room, "stale")
    progress = await rotations.start(key, "keyring", MODEL)
    stale = replace(progress.rotation, step="make", new_id="")
    await rotations.abandon(progress.rotation)
    for act in (rotations.advance, rotations.abandon):
        with pytest.raises(OperationError, match="has ended already"):
            await act(stale)
    assert rotations.under_way() == []
    assert len([k for k in sim.state.keys.values() if k.name == stale.new_name]) == 1


async def test_abandoning_takes_the_rotation_as_it_is_on_file(
    room: ApiKeys, rotations: Rotations, sim: SimServer
) -> None:
    """The one in hand is from before the new key was made."""
    key = await old_key(room, "in hand")
    progress = await rotations.start(key, "keyring", MODEL)
    stale = replace(progress.rotation, step="make", new_id="", new_name="of another time")
    await rotations.abandon(stale)
    assert status_of(sim, progress.rotation.new_id) == "revoked"


async def test_nothing_is_begun_while_another_console_is_at_it(
    room: ApiKeys, rotations: Rotations
) -> None:
    key = await old_key(room, "both at once")
    with rotations.file.alone(), pytest.raises(OperationError, match="another console"):
        await rotations.start(key, "keyring", MODEL)
    assert rotations.under_way() == []


async def test_a_file_system_without_locks_is_named_and_no_other_console(
    room: ApiKeys, rotations: Rotations, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = await old_key(room, "on a share")

    def unknown(*_: object) -> None:
        raise OSError(37, "No locks available")

    with monkeypatch.context() as patch:
        patch.setattr(fcntl, "flock", unknown)
        with pytest.raises(OperationError, match=r"No locks available; .* ROLLOUT_STATE_DIR"):
            await rotations.start(key, "keyring", MODEL)
    assert rotations.under_way() == []


async def test_read_only_sends_nothing_and_writes_nothing(
    room: ApiKeys, rotations: Rotations, sim: SimServer, clock: Clock
) -> None:
    key = await old_key(room, "looked at")
    progress = await rotations.start(key, "keyring", MODEL)
    room.access.read_only = True
    clock.ahead = timedelta(hours=30)
    served = -1
    while served != len(sim.state.requests):  # one is recorded a moment after its answer is here
        served = len(sim.state.requests)
        await asyncio.sleep(0.05)
    before = rotations.file.path.read_bytes()
    for act in (rotations.advance, rotations.abandon):
        with pytest.raises(OperationError, match="read-only"):
            await act(progress.rotation)
    assert (rotations.file.path.read_bytes(), len(sim.state.requests)) == (before, served)


@pytest.mark.parametrize(
    "damage",
    [{"step": "soon"}, {"since": "today"}, {"since": "2026-01-01T00:00:00"}, {"place": "drawer"},
     {"quiet_s": "x"}, {"safe_s": 1e300}, {"old_id": 7}, {"colour": "red"}],
)  # fmt: skip
async def test_a_damaged_file_is_one_sentence(
    room: ApiKeys, rotations: Rotations, damage: dict[str, Any]
) -> None:
    now = datetime.now(UTC).isoformat()
    entry = asdict(Rotation("k", "n", "prod", "keyring", MODEL, now, now)) | damage
    rotations.file.path.write_text(json.dumps({"version": 1, "rotations": [entry]}))
    with pytest.raises(OperationError, match="is corrupt"):
        rotations.under_way()
