"""Locate the folders of the operator's settings and of the console's state; creates nothing."""

import os
from pathlib import Path

from platformdirs import user_config_path, user_state_path

_NAME = "rollout-console"


def config_folder() -> Path:
    """Return the folder of ``config.toml`` and of the operator's own themes."""
    return user_config_path(_NAME)


def state_folder() -> Path:
    """Return the folder of the console's state; ``$ROLLOUT_STATE_DIR`` overrides it."""
    folder = os.environ.get("ROLLOUT_STATE_DIR", "")
    return Path(folder) if folder else user_state_path(_NAME)
