"""The profiles in ``config.toml``: base URLs, and credential commands."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from rollout_console.common.config_file import ConfigError, read_config
from rollout_console.credentials.vault.errors import VaultError


class ProfileConfig(msgspec.Struct, frozen=True):
    """One profile's settings; ``credential_command`` is an argument list, empty without one."""

    base_url: str = ""
    credential_command: tuple[str, ...] = ()


class VaultConfig(msgspec.Struct, frozen=True):
    """All profiles' settings; ``credential_command`` is the default of profiles without one."""

    profiles: Mapping[str, ProfileConfig] = msgspec.field(default_factory=dict)
    credential_command: tuple[str, ...] = ()

    def command(self, profile: str) -> tuple[str, ...]:
        """Return the command that prints this profile's credentials, empty where there is none."""
        own = self.profiles.get(profile, ProfileConfig()).credential_command
        return own or self.credential_command


def load_vault_config(path: Path) -> VaultConfig:
    """Parse the settings; a missing file means none. Raises VaultError with one sentence."""
    try:
        table = read_config(path)
    except ConfigError as error:
        raise VaultError(str(error)) from None
    profiles = table.get("profiles", {})
    if not isinstance(profiles, dict):
        raise VaultError(f"{path}: profiles must be a table")
    return VaultConfig(
        {name: _profile(path, name, value) for name, value in profiles.items()},
        _command(path, "credential_command", table.get("credential_command")),
    )


def _profile(path: Path, name: str, value: Any) -> ProfileConfig:
    where = f"profiles.{name}"
    if not isinstance(value, dict):
        raise VaultError(f"{path}: {where} must be a table")
    for key in value:
        if key not in ("base_url", "credential_command"):
            raise VaultError(f"{path}: {where} has no setting {key!r}; credentials never go here")
    url = value.get("base_url", "")
    if not isinstance(url, str):
        raise VaultError(f"{path}: {where}.base_url must be a text")
    return ProfileConfig(url, _command(path, f"{where}.credential_command", value.get(
        "credential_command"
    )))  # fmt: skip


def _command(path: Path, where: str, value: Any) -> tuple[str, ...]:
    if value is None:
        return ()
    if not isinstance(value, list) or not value or not all(isinstance(w, str) and w for w in value):
        raise VaultError(
            f'{path}: {where} must be a list of words such as ["pass", "show", "tokenlab"]; '
            "no shell reads it"
        )
    return tuple(value)
