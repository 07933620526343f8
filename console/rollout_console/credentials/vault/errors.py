"""Errors of the vault.

VaultError
├── BadCredential    a text that is not a valid credential of its kind
├── StoreClosed      a credential store that is unavailable: locked, hanging, damaged
│   ├── NoKeyring    there is no keyring on this machine
│   ├── UnfitKeyring its backend is never used: it discards secrets, or stores plain text
│   ├── UncertainWrite a write that was not answered in time, and may be carried out later
│   └── WrongPassphrase  the encrypted store does not open with it
└── NotKept          a credential that was written and did not read back the same
"""


class VaultError(Exception):
    """Base of the vault's errors; ``str()`` is one sentence without any credential."""


class BadCredential(VaultError):
    """A text that is not a valid credential of the kind it was given as."""


class StoreClosed(VaultError):
    """A credential store, or credential command, that is unavailable now."""


class NoKeyring(StoreClosed):
    """There is no keyring on this machine."""


class UnfitKeyring(StoreClosed):
    """The keyring backend discards secrets, or stores them in plain text: it is never used."""


class UncertainWrite(StoreClosed):
    """A write that the keyring did not answer in time: it may be carried out later."""


class WrongPassphrase(StoreClosed):
    """The encrypted store does not open with the passphrase that was typed, or it is corrupt."""


class NotKept(VaultError):
    """A credential that was written and did not read back the same."""
