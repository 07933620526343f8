"""The system's keyring, through the ``keyring`` library, which only this module imports.

Every call runs in a daemon thread with a timeout: a Secret Service that prompts for a passphrase on
a missing desktop would otherwise hang the console for ever.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from rollout_console.credentials.vault.credential import Purpose
from rollout_console.credentials.vault.errors import (
    NoKeyring,
    NotKept,
    StoreClosed,
    UncertainWrite,
    UnfitKeyring,
)
from rollout_console.credentials.vault.limits import TooLong, in_time
from rollout_gate.secret import Secret

if TYPE_CHECKING:
    from keyring.backend import KeyringBackend

LIMIT_S = 3.0
_REFUSED = ("keyring.backends.fail", "keyring.backends.null", "keyrings.alt", "plaintext")
"""Backends that discard secrets, or store them in plain text."""

_NONE_HERE = "there is no keyring here (no Secret Service answers on D-Bus)"

T = TypeVar("T")


class _TimedOut(StoreClosed):
    """The keyring did not answer in time; the call goes on in its thread."""


class KeyringStore:
    """Credentials under the service ``rollout-console/PROFILE``, named by their purpose.

    The backend has ``limit_s`` seconds a call; after a timeout it is not called until ``retry``.
    """

    def __init__(self, limit_s: float = LIMIT_S) -> None:
        self._limit_s = limit_s
        self._hung = ""
        self.name = "keyring"

    def retry(self) -> None:
        """Allow calls again after a timeout; the keyring may have been unlocked meanwhile."""
        self._hung = ""

    def get(self, profile: str, purpose: Purpose) -> str | None:
        """Return the stored credential, None without one; raises StoreClosed."""
        return self._call(lambda backend: backend.get_password(_service(profile), purpose))

    def put(self, profile: str, purpose: Purpose, secret: Secret) -> None:
        """Store a credential and verify it by reading it back.

        Raises StoreClosed, NotKept, and UncertainWrite where it was asked and did not answer.
        """
        asked = False

        def write(backend: "KeyringBackend") -> str | None:
            nonlocal asked
            asked = True
            backend.set_password(_service(profile), purpose, secret.reveal())
            return backend.get_password(_service(profile), purpose)

        try:
            kept = self._call(write)
        except _TimedOut as error:
            if not asked:
                raise
            raise UncertainWrite(f"{error}; it may still be stored then") from None
        if kept != secret.reveal():
            raise NotKept(f"the {self.name} did not keep it: it read back something else")

    def delete(self, profile: str, purpose: Purpose) -> bool:
        """Delete a credential; return whether there was one. Raises StoreClosed or NotKept."""

        def remove(backend: "KeyringBackend") -> bool:
            if backend.get_password(_service(profile), purpose) is None:
                return False
            backend.delete_password(_service(profile), purpose)
            if backend.get_password(_service(profile), purpose) is not None:
                raise NotKept(f"the {self.name} still has it after it was deleted")
            return True

        return self._call(remove)

    def _call(self, use: Callable[["KeyringBackend"], T]) -> T:
        if self._hung:
            raise StoreClosed(self._hung)

        def work() -> T:
            backend = _backend()
            self.name = f"keyring: {type(backend).__module__.rpartition('.')[2]}"
            return use(backend)

        try:
            return in_time(work, self._limit_s)
        except TooLong:
            self._hung = (
                f"the keyring did not answer within {self._limit_s:g} s; "
                "it may wait for an unlock on another screen"
            )
            raise _TimedOut(self._hung) from None
        except (StoreClosed, NotKept):
            raise
        except Exception as error:  # noqa: BLE001  backends raise anything
            raise StoreClosed(_sentence(error)) from None


def _backend() -> "KeyringBackend":
    """Return the backend that keyring chose, unless it discards secrets or stores plain text."""
    import keyring

    chosen: KeyringBackend = keyring.get_keyring()
    # A ChainerBackend wraps several: only its first fit backend is used, the others see nothing.
    members = getattr(chosen, "backends", None) or [chosen]
    fit = [backend for backend in members if not _refusal(backend)]
    if not fit:
        sentence = _refusal(chosen) or _refusal(members[0])
        raise NoKeyring(sentence) if sentence == _NONE_HERE else UnfitKeyring(sentence)
    found: KeyringBackend = fit[0]
    return found


def _refusal(backend: object) -> str:
    kind = type(backend)
    full = f"{kind.__module__}.{kind.__qualname__}"
    if full.startswith("keyring.backends.fail"):
        return _NONE_HERE
    if full.startswith("keyring.backends.null"):
        return "the null backend is chosen, which keeps nothing; it is not used"
    if any(word in full.lower() for word in _REFUSED):
        return f"{full} keeps secrets in plain text; it is not used"
    return ""


def _sentence(error: Exception) -> str:
    kind = type(error).__name__
    known = {
        "NoKeyringError": _NONE_HERE,
        "KeyringLocked": "the keyring is locked, and nothing here can ask to unlock it",
        "InitError": "the keyring could not be opened; it may be locked or have no collection",
        "ModuleNotFoundError": "PYTHON_KEYRING_BACKEND or keyringrc.cfg names no backend there is",
        "PromptDismissedException": "the keyring is locked, and its prompt could not be shown",
    }
    # Do not repeat the backend's message: it may quote the secret.
    return known.get(kind, f"the keyring failed ({kind})")


def _service(profile: str) -> str:
    return f"rollout-console/{profile}"
