"""Ctrl+c ends a question whenever it comes: also just before the read of the answer begins."""

import os
import pty
import select
import subprocess
import sys

ASKS = """
import random, signal
from rollout_console.cli.line_input import read_line

signal.signal(signal.SIGALRM, signal.default_int_handler)
for _ in range(3_000):
    try:
        signal.setitimer(signal.ITIMER_REAL, random.uniform(2e-6, 60e-6))
        read_line()
    except KeyboardInterrupt:
        continue
    raise SystemExit("a line that nobody typed")
print("?", end="", flush=True)
print([read_line(), read_line()], end="")
"""
"""A signal at any moment of a read: the instant at which it could be lost is a microsecond."""


def test_no_ctrl_c_is_lost() -> None:
    master, slave = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-c", ASKS], stdin=slave, stdout=subprocess.PIPE, stderr=slave
    ) as child:
        os.close(slave)
        assert child.stdout is not None
        try:
            assert select.select([child.stdout], [], [], 40)[0], "it waits: a signal is lost"
            assert child.stdout.read(1) == b"?"
            os.write(master, b"a line\n\x04")
            assert child.stdout.read() == b"['a line\\n', '']"
            assert child.wait(20) == 0
        finally:
            child.kill()
            os.close(master)
