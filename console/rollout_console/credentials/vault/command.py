"""Run the operator's credential helper, a command such as ``pass`` or ``op``."""

import os
import selectors
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress

from rollout_console.credentials.vault.credential import MOST_CHARACTERS, Purpose
from rollout_console.credentials.vault.errors import StoreClosed

LIMIT_S = 5.0
_MOST_BYTES = 64 * 1024
_POLL_S = 0.02


def ask_command(
    argv: Sequence[str],
    profile: str,
    purpose: Purpose,
    environ: Mapping[str, str],
    *,
    limit_s: float = LIMIT_S,
) -> str:
    """Run ``argv`` (no shell) and return the first line it prints.

    ``{profile}`` and ``{purpose}`` in its arguments are substituted. The timeout is ``limit_s``
    seconds in all, even where a background process holds the pipe open. Raises StoreClosed, whose
    sentence never quotes the command's output: that may be part of a secret.
    """
    words = [word.replace("{profile}", profile).replace("{purpose}", purpose) for word in argv]
    name = "".join(sign if sign.isprintable() else "·" for sign in words[0])
    end = time.monotonic() + limit_s
    try:
        child = subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=dict(environ),
            start_new_session=True,
        )
    except OSError as error:
        raise StoreClosed(f"{name} cannot be run: {error.strerror}") from None
    except ValueError:
        raise StoreClosed("it has a word with a sign that no command can be given") from None
    assert child.stdout is not None
    code: int | None = None
    try:
        out = _read(child, child.stdout.fileno(), end)
        if len(out) <= _MOST_BYTES:
            with suppress(subprocess.TimeoutExpired):
                code = child.wait(max(end - time.monotonic(), 0))
    finally:
        if code is None:
            _kill(child)
        child.stdout.close()
    if len(out) > _MOST_BYTES:
        raise StoreClosed(f"{name} printed far too much")
    if code is None:
        raise StoreClosed(f"{name} did not end within {limit_s:g} s and was stopped")
    if code:
        raise StoreClosed(f"{name} ended with exit code {code}")
    first = out.decode("utf-8", errors="replace").strip().partition("\n")[0]
    if not first or len(first) > 4 * MOST_CHARACTERS:
        raise StoreClosed(f"{name} printed {'nothing' if not first else 'far too much'}")
    return first


def _read(child: subprocess.Popen[bytes], pipe: int, end: float) -> bytes:
    """Read the child's stdout until it exits, exceeds 64 KiB or reaches the deadline ``end``.

    Its exit counts, not EOF of the pipe: a background process may hold the write end open for ever.
    """
    data = bytearray()
    with selectors.DefaultSelector() as ready:
        ready.register(pipe, selectors.EVENT_READ)
        while len(data) <= _MOST_BYTES and time.monotonic() < end:
            ended = child.poll() is not None
            if ready.select(0 if ended else _POLL_S):
                piece = os.read(pipe, _MOST_BYTES)
                if not piece:
                    break
                data += piece
            elif ended:
                break
    return bytes(data)


def _kill(child: subprocess.Popen[bytes]) -> None:
    """Kill the process group, as a script's children would keep running; wait 1 s at most."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)
    with suppress(subprocess.TimeoutExpired):
        child.wait(1)
