"""``rollout-gate serve`` as a process of its own, and plain HTTP to talk to it.

It is forked from a process that has imported it (``tests.support.commands``), as its imports are
most of what a start costs; ``forked=False`` starts it as an operator does.
"""

import http.client
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import IO, NamedTuple
from urllib.parse import urlsplit

from tests.support.commands import Command, Commands
from tests.support.loopback import PREVIOUS, TOKENLAB
from tests.support.waiting import PATIENCE_S

ASK = b'{"model": "old", "messages": [{"role": "user", "content": "hi"}]}'
HEADERS = {
    "Content-Type": "application/json", "Authorization": f"Bearer {PREVIOUS}",
    "X-Rollout-Org": "acme",
}  # fmt: skip


class Answered(NamedTuple):
    """An answer, with the names of its headers in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes


class Proxy:
    """A running proxy: ``url`` is where it listens, ``said`` what it wrote to stderr so far.

    ``stdout`` is what it prints after its first line.
    """

    def __init__(
        self,
        process: "subprocess.Popen[bytes] | Command",
        url: str,
        stdout: IO[str],
        stderr: IO[str],
    ) -> None:
        self.process = process
        self.stdout = stdout
        self.url = url
        self.said: list[str] = []
        self._stderr = stderr
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def address(self) -> tuple[str, int]:
        parts = urlsplit(self.url)
        return parts.hostname or "", parts.port or 0

    def ask(
        self,
        path: str = "/chat/v1/chat/completions",
        body: bytes | None = ASK,
        headers: Mapping[str, str] = HEADERS,
        method: str = "POST",
    ) -> Answered:
        """Send one request on a connection of its own."""
        connection = http.client.HTTPConnection(*self.address, timeout=PATIENCE_S)
        try:
            connection.request(method, path, body, dict(headers))
            answer = connection.getresponse()
            found = {name.lower(): value for name, value in answer.getheaders()}
            return Answered(answer.status, found, answer.read())
        finally:
            connection.close()

    def connect(self) -> socket.socket:
        """Return a connection, for what no library would send."""
        return socket.create_connection(self.address, timeout=PATIENCE_S)

    def stop(self) -> int:
        """Ask it to stop; return its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE_S)

    def read_to_end(self) -> None:
        """Wait for the end of stderr, which workers have too: they end with their parent."""
        self._reader.join(PATIENCE_S)

    def _read(self) -> None:
        with self._stderr:
            for line in self._stderr:
                self.said.append(line)


def command(path: Path, *options: str) -> list[str]:
    return [sys.executable, "-m", "rollout_gate", "serve", "-f", str(path), *options]


@cache
def gates() -> Commands:
    """The server that forks commands of the gate; ``gates_end`` ends it."""
    return Commands("rollout-gate")


def gates_end() -> None:
    """End the server of ``gates``, where there is one."""
    if gates.cache_info().currsize:
        gates().close()
        gates.cache_clear()


@contextmanager
def serving(
    path: Path, *options: str, key: str = TOKENLAB, listen: str = "127.0.0.1:0", forked: bool = True
) -> Iterator[Proxy]:
    """Run the proxy until the end of the block; ``listen`` is a free port of loopback."""
    environment = {**os.environ, "TOKENLAB_API_KEY": key, "NO_PROXY": "*"}
    words = command(path, "--listen", listen, *options)
    (out, to_out), (err, to_err) = os.pipe(), os.pipe()
    with open(out) as stdout, open(to_out, "wb") as theirs, open(to_err, "wb") as their_errors:
        stderr = os.fdopen(err)  # its reader closes it
        process: subprocess.Popen[bytes] | Command
        if forked:
            with open(os.devnull, "rb") as nothing:
                process = gates().start(
                    words[3:], stdin=nothing, stdout=theirs, stderr=their_errors, env=environment
                )
        else:
            process = subprocess.Popen(words, env=environment, stdout=theirs, stderr=their_errors)
        theirs.close()
        their_errors.close()
        proxy: Proxy | None = None
        try:
            first = stdout.readline()
            assert first.startswith("rollout-gate serves "), stderr.read()
            proxy = Proxy(process, first.split()[-1], stdout, stderr)
            yield proxy
        finally:
            process.kill()
            process.wait(PATIENCE_S)
            if proxy is not None:
                proxy.read_to_end()


def request_bytes(
    path: str = "/chat/v1/chat/completions",
    body: bytes = ASK,
    headers: Mapping[str, str] = HEADERS,
    method: str = "POST",
) -> bytes:
    lines = [f"{method} {path} HTTP/1.1"]
    lines += [f"{name}: {value}" for name, value in {"Host": "localhost", **headers}.items()]
    return "\r\n".join([*lines, f"Content-Length: {len(body)}", "", ""]).encode() + body
