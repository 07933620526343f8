"""Paths of the gate's files: absolute, so that a change of the working directory moves none."""

from pathlib import Path

LEDGER_NAME = "rollout-jobs.sqlite3"
"""The file of the job ledger, in the folder of the access log."""


def absolute(path: str | Path) -> Path:
    """Return an absolute path, which a later change of the working directory does not affect.

    Symbolic links are not resolved: their targets may change.
    """
    try:
        return Path(path).absolute()
    except OSError:  # the working directory was deleted
        return Path(path)
