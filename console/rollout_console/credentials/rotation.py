"""Rotate an API key as a persistent state machine: any step can be the last for now.

The state is saved to disk before the next step begins, so a rotation can be resumed after a crash,
in another session or by another command. The old key works until the new one has been verified,
the old one has been unused for the quiet period, and the new one has been verified again.
"""

import os
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path

import msgspec
from msgspec.structs import replace

from rollout_console.common.errors import OperationError
from rollout_console.credentials.api_keys import ApiKeys, UncertainSecret
from rollout_console.credentials.key_values import starts
from rollout_console.credentials.rotation_file import (
    QUIET_S,
    SAFE_S,
    STEPS,
    Rotation,
    RotationFile,
    Step,
)
from rollout_console.credentials.vault.errors import NoKeyring, UnfitKeyring
from rollout_console.credentials.vault.profiles import checked_name
from rollout_console.credentials.vault.vault import TYPED, Place
from rollout_console.tokenlab.errors import Refused
from rollout_console.tokenlab.types import ApiKey
from rollout_gate.secret import Secret

_NEW, _OLD = ".new", ".old"


class Progress(msgspec.Struct, frozen=True):
    """The steps done in this call, and what the rotation waits for; empty where it is done."""

    rotation: Rotation
    did: tuple[str, ...]
    waits_for: str


class _Back(msgspec.Struct, frozen=True):
    """How an abort changes the profile: ``put`` restores a secret, ``forget`` deletes it."""

    put: Secret | None = None
    forget: bool = False


