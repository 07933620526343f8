"""What the tests of rotations share: a clock, and looks at keys and where they are kept."""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from rollout_console.credentials.api_keys import ApiKeys
from rollout_console.credentials.vault.config import VaultConfig
from rollout_console.credentials.vault.environment import Given
from rollout_console.credentials.vault.vault import Vault
from rollout_console.sim.server import SimServer
from rollout_console.tokenlab.errors import ApiError
from rollout_console.tokenlab.types import ApiKey
from rollout_gate.secret import Secret

MODEL = "gpt-5.4-mini"


class Clock:
    """A clock that is put forward by hand."""

    def __init__(self) -> None:
        self.ahead = timedelta(0)

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self.ahead


async def old_key(room: ApiKeys, name: str, **limits: Any) -> ApiKey:
    created = await room.create(name, **limits)
    room.keep("prod", "api_key", created.secret, "keyring")
    return created.key


def secret(room: ApiKeys, profile: str = "prod") -> Secret | None:
    return room.vault.kept(profile, "api_key", "keyring")


async def works(room: ApiKeys, found: Secret | None) -> bool:
    assert found is not None
    try:
        return (await room.prove(found, MODEL)).works
    except ApiError:
        return False


def status_of(sim: SimServer, key_id: str) -> str:
    return sim.state.keys[key_id].status


def other_room(room: ApiKeys, profile: str, vault: Vault | None = None) -> ApiKeys:
    """Another console: same machine, same organisation."""
    return ApiKeys(vault or room.vault, room.profiles, profile, room.base_url, clock=room.now)


def in_a_command(room: ApiKeys, tmp_path: Path, found: Secret) -> None:
    (tmp_path / "given").write_text(found.reveal())
    words = ("sh", "-c", f"test {{purpose}} = api_key && cat {tmp_path}/given")
    room.vault.config = VaultConfig(credential_command=words)
    room.vault.given = Given(
        variables=room.vault.given.variables, environ={"PATH": os.environ["PATH"]}
    )
