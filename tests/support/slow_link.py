"""A slow link: a TCP relay that delays and paces bytes, and a real sshd behind it."""

import getpass
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from queue import SimpleQueue
from threading import Thread

import pytest

from tests.support.parts import need

ONE_WAY_S = 0.15
BYTES_PER_S = 16_000
_CHUNK = 1024


class SlowRelay:
    """Relays connections to a port of this machine, each way delayed and paced.

    A chunk leaves ``ONE_WAY_S`` after it arrived, and not before the link has sent the one ahead.
    """

    def __init__(self, to_port: int) -> None:
        self._to_port = to_port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._sockets: list[socket.socket] = []
        self.port: int = self._listener.getsockname()[1]
        Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                far = socket.create_connection(("127.0.0.1", self._to_port))
                self._sockets += [near, far]
                for source, target in ((near, far), (far, near)):
                    queue: SimpleQueue[tuple[float, bytes]] = SimpleQueue()
                    Thread(target=_read, args=(source, queue), daemon=True).start()
                    Thread(target=_send, args=(target, queue), daemon=True).start()

    def close(self) -> None:
        """Close the listener and all connections."""
        for one in (self._listener, *self._sockets):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()


def _read(source: socket.socket, queue: "SimpleQueue[tuple[float, bytes]]") -> None:
    data = b"-"
    while data:
        try:
            data = source.recv(_CHUNK)
        except OSError:
            data = b""
        queue.put((time.monotonic() + ONE_WAY_S, data))


def _send(target: socket.socket, queue: "SimpleQueue[tuple[float, bytes]]") -> None:
    free_at = 0.0
    with suppress(OSError):
        while True:
            due, data = queue.get()
            if not data:
                target.shutdown(socket.SHUT_WR)
                return
            free_at = max(due, free_at + len(data) / BYTES_PER_S)
            time.sleep(max(0.0, free_at - time.monotonic()))
            target.sendall(data)


@contextmanager
def slow_ssh(folder: Path) -> Iterator[tuple[str, ...]]:
    """Run a real sshd behind a slow link; yield the ssh command, without what it is to run."""
    need("sshd", "ssh", "ssh-keygen")
    for name in ("host", "user"):
        _run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name))
    (folder / "authorized").write_bytes((folder / "user.pub").read_bytes())
    with socket.create_server(("127.0.0.1", 0)) as found:
        port = found.getsockname()[1]
    settings = {
        "Port": port, "ListenAddress": "127.0.0.1", "HostKey": folder / "host", "PidFile": "none",
        "AuthorizedKeysFile": folder / "authorized", "StrictModes": "no", "UsePAM": "no",
        "PasswordAuthentication": "no", "PermitRootLogin": "prohibit-password",
    }  # fmt: skip
    config = folder / "sshd_config"
    config.write_text("".join(f"{name} {value}\n" for name, value in settings.items()))
    if getpass.getuser() == "root":
        Path("/run/sshd").mkdir(exist_ok=True)
    sshd = subprocess.run(["sh", "-c", "command -v sshd"], capture_output=True, text=True)
    with (folder / "sshd.log").open("wb") as log:
        server = subprocess.Popen(
            [sshd.stdout.strip(), "-D", "-e", "-f", str(config)],
            stderr=log,
            stdin=subprocess.DEVNULL,
        )
    relay = SlowRelay(port)
    try:
        _wait_for(port, server)
        yield (
            "ssh", "-tt", "-q", "-F", "none", "-i", str(folder / "user"), "-p", str(relay.port),
            "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null",
            "-o", "IdentitiesOnly=yes", "-o", "Compression=no", f"{getpass.getuser()}@127.0.0.1",
        )  # fmt: skip
    finally:
        relay.close()
        server.terminate()
        server.wait(10)


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, timeout=20)


def _wait_for(port: int, server: "subprocess.Popen[bytes]") -> None:
    for _ in range(100):
        if server.poll() is not None:
            pytest.fail(f"sshd ended with {server.returncode}")
        with suppress(OSError):
            socket.create_connection(("127.0.0.1", port)).close()
            return
        time.sleep(0.05)
    pytest.fail("sshd does not listen")
