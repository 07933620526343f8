"""The operator's own settings: ``config.toml`` in the platform's config folder."""

import msgspec

from rollout_console.common.config_file import KEYS, ConfigError, config_path, read_config
from rollout_console.ui.keymap import checked_keymap
from rollout_console.ui.themes import DEFAULT_THEME


class Settings(msgspec.Struct, frozen=True):
    """The parsed settings, and an error message for each entry that cannot be used."""

    theme: str = DEFAULT_THEME
    keymap: dict[str, str] = msgspec.field(default_factory=dict)
    ascii: bool | None = None
    """Whether to draw in ASCII alone; None where locale and terminal decide."""
    troubles: tuple[str, ...] = ()


def settings_stamp() -> tuple[int, ...]:
    """Return what differs once the settings file was edited (inode, size, mtime); empty without."""
    try:
        status = config_path().stat()
    except OSError:
        return ()
    return status.st_ino, status.st_size, status.st_mtime_ns


def load_settings() -> Settings:
    """Parse the settings file; where it is missing, return the defaults and create nothing.

    Errors are returned in ``troubles``, with the defaults in place of what cannot be used.
    """
    path = config_path()
    try:
        table = read_config(path)
    except ConfigError as error:
        return Settings(troubles=(f"{error}; the defaults are used",))
    theme, wanted = table.get("theme", DEFAULT_THEME), table.get("keymap", {})
    troubles = [f"{path.name}: no setting {k!r}" for k in table if k not in KEYS]
    if not isinstance(theme, str):
        troubles.append(f"{path.name}: theme must be a text")
        theme = DEFAULT_THEME
    if not isinstance(wanted, dict):
        troubles.append(f"{path.name}: keymap must be a table")
        wanted = {}
    in_ascii = table.get("ascii")
    if not (in_ascii is None or isinstance(in_ascii, bool)):
        troubles.append(f"{path.name}: ascii must be true or false")
        in_ascii = None
    keymap, more = checked_keymap(wanted)
    return Settings(theme, keymap, in_ascii, (*troubles, *more))
