"""Serve the simulator on loopback, from a thread, or in a process of its own."""

import logging
import socket
import threading
from collections.abc import Callable
from decimal import Decimal
from types import TracebackType
from typing import Self

import uvicorn

from rollout_console.sim.app import PREVIOUS, build_app
from rollout_console.sim.state import SimState

START_S = 15.0
KEEP_ALIVE_S = 75
"""Idle timeout of a connection, nginx's default; httpx drops an idle one after 5 s. With both equal
a request may be sent just as the server closes (a keep-alive race)."""


class SimServer:
    """The simulator on 127.0.0.1; ``port`` 0 takes a free one. Raises OSError for a port in use."""

    def __init__(
        self,
        port: int = 0,
        *,
        seed: int = 0,
        realistic: bool = False,
        balance_usd: Decimal = Decimal("1284.22"),
    ) -> None:
        self.state = SimState(seed, balance_usd, realistic)
        # asyncio sets TCP_NODELAY only where the protocol is named; without it an answer in two
        # packets waits 40 ms for an acknowledgement.
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            self._socket.bind(("127.0.0.1", port))
        except OSError:
            self._socket.close()
            raise
        # An injected fault that aborts a response is an exception to uvicorn: do not log it.
        logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL + 1)
        self._server = uvicorn.Server(
            uvicorn.Config(
                build_app(self.state),
                log_config=None,
                access_log=False,
                lifespan="off",
                timeout_keep_alive=KEEP_ALIVE_S,
                timeout_graceful_shutdown=1,
            )
        )
        self._thread: threading.Thread | None = None

    @property
    def base_url(self) -> str:
        """TokenLab's base URL, without /v1."""
        return f"http://127.0.0.1:{self._socket.getsockname()[1]}"

    @property
    def previous_base_url(self) -> str:
        """The previous provider's base URL, without /v1."""
        return self.base_url + PREVIOUS

    def start(self) -> Self:
        """Serve from a daemon thread; return once it listens, raise RuntimeError after 15 s."""
        self._socket.listen(512)
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [self._socket]}, daemon=True
        )
        self._thread.start()
        waited = threading.Event()
        for _ in range(int(START_S / 0.01)):
            if self._server.started:
                return self
            waited.wait(0.01)
        raise RuntimeError("the simulator did not start")

    def stop(self) -> None:
        """Stop serving."""
        self._server.should_exit = True
        if self._thread is not None:
            self._thread.join(timeout=5)
        self._socket.close()

    def serve_forever(self, ready: Callable[[str], None]) -> None:
        """Serve in this thread until a signal; call ``ready`` with the base URL once it listens."""
        self._socket.listen(512)
        ready(self.base_url)
        self._server.run(sockets=[self._socket])

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()
