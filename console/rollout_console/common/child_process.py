"""Processes of our own beside this one, and the frames that they and this one tell each other.

What computes for minutes would hold the GIL in a thread; a process can also be ended at any time.
"""

import os
import struct
import subprocess
import sys
from collections.abc import Collection
from pathlib import Path
from subprocess import DEVNULL, PIPE
from typing import IO

import rollout_console
import rollout_gate

_ROOTS = [str(Path(package.__path__[0]).parent) for package in (rollout_console, rollout_gate)]
_LENGTH = struct.Struct(">I")
"""The length prefix of a frame: four bytes, big-endian."""


def start_child(
    module: str, *words: str, stdout: int = PIPE, stderr: int = DEVNULL,
    pass_fds: Collection[int] = (),
) -> "subprocess.Popen[bytes]":  # fmt: skip
    """Start ``python -m module words``, with a pipe as its standard input; raises OSError.

    It imports the packages that this process has, wherever it was started.
    """
    # -P keeps the working directory off sys.path: modules there must not be imported.
    return subprocess.Popen(
        [sys.executable, "-P", "-m", module, *words],
        stdin=PIPE, stdout=stdout, stderr=stderr, pass_fds=pass_fds,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(_ROOTS)},
    )  # fmt: skip


def reap(process: "subprocess.Popen[bytes]", grace_s: float) -> None:
    """Wait for a process that was told to end; kill it where it does not in ``grace_s`` seconds."""
    try:
        process.wait(grace_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def frame_of(data: bytes) -> bytes:
    """Return a message with its length before it."""
    return _LENGTH.pack(len(data)) + data


def read_frame(pipe: IO[bytes]) -> bytes | None:
    """Read the next message, blocking; None at the end of the pipe, even one inside a frame."""
    head = pipe.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        return None
    (length,) = _LENGTH.unpack(head)
    data = pipe.read(length)
    return data if len(data) == length else None
