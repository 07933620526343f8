"""Rotating an API key: one step at a time, each of which can be the last for today.

What is done is written down before the next step begins, so a rotation goes on after a crash, in
another session, by another command. The old key works until the new one has been proven, the old
one has fallen silent, and the new one has been proven again.
"""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Literal

from console.operations.errors import OperationError
from console.operations.keys import KeyRoom
from console.private_file import write_private
from console.tokenlab.types import ApiKey, Proof
from console.vault.vault import Place

Step = Literal["make", "prove", "use", "silence", "deactivate", "revoke", "done"]

STEPS: tuple[Step, ...] = ("make", "prove", "use", "silence", "deactivate", "revoke", "done")

QUIET_S = 30 * 60.0
"""The old key must not have been used for this long before it is deactivated."""

SAFE_S = 24 * 3600.0
"""A deactivated key can be reactivated for this long before it is revoked for ever."""

_NEW, _OLD = ".new", ".old"


@dataclass(frozen=True, slots=True)
class Rotation:
    """How far one rotation is; ``step`` is the next to do, ``since`` when that began.

    The new secret is kept for profile ``PROFILE.new`` until it is proven; the old one, where this
    vault had it, for ``PROFILE.old`` until it is revoked.
    """

    old_id: str
    old_name: str
    profile: str
    place: Place
    model: str
    started_at: str
    since: str
    step: Step = "make"
    new_id: str = ""
    new_name: str = ""
    quiet_s: float = QUIET_S
    safe_s: float = SAFE_S


@dataclass(frozen=True, slots=True)
class Progress:
    """What was done just now, and what the rotation waits for; empty where it is done."""

    rotation: Rotation
    did: tuple[str, ...]
    waits_for: str


