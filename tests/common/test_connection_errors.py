"""Why a connection failed, in words: real sockets, httpx with and without asyncio."""

import asyncio
import socket

import httpx
import pytest

from rollout_console.common.connection_errors import failure_words
from rollout_console.sim.server import SimServer


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def without_loop(url: str) -> str:
    with pytest.raises(httpx.HTTPError) as raised, httpx.Client(trust_env=False) as client:
        client.get(url)
    return failure_words(raised.value)


async def both(url: str) -> set[str]:
    said = {await asyncio.to_thread(without_loop, url)}
    async with httpx.AsyncClient(trust_env=False) as other:
        with pytest.raises(httpx.HTTPError) as of_loop:
            await other.get(url)
    said.add(failure_words(of_loop.value))
    return said


async def test_a_refused_connection() -> None:
    assert await both(f"http://127.0.0.1:{free_port()}") == {"ConnectError (connection refused)"}
    # Of two addresses of a name both attempts fail, and asyncio raises a group.
    assert await both(f"http://localhost:{free_port()}") == {"ConnectError (connection refused)"}


async def test_a_name_that_there_is_none_of() -> None:
    assert await both("http://nobody.invalid") == {"ConnectError (its name cannot be resolved)"}


async def test_tls_where_there_is_none(sim: SimServer) -> None:
    (said,) = await both(sim.base_url.replace("http://", "https://"))
    assert said.startswith("ConnectError (TLS: wrong version number")


def test_an_error_without_a_cause_is_its_class() -> None:
    assert failure_words(httpx.ReadError("?")) == "ReadError"
