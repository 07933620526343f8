"""Errors of the vault.

VaultError
├── BadCredential   a text that cannot be the credential it is given as
├── StoreClosed     a place to keep credentials that cannot be used now: locked, hanging
│   ├── NoKeyring   there is none on this machine
│   └── UnfitKeyring there is one that is never used, for it keeps nothing or hides nothing
└── NotKept         a credential that was written and did not read back the same
"""


class VaultError(Exception):
    """Base of the vault's errors; ``str()`` is one sentence without any credential."""


class BadCredential(VaultError):
    """A text that cannot be the credential it is given as."""


class StoreClosed(VaultError):
    """A place to keep credentials that cannot be used now."""


class NoKeyring(StoreClosed):
    """There is no keyring on this machine."""


class UnfitKeyring(StoreClosed):
    """The keyring keeps nothing, or keeps it in plain text: it is never used."""


class NotKept(VaultError):
    """A credential that was written and did not read back the same."""
