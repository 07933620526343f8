"""A real Prometheus on loopback, and an exporter that it scrapes."""

import socket
import struct
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx

from tests.support.parts import need
from tests.support.waiting import until

Labels = Mapping[str, str]
BUCKETS_S = (0.05, 0.1, 0.25, 0.5, 1, 2, 3, 4, 5, 6, 8, 10, 15, 20, 30, 45, 60, 90, 120, 300, 600)
"""The bounds of the gate's exporter."""


class Exporter:
    """Serves metrics in Prometheus' text format; native histograms by its protobuf format.

    ``answers`` is the status it answers with; anything but 200 is a failing scrape.
    """

    def __init__(self, port: int = 0) -> None:
        self.status = 200
        self._lock = threading.Lock()
        self._counters: dict[tuple[str, tuple[tuple[str, str], ...]], float] = {}
        self._gauges: dict[tuple[str, tuple[tuple[str, str], ...]], float] = {}
        self._histograms: dict[tuple[str, tuple[tuple[str, str], ...]], list[float]] = {}
        self._native: dict[tuple[str, tuple[tuple[str, str], ...]], dict[int, int]] = {}
        self._bounds: dict[str, Sequence[float]] = {}
        self.scrapes = 0
        exporter = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                kind, body = exporter._exposition()
                exporter.scrapes += 1
                with suppress(BrokenPipeError, ConnectionResetError):
                    self.send_response(exporter.status)
                    self.send_header("Content-Type", kind)
                    self.send_header("Content-Length", str(len(body)))
                    self.end_headers()
                    self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def count(self, name: str, labels: Labels, by: float = 1.0) -> None:
        """Raise a counter."""
        with self._lock:
            key = name, tuple(labels.items())
            self._counters[key] = self._counters.get(key, 0.0) + by

    def gauge(self, name: str, labels: Labels, value: float) -> None:
        with self._lock:
            self._gauges[name, tuple(labels.items())] = value

    def observe(
        self, name: str, labels: Labels, value: float, bounds: Sequence[float] = BUCKETS_S
    ) -> None:
        """Add a value to a classic histogram."""
        with self._lock:
            self._bounds[name] = bounds
            self._histograms.setdefault((name, tuple(labels.items())), []).append(value)

    def observe_native(self, name: str, labels: Labels, index: int, count: int = 1) -> None:
        """Add to the bucket of an index of a native histogram of schema 3: up to 2^(index/8)."""
        with self._lock:
            buckets = self._native.setdefault((name, tuple(labels.items())), {})
            buckets[index] = buckets.get(index, 0) + count

    def restart(self) -> None:
        """Forget all counts, as a process that was started anew."""
        with self._lock:
            for kept in (self._counters, self._histograms, self._native):
                kept.clear()

    def _exposition(self) -> tuple[str, bytes]:
        with self._lock:
            if self._native:
                kind = (
                    "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily;"
                    " encoding=delimited"
                )
                return kind, self._protobuf()
            return "text/plain; version=0.0.4; charset=utf-8", self._text().encode()

    def _text(self) -> str:
        lines = []
        for kind, some in (("counter", self._counters), ("gauge", self._gauges)):
            for name in {name for name, _ in some}:
                lines.append(f"# TYPE {name} {kind}")
                lines += [
                    f"{name}{_braces(labels)} {value}"
                    for (one, labels), value in some.items()
                    if one == name
                ]
        for (name, labels), values in self._histograms.items():
            bounds = [*self._bounds[name], float("inf")]
            for bound in bounds:
                le = "+Inf" if bound == float("inf") else f"{bound:g}"
                below = sum(one <= bound for one in values)
                lines.append(f"{name}_bucket{_braces((*labels, ('le', le)))} {below}")
            lines.append(f"{name}_sum{_braces(labels)} {sum(values)}")
            lines.append(f"{name}_count{_braces(labels)} {len(values)}")
        return "\n".join(lines) + "\n"

    def _protobuf(self) -> bytes:
        found = b""
        for kind, field, some in ((0, 3, self._counters), (1, 2, self._gauges)):
            for name in {name for name, _ in some}:
                metrics = [
                    _sub(4, _labels(labels) + _sub(field, _double(1, value)))
                    for (one, labels), value in some.items()
                    if one == name
                ]
                found += _family(name, kind, metrics)
        for name in {name for name, _ in self._native}:
            metrics = [
                _sub(4, _labels(labels) + _sub(7, _native(buckets)))
                for (one, labels), buckets in self._native.items()
                if one == name
            ]
            found += _family(name, 4, metrics)
        return found


