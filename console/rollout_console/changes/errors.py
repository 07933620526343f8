"""Errors of the store.

StoreError
├── NotReadable       the file cannot be read
│   └── NoFile        there is none
├── Conflict          another writer changed the file since it was read; nothing was written
├── NotWritable       the write failed; the file is unchanged
│   └── DiskFull      there is no space for it
├── Written           the write was made, with warnings
├── EditNotPossible   the edit could not be made and verified; nothing was written
└── Uncertain         whether the change was made is not known: the answer of a store was lost
"""

from rollout_gate.file.errors import RolloutError


class StoreError(RolloutError):
    """Base of the store's errors; ``str()`` is one clear sentence."""


class NotReadable(StoreError):
    """The file cannot be read."""


class NoFile(NotReadable):
    """There is no file at the path."""


class Conflict(StoreError):
    """Another writer changed the file since it was read."""

    def __init__(self, name: str, expected: str, found: str) -> None:
        super().__init__(
            f"nothing was written: {name} was changed by another writer since it was read;"
            f" look at it and try again (expected"
            f" {f'revision {expected[:12]}' if expected else 'no file'}, found {found[:12]})"
        )
        self.found = found


class NotWritable(StoreError):
    """The write failed; the file is unchanged."""


class DiskFull(NotWritable):
    """The disk is full, or the user's quota is used up; the file is unchanged."""


class Written(StoreError):
    """The write was made, with warnings, which ``str()`` lists."""


class EditNotPossible(StoreError):
    """The edit could not be made, or its text would not parse to the intended result."""


class Uncertain(StoreError):
    """Whether the change was made is not known, and could not be found out in time."""


def rollback_words(error: Exception) -> str:
    """Return in capitals what became of a rollback that ended in an error."""
    uncertain = isinstance(error, Uncertain)
    return "NOT KNOWN WHETHER ROLLED BACK" if uncertain else "NOT ROLLED BACK"
