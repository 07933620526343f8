"""A command of the operator's that prints a credential, such as ``pass`` or ``op``."""

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress

from console.vault.credential import MOST_CHARACTERS, Purpose
from console.vault.errors import StoreClosed

LIMIT_S = 5.0


def ask_command(
    argv: Sequence[str],
    profile: str,
    purpose: Purpose,
    environ: Mapping[str, str],
    *,
    limit_s: float = LIMIT_S,
) -> str:
    """Run ``argv`` (no shell) and return the first line it prints.

    ``{profile}`` and ``{purpose}`` in its words are filled in. Raises StoreClosed with a sentence
    that holds nothing the command printed, for that may be half a secret.
    """
    words = [word.replace("{profile}", profile).replace("{purpose}", purpose) for word in argv]
    name = words[0]
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
    try:
        out, _ = child.communicate(timeout=limit_s)
    except subprocess.TimeoutExpired:
        # The whole group: a shell script's child would keep the pipe open.
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.communicate()
        raise StoreClosed(f"{name} did not end within {limit_s:g} s and was stopped") from None
    if child.returncode:
        raise StoreClosed(f"{name} ended with exit code {child.returncode}")
    first = out.decode("utf-8", errors="replace").strip().partition("\n")[0]
    if not first or len(first) > 4 * MOST_CHARACTERS:
        raise StoreClosed(f"{name} printed {'nothing' if not first else 'far too much'}")
    return first
