"""Where the operator's settings and the console's own state live; asking creates nothing."""

import os
from pathlib import Path

from platformdirs import user_config_path, user_state_path

_NAME = "rollout-console"


def config_folder() -> Path:
    """Return the folder of ``config.toml`` and of the operator's own themes."""
    return user_config_path(_NAME)


def state_folder() -> Path:
    """Return the folder of what the console keeps; ``$ROLLOUT_STATE_DIR`` overrides it."""
    folder = os.environ.get("ROLLOUT_STATE_DIR", "")
    return Path(folder) if folder else user_state_path(_NAME)
