"""Run the proxy: listen, serve with one or several worker processes, drain when asked to stop."""

import asyncio
import logging
import os
import resource
import signal
import socket
import ssl
import stat
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from multiprocessing import parent_process
from pathlib import Path

import msgspec

from rollout_gate.gate import Gate
from rollout_gate.serve.app import BrokenAnswerError, ProxyApp
from rollout_gate.serve.callers import Callers
from rollout_gate.serve.key_file import KeyFile
from rollout_gate.serve.upstream import Upstream
from rollout_gate.systemd import Systemd

log = logging.getLogger("rollout_gate")

BACKLOG = 2048
KEEP_ALIVE_S = 75
"""Idle timeout of a client's connection, longer than the pools of SDKs keep one (5 to 60 s): a
request that is sent just as the server closes is a keep-alive race."""
_STOPS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class Options(msgspec.Struct, frozen=True):
    """What ``serve`` is told. ``host`` is empty for a unix socket, whose path is ``unix``."""

    path: str
    host: str = "127.0.0.1"
    port: int = 8787
    unix: str = ""
    workers: int = 1
    tokenlab_key: str = ""
    tokenlab_key_file: str = ""
    previous_key_files: dict[str, str] = {}
    token_file: str = ""
    forward: frozenset[bytes] = frozenset()
    access_log: str | None = None
    most_bytes: int = 100 * 2**20
    drain_s: int = 60
    certificate: str = ""
    private_key: str = ""
    metrics_host: str = ""
    metrics_port: int = 0
    metrics_orgs: int = 1000

    def __repr__(self) -> str:
        """Hold no credential."""
        return f"Options({self.path!r})"

    def base_url(self, port: int) -> str:
        """Return where the proxy is reached; ``port`` is the one that it got."""
        if self.unix:
            return f"unix:{self.unix}"
        return self._url(self.host, port)

    def metrics_url(self, port: int) -> str:
        """Return where the metrics are."""
        return f"{self._url(self.metrics_host, port)}/metrics"

    def _url(self, host: str, port: int) -> str:
        host = f"[{host}]" if ":" in host else host
        return f"{'https' if self.certificate else 'http'}://{host}:{port}"


@contextmanager
def signals_held() -> Iterator[None]:
    """Block the signals that stop the server until it has its handlers, which then get them.

    By default they would end the process between listening and serving, without clearing up.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, _STOPS)
    try:
        yield
    finally:
        _take_signals()


def _take_signals() -> None:
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOPS)


@contextmanager
def listen(options: Options) -> Iterator[socket.socket]:
    """Listen for the duration of a block; raises OSError where the address cannot be had.

    A unix socket that a dead process has left is replaced, and removed at the end; its mode is
    0660, so that its folder's owner and group decide who may connect.
    """
    if not options.unix:
        with listen_tcp(options.host, options.port) as one:
            yield one
        return
    with _listen_unix(options) as one:
        bound = _identity(options.unix)
        try:
            yield one
        finally:
            if _identity(options.unix) == bound:
                Path(options.unix).unlink(missing_ok=True)


def _listen_unix(options: Options) -> socket.socket:
    _remove_dead(options.unix)
    one = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o117)
    try:
        one.bind(options.unix)
        one.listen(BACKLOG)
    except BaseException:
        one.close()
        raise
    finally:
        os.umask(before)
    return one


def listen_tcp(host: str, port: int) -> socket.socket:
    """Return a socket that listens; raises OSError where the address cannot be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio sets TCP_NODELAY only where the protocol is named.
    one = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        one.bind((host, port))
        one.listen(BACKLOG)
    except BaseException:
        one.close()
        raise
    return one


def _remove_dead(path: str) -> None:
    with suppress(FileNotFoundError):
        if not stat.S_ISSOCK(Path(path).lstat().st_mode):
            raise FileExistsError(17, "there is a file, which is no socket", path)
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as one:
            try:
                one.connect(path)
            except ConnectionRefusedError:
                Path(path).unlink()


def app_of(options: Options) -> ProxyApp:
    """Return the application of one worker process; called in its event loop."""
    gate = Gate(options.path)
    if options.metrics_host:
        _count(gate, options.metrics_orgs)
    given = options.tokenlab_key_file
    key = KeyFile(given, "TokenLab's key") if given else partial(str, options.tokenlab_key)
    previous = {
        route: KeyFile(path, f"the previous provider's key of {route}")
        for route, path in options.previous_key_files.items()
    }
    upstream = Upstream(gate, key, previous, options.forward, options.access_log)
    return ProxyApp(
        gate,
        upstream,
        Callers(_token(options), has_origins=not options.unix),
        most_bytes=options.most_bytes,
        on_start=Systemd(os.environ).ready,
    )


def _token(options: Options) -> KeyFile | None:
    return KeyFile(options.token_file, "the proxy's token") if options.token_file else None


def _count(gate: Gate, most_orgs: int) -> None:
    """Count the requests of this worker; a worker serves without metrics rather than not at all."""
    from rollout_gate.metrics import PrometheusMetrics

    try:
        PrometheusMetrics(most_orgs=most_orgs).watch(gate)
    except (OSError, ValueError) as error:
        log.warning("this worker has no metrics: %s", error)


