"""Paths that an application gives once, and means for as long as it runs."""

from pathlib import Path


def absolute(path: str | Path) -> Path:
    """Return a path that means the same after a change of the working directory.

    Symbolic links stay as they are: what they lead to may change.
    """
    try:
        return Path(path).absolute()
    except OSError:  # the working directory is gone
        return Path(path)
