"""How Prometheus is asked: credentials and certificates, which are never in the rollout file."""

import os
from base64 import b64decode, b64encode
from collections.abc import MutableMapping
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from rollout_console.health.prometheus.errors import PrometheusError
from rollout_gate.file.model import PrometheusSource
from rollout_gate.file.read import read_regular
from rollout_gate.secret import Secret

if TYPE_CHECKING:
    import ssl

TOKEN = "ROLLOUT_PROMETHEUS_TOKEN"  # noqa: S105 - a name
USER, PASSWORD = "ROLLOUT_PROMETHEUS_USER", "ROLLOUT_PROMETHEUS_PASSWORD"
NAMES = (TOKEN, USER, PASSWORD)
_MOST_BYTES = 16 * 1024
_given: dict[str, Secret] = {}
"""What was taken out of the environment: it is there once, and several feeds may need it."""


class Login(msgspec.Struct, frozen=True):
    """The value of the Authorization header, None for none."""

    authorization: Secret | None = None

    def secrets(self) -> tuple[str, ...]:
        """Return what is to be shown nowhere: the token, or the pair and its password."""
        if self.authorization is None:
            return ()
        scheme, _, value = self.authorization.reveal().partition(" ")
        if scheme != "Basic":
            return (value,)
        password = b64decode(value).decode("utf-8", "replace").partition(":")[2]
        return tuple(one for one in (value, password) if one)


def take_from_environment(environ: MutableMapping[str, str] | None = None) -> None:
    """Remove the credentials from the environment (by default this process's), and keep them.

    No child process inherits them: the guard's --notify-command is one.
    """
    source = os.environ if environ is None else environ
    for name in NAMES:
        if value := source.pop(name, ""):
            _given[name] = Secret(value)


def handed_to_child() -> dict[str, str]:
    """Return what was taken out of the environment, for a console that is another process."""
    return {name: text.reveal() for name, text in _given.items()}


def login_of(source: PrometheusSource, folder: Path) -> Login:
    """Return the login by the file's ``prometheus_token_file``, else by the environment.

    The file is read each time, as a mounted token is replaced. Raises PrometheusError.
    """
    if source.token_file:
        text = _read(folder / source.token_file, "prometheus_token_file").decode("utf-8", "replace")
        return Login(Secret(f"Bearer {_usable(text.strip(), source.token_file)}"))
    take_from_environment()
    if TOKEN in _given:
        return Login(Secret(f"Bearer {_usable(_given[TOKEN].reveal().strip(), f'${TOKEN}')}"))
    if USER in _given:
        password = _given[PASSWORD].reveal() if PASSWORD in _given else ""
        pair = f"{_given[USER].reveal()}:{password}".encode()
        return Login(Secret(f"Basic {b64encode(pair).decode()}"))
    return Login()


def tls_of(source: PrometheusSource, folder: Path) -> "ssl.SSLContext | None":
    """Return the TLS context of the file's ``prometheus_ca_file``, None without one."""
    if not source.ca_file:
        return None
    import ssl

    data = _read(folder / source.ca_file, "prometheus_ca_file")
    try:
        return ssl.create_default_context(cadata=data.decode("ascii"))
    except (ssl.SSLError, ValueError):
        raise PrometheusError(
            f"prometheus_ca_file {folder / source.ca_file} has no certificate in PEM"
        ) from None


def _read(path: Path, key: str) -> bytes:
    try:
        return read_regular(path, _MOST_BYTES if "token" in key else 64 * _MOST_BYTES)[0]
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        why = getattr(error, "strerror", None) or "it is no path"
        raise PrometheusError(f"{key} {path} cannot be read: {why}") from None


def _usable(token: str, where: str) -> str:
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise PrometheusError(f"{where} holds no bearer token: one line of letters and signs")
    return token
