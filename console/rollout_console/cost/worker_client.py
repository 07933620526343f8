"""The console's end of a cost worker: start it, ask it for rows, end it."""

import asyncio
import os
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncGenerator
from contextlib import suppress
from pathlib import Path

import rollout_console
import rollout_gate
from rollout_console.cost.worker_protocol import (
    LENGTH,
    Answer,
    Failed,
    Order,
    Request,
    decode_answer,
    frame_of,
)

_ROOTS = [str(Path(package.__path__[0]).parent) for package in (rollout_console, rollout_gate)]
_GRACE_S = 1.0
"""Seconds in which a worker ends when it is told to, before it is killed."""
ENDED = "the process that adds up costs has ended; f5 reads again"


class CostWorker:
    """One worker process, and what it answers, in order; it is ended with ``close``."""

    def __init__(self, order: Order) -> None:
        self._order = order
        self._process: Process | None = None

    @property
    def process(self) -> int | None:
        """The process id; None before it is started."""
        return None if self._process is None else self._process.pid

    async def answers(self) -> AsyncGenerator[Answer, None]:
        """Start the process and yield its answers; the last is a Failed with serial 0.

        Where it cannot be started, or ends by itself, that says so. However this ends, also when it
        is cancelled, the process is ended too.
        """
        try:
            try:
                process = await self._start()
            except OSError as error:
                why = error.strerror or error
                yield Failed(0, f"the process that adds up costs cannot be started: {why}")
                return
            assert process.stdout is not None
            with suppress(asyncio.IncompleteReadError, ConnectionError):
                while True:
                    (length,) = LENGTH.unpack(await process.stdout.readexactly(LENGTH.size))
                    answer = decode_answer(await process.stdout.readexactly(length))
                    yield answer
                    if isinstance(answer, Failed) and answer.serial == 0:
                        return
            yield Failed(0, ENDED)
        finally:
            await self.close()

    def ask(self, request: Request) -> None:
        """Send a request; one to a process that has ended is dropped: its answers say that."""
        process = self._process
        if process is not None and process.stdin is not None and process.returncode is None:
            with suppress(ConnectionError, RuntimeError):
                process.stdin.write(frame_of(request))

    async def close(self) -> None:
        """End the process: tell it to, so that it deletes what is half written, then kill it."""
        process, self._process = self._process, None
        if process is None:
            return
        with suppress(ProcessLookupError):
            process.terminate()
        try:
            await asyncio.wait_for(process.wait(), _GRACE_S)
        except TimeoutError:
            pass
        finally:  # a second cancellation, too
            if process.returncode is None:
                with suppress(ProcessLookupError):
                    process.kill()

    async def _start(self) -> Process:
        # -P keeps the working directory off sys.path: modules there must not be imported.
        self._process = process = await asyncio.create_subprocess_exec(
            sys.executable, "-P", "-m", "rollout_console.cost.worker",
            stdin=PIPE, stdout=PIPE, stderr=DEVNULL,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(_ROOTS)},
        )  # fmt: skip
        assert process.stdin is not None
        process.stdin.write(frame_of(self._order))  # the token in it: no other user can read a pipe
        return process
