"""The only error that the history raises."""


class HistoryError(Exception):
    """The history cannot be read or written; ``str()`` is one clear sentence."""
