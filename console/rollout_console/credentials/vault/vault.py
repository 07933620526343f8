"""The vault: where a credential comes from, and where one is kept.

The order is fixed, and each answer says which place gave it and why those before it did not:
what the operator gives explicitly, a credential command, the keyring, the encrypted store, and
last a question, whose answer is kept for this run alone. Nothing is ever kept in plain text.
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
    """In place of the system's keyring where that is not to be touched: kept for this run alone."""

    def __init__(self) -> None:
        super().__init__()
        self.name = "memory of this run"
        self._kept: dict[tuple[str, Purpose], Secret] = {}

    def get(self, profile: str, purpose: Purpose) -> str | None:
        """Return what is kept, None where nothing is."""
        found = self._kept.get((profile, purpose))
        return None if found is None else found.reveal()

    def put(self, profile: str, purpose: Purpose, secret: Secret) -> None:
        """Keep a credential until this process ends."""
        self._kept[(profile, purpose)] = secret

    def delete(self, profile: str, purpose: Purpose) -> bool:
        """Forget a credential; return whether there was one."""
        return self._kept.pop((profile, purpose), None) is not None


class Vault:
    """Resolves and keeps credentials. May block for seconds: not for an event loop's thread.

    ``ask`` is the last resort: it is called with profile and purpose, and returns what was typed
    or None. What was resolved once is kept in memory for this run.
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
        """Return the credential, or one without a secret that says why; raises nothing."""
        place = (profile, purpose)
        if not anew and place in self._known:
            return self._known[place]
        found = self._look(profile, purpose)
        if found.secret is not None:
            self._known[place] = found
        return found

    def present(self, profile: str, purpose: Purpose) -> Credential:
        """Return what was typed for this run, else what the places have now; nobody is asked."""
        known = self._known.get((profile, purpose))
        if known is not None and known.source == TYPED:
            return known
        found = self._look(profile, purpose, asks=False)
        if found.secret is not None:
            self._known[(profile, purpose)] = found
        return found

    def put(self, profile: str, purpose: Purpose, secret: Secret, place: Place) -> str:
        """Keep a credential, read it back, and return where it is.

        Raises BadCredential, StoreClosed or NotKept; the place is never changed to another.
        """
        secret = checked(purpose, secret.reveal())
        self._store(place).put(profile, purpose, secret)
        where = self.name_of(place)
        steps = (Step(where, "", found=True),)
        self._known[(profile, purpose)] = Credential(profile, purpose, secret, where, steps)
        return where

    def kept(self, profile: str, purpose: Purpose, place: Place) -> Secret | None:
        """Return what is kept in one place, whatever was given elsewhere; raises StoreClosed."""
        text = self._store(place).get(profile, purpose)
        return None if text is None else Secret(text)

    def check(self, place: Place, profile: str) -> None:
        """Raise StoreClosed where a credential could not be kept there now."""
        if place == "keyring":
            self.keyring.get(profile, "api_key")
        else:
            self.encrypted.open()

    def use_for_this_run(self, profile: str, purpose: Purpose, secret: Secret) -> None:
        """Use a credential until this process ends, and keep it nowhere."""
        steps = (Step("typed", "", found=True),)
        self._known[(profile, purpose)] = Credential(profile, purpose, secret, TYPED, steps)

    def remove(self, profile: str, purpose: Purpose) -> list[str]:
        """Forget a credential wherever it is kept; return the places it was in.

        Raises StoreClosed or NotKept where a place that may have it cannot be looked at.
        """
        self._known.pop((profile, purpose), None)
        places = []
        if self.encrypted.exists and self.encrypted.delete(profile, purpose):
            places.append(self.name_of("encrypted"))
        with suppress(NoKeyring):
            if self.keyring.delete(profile, purpose):
                places.append(self.name_of("keyring"))
        return places

    def forget(self, profile: str, purpose: Purpose, place: Place) -> bool:
        """Forget a credential in one place alone; return whether it was there.

        Raises StoreClosed or NotKept.
        """
        self._known.pop((profile, purpose), None)
        return self._store(place).delete(profile, purpose)

    def name_of(self, place: Place) -> str:
        """Return how a place is called."""
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
    """Return a vault that knows what is given, and touches nothing of this machine."""
    nowhere = EncryptedStore(Path("/dev/null/vault.age"))
    return Vault(given or Given(), VaultConfig(), RunKeyring(), nowhere)
