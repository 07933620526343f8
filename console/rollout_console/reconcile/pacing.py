"""Pace the calls of a long pull: rate limits, Retry-After, and retries with a bounded wait."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from rollout_console.common.listing import counted
from rollout_console.tokenlab.errors import Refused, Uncertain, Unreachable
from rollout_console.tokenlab.types import RateLimit

TRIES = 5
FIRST_TRIES = 2
MOST_WAIT_S = 120.0
"""The longest single wait that a server may ask for; a longer one ends the pull."""
WHOLE_WAIT_S = 600.0
"""The longest wait for one call, of all its tries."""
_FIRST_WAIT_S = 0.5
_MINUTE_S = 61.0

T = TypeVar("T")


class Pacer:
    """Calls the API as fast as it allows; only reads, which are safe to repeat.

    ``waits`` is told of each wait: its seconds, and why.
    """

    def __init__(
        self,
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        clock: Callable[[], float] = time.time,
        waits: Callable[[float, str], None] = lambda seconds, why: None,
    ) -> None:
        self._sleep = sleep
        self._clock = clock
        self._waits = waits
        self.requests = 0
        self._answered = False

    async def call(
        self, ask: Callable[[], Awaitable[T]], limit: Callable[[], RateLimit | None]
    ) -> T:
        """Call once the rate limit allows it, again after a 429, a 5xx or a lost connection.

        ``limit`` returns what the answer before said. Raises Unreachable where it fails for good,
        and every other ApiError at once.
        """
        waited, tries, attempts = 0.0, 0, 0
        waited += await self._wait(self._until_reset(limit()), "the rate limit")
        while True:
            self.requests += 1
            attempts += 1
            try:
                found = await ask()
            except Uncertain:
                raise
            except Refused as error:
                if error.status != 429 and error.status < 500:
                    raise
                tries += error.status != 429  # a rate limit is no failure: it is waited for
                wait, why = error.retry_after_s, str(error)
                if wait is None and error.status == 429:
                    wait = self._until_reset(limit()) or None
            except Unreachable as error:
                tries, wait, why = tries + 1, None, str(error)
            else:
                self._answered = True
                return found
            pause = _FIRST_WAIT_S * 2 ** min(attempts - 1, 6) if wait is None else wait
            pause = max(pause, _FIRST_WAIT_S)
            # A host that never answered is likely the wrong one, or gone: say so at once.
            most = TRIES if self._answered else FIRST_TRIES
            if tries >= most or pause > MOST_WAIT_S or waited + pause > WHOLE_WAIT_S:
                raise Unreachable(f"{why}; given up after {counted(self.requests, 'request')}")
            waited += await self._wait(pause, why)

    def _until_reset(self, limit: RateLimit | None) -> float:
        """Return the seconds until the rate limit resets, 0 where requests are left.

        Limits are per minute: a longer wait is from a clock that differs from the server's.
        """
        if limit is None or limit.remaining > 0:
            return 0.0
        return min(max(limit.resets_at - self._clock(), 0.0), _MINUTE_S)

    async def _wait(self, seconds: float, why: str) -> float:
        if seconds:
            self._waits(seconds, why)
            await self._sleep(seconds)
        return seconds
