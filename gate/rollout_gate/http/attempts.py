"""Detect the retries of a request: an equal one after a failed one, which keeps its side.

In an application a retry is of the same thread or task as its first attempt (``attempt_of``). A
proxy sees requests of many callers, so there it is what an SDK declares by COUNT_HEADER
(``DeclaredRetries``): two customers may well ask the same thing.
"""

import time
from collections import OrderedDict
from collections.abc import Callable
from contextvars import ContextVar
from typing import Protocol

import msgspec

from rollout_gate.context import Subject
from rollout_gate.decision.decision import Decision

RETRY_S = 60.0
MOST_ATTEMPTS = 5
"""An equal request after a failed one is its retry, up to MOST_ATTEMPTS attempts and RETRY_S
seconds after the first, so that a caller which repeats a request for ever still sees a rollback."""
MOST_KEPT = 4096
"""How many failed attempts a proxy keeps, the latest."""

COUNT_HEADER = b"x-stainless-retry-count"
"""The retry count that the SDKs of OpenAI and Anthropic send; 0 is not a retry."""

_RETRIED = frozenset((0, 408, 409, 425, 429))


class Attempt(msgspec.Struct):
    """One attempt of a request; ``decision`` is that of the first one.

    ``digest`` is what equal requests have in common. It is there of one that has failed alone:
    only that can be retried, and hashing a body of megabytes takes milliseconds.
    """

    decision: Decision
    number: int
    first_at: float
    digest: bytes = b""
    failed: bool = False
    failed_inside: bool = False
    keep: Callable[["Attempt"], None] | None = None
    """Callback for an attempt that has failed; None where its context keeps it."""

    def settle(self, status: int, digest: Callable[[], bytes], *, failed_inside: bool) -> None:
        """Note how it ended: by its status, 0 without a response, and inside a 200.

        ``digest`` returns that of the request.
        """
        failed = status in _RETRIED or status >= 500
        if failed or failed_inside:
            self.digest = digest()
        self.failed, self.failed_inside = failed, failed_inside
        if failed and self.keep is not None:
            self.keep(self)


class Retries(Protocol):
    """Finds the attempt that a request is."""

    def __call__(
        self, digest: Callable[[], bytes], decision: Decision, said: bytes, *, is_call: bool
    ) -> Attempt:
        """Return the attempt; ``is_call`` is whether it is a generation, and no operation."""


_Last = ContextVar[Attempt | None]
_last_call: _Last = ContextVar("rollout_attempt", default=None)
_last_operation: _Last = ContextVar("rollout_operation", default=None)
"""Kept apart, so that no poll between a generation and its retry hides that it is one."""


def attempt_of(
    digest: Callable[[], bytes], decision: Decision, said: bytes, *, is_call: bool
) -> Attempt:
    """Return the attempt of a request: a detected retry keeps the decision of the first.

    ``digest`` returns that of the request; ``said`` is the value of COUNT_HEADER, empty where
    there is none.
    """
    last_of = _last_call if is_call else _last_operation
    last, now = last_of.get(), time.monotonic()
    again = (
        last is not None
        and (last.failed or last.failed_inside)
        and last.number < MOST_ATTEMPTS
        and now - last.first_at < RETRY_S
        and said != b"0"
        and last.digest == digest()
    )
    if again and last is not None:
        # No SDK retries a failure inside a 200 by itself: its repetition is decided anew.
        kept = last.decision if last.failed else decision
        attempt = Attempt(kept, last.number + 1, last.first_at)
    else:
        attempt = Attempt(decision, 1, now)
    last_of.set(attempt)
    return attempt


class DeclaredRetries:
    """The attempts of a proxy's requests, by what their SDKs declare; for one event loop.

    A retry whose first attempt is not known here (another worker process had it) is decided anew,
    which gives the same side unless the file has changed since; its number is what it says.
    """

    def __init__(self) -> None:
        self._failed: OrderedDict[bytes, Attempt] = OrderedDict()

    def __call__(
        self, digest: Callable[[], bytes], decision: Decision, said: bytes, *, is_call: bool
    ) -> Attempt:
        """Return the attempt of a request, as ``attempt_of`` does."""
        now = time.monotonic()
        count = int(said) if said.isdigit() and len(said) < 3 else 0
        if not count:
            return Attempt(decision, 1, now, keep=self._keep)
        last = self._failed.pop(digest(), None)
        if last is None or last.number >= MOST_ATTEMPTS or now - last.first_at >= RETRY_S:
            return Attempt(decision, count + 1, now, keep=self._keep)
        return Attempt(last.decision, last.number + 1, last.first_at, keep=self._keep)

    def _keep(self, attempt: Attempt) -> None:
        self._failed[attempt.digest] = attempt
        while len(self._failed) > MOST_KEPT:
            self._failed.popitem(last=False)


def digest_of(method: str, url: str, body: bytes | None, subject: Subject) -> bytes:
    """Return what equal requests have in common, 16 bytes."""
    import hashlib  # lazy import: httpx and httpx2 have loaded it, with OpenSSL

    text = repr((method, url, subject)).encode("utf-8", "backslashreplace")
    return hashlib.blake2b(text + (body or b""), digest_size=16).digest()
