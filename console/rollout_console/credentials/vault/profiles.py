"""The local profiles: their names, base URLs and credential stores, but no credentials."""

import json
from collections.abc import Callable
from pathlib import Path

import msgspec

from rollout_console.common.files import real_path, write_private
from rollout_console.credentials.vault.errors import VaultError
from rollout_console.credentials.vault.folder_lock import changing

_MOST_NAME = 64


class Profile(msgspec.Struct, frozen=True):
    """A named pair of credentials; ``places`` maps each purpose to its store."""

    name: str
    base_url: str = ""
    places: dict[str, str] = msgspec.field(default_factory=dict)


class ProfileList:
    """The locally added profiles, in one JSON file, as a keyring cannot be listed."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def all(self) -> dict[str, Profile]:
        """Return the profiles by name; raises VaultError where the file cannot be used."""
        try:
            table = json.loads(self.path.read_text(encoding="utf-8"))
            return {
                str(name): Profile(str(name), str(entry["base_url"]), dict(entry["places"]))
                for name, entry in table["profiles"].items()
            }
        except (FileNotFoundError, NotADirectoryError):  # the latter: HOME=/dev/null of a service
            return {}
        except OSError as error:
            raise VaultError(f"{self.path} cannot be read: {error.strerror}") from None
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            raise VaultError(
                f"{self.path} is corrupt: move it away and add the profiles again; "
                "their credentials are kept elsewhere"
            ) from None

    def change(
        self, name: str, edit: Callable[[Profile], Profile | None]
    ) -> tuple[Profile | None, Profile | None]:
        """Replace a profile by what ``edit`` returns for it, or remove it for None.

        ``edit`` gets what the file has while nobody else can change it, an empty profile where
        there is none. Return the profile before and after. Nothing is written where both are the
        same. Raises VaultError.
        """
        with changing(self.path, VaultError):
            profiles = self.all()
            before = profiles.pop(name, None)
            after = edit(before or Profile(name))
            if after != before:
                self._write(profiles if after is None else profiles | {name: after})
            return before, after

    def _write(self, profiles: dict[str, Profile]) -> None:
        table = {
            "version": 1,
            "profiles": {
                name: {"base_url": profile.base_url, "places": profile.places}
                for name, profile in sorted(profiles.items())
            },
        }
        try:
            write_private(real_path(self.path), (json.dumps(table, indent=2) + "\n").encode())
        except OSError as error:
            raise VaultError(f"{self.path} cannot be written: {error.strerror}") from None


def checked_name(name: str) -> str:
    """Validate a profile's name, 1 to 64 of A-Z, a-z, 0-9, ``-_.``; raises VaultError."""
    good = all(sign.isalnum() or sign in "-_." for sign in name)
    if not name or len(name) > _MOST_NAME or not name.isascii() or not good:
        raise VaultError(
            f"a profile's name has 1 to {_MOST_NAME} letters, digits, dots, dashes or underlines"
        )
    return name
