"""Errors of the operations.

OperationError
├── ReadOnly        the console was started with --read-only
├── NothingToDo     the file already says so
├── Held            the guard holds this raise; it can be overridden with a typed reason
└── NotRecorded     the history cannot be written, so a raise is not made
"""


class OperationError(Exception):
    """Base of the operations' own errors; ``str()`` is one clear sentence."""


class ReadOnly(OperationError):
    """A change was asked for in read-only mode."""

    def __init__(self) -> None:
        super().__init__("read-only: nothing is changed; start without --read-only to change")


class NothingToDo(OperationError):
    """The file already says what was asked for."""


class Held(OperationError):
    """The guard holds a raise."""


class NotRecorded(OperationError):
    """A change that needs a history row cannot have one."""
