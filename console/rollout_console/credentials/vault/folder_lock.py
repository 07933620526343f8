"""The lock of the folder of a vault's file, against lost updates between two consoles."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from rollout_console.common.files import real_path
from rollout_console.common.flock import locked_folder
from rollout_console.credentials.vault.errors import VaultError

LOCK_WAIT_S = 10.0
"""Seconds that another console is waited for: it writes a file of some kilobytes."""


@contextmanager
def changing(path: Path, error: type[VaultError]) -> Iterator[None]:
    """Hold the lock for a change of the file, of its target where it is a symlink.

    Raises ``error`` where another console has it for LOCK_WAIT_S, or the folder cannot be used.
    """
    with ExitStack() as stack:
        try:
            stack.enter_context(locked_folder(real_path(path).parent, LOCK_WAIT_S))
        except TimeoutError:
            raise error(
                f"another console is changing {path}; nothing was changed: try again"
            ) from None
        except OSError as fault:
            raise error(f"{path.parent} cannot be used: {fault.strerror}") from None
        yield
