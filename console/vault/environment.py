"""Credentials from the environment: the only source until the vault exists."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from console.gate.secret import Secret

Purpose = Literal["api_key", "management_token"]

_VARIABLE: dict[Purpose, str] = {
    "api_key": "TOKENLAB_API_KEY",
    "management_token": "TOKENLAB_MANAGEMENT_TOKEN",
}
_PREFIX: dict[Purpose, str] = {"api_key": "sk-", "management_token": "mt-"}


@dataclass(frozen=True, slots=True)
class Credential:
    """A credential, or why there is none. ``source`` names where it came from."""

    purpose: Purpose
    secret: Secret | None
    source: str
    problem: str = ""


def from_environment(purpose: Purpose, environ: Mapping[str, str] | None = None) -> Credential:
    """Return the credential for ``purpose``.

    One of the wrong kind is refused here, by its prefix, before it could be sent anywhere.
    """
    variable, prefix = _VARIABLE[purpose], _PREFIX[purpose]
    value = (os.environ if environ is None else environ).get(variable, "").strip()
    source = f"${variable}"
    if not value:
        return Credential(purpose, None, source, f"no {purpose.replace('_', ' ')}: set {source}")
    if not value.startswith(prefix):
        kind = "a credential of another kind"
        problem = f"{source} does not start with {prefix}: it holds {kind} and is not used"
        return Credential(purpose, None, source, problem)
    if not value.isascii() or any(c <= " " or c == "\x7f" for c in value):
        return Credential(
            purpose, None, source, f"{source} holds a space or a sign no credential has"
        )
    return Credential(purpose, Secret(value), source)
