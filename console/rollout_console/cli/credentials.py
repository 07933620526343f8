"""Open the vault for a command: explicitly given credentials, and prompts on the terminal."""

import getpass
import os
import sys
from argparse import Namespace
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from rollout_console.changes.errors import StoreError
from rollout_console.common.config_file import config_path
from rollout_console.common.files import is_missing
from rollout_console.common.folders import state_folder
from rollout_console.credentials.vault.config import load_vault_config
from rollout_console.credentials.vault.credential import WORDS, Purpose
from rollout_console.credentials.vault.encrypted import EncryptedStore
from rollout_console.credentials.vault.environment import (
    VARIABLE,
    Given,
    passphrase_from,
    take_from_environment,
)
from rollout_console.credentials.vault.errors import BadCredential
from rollout_console.credentials.vault.hardening import keep_memory_private
from rollout_console.credentials.vault.keyring_store import KeyringStore
from rollout_console.credentials.vault.profiles import ProfileList
from rollout_console.credentials.vault.vault import Vault, empty_vault
from rollout_gate.file.errors import FileError
from rollout_gate.file.model import DEFAULT_BASE_URL, RolloutFile
from rollout_gate.file.parse import parse
from rollout_gate.file.read import read_file
from rollout_gate.untrusted import UndecodableError, decode_json

if TYPE_CHECKING:
    from rollout_console.credentials.api_keys import ApiKeys

_MOST_HANDED = 256 * 1024
_handed_of = msgspec.json.Decoder(dict[str, str])


def make_vault(given: Given, *, asks: bool) -> Vault:
    """Return the vault in the platform's folders; ``asks`` allows prompts, given a terminal.

    Raises VaultError where config.toml is invalid: a credential from another source than the
    operator configured would be worse than none.
    """
    keep_memory_private()
    terminal = asks and sys.stdin.isatty() and sys.stderr.isatty()

    def passphrase(new: bool) -> str | None:
        text = passphrase_from(given.environ)
        return text if text or not terminal else _ask_passphrase(new)

    return Vault(
        given,
        load_vault_config(config_path()),
        KeyringStore(),
        EncryptedStore(state_folder() / "vault.age", passphrase),
        _ask_credential if terminal else None,
    )


def fixed_vault(variables: Mapping[Purpose, str], previous: Mapping[str, str]) -> Vault:
    """Return a vault that has these credentials and looks nowhere else: the demo's.

    ``previous`` are keys of previous providers, by their usual variables.
    """
    return empty_vault(Given({}, variables, previous=previous))


def make_key_room(options: Namespace, vault: Vault, path: Path) -> "ApiKeys":
    """Return the ApiKeys of the profile in ``options``, else of the rollout file's profile.

    Raises RolloutError where that file cannot be used.
    """
    from rollout_console.credentials.api_keys import ApiKeys

    file = file_that_is_meant(options, path)
    profile = getattr(options, "profile", "") or (file.profile if file is not None else "default")
    config = vault.config.profiles.get(profile)
    profiles = ProfileList(state_folder() / "profiles.json")
    added = profiles.all().get(profile)
    addresses = [
        getattr(options, "base_url", ""),
        config.base_url if config is not None else "",
        file.base_url if file is not None and file.profile == profile else "",
        added.base_url if added is not None else "",
    ]
    # An unknown profile gets no default base URL: the credential in the environment may belong to
    # another host.
    if config is not None or added is not None or not getattr(options, "profile", ""):
        addresses.append(DEFAULT_BASE_URL)
    base_url = next(filter(None, addresses), "")
    return ApiKeys(vault, profiles, profile, base_url, access=options.access)


def given_on(options: Namespace) -> Given:
    """Take credentials out of the environment and, with --token-stdin, from standard input."""
    text = ""
    if getattr(options, "token_stdin", False):
        text = sys.stdin.readline(20_000)
    return take_from_environment(stdin=text)


def handed_to_child(given: Given) -> dict[str, str]:
    """Return TokenLab's credentials that were given in variables, by the variables' names, and
    those of a Prometheus, which are taken out of the environment as well."""
    from rollout_console.health.prometheus import login

    login.take_from_environment()
    of_tokenlab = {VARIABLE[purpose]: text for purpose, text in given.variables.items()}
    return of_tokenlab | login.handed_to_child()


def take_from_parent() -> None:
    """Read what ``handed_to_child`` returned, a line of JSON, from standard input.

    It is read unbuffered: what follows the line is for Textual's driver, which reads the file
    descriptor. Raises BadCredential where there is no such line.
    """
    line = b""
    while not line.endswith(b"\n") and len(line) < _MOST_HANDED:
        byte = os.read(0, 1)
        if not byte:
            break
        line += byte
    from rollout_console.health.prometheus.login import NAMES

    try:
        handed = decode_json(line, _handed_of)
    except UndecodableError:
        raise BadCredential("standard input does not begin with the server's line") from None
    known = (*VARIABLE.values(), *NAMES)
    os.environ.update((name, text) for name, text in handed.items() if name in known)


def ask_hidden(prompt: str) -> str | None:
    """Prompt on the terminal with echo off; None without a terminal or an answer."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return None
    with suppress(EOFError):
        return getpass.getpass(prompt, stream=sys.stderr) or None
    return None


def _ask_credential(profile: str, purpose: Purpose) -> str | None:
    return ask_hidden(f"{WORDS[purpose]} of profile {profile} (hidden; for this run alone): ")


def _ask_passphrase(new: bool) -> str | None:
    if not new:
        return ask_hidden("passphrase of the encrypted store (hidden): ")
    first = ask_hidden("a new passphrase for the encrypted store (hidden): ")
    if first is None or ask_hidden("the same again: ") == first:
        return first
    print("rollout-console: the passphrases do not match", file=sys.stderr)
    return None


def file_that_is_meant(options: Namespace, path: Path) -> RolloutFile | None:
    """Return the rollout file that the command refers to; None where none is named or here.

    Keys and models work without one. Raises Unreadable or StoreError for a file that is named, or
    is here, and cannot be used: its profile and base URL are never guessed, as that could send one
    environment's credential to another.
    """
    named = options.file or os.environ.get("ROLLOUT_FILE")
    with suppress(OSError):  # read_file below raises the better error
        if not named and is_missing(path):
            return None
    data, _ = read_file(path)
    try:
        return parse(data)
    except FileError as error:
        raise StoreError(f"{path}: {error}; nothing was sent") from None
