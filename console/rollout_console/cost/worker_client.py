"""The console's end of a cost worker: start it, ask it for rows, end it."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress
from pathlib import Path
from subprocess import DEVNULL, PIPE, Popen
from threading import Lock, Thread
from typing import IO

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
    """One worker process, and what it answers, in order; it is ended with ``close``.

    A thread reads its answers and reaps it, so that nothing depends on an event loop that may be
    closing.
    """

    def __init__(self, order: Order) -> None:
        self._order = order
        self._process: Popen[bytes] | None = None
        self._is_closed = False
        self._lock = Lock()

    @property
    def process(self) -> int | None:
        """The process id; None before it is started."""
        return None if self._process is None else self._process.pid

    async def answers(self) -> AsyncGenerator[Answer, None]:
        """Start the process and yield its answers; the last is a Failed with serial 0.

        Where it cannot be started, or ends by itself, that says so. However this ends, also when it
        is cancelled, the process is ended too.
        """
        loop, arrived = asyncio.get_running_loop(), asyncio.Queue[Answer]()

        def put(answer: Answer) -> None:
            with suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(arrived.put_nowait, answer)

        try:
            await asyncio.to_thread(self._start, put)
            while True:
                answer = await arrived.get()
                yield answer
                if isinstance(answer, Failed) and answer.serial == 0:
                    return
        finally:
            self.close()

    def ask(self, request: Request) -> None:
        """Send a request; one to a process that has ended is dropped: its answers say that."""
        self._send(frame_of(request))

    def close(self) -> None:
        """Tell the process to end, also one that is stopped (SIGSTOP, a debugger).

        A thread kills it where it does not: it holds the token.
        """
        with self._lock:
            was_closed, self._is_closed = self._is_closed, True
            process = self._process
            if process is None:
                return
            process.terminate()
            process.send_signal(signal.SIGCONT)
        if not was_closed:
            Thread(target=_end, args=(process,), name="cost-worker-end", daemon=True).start()

    def _start(self, put: Callable[[Answer], None]) -> None:
        with self._lock:
            if self._is_closed:  # cancelled before there was a process
                return
            try:
                # -P keeps the working directory off sys.path: modules there must not be imported.
                process = self._process = Popen(
                    [sys.executable, "-P", "-m", "rollout_console.cost.worker"],
                    stdin=PIPE, stdout=PIPE, stderr=DEVNULL,
                    env={**os.environ, "PYTHONPATH": os.pathsep.join(_ROOTS)},
                )  # fmt: skip
            except OSError as error:
                why = error.strerror or error
                put(Failed(0, f"the process that adds up costs cannot be started: {why}"))
                return
        assert process.stdout is not None
        reads = Thread(target=self._read, args=(process, put), name="cost-worker", daemon=True)
        reads.start()
        self._send(frame_of(self._order))  # the token is in it: no other user can read a pipe

    def _send(self, frame: bytes) -> None:
        process = self._process
        if process is not None and process.stdin is not None:
            with suppress(OSError, ValueError):  # it has ended, or its pipe is closed already
                process.stdin.write(frame)
                process.stdin.flush()

    def _read(self, process: Popen[bytes], put: Callable[[Answer], None]) -> None:
        assert process.stdout is not None
        with process.stdout as pipe:
            while (answer := _next(pipe)) is not None:
                put(answer)
        process.terminate()
        _end(process)
        assert process.stdin is not None
        with suppress(OSError):  # what was not sent yet is for nobody
            process.stdin.close()
        put(Failed(0, ENDED))


def _end(process: Popen[bytes]) -> None:
    """Wait for a process that was told to end; kill it where it does not in _GRACE_S."""
    try:
        process.wait(_GRACE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _next(pipe: IO[bytes]) -> Answer | None:
    """Read the next answer; None at the end of the pipe, even one inside a frame."""
    head = pipe.read(LENGTH.size)
    if len(head) < LENGTH.size:
        return None
    (length,) = LENGTH.unpack(head)
    data = pipe.read(length)
    return decode_answer(data) if len(data) == length else None
