"""Errors of the store.

StoreError
├── NotReadable       the file cannot be read
├── Conflict          somebody else changed the file since it was read; nothing was written
├── NotWritable       the write failed; the file is unchanged
├── Written           the write was made, and something is to be known about it
└── EditNotPossible   the edit could not be made and verified; nothing was written
"""

from rollout_gate.file.errors import RolloutError


class StoreError(RolloutError):
    """Base of the store's errors; ``str()`` is one clear sentence."""


class NotReadable(StoreError):
    """The file cannot be read."""


class Conflict(StoreError):
    """Somebody else changed the file since it was read."""

    def __init__(self, name: str, expected: str, found: str) -> None:
        super().__init__(
            f"{name} was changed by somebody else in between (expected "
            f"{f'revision {expected[:12]}' if expected else 'no file'}, found "
            f"{found[:12]}); nothing was written"
        )
        self.found = found


class NotWritable(StoreError):
    """The write failed; the file is what it was."""


class Written(StoreError):
    """The write was made; ``str()`` says what was found right after it."""


class EditNotPossible(StoreError):
    """The text after the edit would not say what was meant."""