class Rotations:
    """The rotations under way, in one file without any secret, and taking them further."""

    def __init__(self, room: KeyRoom, path: Path) -> None:
        self._room = room
        self.path = path

    def under_way(self) -> list[Rotation]:
        """Return the rotations that are not done; raises OperationError for a damaged file."""
        try:
            table = json.loads(self.path.read_text(encoding="utf-8"))
            return [Rotation(**entry) for entry in table["rotations"]]
        except FileNotFoundError:
            return []
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            raise OperationError(
                f"{self.path} is damaged; move it away, then look at keys list for keys that a "
                "rotation made, and deactivate the old one by hand"
            ) from None

    def find(self, key: ApiKey) -> Rotation | None:
        """Return the rotation under way that this key is the old or the new one of."""
        return next((r for r in self.under_way() if key.id in (r.old_id, r.new_id)), None)

    async def start(
        self,
        key: ApiKey,
        place: Place,
        model: str,
        *,
        quiet_s: float = QUIET_S,
        safe_s: float = SAFE_S,
    ) -> Progress:
        """Begin to rotate ``key`` for the room's profile, and go as far as possible now.

        ``model`` answers the requests that prove the new key. Raises OperationError, ApiError,
        VaultError; what was done until then is kept.
        """
        if self._room.read_only:
            raise OperationError("read-only: nothing is changed; start without --read-only")
        if self.find(key) is not None:
            raise OperationError(f"key {key.name} is being rotated already; go on with it")
        if key.status != "active":
            raise OperationError(f"key {key.name} is {key.status}; only an active key is rotated")
        if key.models and model not in key.models:
            raise OperationError(f"key {key.name} may not use {model}: prove it with another model")
        now = self._now()
        made = Rotation(
            key.id, key.name, self._room.profile, place, model, now, now,
            new_name=_new_name(key.name, now), quiet_s=quiet_s, safe_s=safe_s,
        )  # fmt: skip
        self._keep(made)
        return await self.advance(made)

    async def advance(self, rotation: Rotation) -> Progress:
        """Do every step that can be done now; raises as ``start`` does."""
        did: list[str] = []
        with self._alone():
            current = next((r for r in self.under_way() if r.old_id == rotation.old_id), rotation)
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
                self._keep(current)
        return Progress(current, tuple(did), "")

    async def abandon(self, rotation: Rotation) -> str:
        """End a rotation while the old key still works, and go back to it; the new is revoked."""
        with self._alone():
            keys = {key.id: key for key in await self._room.keys()}
            old = keys.get(rotation.old_id)
            if old is None or old.status == "revoked":
                raise OperationError(f"key {rotation.old_name} is revoked; there is no way back")
            if old.status != "active":
                await self._room.change(old, status="active")
            went_back = self._put_old_back(rotation)
            new = keys.get(rotation.new_id)
            if new is not None and new.status != "revoked":
                await self._room.change(new, status="revoked")
            self._room.remove(rotation.profile + _NEW, ("api_key",))
            self._drop(rotation)
        back = "; the vault has the old secret again" if went_back else ""
        return f"key {rotation.old_name} stays, the new one is revoked{back}"

    # -- steps -----------------------------------------------------------------------------------

    async def _do(
        self, rotation: Rotation, old: ApiKey, keys: dict[str, ApiKey]
    ) -> tuple[str, str, Rotation]:
        """Do the next step; return what was done, or what it waits for, and the rotation."""
        if rotation.step == "make":
            return await self._make(rotation, old, keys)
        new = keys.get(rotation.new_id)
        if new is None or new.status != "active":
            raise OperationError(
                f"the new key {rotation.new_name} is {new.status if new else 'gone'}; "
                "abandon this rotation and begin another"
            )
        if rotation.step == "prove":
            proof = await self._prove(rotation, _NEW)
            if not proof.works:
                return "", f"the new key to answer: {proof.words}", rotation
            return f"proved the new key: {proof.words}", "", rotation
        if rotation.step == "use":
            return self._use(rotation), "", rotation
        if rotation.step == "silence":
            return self._silence(rotation, old)
        if rotation.step == "deactivate":
            return await self._deactivate(rotation, old)
        return await self._revoke(rotation, old)

    async def _make(
        self, rotation: Rotation, old: ApiKey, keys: dict[str, ApiKey]
    ) -> tuple[str, str, Rotation]:
        for key in keys.values():
            # Of a run that ended between the API's answer and the vault: nobody has its secret.
            if key.name == rotation.new_name and key.status != "revoked":
                await self._room.change(key, status="revoked")
        created, where = await self._room.create_kept(
            rotation.new_name, rotation.profile + _NEW, rotation.place,
            limit=old.limit, models=old.models, expires_at=None,
        )  # fmt: skip
        said = f"made {rotation.new_name} with the limit and models of {old.name}; it is in {where}"
        return said, "", replace(rotation, new_id=created.key.id)

    async def _prove(self, rotation: Rotation, suffix: str) -> Proof:
        found = self._room.vault.kept(rotation.profile + suffix, "api_key", rotation.place)
        if found is None:
            raise OperationError(
                f"the new secret is not in the {rotation.place} store any more; "
                "abandon this rotation and begin another"
            )
        return await self._room.prove(found, rotation.model)

    def _use(self, rotation: Rotation) -> str:
        vault, profile, place = self._room.vault, rotation.profile, rotation.place
        new = vault.kept(profile + _NEW, "api_key", place)
        if new is None:
            raise OperationError(
                f"the new secret of profile {profile} is not in the vault any more"
            )
        old = vault.kept(profile, "api_key", place)
        if old is not None and old.reveal() != new.reveal():
            self._room.keep(profile + _OLD, "api_key", old, place)
        self._room.keep(profile, "api_key", new, place)
        first, _ = vault.given.look("api_key")
        still = "; a key given in the environment goes before it" if first is not None else ""
        return f"profile {profile} uses the new key; give it to the applications now{still}"

    def _silence(self, rotation: Rotation, old: ApiKey) -> tuple[str, str, Rotation]:
        now = datetime.fromisoformat(self._now())
        last = old.last_used_at
        # A key that was never used is as silent as one can be, from the step on.
        quiet_since = max(last, datetime.fromisoformat(rotation.since)) if last else (
            datetime.fromisoformat(rotation.since)
        )  # fmt: skip
        left = timedelta(seconds=rotation.quiet_s) - (now - quiet_since)
        if left > timedelta(0):
            used = f"last used {_ago(now - last)} ago" if last else "never used"
            waits = f"{old.name} to fall silent: {used}, {_ago(left)} of silence to go"
            return "", waits, rotation
        # Only now: had this run ended in the step before, it would have been needed again.
        self._room.remove(rotation.profile + _NEW, ("api_key",))
        return f"{old.name} has been silent for {_ago(now - quiet_since)}", "", rotation

    async def _deactivate(self, rotation: Rotation, old: ApiKey) -> tuple[str, str, Rotation]:
        proof = await self._prove(rotation, "")
        if not proof.works:
            return "", f"the new key to answer: {proof.words}", rotation
        await self._room.change(old, status="inactive")
        return f"deactivated {old.name}; keys reactivate brings it back", "", rotation

    async def _revoke(self, rotation: Rotation, old: ApiKey) -> tuple[str, str, Rotation]:
        now = datetime.fromisoformat(self._now())
        left = timedelta(seconds=rotation.safe_s) - (now - datetime.fromisoformat(rotation.since))
        if old.status == "active":
            raise OperationError(
                f"{old.name} was reactivated by somebody; abandon this rotation, or deactivate it"
            )
        if left > timedelta(0):
            return "", f"{_ago(left)} more, in which {old.name} can be reactivated", rotation
        if old.status != "revoked":
            await self._room.change(old, status="revoked")
        self._room.remove(rotation.profile + _OLD, ("api_key",))
        return f"revoked {old.name}", "", rotation

    def _put_old_back(self, rotation: Rotation) -> bool:
        old = self._room.vault.kept(rotation.profile + _OLD, "api_key", rotation.place)
        if old is None:
            return False
        self._room.keep(rotation.profile, "api_key", old, rotation.place)
        self._room.remove(rotation.profile + _OLD, ("api_key",))
        return True

    # -- the file --------------------------------------------------------------------------------

    def _keep(self, rotation: Rotation) -> None:
        others = [r for r in self.under_way() if r.old_id != rotation.old_id]
        self._write([*others, rotation] if rotation.step != "done" else others)

    def _drop(self, rotation: Rotation) -> None:
        self._write([r for r in self.under_way() if r.old_id != rotation.old_id])

    def _write(self, rotations: list[Rotation]) -> None:
        table = {"version": 1, "rotations": [asdict(rotation) for rotation in rotations]}
        try:
            write_private(self.path, (json.dumps(table, indent=2) + "\n").encode())
        except OSError as error:
            raise OperationError(f"{self.path} cannot be written: {error.strerror}") from None

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Let one process at a time take rotations further."""
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = self.path.with_suffix(".lock")
            descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise OperationError(f"{self.path} cannot be locked: {error.strerror}") from None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
            raise OperationError("another console takes a rotation further just now") from None
        try:
            yield
        finally:
            os.close(descriptor)

    def _now(self) -> str:
        return self._room.now().isoformat()


def _next(step: Step) -> Step:
    return STEPS[STEPS.index(step) + 1]


def _new_name(name: str, now: str) -> str:
    """The old name with the day; 50 characters at most, and never the old name itself."""
    base = name.partition(" (since ")[0]
    suffix = f" (since {now[:16].replace('T', ' ')})"
    return base[: 50 - len(suffix)] + suffix


def _ago(span: timedelta) -> str:
    seconds = max(span.total_seconds(), 0.0)
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} m" if seconds < 7200 else f"{seconds / 3600:.0f} h"
