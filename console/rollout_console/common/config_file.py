"""The operator's ``config.toml``, read in one place; each part validates the keys it has of it."""

import tomllib
from pathlib import Path
from typing import Any

from rollout_console.common.folders import config_folder

KEYS = ("theme", "keymap", "ascii", "profiles", "credential_command")
"""Every key there is: the first three are the screen's, the others the vault's."""


class ConfigError(Exception):
    """The file cannot be read or is no TOML; ``str()`` is one clear sentence."""


def config_path() -> Path:
    """Return the path of ``config.toml`` in the platform's config folder; creates nothing."""
    return config_folder() / "config.toml"


def read_config(path: Path) -> dict[str, Any]:
    """Return the table of the file, an empty one where it is missing; raises ConfigError."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):  # the latter: HOME=/dev/null of a service
        return {}
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: {error}") from None
