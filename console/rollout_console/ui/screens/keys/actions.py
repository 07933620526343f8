"""Flows of the keys screen's actions: ask, confirm, run the use case, report the result."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from datetime import datetime
from functools import partial
from typing import Any, Protocol, TypeVar

from textual.app import App

from rollout_console.common.errors import OperationError
from rollout_console.common.listing import counted
from rollout_console.credentials.api_keys import ApiKeys
from rollout_console.credentials.rotation import Rotations
from rollout_console.credentials.vault.credential import PURPOSES, WORDS, Credential
from rollout_console.credentials.vault.errors import VaultError, WrongPassphrase
from rollout_console.credentials.vault.vault import Place
from rollout_console.tokenlab.errors import ApiError
from rollout_console.tokenlab.types import ApiKey, CreatedKey
from rollout_console.ui.dialogs.confirm import ConfirmDialog, Question
from rollout_console.ui.dialogs.secret_once import SecretOnce
from rollout_console.ui.dialogs.text import TextDialog
from rollout_console.ui.messages import CredentialsChanged
from rollout_console.ui.off_loop import off_loop
from rollout_console.ui.screens.keys.forms import (
    credential_form,
    key_form,
    passphrase_form,
    place_of,
    read_key,
    rotation_form,
)
from rollout_gate.file.model import DEFAULT_BASE_URL

T = TypeVar("T")


class Listener(Protocol):
    """The screen that starts the flows."""

    def say(self, sentence: str, *, bad: bool = False) -> None:
        """Show a message; ``bad`` marks a problem."""

    def reload(self) -> None:
        """Reload credentials from the vault and keys from the API."""


class KeyFlows:
    """One method for each key; each runs in a worker of the screen, one at a time."""

    def __init__(
        self,
        app: App[None],
        room: ApiKeys,
        rotations: Rotations,
        proving_model: str,
        models: Sequence[str],
        listener: Listener,
    ) -> None:
        self._app = app
        self._room = room
        self._rotations = rotations
        self._proving_model = proving_model
        self._models = models
        self._listener = listener

    def resolve_all(self) -> list[Credential]:
        """Return both credentials of the profile in use; may block for seconds."""
        return [self._room.vault.resolve(self._room.profile, purpose) for purpose in PURPOSES]

    async def new(self) -> None:
        """Create an API key; its secret is stored in the vault, or shown once."""
        values = await self._app.push_screen_wait(key_form(None, self._room.profile, self._models))
        if values is None:
            return
        wish = read_key(values)
        place = place_of(values["place"])
        where = f"its secret kept in the {place} store" if place else "its secret shown once"
        effect = f"make API key {wish['name']} for {self._room.base_url}, {where}"
        if not await self._sure("New API key", effect) or not await self._ready(place):
            return
        if place is None:
            created = await self._do("making it", lambda: self._room.create(**wish))
            if created is not None:
                await self._app.push_screen_wait(SecretOnce(created.key.name, created.secret))
                await self._say_made(created, f"{created.key.name} was made")
        else:
            profile = values["profile"]
            kept = await self._do(
                "making it",
                lambda: self._room.create_kept(profile=profile, place=place, **wish),
            )
            if kept is not None:
                await self._say_made(
                    kept[0],
                    f"{kept[0].key.name} was made; its secret is in {kept[1]} for {profile}",
                )
        self._listener.reload()

    async def _say_made(self, created: CreatedKey, said: str) -> None:
        self._listener.say(said)
        if created.problem:
            await self._app.push_screen_wait(TextDialog("Odd answer", [created.problem]))

    async def edit(self, key: ApiKey) -> None:
        """Change name, limit, models and expiry."""
        values = await self._app.push_screen_wait(key_form(key, self._room.profile, self._models))
        if values is None:
            return
        wish = read_key(values, key)
        now = {
            "name": key.name, "limit": key.limit, "models": key.models,
            "expires_at": key.expires_at,
        }  # fmt: skip
        changes = {name: value for name, value in wish.items() if value != now[name]}
        if not changes:
            self._listener.say("nothing to do: the key has these values already")
            return
        words = ", ".join(
            f"{name} {_words(now[name])} to {_words(v)}" for name, v in changes.items()
        )
        if await self._sure("Change API key", f"{key.name}: {words}"):
            changed = await self._do("changing it", lambda: self._room.change(key, **changes))
            if changed is not None:
                self._listener.say(f"done: {changed.name}: {words}")
            self._listener.reload()

    async def stop(self, key: ApiKey) -> None:
        """Deactivate an active key, reactivate another."""
        stops = key.status == "active"
        verb = "Deactivate" if stops else "Reactivate"
        effect = f"{key.name}: requests with it {'fail from now on' if stops else 'work again'}"
        if await self._sure(f"{verb} API key", effect, key.name if stops else ""):
            status = "inactive" if stops else "active"
            if (
                await self._do("changing it", lambda: self._room.change(key, status=status))
                is not None
            ):
                self._listener.say(f"done: {key.name} is {status}")
            self._listener.reload()

    async def revoke(self, key: ApiKey) -> None:
        """Revoke a key, which is final."""
        effect = f"{key.name} ({key.id}) never works again; this is final"
        if await self._sure("Revoke API key", effect, key.name):
            if (
                await self._do("revoking it", lambda: self._room.change(key, status="revoked"))
                is not None
            ):
                self._listener.say(f"done: {key.name} is revoked")
            self._listener.reload()

    async def usage(self, key: ApiKey) -> None:
        """Show a key's requests and cost, by model and by day."""
        found = await self._do(f"reading what {key.name} has cost", lambda: self._room.billing(key))
        if found is None:
            return
        lines = [f"{counted(found.requests, 'request')}, ${found.cost:f}", "", "by model"]
        lines += [f"  {row.name:<36} {row.requests:>8}  ${row.cost:f}" for row in found.by_model]
        lines += ["", "by day"]
        lines += [f"  {row.name:<36} {'':>8}  ${row.cost:f}" for row in found.by_day]
        await self._app.push_screen_wait(TextDialog(f"{key.name} ({key.id})", lines))

    async def rotate(self, key: ApiKey) -> None:
        """Start a rotation, or advance the one under way."""
        try:
            found = await asyncio.to_thread(self._rotations.find, key)
        except OperationError as error:
            self._listener.say(str(error), bad=True)
            return
        if found is None:
            values = await self._app.push_screen_wait(rotation_form(key, self._models))
            place = place_of(values["place"]) if values else None
            if values is None or place is None:
                return
            effect = (
                f"{key.name}: a new key with its limit and models, for profile "
                f"{self._room.profile}; the old one works until it is silent"
            )
            if not await self._sure("Rotate API key", effect) or not await self._ready(place):
                return
            model = values["model"].strip()
            progress = await self._do(
                "beginning the rotation", lambda: self._rotations.start(key, place, model)
            )
        else:
            rotation = found
            progress = await self._do(
                "going on with the rotation", lambda: self._rotations.advance(rotation)
            )
        if progress is not None:
            waits = f"waits for {progress.waits_for}" if progress.waits_for else "it is done"
            lines = [*progress.did, "", waits, "", "t goes on, T goes back to the old key"]
            await self._app.push_screen_wait(TextDialog(f"rotation of {key.name}", lines))
        self._listener.reload()

    async def abandon(self, key: ApiKey) -> None:
        """Abandon a rotation under way: keep the old key, revoke the new one."""
        try:
            found = await asyncio.to_thread(self._rotations.find, key)
        except OperationError as error:
            self._listener.say(str(error), bad=True)
            return
        if found is None:
            self._listener.say(f"{key.name} is not being rotated", bad=True)
            return
        effect = f"stay with {found.old_name}, revoke {found.new_name} for ever"
        if await self._sure("Abandon rotation", effect, found.old_name):
            rotation = found
            said = await self._do(
                "going back to the old key", lambda: self._rotations.abandon(rotation)
            )
            if said is not None:
                self._listener.say(said)
            self._listener.reload()

    async def add(self) -> None:
        """Store a pasted credential."""
        values = await self._app.push_screen_wait(credential_form(self._room.profile))
        if values is None:
            return
        place = place_of(values["place"])
        if not await self._ready(place):
            return
        try:
            where = await asyncio.to_thread(
                self._room.add, values["profile"], values["secret"], place
            )
        except (OperationError, VaultError) as error:
            self._listener.say(str(error), bad=True)
        else:
            self._listener.say(f"kept for profile {values['profile']} in {where}; v proves it")
            self._app.post_message(CredentialsChanged())
        self._listener.reload()

    async def remove(self) -> None:
        """Delete the stored credentials of the profile in use."""
        profile = self._room.profile
        if not await self._sure("Forget credentials", f"both of profile {profile}", profile):
            return
        try:
            places = await asyncio.to_thread(self._room.remove, profile)
        except (OperationError, VaultError) as error:
            self._listener.say(str(error), bad=True)
        else:
            self._listener.say(
                f"removed: {', '.join(places)}" if places else "there was nothing to remove"
            )
        self._listener.reload()

    async def profile(self) -> None:
        """Use the next profile, for this run alone."""
        try:
            profiles = await asyncio.to_thread(self._room.known_profiles)
        except VaultError as error:
            self._listener.say(str(error), bad=True)
            return
        names = [profile.name for profile in profiles]
        following = profiles[(names.index(self._room.profile) + 1) % len(profiles)]
        self._room.profile = following.name
        self._room.base_url = following.base_url or DEFAULT_BASE_URL
        self._listener.say(
            f"profile {following.name} for this screen; the rollout file keeps its own"
        )
        self._listener.reload()

    async def verify(self) -> None:
        """Verify the credentials: read the balance, and send one billed request of a few tokens.

        In read-only mode that request is not sent.
        """
        lines: list[str] = []
        for credential in await asyncio.to_thread(self.resolve_all):
            words = WORDS[credential.purpose]
            if credential.secret is None:
                lines += [f"{words}: {credential.problem}", ""]
                lines += [f"  {s.source}: {s.reason or 'found'}" for s in credential.steps] + [""]
                continue
            purpose, model = credential.purpose, self._proving_model
            if purpose == "api_key" and self._room.access.read_only:
                found = f"{words} from {credential.source}: not proven"
                lines.append(f"{found}, as read-only sends nothing that is billed")
                continue
            if purpose == "api_key" and not await self._sure(
                "Verify API key", f"one request of a few tokens to {model}, which is billed"
            ):
                continue
            said = await self._do(
                f"verifying the {words}", partial(self._room.verify, purpose, model)
            )
            lines.append(
                f"{words} from {credential.source}: {said or 'it failed; the reason is below'}"
            )
        if lines:
            await self._app.push_screen_wait(TextDialog("credentials", lines))

    async def unlock(self) -> None:
        """Unlock the encrypted store, and retry the keyring."""
        self._room.vault.keyring.retry()
        if self._has_store() and await self._ready("encrypted"):
            self._listener.say("the encrypted store is unlocked for this run")
        self._app.post_message(CredentialsChanged())
        self._listener.reload()

    async def _ready(self, place: Place | None) -> bool:
        """Unlock or create the encrypted store, where that is the place; return False if not."""
        store = self._room.vault.encrypted
        if place != "encrypted" or store.unlocked:
            return True
        exists = self._has_store()
        if exists is None:
            return False
        wrong = ""
        while True:
            form = passphrase_form(new=not exists, wrong=wrong)
            values = await self._app.push_screen_wait(form)
            if values is None:
                return False
            self._listener.say("opening the encrypted store…")
            try:
                await asyncio.to_thread(store.unlock, values["passphrase"])
            except WrongPassphrase as error:
                wrong = f"{error}; type it again"
            except VaultError as error:
                self._listener.say(str(error), bad=True)
                return False
            else:
                return True

    def _has_store(self) -> bool | None:
        """Return whether there is an encrypted store; on an error report it and return None."""
        try:
            return self._room.vault.encrypted.is_made
        except VaultError as error:
            self._listener.say(str(error), bad=True)
            return None

    async def _do(self, words: str, make: Callable[[], Coroutine[Any, Any, T]]) -> T | None:
        """Run a use case, which ``words`` names at once; report an expected error, return None."""
        self._listener.say(f"{words}…")
        try:
            done = await off_loop(make)
        except (ApiError, OperationError, VaultError) as error:
            self._listener.say(str(error), bad=True)
            return None
        self._listener.say("")
        return done

    async def _sure(self, title: str, effect: str, type_name: str = "") -> bool:
        question = Question(title, effect, type_name=type_name)
        return await self._app.push_screen_wait(ConfirmDialog(question)) is not None


def _words(value: object) -> str:
    if isinstance(value, tuple):
        return ", ".join(value) or "any"
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M}"
    return "none" if value is None else str(value)
