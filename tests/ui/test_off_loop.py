"""A coroutine off the event loop: a read ends with its caller, a change is finished."""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from rollout_console.ui.off_loop import off_loop


class Slow:
    """A coroutine that waits until it may end, and says how it did."""

    def __init__(self) -> None:
        self.began = threading.Event()
        self.may_end = threading.Event()
        self.ended: list[str] = []

    async def run(self) -> str:
        self.began.set()
        try:
            while not self.may_end.is_set():  # noqa: ASYNC110
                await asyncio.sleep(0.005)
        except asyncio.CancelledError:
            self.ended.append("cancelled")
            raise
        self.ended.append("done")
        return "answer"


async def cancelled(call: Callable[[], Coroutine[Any, Any, str]], slow: Slow) -> None:
    task = asyncio.create_task(call())
    await asyncio.to_thread(slow.began.wait)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def ended(slow: Slow) -> list[str]:
    async with asyncio.timeout(30):
        while not slow.ended:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
    return slow.ended


async def test_it_returns_what_the_coroutine_does_and_raises_its_errors() -> None:
    slow = Slow()
    slow.may_end.set()
    assert await off_loop(slow.run) == "answer"

    async def fails() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await off_loop(fails)


async def test_a_read_ends_with_its_caller() -> None:
    slow = Slow()
    await cancelled(lambda: off_loop(slow.run, is_read=True), slow)
    assert await ended(slow) == ["cancelled"]


async def test_a_change_is_finished() -> None:
    slow = Slow()
    await cancelled(lambda: off_loop(slow.run), slow)
    slow.may_end.set()
    assert await ended(slow) == ["done"]


async def test_slow_reads_leave_the_threads_of_changes_free() -> None:
    reads = [Slow() for _ in range(40)]
    tasks = [asyncio.create_task(off_loop(one.run, is_read=True)) for one in reads]
    async with asyncio.timeout(30):
        assert await asyncio.to_thread(lambda: "changed") == "changed"
    for one in reads:
        one.may_end.set()
    assert await asyncio.gather(*tasks) == ["answer"] * 40
