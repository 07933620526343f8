"""The vault: resolve credentials from their sources, and store them.

The order of resolution is fixed: explicitly given, credential command, keyring, encrypted store,
and last a prompt, whose answer is kept in memory for this run alone. Each result names the source
that supplied it and why those before it did not. Nothing is ever stored in plain text.
"""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Literal

from rollout_console.credentials.vault.command import ask_command
from rollout_console.credentials.vault.config import VaultConfig
from rollout_console.credentials.vault.credential import Credential, Purpose, Step, checked
from rollout_console.credentials.vault.encrypted import EncryptedStore
from rollout_console.credentials.vault.environment import Given
from rollout_console.credentials.vault.errors import (
    BadCredential,
    NoKeyring,
    StoreClosed,
    UnfitKeyring,
)
from rollout_console.credentials.vault.keyring_store import KeyringStore
from rollout_gate.secret import Secret

Place = Literal["keyring", "encrypted"]

Ask = Callable[[str, Purpose], str | None]

TYPED = "typed; kept for this run alone"


class RunKeyring(KeyringStore):
    """An in-memory stand-in for the system's keyring, which lasts for this run alone."""

    def __init__(self) -> None:
        super().__init__()
        self.name = "memory of this run"
        self._kept: dict[tuple[str, Purpose], Secret] = {}

    def get(self, profile: str, purpose: Purpose) -> str | None:
        """Return the stored credential, None without one."""
        found = self._kept.get((profile, purpose))
        return None if found is None else found.reveal()

    def put(self, profile: str, purpose: Purpose, secret: Secret) -> None:
        """Store a credential until this process ends."""
        self._kept[(profile, purpose)] = secret

    def delete(self, profile: str, purpose: Purpose) -> bool:
        """Delete a credential; return whether there was one."""
        return self._kept.pop((profile, purpose), None) is not None


