"""Signal handling while the console exits."""

import signal
import threading


def start_no_more() -> None:
    """Reset SIGCONT and SIGTSTP to their defaults, so that nothing restarts the terminal driver.

    A terminal that closes sends SIGHUP and then SIGCONT. Textual's handler of SIGCONT starts a
    driver whose thread is never stopped: the process spins for ever on a terminal that is gone, or
    its cleanup is cut off. The handler outlives the app, too. Call this first in any shutdown;
    outside the main thread, where signal handlers cannot be set, it does nothing.
    """
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGCONT, signal.SIGTSTP):
            signal.signal(number, signal.SIG_DFL)
