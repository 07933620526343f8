"""A process that permissions bind, also where the tests are run by root."""

import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

NOBODY = 65_534


@contextmanager
def folder_of_nobody() -> Iterator[Path]:
    """A folder that nobody may work in; pytest's own are root's alone."""
    made = Path(tempfile.mkdtemp(prefix="rollout-console-"))
    if os.geteuid() == 0:
        os.chown(made, NOBODY, NOBODY)
    try:
        yield made
    finally:
        shutil.rmtree(made)


def as_nobody(work: Callable[[], None]) -> None:
    """Do it in a child that is not root; what it asserts is this test's."""
    child = os.fork()
    if child == 0:
        signal.alarm(20)
        failed = 1
        try:
            if os.geteuid() == 0:
                os.setgroups([])
                os.setgid(NOBODY)
                os.setuid(NOBODY)
            work()
            failed = 0
        except BaseException as error:
            os.write(2, f"{type(error).__name__}: {error}\n".encode())
        finally:
            os._exit(failed)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
