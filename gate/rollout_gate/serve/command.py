"""The command line of ``rollout-gate serve``."""

import os
import socket
import ssl
import sys
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from importlib.util import find_spec
from pathlib import Path

from rollout_gate.file.errors import FileError, RolloutError
from rollout_gate.file.model import RolloutFile
from rollout_gate.file.parse import parse
from rollout_gate.file.read import read_file
from rollout_gate.http.credentials import checked, checked_names
from rollout_gate.metrics.labels import MOST_ORGS
from rollout_gate.serve.callers import is_loopback
from rollout_gate.serve.key_file import KeyFile
from rollout_gate.serve.server import Options, listen, listen_tcp, run, signals_held

_NEEDS = ("httpx2", "httptools", "uvicorn")
_MANY = 20


class UsageError(Exception):
    """What is wrong with how the command was called, in one sentence."""


def add_to(parser: ArgumentParser) -> None:
    """Add the options of ``serve``."""
    add = parser.add_argument
    add("-f", "--file", metavar="PATH", help="the rollout file; else $ROLLOUT_FILE, ./rollout.toml")
    add(
        "--listen",
        default="127.0.0.1:8787",
        metavar="HOST:PORT|unix:PATH",
        help="where to listen (127.0.0.1:8787); what others can reach needs --token-file",
    )
    add("--workers", type=_from(1, 64), default=1, metavar="N", help="worker processes (1)")
    add(
        "--tokenlab-key-file",
        metavar="PATH",
        help="a file with TokenLab's API key, read again when it changes; else $TOKENLAB_API_KEY",
    )
    add(
        "--previous-key-file",
        action="append",
        default=[],
        metavar="ROUTE=PATH",
        help="a file with the previous provider's key of a route; else what applications send",
    )
    add(
        "--token-file",
        metavar="PATH",
        help="a file with the token that each request must have in the header X-Rollout-Token",
    )
    add(
        "--forward-header",
        action="append",
        default=[],
        metavar="NAME",
        help="a header that TokenLab is sent too, beside those known to hold no credential",
    )
    add("--access-log", metavar="PATH", help="the access log, in place of the file's")
    add(
        "--metrics",
        metavar="HOST:PORT",
        help="where Prometheus may scrape /metrics; with --token-file it has to send the token",
    )
    add(
        "--metrics-orgs",
        type=_from(1, 100_000),
        default=MOST_ORGS,
        metavar="N",
        help=f"how many orgs have metrics of their own, the others are counted together"
        f" ({MOST_ORGS})",
    )
    add(
        "--max-body",
        type=_from(1, 4096),
        default=100,
        metavar="MB",
        help="the longest body, uploads excepted (100)",
    )
    add(
        "--drain",
        type=_from(0, 3600),
        default=60,
        metavar="SECONDS",
        help="how long answers in flight may take after SIGTERM (60)",
    )
    add("--certificate", metavar="PATH", help="serve HTTPS with this certificate chain (PEM)")
    add("--private-key", metavar="PATH", help="the certificate's private key (PEM)")


def main(arguments: Namespace) -> int:
    """Serve until a signal; return 0, or 2 for what was given wrong, told in one sentence."""
    with suppress(KeyboardInterrupt), ExitStack() as stack:
        try:
            options, file = _options(arguments)  # a file may hang, and then ctrl+c ends it
            stack.enter_context(signals_held())
            listening = _listen(options, stack)
            metrics_at = _listen_for_scrapes(options)
        except (UsageError, RolloutError) as error:
            print(f"rollout-gate: {error}", file=sys.stderr)
            return 2
        port = 0 if options.unix else listening.getsockname()[1]
        _tell(options.base_url(port), file)
        if metrics_at is not None:
            print(f"  metrics at {options.metrics_url(metrics_at.getsockname()[1])}", flush=True)
        run(options, listening, metrics_at)
    return 0


def _tell(base: str, file: RolloutFile) -> None:
    print(f"rollout-gate serves {base}", flush=True)
    for name, route in list(file.routes.items())[:_MANY]:
        nowhere = "" if route.previous_base_url else "  (no previous_base_url: cannot roll back)"
        print(f"  {base}/{_quoted(name)}  {route.format}{nowhere}", flush=True)
    if len(file.routes) > _MANY:
        print(f"  and {len(file.routes) - _MANY} more routes", flush=True)


def _quoted(name: str) -> str:
    from urllib.parse import quote

    return quote(name, safe="")


def _options(given: Namespace) -> tuple[Options, RolloutFile]:
    if missing := [name for name in _NEEDS if find_spec(name) is None]:
        raise UsageError(
            f"serve needs {', '.join(missing)}: install the gate with its extra,"
            " rollout-gate[serve]"
        )
    metrics_host, metrics_port = _metrics_address(given)
    path = given.file or os.environ.get("ROLLOUT_FILE") or "rollout.toml"
    file = _file(Path(path))
    host, port, unix = _address(given.listen)
    if not unix and not is_loopback(host) and not given.token_file:
        raise UsageError(
            f"--listen {given.listen} can be reached from other machines, and the proxy holds keys:"
            " give --token-file as well, or listen on 127.0.0.1 or unix:PATH"
        )
    return (
        Options(
            path=str(Path(path).absolute()),
            host=host,
            port=port,
            unix=unix,
            workers=given.workers,
            tokenlab_key=_tokenlab_key(given),
            tokenlab_key_file=given.tokenlab_key_file or "",
            previous_key_files=_previous_keys(given.previous_key_file, file),
            token_file=_checked_file(given.token_file, "the proxy's token", least=16),
            forward=_forward(given.forward_header),
            access_log=given.access_log,
            most_bytes=given.max_body * 2**20,
            drain_s=given.drain,
            metrics_host=metrics_host,
            metrics_port=metrics_port,
            metrics_orgs=given.metrics_orgs,
            **_tls(given),
        ),
        file,
    )


