"""Run a coroutine in a worker thread with an event loop of its own: what it calls may block it."""

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, Generic, TypeVar

T = TypeVar("T")

_THREADS = ThreadPoolExecutor(4, "off-loop")
"""Not the loop's default executor: a slow API must not fill the threads that changes need."""


async def off_loop(make: Callable[[], Coroutine[Any, Any, T]], *, is_read: bool = False) -> T:
    """Run the coroutine that ``make`` returns, and return its result.

    A read is cancelled with its caller; a change goes on, and is finished before the process ends.
    """
    inner = _Inner(make)
    try:
        return await asyncio.get_running_loop().run_in_executor(_THREADS, inner.run)
    except asyncio.CancelledError:
        if is_read:
            inner.cancel()
        raise


class _Inner(Generic[T]):
    def __init__(self, make: Callable[[], Coroutine[Any, Any, T]]) -> None:
        self._factory = make
        self._is_ended = False
        self._current: asyncio.Task[Any] | None = None

    def run(self) -> T:
        return asyncio.run(self._main())

    async def _main(self) -> T:
        self._current = asyncio.current_task()
        if self._is_ended:  # before there was a task to cancel
            raise asyncio.CancelledError
        return await self._factory()

    def cancel(self) -> None:
        """Cancel the coroutine, from any other thread."""
        self._is_ended = True
        if self._current is not None:
            with suppress(RuntimeError):  # its loop is closed: it has ended
                self._current.get_loop().call_soon_threadsafe(self._current.cancel)
