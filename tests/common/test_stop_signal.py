"""A flag that signal handlers set: they may run at any moment of the main thread."""

import signal
import sys
import threading
from types import FrameType
from typing import Any

from rollout_console.common.stop_signal import StopSignal, stop_on_signals
from tests.support.waiting import PATIENCE_S


def test_a_handler_may_run_before_any_line_of_a_wait_and_a_set() -> None:
    """With threading.Event it hangs: its lock is not reentrant."""
    stop, lines = StopSignal(), []

    def handle(_frame: FrameType, event: str, _argument: object) -> Any:
        if event == "line":
            lines.append(event)
            stop.set()
        return handle

    def interrupted() -> None:
        sys.settrace(handle)  # of this thread alone
        stop.wait(0.01)
        stop.set()
        stop.wait()
        sys.settrace(None)

    thread = threading.Thread(target=interrupted, daemon=True)
    thread.start()
    thread.join(PATIENCE_S)
    assert not thread.is_alive()
    assert len(lines) > 5


def test_all_that_wait_go_on() -> None:
    stop, gone = StopSignal(), []
    assert not stop.wait(0)
    assert not stop.wait(0.01)
    threads = [threading.Thread(target=lambda: gone.append(stop.wait(PATIENCE_S))) for _ in "abc"]
    for one in threads:
        one.start()
    stop.set()
    for one in threads:
        one.join()
    assert gone == [True] * 3
    assert stop.is_set()
    assert stop.wait()


def test_each_signal_that_ends_a_process_sets_it() -> None:
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    before = {number: signal.getsignal(number) for number in numbers}
    try:
        for number in numbers:
            stop = stop_on_signals()
            signal.raise_signal(number)
            assert stop.wait(PATIENCE_S)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