def _file(path: Path) -> RolloutFile:
    """Return the rollout file; without a good one at the start nobody knows any provider."""
    data, _ = read_file(path)
    try:
        return parse(data)
    except FileError as error:
        raise UsageError(f"{path}: {error}") from None


def _tokenlab_key(given: Namespace) -> str:
    if given.tokenlab_key_file:
        _checked_file(given.tokenlab_key_file, "TokenLab's key")
        return ""
    key = os.environ.get("TOKENLAB_API_KEY")
    if not key:
        raise UsageError(
            "there is no API key for TokenLab; give --tokenlab-key-file, or set TOKENLAB_API_KEY"
        )
    try:
        return checked(key, "TOKENLAB_API_KEY")
    except ValueError as error:
        raise UsageError(str(error)) from None


def _previous_keys(given: Sequence[str], file: RolloutFile) -> dict[str, str]:
    found = {}
    for one in given:
        route, equals, path = one.rpartition("=")
        if not equals or not path:
            raise UsageError(f"--previous-key-file is ROUTE=PATH, not {one!r}")
        if route not in file.routes:
            raise UsageError(f"--previous-key-file names {route!r}, no route of the rollout file")
        found[route] = _checked_file(path, f"the previous provider's key of {route}")
    return found


def _checked_file(path: str | None, name: str, *, least: int = 1) -> str:
    """Return the absolute path of a file with a credential; empty where none is given."""
    if not path:
        return ""
    try:
        value = KeyFile(path, name)()
    except OSError as error:
        raise UsageError(f"{name}: {path} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise UsageError(f"{path}: {error}") from None
    if len(value) < least:
        raise UsageError(f"{path}: {name} is shorter than {least} characters")
    return str(Path(path).absolute())


def _forward(names: Sequence[str]) -> frozenset[bytes]:
    try:
        return checked_names(names)
    except ValueError as error:
        raise UsageError(str(error).replace("forward_headers", "--forward-header")) from None


def _tls(given: Namespace) -> dict[str, str]:
    if not given.certificate and not given.private_key:
        return {}
    if not (given.certificate and given.private_key):
        raise UsageError("--certificate and --private-key belong together: give both, or neither")
    try:
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(
            given.certificate, given.private_key
        )
    except OSError as error:  # ssl.SSLError as well
        why = error.strerror or str(error)
        raise UsageError(f"the certificate or its private key cannot be used: {why}") from None
    return {"certificate": given.certificate, "private_key": given.private_key}


def _address(text: str) -> tuple[str, int, str]:
    """Return host, port and path of ``--listen``; host is empty for a path, or path for a host."""
    if text.startswith("unix:"):
        path = text.removeprefix("unix:")
        if not path:
            raise UsageError("--listen unix: needs a path")
        return "", 0, str(Path(path).absolute())
    if (found := _host_and_port(text)) is None:
        raise UsageError(
            f"--listen is HOST:PORT such as 127.0.0.1:8787, or unix:PATH, not {text!r}"
        )
    return (*found, "")


def _metrics_address(given: Namespace) -> tuple[str, int]:
    """Return host and port of ``--metrics``; an empty host without it."""
    if given.metrics is None:
        return "", 0
    if (found := _host_and_port(given.metrics)) is None:
        raise UsageError(f"--metrics is HOST:PORT such as 127.0.0.1:9464, not {given.metrics!r}")
    if find_spec("prometheus_client") is None:
        raise UsageError(
            "--metrics needs prometheus-client: install the gate with both extras,"
            " rollout-gate[serve,metrics]"
        )
    if not is_loopback(found[0]) and not given.token_file:
        raise UsageError(
            f"--metrics {given.metrics} can be reached from other machines, and metrics name orgs:"
            " give --token-file as well, which Prometheus sends as its bearer token, or"
            " --metrics 127.0.0.1:PORT"
        )
    return found


def _host_and_port(text: str) -> tuple[str, int] | None:
    host, colon, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not colon or not host or not port.isdecimal() or int(port) > 65_535:
        return None
    return ("127.0.0.1" if host == "localhost" else host), int(port)


def _listen(options: Options, stack: ExitStack) -> socket.socket:
    try:
        return stack.enter_context(listen(options))
    except OSError as error:
        where = options.unix or f"{options.host}:{options.port}"
        raise UsageError(f"cannot listen on {where}: {error.strerror or error}") from None


def _listen_for_scrapes(options: Options) -> socket.socket | None:
    if not options.metrics_host:
        return None
    host, port = options.metrics_host, options.metrics_port
    try:
        return listen_tcp(host, port)
    except OSError as error:
        raise UsageError(
            f"cannot listen on {host}:{port} for --metrics: {error.strerror or error}"
        ) from None


def _from(least: int, most: int) -> Callable[[str], int]:
    def whole(text: str) -> int:
        if not text.isdecimal() or not least <= int(text) <= most:
            raise ArgumentTypeError(f"must be a whole number from {least} to {most}, not {text!r}")
        return int(text)

    return whole
