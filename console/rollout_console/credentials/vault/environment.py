"""Credentials given explicitly: on stdin, in environment variables, in files that these name.

The variables are removed from this process's environment when they are read, so that no child
process inherits them.
"""

import os
import stat
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from rollout_console.common.files import is_missing
from rollout_console.credentials.vault.credential import (
    MOST_CHARACTERS,
    Purpose,
    Step,
    checked,
    wrong_kind,
)
from rollout_console.credentials.vault.errors import BadCredential
from rollout_gate.secret import Secret

VARIABLE: dict[Purpose, str] = {
    "api_key": "TOKENLAB_API_KEY",
    "management_token": "TOKENLAB_MANAGEMENT_TOKEN",
}
PREVIOUS_VARIABLE = "ROLLOUT_PREVIOUS_KEY_"
PROVIDER_VARIABLES = ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GEMINI_API_KEY", "GOOGLE_API_KEY")
_MOST_BYTES = 4 * MOST_CHARACTERS


class Given:
    """Explicitly given credentials, as texts by purpose, and the environment without them.

    ``previous`` are keys of previous providers, by variable name (see credentials.vault.previous).
    Its repr has none of them.
    """

    __slots__ = ("environ", "previous", "stdin", "variables")

    def __init__(
        self,
        stdin: Mapping[Purpose, str] | None = None,
        variables: Mapping[Purpose, str] | None = None,
        environ: Mapping[str, str] | None = None,
        previous: Mapping[str, str] | None = None,
    ) -> None:
        self.stdin = stdin or {}
        self.variables = variables or {}
        self.environ = environ or {}
        self.previous = previous or {}

    def look(self, purpose: Purpose) -> tuple[Secret | None, list[Step]]:
        """Return the credential and the steps of its resolution.

        An invalid value in a given source ends the resolution: using another credential than the
        one requested would be worse than none. Its step is then marked as found.
        """
        steps: list[Step] = []
        for source, text, reason in self._sources(purpose):
            if text is None and not reason:
                steps.append(self._not_given(source, purpose))
                continue
            try:
                if text is None:
                    raise BadCredential(reason)
                secret = checked(purpose, text)
            except BadCredential as error:
                steps.append(Step(source, str(error), found=True))
                return None, steps
            steps.append(Step(source, "", found=True))
            return secret, steps
        return None, steps

    def _not_given(self, source: str, purpose: Purpose) -> Step:
        other = next(iter(self.stdin), None)
        if source == "--token-stdin" and other is not None:
            return Step(source, wrong_kind(other, purpose), notable=True)
        return Step(source, "not given")

    def _sources(self, purpose: Purpose) -> list[tuple[str, str | None, str]]:
        name = VARIABLE[purpose]
        file = self.environ.get(f"{name}_FILE", "")
        folder = self.environ.get("CREDENTIALS_DIRECTORY", "")
        found = [
            ("--token-stdin", self.stdin.get(purpose), ""),
            (f"${name}", self.variables.get(purpose), ""),
            (f"${name}_FILE", *(read_given_file(Path(file)) if file else (None, ""))),
        ]
        unit = Path(folder) / name.lower() if folder else None
        text, reason = (None, "") if unit is None else read_file_if_there(unit)
        found.append((f"$CREDENTIALS_DIRECTORY/{name.lower()}", text, reason))
        return found


def take_from_environment(environ: dict[str, str] | None = None, stdin: str = "") -> Given:
    """Return the given credentials, removing them from ``environ`` (default: this process's).

    ``stdin`` is the text read from standard input. Its prefix tells its kind; a text without a
    known prefix counts as both kinds, so that either request refuses it with the reason.
    """
    source = os.environ if environ is None else environ
    variables: dict[Purpose, str] = {}
    for purpose, name in VARIABLE.items():
        value = source.pop(name, None)
        if value:
            variables[purpose] = value
    previous = {name: source.pop(name) for name in list(source) if is_previous(name)}
    given: dict[Purpose, str] = {}
    if stdin:
        for purpose in VARIABLE:
            prefix_of_other = "mt-" if purpose == "api_key" else "sk-"
            if not stdin.strip().startswith(prefix_of_other):
                given[purpose] = stdin
    return Given(given, variables, dict(source), previous)


def is_previous(name: str) -> bool:
    """Return whether a variable holds a previous provider's key."""
    return name in PROVIDER_VARIABLES or (
        name.startswith(PREVIOUS_VARIABLE) and not name.endswith("_FILE")
    )


def read_given_file(path: Path) -> tuple[str | None, str]:
    """Return a regular file's text, or None and why; O_NONBLOCK keeps a FIFO from blocking."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        return None, f"{path} cannot be read: {error.strerror}"
    with os.fdopen(descriptor, "rb") as stream:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return None, f"{path} is not a regular file"
        try:
            data = stream.read(_MOST_BYTES + 1)
        except OSError as error:
            return None, f"{path} cannot be read: {error.strerror}"
    if len(data) > _MOST_BYTES:
        return None, f"{path} is far too large for a credential"
    return data.decode("utf-8", errors="replace"), ""


def read_file_if_there(path: Path) -> tuple[str | None, str]:
    """Return what ``read_given_file`` does, or None without a reason where the file is missing."""
    with suppress(OSError):
        if is_missing(path):
            return None, ""
    return read_given_file(path)


def passphrase_from(environ: Mapping[str, str]) -> str | None:
    """Return the encrypted store's passphrase, the first line of a file, or None.

    The file is ``$ROLLOUT_VAULT_PASSPHRASE_FILE``, or ``rollout_vault_passphrase`` in systemd's
    ``$CREDENTIALS_DIRECTORY``. A passphrase in a variable is not accepted: every process of the
    user can read the environment.
    """
    named = environ.get("ROLLOUT_VAULT_PASSPHRASE_FILE", "")
    folder = environ.get("CREDENTIALS_DIRECTORY", "")
    for path in (Path(named) if named else None,
                 Path(folder) / "rollout_vault_passphrase" if folder else None):  # fmt: skip
        if path is not None:
            text, _ = read_given_file(path)
            if text:
                return text.partition("\n")[0]
    return None
