"""Leaving the terminal for good."""

import signal
import threading


def start_no_more() -> None:
    """Let nothing start the terminal's driver anew, from the first moment of the end on.

    Whoever closes a terminal says "hang up" and then "continue", and Textual's handler of that
    starts a driver whose thread nobody ends: a process that spins for ever on a terminal that is
    gone, or a clean-up that is cut off. It outlives the app, too.
    """
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGCONT, signal.SIGTSTP):
            signal.signal(number, signal.SIG_DFL)
