"""A provider whose answer is written piece by piece, by the test: what is on the wire, and when."""

import socket
import threading
from types import TracebackType
from typing import Self

from tests.support.waiting import PATIENCE_S

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


class Conversation:
    """One connection: its request has been read."""

    def __init__(self, connection: socket.socket, request: bytes) -> None:
        self.connection = connection
        self.request = request

    def say(self, piece: bytes) -> None:
        """Write one chunk of an answer."""
        self.connection.sendall(b"%x\r\n%s\r\n" % (len(piece), piece))

    def begin(self) -> None:
        self.connection.sendall(HEAD)

    def end(self) -> None:
        self.connection.sendall(b"0\r\n\r\n")

    def hears_end(self) -> bool:
        """Wait until the other end closes; False where it sends more instead."""
        try:
            return self.connection.recv(1) == b""
        except ConnectionError:
            return True

    def close(self) -> None:
        self.connection.close()


class Streamer:
    """Listens on loopback; ``next()`` returns the next connection once its request is there."""

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._socket.settimeout(PATIENCE_S)
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self._open: list[Conversation] = []
        self._lock = threading.Lock()

    def next(self) -> Conversation:
        connection, _ = self._socket.accept()
        connection.settimeout(PATIENCE_S)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        data = b""
        while b"\r\n\r\n" not in data:
            data += connection.recv(65_536)
        head, _, body = data.partition(b"\r\n\r\n")
        lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-len")]
        length = int(lengths[0].partition(b":")[2]) if lengths else 0
        while len(body) < length:
            body += connection.recv(65_536)
        found = Conversation(connection, head + b"\r\n\r\n" + body)
        with self._lock:
            self._open.append(found)
        return found

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._socket.close()
        for one in self._open:
            one.close()