class Prometheus:
    """A Prometheus that scrapes exporters twice a second; it can be paused, killed, restarted."""

    def __init__(
        self,
        folder: Path,
        targets: Sequence[int | str],
        *,
        every: str = "500ms",
        extra: Sequence[str] = (),
    ) -> None:
        """``targets`` are ports of loopback, or HOST:PORT; ``extra`` are lines of the job."""
        need("prometheus")
        self._extra = extra
        self._folder = folder
        self.port = _free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None
        self._every = every
        self.scrape(targets)

    def scrape(self, targets: Sequence[int | str]) -> None:
        """Write the configuration; a restart reads it."""
        places = [f"127.0.0.1:{one}" if isinstance(one, int) else one for one in targets]
        listed = ", ".join(f'"{place}"' for place in places)
        self._folder.mkdir(parents=True, exist_ok=True)
        (self._folder / "prometheus.yml").write_text(
            f"global: {{scrape_interval: {self._every}, scrape_timeout: {self._every}}}\n"
            "scrape_configs:\n- job_name: gate\n"
            + "".join(f"  {line}\n" for line in self._extra)
            + f"  static_configs: [{{targets: [{listed}]}}]\n"
        )

    def start(self) -> None:
        self._process = subprocess.Popen(
            [
                "prometheus", f"--config.file={self._folder / 'prometheus.yml'}",
                f"--storage.tsdb.path={self._folder / 'data'}",
                f"--web.listen-address=127.0.0.1:{self.port}", "--log.level=error",
                "--enable-feature=native-histograms",
            ],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        until(self._is_ready)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def send(self, signal: int) -> None:
        assert self._process is not None
        self._process.send_signal(signal)

    def api(self, path: str, **parameters: str) -> httpx.Response:
        """Ask its HTTP API; a query that does not parse is an answer as well."""
        return httpx.get(f"{self.url}/api/v1/{path}", params=parameters, trust_env=False)

    def ask(self, query: str, at: float | None = None) -> list[tuple[dict[str, str], Any]]:
        """Return the labels and the value (or histogram) of each series of an instant query."""
        answer = self.api("query", query=query, **({} if at is None else {"time": f"{at:.3f}"}))
        answer.raise_for_status()
        return [
            (one["metric"], one["value"][1] if "value" in one else one["histogram"][1])
            for one in answer.json()["data"]["result"]
        ]

    def has(self, query: str) -> bool:
        """Return whether a query has a series that is not 0."""
        return any(value != "0" for _, value in self.ask(query))

    def _is_ready(self) -> bool:
        with suppress(httpx.HTTPError):
            return httpx.get(f"{self.url}/-/ready", trust_env=False).status_code == 200
        return False


@contextmanager
def prometheus(
    folder: Path, *targets: int | str, extra: Sequence[str] = ()
) -> Iterator[Prometheus]:
    """Run a Prometheus on targets."""
    found = Prometheus(folder, targets, extra=extra)
    try:
        found.start()
        yield found
    finally:
        found.kill()


@contextmanager
def scraped(folder: Path, exporters: int = 1) -> Iterator[tuple[Prometheus, list[Exporter]]]:
    """Run exporters, and a Prometheus that has scraped each of them for a while."""
    need("prometheus")
    found = [Exporter() for _ in range(exporters)]
    try:
        with prometheus(folder / "prometheus", *(one.port for one in found)) as server:
            # What is new on a server counts from 0 where the server was scraped before.
            before = "max_over_time(up[2s] offset 1s) > 0"
            until(lambda: len(server.ask(before)) == len(found))
            yield server, found
    finally:
        for one in found:
            one.close()


def next_scrape(exporter: Exporter) -> None:
    """Wait until what the exporter has now was scraped."""
    before = exporter.scrapes
    until(lambda: exporter.scrapes > before + 1)


def next_step(step_s: int) -> None:
    """Wait for the next multiple of a step."""
    first = time.time() // step_s
    until(lambda: time.time() // step_s > first)


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def _braces(labels: Sequence[tuple[str, str]]) -> str:
    def quoted(text: str) -> str:
        return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")

    return "{" + ",".join(f'{name}="{quoted(value)}"' for name, value in labels) + "}"


# A protobuf writer of a few lines: Prometheus scrapes native histograms in that format alone.


def _varint(number: int) -> bytes:
    found = b""
    while True:
        number, low = number >> 7, number & 127
        found += bytes([low | (128 if number else 0)])
        if not number:
            return found


def _sub(field: int, data: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(data)) + data


def _unsigned(field: int, number: int) -> bytes:
    return _varint(field << 3) + _varint(number)


def _signed(field: int, number: int) -> bytes:
    return _unsigned(field, number << 1 if number >= 0 else (-number << 1) - 1)


def _double(field: int, number: float) -> bytes:
    return _varint(field << 3 | 1) + struct.pack("<d", number)


def _labels(labels: Sequence[tuple[str, str]]) -> bytes:
    return b"".join(
        _sub(1, _sub(1, name.encode()) + _sub(2, value.encode())) for name, value in labels
    )


def _family(name: str, kind: int, metrics: Sequence[bytes]) -> bytes:
    family = _sub(1, name.encode()) + _unsigned(3, kind) + b"".join(metrics)
    return _varint(len(family)) + family


def _native(buckets: Mapping[int, int]) -> bytes:
    found = _unsigned(1, sum(buckets.values())) + _double(2, 1.0) + _signed(5, 3)
    found += _double(6, 1e-9) + _unsigned(7, 0)
    spans: list[list[int]] = []
    before = None
    for index in sorted(buckets):
        if before is None or index != before + 1:
            spans.append([index if before is None else index - before - 1, 0])
        spans[-1][1] += 1
        before = index
    counts = [buckets[index] for index in sorted(buckets)]
    found += b"".join(_sub(12, _signed(1, offset) + _unsigned(2, width)) for offset, width in spans)
    deltas = [one - other for one, other in zip(counts, [0, *counts], strict=False)]
    return found + b"".join(_signed(13, one) for one in deltas)
