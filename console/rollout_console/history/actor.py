"""Who makes a change."""

import getpass
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Actor:
    """User, host, and where an SSH session comes from (empty where there is none)."""

    user: str
    host: str
    ssh_origin: str = ""

    @property
    def name(self) -> str:
        """Who and where, as one line says it."""
        return f"{self.user}@{self.host}"


def whoami(environ: Mapping[str, str] | None = None) -> Actor:
    """Return who runs this process; behind sudo, who called it."""
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
