"""The address of a rollout file in etcd: ``etcd://host:2379,host:2379/rollout/prod``.

The path is the key. TLS, certificates and user come from the environment, under the names that
etcdctl has for them, so no credential is in an address, a unit file or a list of processes.
"""

import os
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

import msgspec

from rollout_console.etcd.errors import BadAddress

if TYPE_CHECKING:
    import ssl

SCHEMES = ("etcd://", "etcds://")
DEFAULT_PORT = 2379

_HOST = re.compile(r"(?:[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(?::(\d{1,5}))?")
_KEY = re.compile(r"/[A-Za-z0-9._~/-]{1,200}")


class EtcdAddress(msgspec.Struct, frozen=True):
    """Where a rollout file is: the members' URLs, and its key.

    ``key`` begins with a slash, as in etcdctl. Keys below it are the product's own.
    """

    members: tuple[str, ...]
    key: str

    def __str__(self) -> str:
        hosts = ",".join(url.partition("://")[2] for url in self.members)
        scheme = "etcds" if self.members[0].startswith("https") else "etcd"
        return f"{scheme}://{hosts}{self.key}"


class Login(msgspec.Struct, frozen=True):
    """A user of etcd; never printed with the password."""

    name: str
    password: str

    def __repr__(self) -> str:
        return f"Login({self.name!r})"


def is_etcd(text: object) -> bool:
    """Return whether a path that was given is an address of etcd."""
    return isinstance(text, str) and text.startswith(SCHEMES)


def address_of(text: str) -> EtcdAddress:
    """Parse an address; raises BadAddress with what is wrong in it."""
    scheme, _, rest = text.partition("://")
    hosts, slash, path = rest.partition("/")
    if "@" in hosts:
        raise BadAddress("an etcd address has no user in it: set ETCDCTL_USER and ETCDCTL_PASSWORD")
    http = "https" if scheme == "etcds" else "http"
    members = []
    for host in hosts.split(","):
        found = _HOST.fullmatch(host)
        if found is None or int(found[1] or 1) > 65_535:
            raise BadAddress(
                f"{host[:80]!r} is no member of an etcd address, such as"
                " etcd://gw-01:2379,gw-02:2379/rollout/prod"
            )
        port = "" if found[1] else f":{DEFAULT_PORT}"
        members.append(f"{http}://{host}{port}")
    key = slash + path
    if _KEY.fullmatch(key) is None or "//" in key or key.endswith("/"):
        raise BadAddress(
            f"{key[:80]!r} is no key of a rollout file: letters, digits and ._~- between single"
            " slashes, such as /rollout/prod"
        )
    return EtcdAddress(tuple(members), key)


def login_of(environ: Mapping[str, str]) -> Login | None:
    """Return the user of ``$ETCDCTL_USER`` (``name`` or ``name:password``) and
    ``$ETCDCTL_PASSWORD``; None without one."""
    name, colon, password = environ.get("ETCDCTL_USER", "").partition(":")
    if not name:
        return None
    return Login(name, password if colon else environ.get("ETCDCTL_PASSWORD", ""))


def tls_of(environ: Mapping[str, str]) -> "ssl.SSLContext":
    """Return the TLS context of ``$ETCDCTL_CACERT``, ``$ETCDCTL_CERT`` and ``$ETCDCTL_KEY``.

    Without a CA it trusts the system's. Raises BadAddress for files that cannot be used.
    """
    import ssl  # lazy: whoever only asks whether a path is an address needs none

    ca, cert, key = (environ.get(f"ETCDCTL_{name}") for name in ("CACERT", "CERT", "KEY"))
    name = "ETCDCTL_CACERT"
    try:
        context = ssl.create_default_context(cafile=ca or None)
        if cert:
            name = "ETCDCTL_CERT and ETCDCTL_KEY"
            context.load_cert_chain(cert, key or None)
    except OSError as error:  # ssl.SSLError as well
        why = (
            os.strerror(error.errno) if error.errno and error.errno < 200 else "no PEM of that kind"
        )
        raise BadAddress(f"the files of {name} cannot be used: {why}") from None
    return context
