"""Errors of the API client.

ApiError
├── Unreachable      no connection, or no complete answer before the timeout
│   └── Uncertain    the outcome of a change is unknown: it may have been made
├── Refused          an error answer; ``status`` and, where given, the API's ``code``
├── Garbage          an answer that violates the contract
└── Unsafe           a credential would go where it must not; nothing was sent
"""


class ApiError(Exception):
    """Base of the client's errors; ``str()`` is one sentence without any credential."""


class Unreachable(ApiError):
    """The API could not be reached, or did not answer in time."""


class Uncertain(Unreachable):
    """A change was sent, and its outcome is unknown: it may have been made, or not."""

    def __init__(self, sentence: str) -> None:
        super().__init__(f"{sentence}; the change may have been made: check before you retry")


class Refused(ApiError):
    """The API answered with an error, or with a status other than the one expected."""

    def __init__(
        self, status: int, message: str, code: str = "", retry_after_s: float | None = None
    ) -> None:
        super().__init__(f"the API answered {status}{f' {code}' if code else ''}: {message}")
        self.status = status
        self.code = code
        self.retry_after_s = retry_after_s


class Garbage(ApiError):
    """The API's answer does not have the shape of its contract."""


class Unsafe(ApiError):
    """The call was not made, because it would have sent a credential where it must not go."""
