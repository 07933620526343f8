"""Errors of the operations.

OperationError
├── ReadOnly        the console was started with --read-only
├── NothingToDo     there is nothing to change, or the change is refused
├── Held            the guard or a phase objects; a typed reason overrides that
└── NotRecorded     the history cannot be written, so a raise is not made
"""


class OperationError(Exception):
    """Base of the operations' own errors; ``str()`` is one clear sentence."""


class ReadOnly(OperationError):
    """A change was asked for in read-only mode."""

    def __init__(self) -> None:
        super().__init__("read-only: nothing is changed; start without --read-only to change")


class NothingToDo(OperationError):
    """There is nothing to change, as the file is so already, or the change is refused."""


class Held(OperationError):
    """The guard holds a raise, or the exit criteria of a phase are not met."""


class NotRecorded(OperationError):
    """A change that needs a history row cannot have one."""
