"""Make an application's paths absolute, independent of later changes of the working directory."""

from pathlib import Path


def absolute(path: str | Path) -> Path:
    """Return an absolute path, which a later change of the working directory does not affect.

    Symbolic links are not resolved: their targets may change.
    """
    try:
        return Path(path).absolute()
    except OSError:  # the working directory was deleted
        return Path(path)
