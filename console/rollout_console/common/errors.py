"""Errors of the operations.

OperationError
├── ReadOnly        the console was started with --read-only
├── Misused         what was typed after a command cannot be meant; exit code 2
├── NothingToDo     there is nothing to change, or the change is refused
├── Held            the guard or a phase objects; a typed reason overrides that
└── NotRecorded     the history cannot be written, so a raise is not made
"""


class OperationError(Exception):
    """Base of the operations' own errors; ``str()`` is one clear sentence."""


class ReadOnly(OperationError):
    """A change, or a request that is billed, was asked for in read-only mode."""

    def __init__(
        self,
        said: str = "nothing is changed; start without --read-only to change",
    ) -> None:
        super().__init__(f"read-only: {said}")


class Misused(OperationError):
    """What was typed after a command cannot be meant, whatever file and log say."""


class NothingToDo(OperationError):
    """There is nothing to change, as the file is so already, or the change is refused."""


class Held(OperationError):
    """The guard holds a raise, or the exit criteria of a phase are not met."""


class NotRecorded(OperationError):
    """A change that needs a history row cannot have one."""
