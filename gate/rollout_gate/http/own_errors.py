"""Errors of connecting that are of this host: out of open files, memory or ephemeral ports."""

import errno
from pathlib import Path

_OWN = frozenset((
    errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS, errno.EADDRNOTAVAIL, errno.EBUSY,
))  # fmt: skip
"""EBUSY is what glibc's getaddrinfo says without an open file left; connect(2) has no such error.
"""
_PORT_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")
_SOCKETS = (Path("/proc/net/sockstat"), Path("/proc/net/sockstat6"))
_COUNTS = ("inuse", "tw")
_USED_UP = 0.9
"""The share of the ephemeral ports that are in use when there is none left: some are reserved."""


def is_own(error: BaseException | None) -> bool:
    """Return whether a failure to connect was raised from an error of this host alone.

    Of several addresses of a name that failed, all have to be so. What was handled before the first
    error of the system (its ``__context__``) is of something else.
    """
    if isinstance(error, BaseExceptionGroup):
        return all(is_own(one) for one in error.exceptions)
    if isinstance(error, OSError) and error.errno is not None:
        no_address = error.errno == errno.EADDRNOTAVAIL
        return error.errno in _OWN and (not no_address or _is_out_of_ports())
    return error is not None and is_own(error.__cause__ or error.__context__)


def is_of_request(error: BaseException) -> bool:
    """Return whether a LocalProtocolError is of the request that the application made.

    It has a header that HTTP/1.1 does not allow, or a body of another length than it says. h11
    says so by its own LocalProtocolError, which the libraries wrap; where it says that it cannot
    send, the connection is in no state for it, and HTTP/2 blames this side for what a server did.
    """
    found: BaseException | None = error
    while found is not None and type(found).__name__ == "LocalProtocolError":
        if type(found).__module__.partition(".")[0] == "h11":
            return not str(found).lower().startswith("can't")
        found = found.__cause__ or found.__context__
    return False


def _is_out_of_ports() -> bool:
    """Return whether so many sockets are open that no ephemeral port may be left (Linux).

    EADDRNOTAVAIL is also what the IPv6 address of a provider gets on a host without IPv6. Where its
    IPv4 address had failed before, which is the provider's fault, that error is the only one told.
    """
    try:
        first, last = map(int, _PORT_RANGE.read_text().split())
        used = sum(_used(path.read_text()) for path in _SOCKETS if path.exists())
    except (OSError, ValueError):
        return False
    return used >= _USED_UP * (last - first + 1)


def _used(sockets: str) -> int:
    """Return how many TCP sockets there are by a text such as ``TCP: inuse 5 orphan 0 tw 7``."""
    found = 0
    for line in sockets.splitlines():
        name, *words = line.split()
        if name in ("TCP:", "TCP6:"):
            counts = dict(zip(words[::2], map(int, words[1::2]), strict=False))
            found += sum(counts.get(one, 0) for one in _COUNTS)
    return found
