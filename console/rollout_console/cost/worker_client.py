"""The console's end of a cost worker: start it, ask it for rows, end it."""

import asyncio
import signal
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress
from subprocess import Popen
from threading import Lock, Thread

from rollout_console.common.child_process import frame_of, read_frame, reap, start_child
from rollout_console.cost.worker_protocol import (
    Answer,
    Failed,
    Order,
    Request,
    decode_answer,
    encode,
)

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
        self._send(frame_of(encode(request)))

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
            Thread(
                target=reap, args=(process, _GRACE_S), name="cost-worker-end", daemon=True
            ).start()

    def _start(self, put: Callable[[Answer], None]) -> None:
        with self._lock:
            if self._is_closed:  # cancelled before there was a process
                return
            try:
                process = self._process = start_child("rollout_console.cost.worker")
            except OSError as error:
                why = error.strerror or error
                put(Failed(0, f"the process that adds up costs cannot be started: {why}"))
                return
        assert process.stdout is not None
        reads = Thread(target=self._read, args=(process, put), name="cost-worker", daemon=True)
        reads.start()
        # The token is in it: no other user can read a pipe.
        self._send(frame_of(encode(self._order)))

    def _send(self, frame: bytes) -> None:
        process = self._process
        if process is not None and process.stdin is not None:
            with suppress(OSError, ValueError):  # it has ended, or its pipe is closed already
                process.stdin.write(frame)
                process.stdin.flush()

    def _read(self, process: Popen[bytes], put: Callable[[Answer], None]) -> None:
        assert process.stdout is not None
        # An answer that cannot be read ends it: what follows would not be one either.
        with process.stdout as pipe, suppress(ValueError):
            while (data := read_frame(pipe)) is not None:
                put(decode_answer(data))
        process.terminate()
        reap(process, _GRACE_S)
        assert process.stdin is not None
        with suppress(OSError):  # what was not sent yet is for nobody
            process.stdin.close()
        put(Failed(0, ENDED))