def run(
    options: Options, listening: socket.socket, metrics_at: socket.socket | None = None
) -> None:
    """Serve until a signal asks to stop, and answer what is in flight then.

    Raises KeyboardInterrupt after SIGINT, as uvicorn raises it again.
    With metrics there is a parent process, which answers scrapes, also for one worker.
    """
    if metrics_at is None:
        _run(options, listening, supervised=options.workers > 1)
        return
    from rollout_gate.serve import metrics

    with metrics.folder() as folder:
        tls = _tls(options) if options.certificate else None
        callers = Callers(_token(options))
        metrics.MetricsServer(metrics_at, metrics.Totals(folder), callers, tls).start()
        _run(options, listening, supervised=True)


def _tls(options: Options) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(options.certificate, options.private_key or None)
    return context


def _run(options: Options, listening: socket.socket, *, supervised: bool) -> None:
    import uvicorn
    from uvicorn.supervisors import Multiprocess

    from rollout_gate.serve.connection import ClientConnection

    config = uvicorn.Config(
        partial(_worker_app, options),  # pickled for a worker process
        factory=True,
        loop="auto",
        http=ClientConnection,
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        date_header=False,
        workers=options.workers,
        backlog=BACKLOG,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=options.drain_s,
        ssl_certfile=options.certificate or None,
        ssl_keyfile=options.private_key or None,
    )
    systemd = Systemd(os.environ)

    class Server(uvicorn.Server):
        @contextmanager
        def capture_signals(self) -> Iterator[None]:
            with super().capture_signals():
                _take_signals()
                yield

        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            systemd.ends()
            await super().shutdown(sockets)

    class Workers(Multiprocess):
        def handle_hup(self) -> None:
            """Stop a single worker, as it stops without a parent; restart each of several."""
            if options.workers == 1:
                self.handle_term()
            else:
                super().handle_hup()

        def terminate_all(self) -> None:
            systemd.ends()
            super().terminate_all()

    set_up_log()
    raise_file_limit()
    # uvicorn raises the signal again after its shutdown, for the handler that was there before.
    signal.signal(signal.SIGTERM, lambda *_: None)
    is_ignored = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN  # nohup
    if supervised:
        workers = Workers(config, [listening])
        if is_ignored and options.workers == 1:
            signal.signal(signal.SIGHUP, signal.SIG_IGN)
        _take_signals()
        workers.run()
        return
    if signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:
        # A terminal that closes ends it as SIGTERM does, with the requests in flight.
        signal.signal(signal.SIGHUP, lambda *_: signal.raise_signal(signal.SIGTERM))
    Server(config).run([listening])


def _identity(path: str) -> tuple[int, int] | None:
    """Return what is at the path of a unix socket: by its end another proxy may have taken it."""
    with suppress(OSError):
        status = os.lstat(path)
        return status.st_dev, status.st_ino
    return None


def raise_file_limit() -> None:
    """Allow as many open files as the system does: a stream takes two, and shells allow 1,024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with suppress(ValueError, OSError):  # macOS allows less than it says
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _worker_app(options: Options) -> ProxyApp:
    set_up_log()
    threading.Thread(target=_end_with_parent, name="rollout-gate-parent", daemon=True).start()
    return app_of(options)


def _end_with_parent() -> None:
    """Stop a worker whose parent was killed: it would keep the address from the next start."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)


def set_up_log() -> None:
    """Write the sentences of gate and server to stderr, without a traceback."""
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(_tells)
    handler.setFormatter(_OneLine())
    for name in ("rollout_gate", "uvicorn.error"):
        logger = logging.getLogger(name)
        logger.handlers = [handler]
        logger.propagate = False
        logger.setLevel(logging.INFO)  # also what is well again


def _tells(record: logging.LogRecord) -> bool:
    """Return whether a record is worth a line: not what the server says at every start and stop."""
    if record.name != "uvicorn.error":
        return True
    error = record.exc_info[1] if record.exc_info else None
    if isinstance(error, BrokenAnswerError | asyncio.CancelledError):
        return False  # the access log has it: the exchange has failed, or was ended by a stop
    text = record.getMessage()
    if text.startswith("ASGI callable returned without"):
        return False  # the client has left
    is_a_death = text.startswith("Child process") and text.endswith("died")
    return is_a_death or record.levelno >= logging.WARNING


class _OneLine(logging.Formatter):
    """``rollout-gate: sentence``; of an exception its type, and where it was raised."""

    def format(self, record: logging.LogRecord) -> str:
        text = record.getMessage().strip()
        error = record.exc_info[1] if record.exc_info else None
        if error is not None:
            at = traceback.extract_tb(error.__traceback__)[-1:]
            where = f" at {Path(at[0].filename).name}:{at[0].lineno}" if at else ""
            text = f"{text}: {type(error).__name__}{where}"
        return f"rollout-gate: {text}"
