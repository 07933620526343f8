"""Sockets that listen on every address of a host name."""

import errno
import socket
from collections.abc import Sequence
from contextlib import ExitStack
from ipaddress import ip_address

from rollout_console.common.errors import OperationError


class PortInUse(OperationError):
    """Another process listens on the port."""


def listen(host: str, port: int) -> list[socket.socket]:
    """Return listening sockets; port 0 is a free one, the same for all addresses.

    Raises PortInUse, and OperationError for a host that is not of this machine.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        said = error.strerror if isinstance(error, OSError) else "it is no host name"
        raise OperationError(f"--host {host}: {said}") from None
    with ExitStack() as stack:
        sockets: list[socket.socket] = []
        for family, kind, protocol, _, address in dict.fromkeys(found):
            one = stack.enter_context(socket.socket(family, kind, protocol))
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            wanted = port or (port_of(sockets) if sockets else 0)
            try:
                one.bind((address[0], wanted, *address[2:]))
                one.listen(64)
            except OSError as error:
                raise _refused(host, wanted, error) from None
            sockets.append(one)
        stack.pop_all()
    return sockets


def port_of(sockets: Sequence[socket.socket]) -> int:
    """Return the port that the sockets listen on."""
    return int(sockets[0].getsockname()[1])


def is_loopback(sockets: Sequence[socket.socket]) -> bool:
    """Return whether only processes of this machine reach the sockets."""
    names = (str(one.getsockname()[0]).partition("%")[0] for one in sockets)
    return all(ip_address(name).is_loopback for name in names)


def _refused(host: str, port: int, error: OSError) -> OperationError:
    if error.errno == errno.EADDRINUSE:
        return PortInUse(f"port {port} of {host} is in use; --port chooses another, 0 a free one")
    if error.errno == errno.EADDRNOTAVAIL:
        return OperationError(f"--host {host}: it is no address of this machine")
    return OperationError(f"port {port} of {host} cannot be used: {error.strerror}")
