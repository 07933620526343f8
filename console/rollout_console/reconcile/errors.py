"""Errors of reconciliation.

OperationError
├── UsageStoreError      the store of usage records cannot be read or written
│   └── CorruptStore     it is no database, or a damaged one
└── Unstable             the usage list kept changing while it was read

BadRecord is a ValueError, which the store translates to CorruptStore.
"""

from rollout_console.common.errors import OperationError


class UsageStoreError(OperationError):
    """The store of pulled usage records cannot be used."""


class CorruptStore(UsageStoreError):
    """The file of the store is no SQLite database, or a damaged one."""


class BadRecord(ValueError):
    """What the store has in place of a record is none: bytes of others, or damage."""


class Unstable(OperationError):
    """The list of usage records changed each time that it was read."""
