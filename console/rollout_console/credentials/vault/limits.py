"""Call libraries that may hang, with a timeout."""

import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


class TooLong(Exception):
    """The call timed out; its daemon thread is left running."""


def in_time(call: Callable[[], T], limit_s: float) -> T:
    """Return what ``call`` returns, raise what it raises, or TooLong after ``limit_s`` seconds.

    It runs in a daemon thread: one that never returns blocks neither the console nor its exit, as
    a ThreadPoolExecutor's thread would.
    """
    outcome: list[tuple[bool, object]] = []

    def run() -> None:
        try:
            outcome.append((True, call()))
        except BaseException as error:  # noqa: BLE001  re-raised in the caller below
            outcome.append((False, error))

    thread = threading.Thread(target=run, name="vault-call", daemon=True)
    thread.start()
    thread.join(limit_s)
    if not outcome:
        raise TooLong
    good, value = outcome[0]
    if not good:
        assert isinstance(value, BaseException)
        raise value
    return value  # type: ignore[return-value]
