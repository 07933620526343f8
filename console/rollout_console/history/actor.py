"""The author of a change."""

import getpass
import os
import socket
from collections.abc import Mapping

import msgspec

GUARD = "guard"
"""The user of the rows that a guard writes, on every host."""


class Actor(msgspec.Struct, frozen=True):
    """User, host, and where an SSH session comes from (empty where there is none)."""

    user: str
    host: str
    ssh_origin: str = ""

    @property
    def name(self) -> str:
        """The author as ``user@host``."""
        return f"{self.user}@{self.host}"


def whoami(environ: Mapping[str, str] | None = None) -> Actor:
    """Return the user who runs this process; under sudo, the user who called sudo."""
    environ = os.environ if environ is None else environ
    user = environ.get("SUDO_USER", "")
    if not user:
        try:
            user = getpass.getuser()
        except (KeyError, OSError):
            user = str(os.getuid())
    origin = environ.get("SSH_CONNECTION", "").split(" ")[0]
    return Actor(_clean(user), _clean(socket.gethostname()), _clean(origin))


def _clean(text: str) -> str:
    kept = "".join(c for c in text if c.isprintable() and not c.isspace())
    return kept[:64]
