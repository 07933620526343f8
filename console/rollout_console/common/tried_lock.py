"""An advisory lock that is tried: caches are read, merged and written under it, or without."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from rollout_console.common.files import locked_folder


@contextmanager
def tried_lock(folder: Path, wait_s: float) -> Iterator[None]:
    """Hold an exclusive flock of a folder if it can be had within ``wait_s`` seconds.

    The block runs in any case, and raises what is its own alone: a cache is in nobody's way.
    """
    with ExitStack() as stack:
        with suppress(OSError):
            stack.enter_context(locked_folder(folder, wait_s))
        yield
