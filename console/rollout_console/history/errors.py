"""The errors that the history raises: HistoryError, with Locked and Corrupt below it."""


class HistoryError(Exception):
    """The history cannot be read or written; ``str()`` is one clear sentence."""


class Corrupt(HistoryError):
    """The file is no history, or a corrupt one."""


class Locked(HistoryError):
    """Another program holds the lock of the database for longer than is waited."""