class Rotations:
    """Starts, advances and aborts the rotations in progress."""

    def __init__(self, room: ApiKeys, path: Path) -> None:
        self._room = room
        self.file = RotationFile(path)

    def under_way(self) -> list[Rotation]:
        """Return the rotations in progress; raises OperationError for an unusable file."""
        return self.file.under_way()

    def find(self, key: ApiKey) -> Rotation | None:
        """Return the rotation in progress whose old or new key this is; None without one."""
        return self.file.find(key)

    async def start(
        self,
        key: ApiKey,
        place: Place,
        model: str,
        *,
        quiet_s: float = QUIET_S,
        safe_s: float = SAFE_S,
        force: bool = False,
    ) -> Progress:
        """Begin to rotate ``key`` for the current profile, and advance as far as possible now.

        ``model`` answers the requests that verify the new key; ``quiet_s`` and ``safe_s`` are in
        seconds; ``force`` rotates a key that is not the profile's own. Raises OperationError,
        ApiError, VaultError, ReadOnly; steps done before the error are kept.
        """
        self._room.access.require()
        profile, now = self._room.profile, self._now()
        for name in (profile + _NEW, profile + _OLD):
            checked_name(name)
        if key.status != "active":
            raise OperationError(f"key {key.name} is {key.status}; only an active key is rotated")
        if key.models and model not in key.models:
            raise OperationError(f"key {key.name} may not use {model}: prove it with another model")
        if key.limit == 0:
            raise OperationError(
                f"key {key.name} has a limit of $0, so a new one like it would never answer: "
                "raise its limit first"
            )
        with self.file.alone():
            for other in self.under_way():
                if key.id in (other.old_id, other.new_id):
                    raise OperationError(f"key {key.name} is being rotated already; go on with it")
                if other.profile == profile:
                    raise OperationError(
                        f"key {other.old_name} is being rotated for profile {profile}: let that "
                        "end first, or abandon it"
                    )
            if not force:
                self._must_belong(key, profile)
            self._must_be_free(profile, place)
            made = Rotation(
                key.id, key.name, profile, place, model, now, now,
                new_name=_new_name(key, now), quiet_s=quiet_s, safe_s=safe_s,
            )  # fmt: skip
            self.file.keep(made)
            return await self._advance(made)

    async def advance(self, rotation: Rotation) -> Progress:
        """Resume a rotation: do every step that can be done now. Raises as ``start`` does."""
        self._room.access.require()
        with self.file.alone():
            return await self._advance(self.file.current(rotation))

    async def abandon(self, rotation: Rotation) -> str:
        """Abort a rotation: restore the old key, revoke the new one; return a summary.

        Raises OperationError where the old key is revoked or expired, or where the profile would
        be left with the new key; nothing is revoked then.
        """
        self._room.access.require()
        with self.file.alone():
            current = self.file.current(rotation)
            keys = {key.id: key for key in await self._room.keys()}
            old = keys.get(current.old_id)
            if old is None or old.status == "revoked":
                raise OperationError(
                    f"key {current.old_name} is revoked; the rotation cannot be aborted"
                )
            if old.expires_at is not None and old.expires_at <= self._room.now():
                raise OperationError(f"key {old.name} has expired; the rotation cannot be aborted")
            back = self._way_back(current, old, keys)
            if old.status != "active":
                await self._room.change(old, status="active")
                back = self._way_back(current, old, keys)  # the profile may have another key by now
            said = self._go_back(current, back)
            said = [*await self._revoke_new(current, keys), *said]
            self._room.forget(current.profile + _NEW, "api_key", current.place)
            self.file.drop(current)
        return "; ".join([f"key {current.old_name} stays", *said])

    # -- preconditions ---------------------------------------------------------------------------

    def _must_belong(self, key: ApiKey, profile: str) -> None:
        """Raise OperationError unless the profile uses ``key``, or has no key at all."""
        found = self._room.vault.present(profile, "api_key")
        if found.secret is None:
            unknown = next((s for s in found.steps if s.closed or (s.found and s.reason)), None)
            if unknown is None:
                return
            trouble = f"{unknown.source}: {unknown.reason}"
            raise OperationError(
                f"whether profile {profile} uses key {key.name} cannot be told: {trouble}"
            )
        if not starts(found.secret.reveal(), key.prefix):
            raise OperationError(
                f"key {key.name} ({key.prefix}) is not the one that profile {profile} has from "
                f"{found.source}: choose its profile, or use keys rotate --force"
            )

    def _must_be_free(self, profile: str, place: Place) -> None:
        """Raise OperationError where a stored secret would be overwritten."""
        for name in (profile + _NEW, profile + _OLD):
            if self._room.vault.kept(name, "api_key", place) is not None:
                raise OperationError(
                    f"a secret of a rotation before is kept for profile {name}: forget it with "
                    f"keys remove {name} if nothing needs it any more"
                )

    # -- steps -----------------------------------------------------------------------------------

    async def _advance(self, current: Rotation) -> Progress:
        did: list[str] = []
        while current.step != "done":
            keys = {key.id: key for key in await self._room.keys()}
            old = keys.get(current.old_id)
            if old is None:
                raise OperationError(f"key {current.old_name} is gone from the organisation")
            said, waits_for, after = await self._do(current, old, keys)
            if waits_for:
                return Progress(current, tuple(did), waits_for)
            did.append(said)
            current = replace(after, step=_next(current.step), since=self._now())
            self.file.keep(current)
        return Progress(current, tuple(did), "")

    async def _do(
        self, rotation: Rotation, old: ApiKey, keys: dict[str, ApiKey]
    ) -> tuple[str, str, Rotation]:
        """Do the next step; return (what was done, what it waits for, the rotation after it)."""
        if rotation.step == "make":
            return await self._make(rotation, old, keys)
        new = keys.get(rotation.new_id)
        if new is None or new.status != "active":
            raise OperationError(
                f"the new key {rotation.new_name} is {new.status if new else 'gone'}; "
                "abandon this rotation and begin another"
            )
        if rotation.step == "prove":
            proof = await self._room.prove(self._new_secret(rotation), rotation.model)
            if not proof.works:
                return "", f"the new key to answer: {proof.words}", rotation
            return f"proved the new key: {proof.words}", "", rotation
        if rotation.step == "use":
            return self._use(rotation)
        if rotation.step == "silence":
            return self._silence(rotation, old)
        if rotation.step == "deactivate":
            return await self._deactivate(rotation, old)
        return await self._revoke(rotation, old)

    async def _make(
        self, rotation: Rotation, old: ApiKey, keys: dict[str, ApiKey]
    ) -> tuple[str, str, Rotation]:
        lost = [key for key in self._made(rotation, keys) if key.status != "revoked"]
        for key in lost:
            # Crash recovery: a run ended between the API's answer and the vault, so the secret of
            # this key is lost.
            await self._room.change(key, status="revoked")
        try:
            created, where = await self._room.create_kept(
                rotation.new_name, rotation.profile + _NEW, rotation.place,
                limit=old.limit, models=old.models, expires_at=None,
            )  # fmt: skip
        except UncertainSecret as error:
            # Record the id: a used key without it is taken for another rotation's.
            self.file.keep(replace(rotation, new_id=error.key.id))
            raise OperationError(
                f"{error.made}; {error.unknown}. Go on with the rotation once the keyring answers:"
                " it makes another then, and revokes this one"
            ) from None
        said = f"made {rotation.new_name} with the limit and models of {old.name}; it is in {where}"
        if lost:
            names = ", ".join(f"{key.name} ({key.id})" for key in lost)
            said += f"; revoked {names}, whose secret an earlier try had lost"
        if created.problem:
            said += f"; {created.problem}"
        return said, "", replace(rotation, new_id=created.key.id)

    def _use(self, rotation: Rotation) -> tuple[str, str, Rotation]:
        vault, profile, place = self._room.vault, rotation.profile, rotation.place
        new = self._new_secret(rotation)
        if vault.present(profile, "api_key").source == TYPED:
            return "", f"this run to end: profile {profile} has a key typed for it alone", rotation
        own, old = vault.kept(profile, "api_key", place), self._old_secret(rotation)
        if own is not None and not _same(own, new):
            if old is not None and not _same(own, old):
                return "", f"profile {profile} to have its old key: it has another now", rotation
            self._room.keep(profile + _OLD, "api_key", own, place)
        if own is None or not _same(own, new):
            # Compare again: to write the old one may take seconds, and another be added meanwhile.
            now = vault.kept(profile, "api_key", place)
            if now is not None and not _same(now, own):
                return "", f"profile {profile} to have its old key: it has another now", rotation
            self._room.keep(profile, "api_key", new, place)
        waits = self._used_elsewhere(rotation, new)
        if waits:
            return "", waits, rotation
        return f"profile {profile} uses the new key; give it to the applications now", "", rotation

    def _used_elsewhere(self, rotation: Rotation, new: Secret) -> str:
        """Return what keeps the profile from using the new key, to wait for; else empty."""
        vault, profile = self._room.vault, rotation.profile
        where = vault.name_of(rotation.place)
        waits = f"profile {profile} to use the new key"
        own = vault.kept(profile, "api_key", rotation.place)
        if not _same(own, new):
            what = "none" if own is None else "another"
            return f"{waits}: {where} has {what} for it; abandon goes back to the old one"
        found = vault.present(profile, "api_key")
        unknown = next((step for step in found.steps if step.closed), None)
        if unknown is not None:
            return (
                f"{waits}: {unknown.source} goes before {where}, and cannot be looked at: "
                f"{unknown.reason}"
            )
        if found.secret is None:
            return f"{waits}: {found.trouble}"
        if not _same(found.secret, new):
            return f"{waits}: {found.source} goes before {where} and gives another; end that there"
        return ""

    def _silence(self, rotation: Rotation, old: ApiKey) -> tuple[str, str, Rotation]:
        # The quiet period of a key that was never used starts with this step.
        since = datetime.fromisoformat(rotation.since)
        quiet_since = max(old.last_used_at, since) if old.last_used_at else since
        waits = self._noise(rotation, old, quiet_since)
        if waits:
            return "", waits, rotation
        silent = _ago(self._room.now() - quiet_since)
        return f"{old.name} has been silent for {silent}", "", rotation

    def _noise(self, rotation: Rotation, old: ApiKey, quiet_since: datetime) -> str:
        now, last = self._room.now(), old.last_used_at
        left = timedelta(seconds=rotation.quiet_s) - (now - quiet_since)
        if left <= timedelta(0):
            return ""
        used = f"last used {_ago(now - last)} ago" if last else "never used"
        return f"{old.name} to fall silent: {used}, {_ago(left)} of silence to go"

    async def _deactivate(self, rotation: Rotation, old: ApiKey) -> tuple[str, str, Rotation]:
        if old.status == "revoked":
            return f"{old.name} was revoked outside this rotation", "", rotation
        new = self._new_secret(rotation)
        waits = self._used_elsewhere(rotation, new)
        if not waits and old.last_used_at is not None:
            # Check again: this step may have waited long, and the old key be in use again.
            waits = self._noise(rotation, old, old.last_used_at)
        if waits:
            return "", waits, rotation
        proof = await self._room.prove(new, rotation.model)
        if not proof.works:
            return "", f"the new key to answer: {proof.words}", rotation
        await self._room.change(old, status="inactive")
        return f"deactivated {old.name}; keys reactivate brings it back", "", rotation

    async def _revoke(self, rotation: Rotation, old: ApiKey) -> tuple[str, str, Rotation]:
        left = timedelta(seconds=rotation.safe_s) - (
            self._room.now() - datetime.fromisoformat(rotation.since)
        )
        if old.status == "active":
            raise OperationError(
                f"{old.name} was reactivated outside this rotation; abandon this rotation, or"
                " deactivate it"
            )
        if old.status != "revoked":
            if left > timedelta(0):
                return "", f"{_ago(left)} more, in which {old.name} can be reactivated", rotation
            await self._room.change(old, status="revoked")
        kept = await self._forget_both(rotation)
        return "; ".join([f"revoked {old.name}", *kept]), "", rotation

    async def _forget_both(self, rotation: Rotation) -> list[str]:
        """Delete the rotation's stored secrets unless still needed; return a note for each kept."""
        profile, place, said = rotation.profile, rotation.place, []
        old, new = self._old_secret(rotation), self._room.vault.kept(
            profile + _NEW, "api_key", place
        )  # fmt: skip
        if old is not None:
            if await self._is_valid(old, rotation.model):
                said.append(f"the secret of {profile}{_OLD} is another key's, so it is kept")
            else:
                self._room.forget(profile + _OLD, "api_key", place)
        if new is not None:
            if _same(self._room.vault.kept(profile, "api_key", place), new):
                self._room.forget(profile + _NEW, "api_key", place)
            else:
                said.append(f"profile {profile} has another key, so {profile}{_NEW} is kept")
        return said

    async def _is_valid(self, secret: Secret, model: str) -> bool:
        try:
            await self._room.prove(secret, model)
        except Refused as error:
            return error.status != 401
        return True

    def _new_secret(self, rotation: Rotation) -> Secret:
        found = self._room.vault.kept(rotation.profile + _NEW, "api_key", rotation.place)
        if found is None:
            raise OperationError(
                f"the new secret is not in the {rotation.place} store any more; "
                "abandon this rotation and begin another"
            )
        return found

    def _old_secret(self, rotation: Rotation) -> Secret | None:
        return self._room.vault.kept(rotation.profile + _OLD, "api_key", rotation.place)

    def _made(self, rotation: Rotation, keys: dict[str, ApiKey]) -> list[ApiKey]:
        """Return the keys this rotation created: by id, or by its own name and time.

        Without an id the secret was lost before it was stored, so a key that has been used since
        is another's whatever its name: names of older versions were the same for everybody.
        """
        others = [r for r in self.under_way() if r.old_id != rotation.old_id]
        taken = {rotation.old_id, *(r.old_id for r in others), *(r.new_id for r in others)}
        # The API may truncate times to whole seconds.
        since = datetime.fromisoformat(rotation.started_at).replace(microsecond=0)
        return [
            key
            for key in keys.values()
            if key.id not in taken
            and (
                key.id == rotation.new_id
                or (
                    key.name == rotation.new_name
                    and key.created_at >= since
                    and key.last_used_at is None
                )
            )
        ]

    # -- abort -----------------------------------------------------------------------------------

    def _way_back(self, rotation: Rotation, old: ApiKey, keys: dict[str, ApiKey]) -> _Back:
        """Return how an abort changes the profile; raises OperationError where it is impossible."""
        vault, profile, place = self._room.vault, rotation.profile, rotation.place
        own, kept = vault.kept(profile, "api_key", place), self._old_secret(rotation)
        new = vault.kept(profile + _NEW, "api_key", place)
        found = vault.present(profile, "api_key")
        if new is None:
            new = own if _may_be_new(own, old, keys.get(rotation.new_id)) else None
        uses_new = new is not None and _same(own, new)
        if not uses_new and (own is not None or kept is None):
            back = _Back()
        elif kept is not None:
            back = _Back(put=kept)
        else:
            back = _Back(forget=True)
        if back.put is not None and found.source == TYPED:
            raise OperationError(f"profile {profile} has a key typed for this run: end it first")
        if new is None:
            return back
        # Resolution order: a source before this store supplies the key now; one after it does once
        # this store has none.
        first = found.secret
        if _same(first, new) and (own is None or found.source != vault.name_of(place)):
            raise OperationError(
                f"profile {profile} has the new key from {found.source}; end that there, then "
                "abandon again"
            )
        if back.forget and (first is None or _same(first, new)):
            after = self._in_other_place(rotation)
            if after is None or _same(after, new):
                raise OperationError(
                    f"profile {profile} uses the new key, and the secret of {old.name} is not kept "
                    f"here: give it with keys add {profile}, then abandon again"
                )
        return back

    def _in_other_place(self, rotation: Rotation) -> Secret | None:
        with suppress(NoKeyring, UnfitKeyring):
            other: Place = "encrypted" if rotation.place == "keyring" else "keyring"
            return self._room.vault.kept(rotation.profile, "api_key", other)
        return None

    def _go_back(self, rotation: Rotation, back: _Back) -> list[str]:
        profile, place = rotation.profile, rotation.place
        if back.put is not None:
            self._room.keep(profile, "api_key", back.put, place)
            self._room.forget(profile + _OLD, "api_key", place)
            return ["the vault has the old secret again"]
        if back.forget:
            self._room.forget(profile, "api_key", place, keeps_profile=True)
            source = self._room.vault.present(profile, "api_key").source
            return [f"profile {profile} has its key from {source} again"]
        kept = self._old_secret(rotation)
        if kept is None:
            return []
        if _same(self._room.vault.kept(profile, "api_key", place), kept):
            self._room.forget(profile + _OLD, "api_key", place)
            return []
        return [f"profile {profile} has another key, so {profile}{_OLD} is kept"]

    async def _revoke_new(self, rotation: Rotation, keys: dict[str, ApiKey]) -> list[str]:
        """Revoke the keys that the rotation created; return a sentence on each outcome."""
        made = self._made(rotation, keys)
        revoked = [key for key in made if key.status != "revoked"]
        for key in revoked:
            await self._room.change(key, status="revoked")
        if revoked:
            names = ", ".join(f"{key.name} ({key.id})" for key in revoked)
            said = [f"the new one is revoked: {names}"]
        elif made:
            said = ["the new one was revoked before"]
        else:
            said = [f"there is no new one{' any more' if rotation.new_id else ''}"]
        alike = [
            key.id for key in keys.values()
            if key.name == rotation.new_name and key.status != "revoked" and key not in made
        ]  # fmt: skip
        if alike:
            said.append(f"{', '.join(alike)} has its name, and is left as it is")
        return said

    def _now(self) -> str:
        return self._room.now().isoformat()


def _next(step: Step) -> Step:
    return STEPS[STEPS.index(step) + 1]


def _new_name(key: ApiKey, now: str) -> str:
    """Return the old name plus the date and random digits; at most 50 characters.

    The name is this rotation's alone: a key that has it is one that this rotation made, whoever
    else rotates the same key.
    """
    base = key.name.partition(" (since ")[0]
    suffix = f" (since {now[:10]} {os.urandom(4).hex()})"
    return base[: 50 - len(suffix)] + suffix


def _may_be_new(own: Secret | None, old: ApiKey, made: ApiKey | None) -> bool:
    """Return whether a secret may be the new key's, by the prefixes in the key list.

    Where both keys share a prefix, a revoked new key was abandoned before, so it is not.
    """
    if own is None or made is None or not starts(own.reveal(), made.prefix):
        return False
    return made.status != "revoked" or not starts(own.reveal(), old.prefix)


def _same(one: Secret | None, other: Secret | None) -> bool:
    return one is not None and other is not None and one.reveal() == other.reveal()


def _ago(span: timedelta) -> str:
    seconds = max(span.total_seconds(), 0.0)
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} m" if seconds < 7200 else f"{seconds / 3600:.0f} h"
