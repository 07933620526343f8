"""The history's one error."""


class HistoryError(Exception):
    """The history cannot be read or written; ``str()`` is one clear sentence."""
