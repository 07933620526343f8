"""The encrypted store, unlocked by a passphrase, for servers without a keyring.

The format is age (https://age-encryption.org/v1), through ``pyrage``, in two files of one folder:
``vault-identity.age`` holds an X25519 identity encrypted with the passphrase (scrypt, a second or
two of work, once a run), ``vault.age`` holds the credentials encrypted to that identity. The
``age`` command decrypts them too (``age -d -i vault-identity.age vault.age``), so there is no
lock-in. The plaintext is JSON: ``{"version": 1, "profiles": {NAME: {PURPOSE: SECRET}}}``.
"""

import json
from collections.abc import Callable
from pathlib import Path

from rollout_console.common.files import is_missing, real_path, write_private
from rollout_console.credentials.vault.credential import Purpose
from rollout_console.credentials.vault.errors import NotKept, StoreClosed, WrongPassphrase
from rollout_console.credentials.vault.folder_lock import changing
from rollout_gate.secret import Secret

LEAST_PASSPHRASE = 8
_MOST_BYTES = 1024 * 1024

Profiles = dict[str, dict[str, str]]


class EncryptedStore:
    """Credentials in an age file at ``path``, with the identity file next to it.

    ``ask`` is called for the passphrase when it is first needed, with True where a new one is to
    be chosen; it returns None where it cannot prompt. The identity stays in memory for this run.
    """

    def __init__(self, path: Path, ask: Callable[[bool], str | None] = lambda _new: None) -> None:
        self.path = path
        self.identity_path = path.with_name(f"{path.stem}-identity.age")
        self.ask = ask
        self._identity: Secret | None = None
        self._identity_data = b""

    @property
    def exists(self) -> bool:
        """Whether the store's file exists; raises StoreClosed where that cannot be determined."""
        return self._is_there(self.path)

    @property
    def is_made(self) -> bool:
        """Whether it has a passphrase already, with credentials or not; raises StoreClosed."""
        return self.exists or self._is_there(self.identity_path)

    @property
    def unlocked(self) -> bool:
        """Whether the store has been unlocked in this run."""
        return self._identity is not None

    def open(self) -> None:
        """Unlock the store, or create its identity with a new passphrase; raises StoreClosed."""
        if not self.is_made:
            passphrase = self._passphrase(new=True)  # nobody waits for the lock while it is typed
            with changing(self.path, StoreClosed):
                if not self.is_made:  # a second identity would make the first's store useless
                    self._make_identity(passphrase)
        self._unlocked_identity()

    def unlock(self, passphrase: str) -> None:
        """Unlock the store with this passphrase; raises StoreClosed."""
        asked, self.ask = self.ask, lambda _new: passphrase
        try:
            self.open()
        finally:
            self.ask = asked

    def get(self, profile: str, purpose: Purpose) -> str | None:
        """Return the stored credential, None without one; raises StoreClosed."""
        return self._read().get(profile, {}).get(purpose) if self.exists else None

    def put(self, profile: str, purpose: Purpose, secret: Secret) -> None:
        """Store a credential and verify it by reading it back; raises StoreClosed or NotKept."""
        self.open()
        with changing(self.path, StoreClosed):
            profiles = self._read(asks=False) if self.exists else {}
            profiles.setdefault(profile, {})[purpose] = secret.reveal()
            self._write(profiles)
            if self._read(asks=False).get(profile, {}).get(purpose) != secret.reveal():
                raise NotKept(f"{self.path} did not keep it: it read back something else")

    def delete(self, profile: str, purpose: Purpose) -> bool:
        """Delete a credential; return whether there was one. Raises StoreClosed."""
        if not self.exists:
            return False
        self.open()
        with changing(self.path, StoreClosed):
            profiles = self._read(asks=False)
            if profiles.get(profile, {}).pop(purpose, None) is None:
                return False
            self._write({name: kept for name, kept in profiles.items() if kept})
            return True

    def _read(self, *, asks: bool = True) -> Profiles:
        import pyrage

        data = _bytes_of(self.path)
        identity = pyrage.x25519.Identity.from_str(self._unlocked_identity(asks=asks).reveal())
        try:
            text = pyrage.decrypt(data, [identity])
        except pyrage.DecryptError:
            raise StoreClosed(
                f"{self.path} is corrupt, or does not belong to {self.identity_path.name}"
            ) from None
        return _profiles(text, self.path)

    def _write(self, profiles: Profiles) -> None:
        import pyrage

        unlocked = self._unlocked_identity(asks=False)
        identity = pyrage.x25519.Identity.from_str(unlocked.reveal())
        text = json.dumps({"version": 1, "profiles": profiles}).encode()
        self._put_file(self.path, pyrage.encrypt(text, [identity.to_public()]))

    def _unlocked_identity(self, *, asks: bool = True) -> Secret:
        """Return the identity (memoized); it is unlocked again where its file was replaced, as
        nobody could decrypt what is encrypted to a replaced one.

        Without ``asks`` there is no passphrase prompt: under the lock it would block all other
        consoles.
        """
        data = _bytes_of(self.identity_path)
        if data != self._identity_data:
            self._identity = None
        if self._identity is None:
            import pyrage

            passphrase = self._passphrase(new=False, asks=asks)
            try:
                text = pyrage.passphrase.decrypt(data, passphrase.reveal()).decode()
                pyrage.x25519.Identity.from_str(text.strip())
            except (pyrage.DecryptError, pyrage.IdentityError, UnicodeDecodeError):
                raise WrongPassphrase(
                    f"{self.identity_path} does not open: wrong passphrase, or corrupt"
                ) from None
            self._identity, self._identity_data = Secret(text.strip()), data
        return self._identity

    def _make_identity(self, passphrase: Secret) -> None:
        import pyrage

        if len(passphrase.reveal()) < LEAST_PASSPHRASE:
            raise StoreClosed(
                f"the store's passphrase needs at least {LEAST_PASSPHRASE} characters"
            )
        identity = Secret(str(pyrage.x25519.Identity.generate()))
        text = f"{identity.reveal()}\n".encode()
        data = pyrage.passphrase.encrypt(text, passphrase.reveal())
        self._put_file(self.identity_path, data)
        self._identity, self._identity_data = identity, data

    def _passphrase(self, *, new: bool, asks: bool = True) -> Secret:
        text = self.ask(new) if asks else None
        if not text:
            raise StoreClosed(
                "the encrypted store is locked, and nobody can be asked for its passphrase here"
            )
        return Secret(text)

    def _is_there(self, path: Path) -> bool:
        try:
            return not is_missing(path)
        except OSError as error:
            raise StoreClosed(f"{path} cannot be used: {error.strerror}") from None

    def _put_file(self, path: Path, data: bytes) -> None:
        try:
            write_private(real_path(path), data)  # of a symlink, its target
        except OSError as error:
            raise StoreClosed(f"{path} cannot be written: {error.strerror}") from None


def _bytes_of(path: Path) -> bytes:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise StoreClosed(f"{path} cannot be read: {error.strerror}") from None
    if len(data) > _MOST_BYTES:
        raise StoreClosed(f"{path} is far too large for a store of credentials")
    return data


def _profiles(text: bytes, path: Path) -> Profiles:
    try:
        table = json.loads(text)
        found = table["profiles"]
        if table["version"] != 1:
            raise StoreClosed(f"{path} was made by a newer version of this console")
        return {
            str(name): {str(purpose): str(secret) for purpose, secret in kept.items()}
            for name, kept in found.items()
        }
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise StoreClosed(f"{path} opens, but does not hold what it should") from None
