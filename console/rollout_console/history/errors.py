"""The errors that the history raises: HistoryError, and Locked below it."""


class HistoryError(Exception):
    """The history cannot be read or written; ``str()`` is one clear sentence."""


class Locked(HistoryError):
    """Another program holds the lock of the database for longer than is waited."""
