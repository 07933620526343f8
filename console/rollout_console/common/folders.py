"""Locate the folders of the operator's settings and of the console's state; creates nothing."""

import os
from pathlib import Path

from platformdirs import user_config_path, user_state_path

_NAME = "rollout-console"
COPIES = "etcd"
COPY_RECORD = "rollout-copy.json"
"""A file in the folder of each working copy: of which revision it is."""


def config_folder() -> Path:
    """Return the folder of ``config.toml`` and of the operator's own themes."""
    return user_config_path(_NAME)


def state_folder() -> Path:
    """Return the folder of the console's state; ``$ROLLOUT_STATE_DIR`` overrides it."""
    folder = os.environ.get("ROLLOUT_STATE_DIR", "")
    return Path(folder) if folder else user_state_path(_NAME)


def working_copies_folder() -> Path:
    """Return the folder with the working copies of rollout files in etcd."""
    return state_folder() / COPIES


def is_working_copy(rollout_file: Path) -> bool:
    """Return whether a path is that of a working copy of a file in etcd."""
    folder = rollout_file.parent
    return folder.parent.name == COPIES and (
        (folder / COPY_RECORD).exists() or folder.parent == working_copies_folder()
    )


def folder_of(rollout_file: Path) -> Path:
    """Return the folder that relative paths in a rollout file are relative to.

    It is the file's own; for the working copy of one in etcd it is ``$ROLLOUT_FOLDER``, else the
    working directory, as if the file were in there.
    """
    if is_working_copy(rollout_file):
        return Path(os.environ.get("ROLLOUT_FOLDER") or ".")
    return rollout_file.parent