class Vault:
    """Resolves and stores credentials. May block for seconds: not for an event loop's thread.

    ``ask`` is the last resort, a prompt: it is called with profile and purpose, and returns what
    was typed or None. Resolved credentials are cached in memory for this run.
    """

    def __init__(
        self,
        given: Given,
        config: VaultConfig,
        keyring: KeyringStore,
        encrypted: EncryptedStore,
        ask: Ask | None = None,
    ) -> None:
        self.given = given
        self.config = config
        self.keyring = keyring
        self.encrypted = encrypted
        self.ask = ask
        self._known: dict[tuple[str, Purpose], Credential] = {}

    def resolve(self, profile: str, purpose: Purpose, *, anew: bool = False) -> Credential:
        """Return the credential, or one without a secret that says why; raises nothing.

        ``anew`` bypasses the cache.
        """
        place = (profile, purpose)
        if not anew and place in self._known:
            return self._known[place]
        found = self._look(profile, purpose)
        if found.secret is not None:
            self._known[place] = found
        return found

    def present(self, profile: str, purpose: Purpose) -> Credential:
        """Return what was typed for this run, else resolve past the cache; never prompts."""
        known = self._known.get((profile, purpose))
        if known is not None and known.source == TYPED:
            return known
        found = self._look(profile, purpose, asks=False)
        if found.secret is not None:
            self._known[(profile, purpose)] = found
        return found

    def put(self, profile: str, purpose: Purpose, secret: Secret, place: Place) -> str:
        """Store a credential, verify it by reading it back, and return the store's name.

        Raises BadCredential, StoreClosed or NotKept; there is no fallback to another store.
        """
        secret = checked(purpose, secret.reveal())
        self._store(place).put(profile, purpose, secret)
        where = self.name_of(place)
        steps = (Step(where, "", found=True),)
        self._known[(profile, purpose)] = Credential(profile, purpose, secret, where, steps)
        return where

    def kept(self, profile: str, purpose: Purpose, place: Place) -> Secret | None:
        """Return the credential in one store, whatever other sources have; raises StoreClosed."""
        text = self._store(place).get(profile, purpose)
        return None if text is None else Secret(text)

    def check(self, place: Place, profile: str) -> None:
        """Raise StoreClosed where the store is not available to keep a credential."""
        if place == "keyring":
            self.keyring.get(profile, "api_key")
        else:
            self.encrypted.open()

    def use_for_this_run(self, profile: str, purpose: Purpose, secret: Secret) -> None:
        """Use a credential until this process ends; it is stored nowhere."""
        steps = (Step("typed", "", found=True),)
        self._known[(profile, purpose)] = Credential(profile, purpose, secret, TYPED, steps)

    def remove(self, profile: str, purpose: Purpose) -> list[str]:
        """Delete a credential from every store; return the names of those that had it.

        Raises StoreClosed or NotKept for a store that is unavailable; the encrypted store comes
        first. An unfit keyring is never used, so that nothing is in it.
        """
        self._known.pop((profile, purpose), None)
        places = []
        if self.encrypted.exists and self.encrypted.delete(profile, purpose):
            places.append(self.name_of("encrypted"))
        with suppress(NoKeyring, UnfitKeyring):
            if self.keyring.delete(profile, purpose):
                places.append(self.name_of("keyring"))
        return places

    def forget(self, profile: str, purpose: Purpose, place: Place) -> bool:
        """Delete a credential from one store alone; return whether it was there.

        Raises StoreClosed or NotKept.
        """
        self._known.pop((profile, purpose), None)
        return self._store(place).delete(profile, purpose)

    def name_of(self, place: Place) -> str:
        """Return a store's name as messages show it."""
        return self.keyring.name if place == "keyring" else "encrypted store"

    def _store(self, place: Place) -> KeyringStore | EncryptedStore:
        return self.keyring if place == "keyring" else self.encrypted

    def _look(self, profile: str, purpose: Purpose, *, asks: bool = True) -> Credential:
        secret, steps = self.given.look(purpose)
        if steps and steps[-1].found:
            return Credential(profile, purpose, secret, steps[-1].source, tuple(steps))
        for source, look in (
            ("credential_command", self._from_command),
            ("keyring", self._from_keyring),
            ("encrypted store", self._from_encrypted),
            ("ask", self._from_asking),
        ):
            if source == "ask" and not asks:
                break
            notable = closed = False
            try:
                text, reason = look(profile, purpose)
            except NoKeyring as error:
                text, reason = None, str(error)
            except StoreClosed as error:
                text, reason, notable = None, str(error), True
                closed = not isinstance(error, UnfitKeyring)
            if text is None:
                steps.append(Step(self._named(source), reason, notable=notable, closed=closed))
                continue
            name = self._named(source)
            try:
                secret = checked(purpose, text)
            except BadCredential as error:
                steps.append(Step(name, str(error), found=True))
                return Credential(profile, purpose, None, name, tuple(steps))
            steps.append(Step(name, "", found=True))
            return Credential(profile, purpose, secret, name, tuple(steps))
        return Credential(profile, purpose, None, "", tuple(steps))

    def _from_command(self, profile: str, purpose: Purpose) -> tuple[str | None, str]:
        argv = self.config.command(profile)
        if not argv:
            return None, "none is set in config.toml"
        return ask_command(argv, profile, purpose, self.given.environ), ""

    def _from_keyring(self, profile: str, purpose: Purpose) -> tuple[str | None, str]:
        return self.keyring.get(profile, purpose), "it has none for this profile"

    def _from_encrypted(self, profile: str, purpose: Purpose) -> tuple[str | None, str]:
        if not self.encrypted.exists:
            return None, f"there is none at {self.encrypted.path}"
        return self.encrypted.get(profile, purpose), "it has none for this profile"

    def _from_asking(self, profile: str, purpose: Purpose) -> tuple[str | None, str]:
        if self.ask is None:
            return None, "nobody can be asked here"
        return self.ask(profile, purpose), "nothing was typed"

    def _named(self, source: str) -> str:
        if source == "keyring":
            return self.keyring.name
        return TYPED if source == "ask" else source


def empty_vault(given: Given | None = None) -> Vault:
    """Return a vault of the given credentials alone, with an in-memory keyring and no files."""
    nowhere = EncryptedStore(Path("/dev/null/vault.age"))
    return Vault(given or Given(), VaultConfig(), RunKeyring(), nowhere)
