"""Sockets that listen on a host name, and how a refusal is said."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from rollout_console.common.errors import OperationError
from rollout_console.web.sockets import PortInUse, is_loopback, listen, port_of


@contextmanager
def listening(host: str, port: int = 0) -> Iterator[list[socket.socket]]:
    sockets = listen(host, port)
    try:
        yield sockets
    finally:
        for one in sockets:
            one.close()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "127.0.0.2"])
def test_loopback_listens_on_one_port_for_all_its_addresses(host: str) -> None:
    with listening(host) as sockets:
        assert is_loopback(sockets)
        assert {one.getsockname()[1] for one in sockets} == {port_of(sockets)}
        for one in sockets:
            socket.create_connection(one.getsockname()[:2], timeout=10).close()


def test_every_address_is_not_loopback() -> None:
    with listening("0.0.0.0") as sockets:
        assert not is_loopback(sockets)


def test_a_port_in_use_is_named() -> None:
    with listening("127.0.0.1") as sockets:
        port = port_of(sockets)
        with pytest.raises(PortInUse, match=f"port {port} of 127.0.0.1 is in use"):
            listen("127.0.0.1", port)


@pytest.mark.parametrize(
    ("host", "said"),
    [("192.0.2.1", "no address of this machine"), ("a" * 70, "--host a"), ("\0", "--host ")],
)
def test_a_host_that_is_not_here_is_one_sentence(host: str, said: str) -> None:
    with pytest.raises(OperationError, match=said):
        listen(host, 0)
