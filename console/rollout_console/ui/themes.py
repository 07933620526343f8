"""Colour themes, loaded from TOML files: the shipped ones and the operator's own."""

import tomllib
from contextlib import suppress
from pathlib import Path

from textual.theme import Theme

from rollout_console.common.assets import asset_folder
from rollout_console.common.folders import config_folder

DEFAULT_THEME = "night-ops"

_COLOURS = (
    "primary", "secondary", "accent", "foreground", "background", "surface", "panel",
    "boost", "success", "warning", "error",
)  # fmt: skip
_FIELDS = {"name", "dark", "ansi", "variables", *_COLOURS}


def own_themes_folder() -> Path:
    """Return the folder of the operator's own themes; it need not exist."""
    return config_folder() / "themes"


def load_themes() -> tuple[list[Theme], list[str]]:
    """Return the usable themes, and an error message for each file that has none.

    An operator's theme replaces a shipped one of the same name.
    """
    themes: dict[str, Theme] = {}
    troubles: list[str] = []
    for path in _files():
        try:
            theme = _theme(path)
        except OSError as error:
            troubles.append(f"theme {path.name} cannot be read: {error.strerror}")
        except (ValueError, TypeError) as error:
            troubles.append(f"theme {path.name}: {error}")
        else:
            themes[theme.name] = theme
    return list(themes.values()), troubles


def _files() -> list[Path]:
    found: list[Path] = []
    for folder in (asset_folder("themes"), own_themes_folder()):
        with suppress(OSError):  # load_settings reports an unreadable config folder
            found += sorted(folder.glob("*.toml"))
    return found


def _theme(path: Path) -> Theme:
    table = tomllib.loads(path.read_text(encoding="utf-8"))
    unknown = sorted(set(table) - _FIELDS)
    if unknown:
        raise ValueError(f"has no field {unknown[0]!r}; known: {', '.join(sorted(_FIELDS))}")
    name, primary = table.get("name"), table.get("primary")
    if not isinstance(name, str) or not isinstance(primary, str):
        raise ValueError("needs a name and a primary colour, both text")
    colours = {key: table[key] for key in _COLOURS if key in table and key != "primary"}
    variables = table.get("variables", {})
    if not all(isinstance(value, str) for value in (*colours.values(), *variables.values())):
        raise ValueError("holds a colour that is not text")
    return Theme(
        name=name,
        primary=primary,
        dark=table.get("dark", True) is True,
        ansi=table.get("ansi", False) is True,
        variables=variables,
        **colours,
    )
