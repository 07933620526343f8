"""An event that signal handlers set to stop a service's loop."""

import signal
from contextlib import suppress
from queue import Empty, SimpleQueue


class StopSignal:
    """An event like ``threading.Event`` whose ``set`` is reentrant: safe in a signal handler.

    The lock of ``threading.Event`` is not reentrant, and a handler runs in the main thread, which
    may hold it in ``wait``, or in the ``set`` of the signal before: a deadlock, until the process
    is killed. ``SimpleQueue.put`` is documented to be reentrant.
    """

    def __init__(self) -> None:
        self._is_set = False
        self._wakes: SimpleQueue[None] = SimpleQueue()

    def set(self, *_: object) -> None:
        """Set it, and wake all threads that wait; the arguments of a signal handler are unused."""
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
    """Return an event that SIGTERM, SIGINT and SIGHUP set, in place of ending the process."""
    stop = StopSignal()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, stop.set)
    return stop
