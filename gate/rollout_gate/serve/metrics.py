"""The metrics of all worker processes, at an address of their own: ``serve --metrics``.

Each worker counts in memory-mapped files of one folder (prometheus-client's multi-process mode).
The parent process, which serves no request, adds them up when it is scraped, so that a scrape
never waits for a stream, nor a stream for a scrape.
"""

import fcntl
import gzip
import os
import shutil
import socket
import ssl
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from logging import getLogger
from pathlib import Path
from typing import Any

from rollout_gate.metrics.file_counts import FOLDER, ROOM_BYTES, free_bytes
from rollout_gate.serve.callers import TOKEN_HEADER, Callers

log = getLogger("rollout_gate")

PATH = "/metrics"
MOST_AT_ONCE = 8
"""How many connections are served at once. A further one takes the place of the oldest that has not
sent its request yet; where all have, it is closed."""
_PATIENCE_S = 10.0
_GIVES_WAY_S = 1.0
_ATTEMPTS = 5
_PAUSE_S = 0.2
_DEAD = 0
"""In place of the process id: the file with what processes that are no more have counted."""
_BEARER = "bearer "


@contextmanager
def folder() -> Iterator[Path]:
    """Return a folder for the files of workers that are started in the block; it is removed after.

    It is the unit's runtime directory where systemd has made one, else in the temporary folder,
    and locked: systemd-tmpfiles, which deletes what is old there, passes over a locked folder.
    """
    parent = os.environ.get("RUNTIME_DIRECTORY", "").partition(":")[0] or None
    made = Path(tempfile.mkdtemp(prefix="rollout-gate-metrics-", dir=parent))
    descriptor = os.open(made, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with suppress(OSError):  # a file system without locks
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        os.environ[FOLDER] = str(made)
        yield made
    finally:
        os.environ.pop(FOLDER, None)
        os.close(descriptor)
        shutil.rmtree(made, ignore_errors=True)


class Totals:
    """Adds up what the processes of a folder have counted."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()

    def text(self, accept: str) -> tuple[bytes, str]:
        """Return the metrics in a format of the header Accept, and their content type."""
        from prometheus_client import CollectorRegistry
        from prometheus_client.exposition import choose_encoder
        from prometheus_client.multiprocess import MultiProcessCollector

        encoder, content_type = choose_encoder(accept)
        with self._lock:
            self._compact()
            registry = CollectorRegistry()
            MultiProcessCollector(registry, path=str(self._folder))  # type: ignore[no-untyped-call]
            for _ in range(_ATTEMPTS - 1):
                with suppress(Exception):  # a file that a new worker is making has no length yet
                    return encoder(registry), content_type
                time.sleep(_PAUSE_S)
            return encoder(registry), content_type

    def _compact(self) -> None:
        """Merge the files of dead processes into one: a worker that dies often leaves many.

        Their counts stay, or the totals would fall; their gauges, which are of the living, go.
        Not on a disk that is nearly full, where a write to a memory-mapped file may be a SIGBUS.
        """
        if free_bytes(self._folder) < ROOM_BYTES:
            return
        for path in self._folder.glob("*.db"):
            kind, _, process = path.stem.rpartition("_")
            if process.isdecimal() and int(process) != _DEAD and not _is_alive(int(process)):
                if kind in ("counter", "histogram") and path.stat().st_size > 0:
                    try:
                        self._merge(path, self._folder / f"{kind}_{_DEAD}.db")
                    except Exception as error:  # noqa: BLE001 - a broken file fails no later scrape
                        name = type(error).__name__
                        log.warning("what process %s has counted is lost: %s", process, name)
                path.unlink(missing_ok=True)

    def _merge(self, path: Path, total: Path) -> None:
        from prometheus_client.mmap_dict import MmapedDict

        sums: Any = MmapedDict(str(total))  # type: ignore[no-untyped-call]
        try:
            values: Any = MmapedDict.read_all_values_from_file(str(path))  # type: ignore[no-untyped-call]
            for key, value, _, _ in values:
                sums.write_value(key, sums.read_value(key)[0] + value, 0.0)
        finally:
            sums.close()


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


class MetricsServer(ThreadingHTTPServer):
    """Answers scrapes, in threads of the parent process.

    Who may scrape is who may use the proxy: with a token, which is also taken as a bearer token, as
    Prometheus sends one; or, without one, from this machine by a loopback name.
    """

    daemon_threads = True

    def __init__(
        self,
        listening: socket.socket,
        totals: Totals,
        callers: Callers,
        tls: ssl.SSLContext | None,
    ) -> None:
        super().__init__(listening.getsockname()[:2], _Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listening
        self.totals = totals
        self.callers = callers
        self._tls = tls
        self._places = threading.BoundedSemaphore(MOST_AT_ONCE)
        self._waiting: dict[int, socket.socket] = {}

    def start(self) -> None:
        """Answer until the process ends."""
        threading.Thread(
            target=self.serve_forever, name="rollout-gate-metrics", daemon=True
        ).start()

    def get_request(self) -> tuple[socket.socket, Any]:
        """Return a connection; its TLS handshake is up to the thread that serves it."""
        one, address = super().get_request()
        one.settimeout(_PATIENCE_S)
        if self._tls is not None:
            one = self._tls.wrap_socket(one, server_side=True, do_handshake_on_connect=False)
        return one, address

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve a connection in a thread, unless there are too many that have asked already."""
        if self._places.acquire(blocking=False) or self._has_given_way():
            self._waiting[id(request)] = request
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def asked(self, request: socket.socket) -> None:
        """Note that a connection has sent its request: it keeps its place until it is answered."""
        self._waiting.pop(id(request), None)

    def _has_given_way(self) -> bool:
        """End the oldest connection that sends no request; return whether its place is free.

        Whoever sends a part of one now and then would hold its place for ever, without a token.
        """
        for oldest in list(self._waiting.values())[:1]:
            self.asked(oldest)
            with suppress(OSError):  # it has ended by itself
                socket.socket.shutdown(oldest, socket.SHUT_RDWR)  # of TLS, too: without a goodbye
            return self._places.acquire(timeout=_GIVES_WAY_S)
        return False

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serve a connection."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self.asked(request)
            self._places.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a client that breaks off, or speaks no TLS."""


class _Handler(BaseHTTPRequestHandler):
    server: MetricsServer
    timeout = _PATIENCE_S
    server_version = "rollout-gate"
    sys_version = ""

    def do_GET(self) -> None:
        """Answer a scrape, or say why not."""
        self.server.asked(self.connection)
        refused = self.server.callers.refusal(self._headers())
        if refused is not None:
            self._answer(refused.status, refused.sentence)
        elif self.path.partition("?")[0] != PATH:
            self._answer(404, f"the metrics are at {PATH}")
        else:
            self._scrape()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as it is called
        """Log nothing: a scrape is no event."""

    def _headers(self) -> dict[bytes, bytes]:
        found = {
            name.lower().encode("latin-1", "replace"): value.strip().encode("latin-1", "replace")
            for name, value in self.headers.items()
        }
        given = self.headers.get("authorization", "")
        if given.lower().startswith(_BEARER):
            found.setdefault(
                TOKEN_HEADER, given[len(_BEARER) :].strip().encode("latin-1", "replace")
            )
        return found

    def _scrape(self) -> None:
        try:
            body, content_type = self.server.totals.text(self.headers.get("accept", ""))
        except Exception as error:  # noqa: BLE001 - whatever is wrong with the files, the proxy lives
            log.warning("the metrics cannot be read: %s", type(error).__name__)
            self._answer(500, f"the metrics cannot be read: {type(error).__name__}")
            return
        more = {"Content-Type": content_type}
        if "gzip" in self.headers.get("accept-encoding", ""):
            body, more["Content-Encoding"] = gzip.compress(body, 1), "gzip"
        self._send(200, body, more)

    def _answer(self, status: int, sentence: str) -> None:
        self._send(status, f"{sentence}\n".encode(), {"Content-Type": "text/plain; charset=utf-8"})

    def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        with suppress(OSError):
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)
