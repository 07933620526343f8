"""A flag that signal handlers set, and that loops wait for."""

import signal
from contextlib import suppress
from queue import Empty, SimpleQueue


class StopSignal:
    """Set by a signal handler, or by a thread; whoever waits for it goes on at once.

    ``threading.Event`` is not for signal handlers: its lock is not reentrant, and the handler runs
    in the main thread, which may hold it in ``wait``, or in the ``set`` of the signal before. The
    process would hang until it is killed. ``SimpleQueue.put`` is reentrant.
    """

    def __init__(self) -> None:
        self._is_set = False
        self._wakes: SimpleQueue[None] = SimpleQueue()

    def set(self, *_: object) -> None:
        """Set it; the arguments of a signal handler are left unused."""
        self._is_set = True
        self._wakes.put(None)

    def is_set(self) -> bool:
        """Return whether it is set."""
        return self._is_set

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it is set, for ``timeout`` seconds at most; return whether it is set."""
        if not self._is_set:
            with suppress(Empty):
                self._wakes.get(timeout=timeout)
                self._wakes.put(None)  # for the others that wait
        return self._is_set


def stop_on_signals() -> StopSignal:
    """Return a flag that SIGTERM, SIGINT and SIGHUP set, in place of ending the process."""
    stop = StopSignal()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, stop.set)
    return stop
