"""Locate the shipped themes and sample configs, in a checkout or in an installed wheel."""

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parents[1]


def asset_folder(name: str) -> Path:
    """Return the folder ``themes`` or ``sample_configs``; raises FileNotFoundError."""
    for folder in (_PACKAGE / "_assets" / name, _PACKAGE.parents[1] / name):
        if folder.is_dir():
            return folder
    raise FileNotFoundError(f"{name}: not found beside the package; install it again")
