"""A real Prometheus, which scrapes what a test exports."""

import json
import socket
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from tests.support.parts import need
from tests.support.waiting import PATIENCE_S, until


class Reply(NamedTuple):
    """An answer of its HTTP API."""

    status: int
    body: dict[str, Any]

    @property
    def result(self) -> list[Any]:
        assert self.status == 200, self.body
        data = self.body["data"]
        return list(data["result"] if isinstance(data, dict) else data)


class PrometheusServer:
    """A running Prometheus."""

    def __init__(self, url: str) -> None:
        self.url = url

    def api(self, path: str, **parameters: str) -> Reply:
        """Ask its API; an error of it is a reply as well."""
        query = urllib.parse.urlencode(parameters)
        try:
            with urllib.request.urlopen(f"{self.url}/api/v1/{path}?{query}", timeout=30) as answer:
                return Reply(answer.status, json.load(answer))
        except urllib.error.HTTPError as error:
            with error:
                return Reply(error.code, json.load(error))

    def query(self, expression: str) -> list[Any]:
        """Return the result of an instant query; AssertionError for one that does not parse."""
        return self.api("query", query=expression).result

    def is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/-/ready", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False


@contextmanager
def prometheus(
    folder: Path, *targets: str, extra: Sequence[str] = ()
) -> Iterator[PrometheusServer]:
    """Run Prometheus on targets (HOST:PORT, at /metrics), with further lines of the scrape job."""
    need("prometheus")
    folder.mkdir(exist_ok=True)
    config = folder / "prometheus.yml"
    lines = [
        "global: {scrape_interval: 500ms, scrape_timeout: 500ms, evaluation_interval: 1h}",
        "scrape_configs:", "- job_name: gate", *(f"  {one}" for one in extra),
        f"  static_configs: [{{targets: {json.dumps(targets)}}}]",
    ]  # fmt: skip
    config.write_text("\n".join(lines) + "\n")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [
                "prometheus", f"--config.file={config}", f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address=127.0.0.1:{port}", "--log.level=warn",
            ],
            stdout=log, stderr=log,
        )  # fmt: skip
    try:
        server = PrometheusServer(f"http://127.0.0.1:{port}")
        until(lambda: server.is_ready() or process.poll() is not None)
        assert process.poll() is None, (folder / "log").read_text()
        yield server
    finally:
        process.terminate()
        process.wait(PATIENCE_S)
