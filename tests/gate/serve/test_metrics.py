"""``serve --metrics``: the metrics of all workers, at an address of their own."""

import gzip
import http.client
import os
import signal
import socket
import ssl
import struct
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.gate.metrics.lines import total, values
from tests.support.loopback import TOKENLAB, TwoSides
from tests.support.prometheus import Prometheus, prometheus
from tests.support.serving import ASK, HEADERS, Answered, Proxy, command, serving
from tests.support.waiting import PATIENCE_S, until

TOKEN = "a-token-of-the-proxy"
ANYWHERE = "127.0.0.1:0"
BROKEN = struct.pack("=iii", 64, 0, 10_000) + b"x" * 100
"""A file of values whose first key is longer than the file."""


def metrics_url(proxy: Proxy) -> str:
    """Where the metrics are, as the command has printed it."""
    for line in proxy.stdout:
        if "metrics at " in line:
            return str(line.split()[-1])
    raise AssertionError("no address of metrics was printed")


def scrape(url: str, headers: Mapping[str, str] | None = None, path: str = "/metrics") -> Answered:
    """Ask as Prometheus does."""
    host, _, port = url.removeprefix("http://").partition("/")[0].rpartition(":")
    connection = http.client.HTTPConnection(host.strip("[]"), int(port), timeout=PATIENCE_S)
    try:
        connection.request("GET", path, headers=dict(headers or {}))
        answer = connection.getresponse()
        found = {name.lower(): value for name, value in answer.getheaders()}
        return Answered(answer.status, found, answer.read())
    finally:
        connection.close()


def requests_in(text: bytes) -> float:
    return total(text, "rollout_gate_requests_total")


@contextmanager
def with_metrics(sides: TwoSides, *options: str) -> Iterator[tuple[Proxy, str]]:
    with serving(sides.path, "--metrics", ANYWHERE, *options) as proxy:
        yield proxy, metrics_url(proxy)


def test_requests_of_a_proxy(sides: TwoSides) -> None:
    with with_metrics(sides) as (proxy, url):
        for _ in range(3):
            assert proxy.ask().status == 200
        # A line is written, and counted, after its answer was read.
        until(lambda: requests_in(scrape(url).body) == 3)
        answer = scrape(url)
        assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
        labels = {
            "route": "chat", "org": "acme", "side": "tokenlab", "class": "ok", "outcome": "ok",
        }  # fmt: skip
        assert total(answer.body, "rollout_gate_requests_total", **labels) == 3
        assert len(sides.lines()) == 3
        file = sides.gate.file
        assert file is not None
        assert total(
            answer.body, "rollout_gate_revision_info", revision=file.revision[:12],
            host=os.uname().nodename,
        ) == 1  # fmt: skip
        assert proxy.stop() == 0


def test_orgs_are_bounded(sides: TwoSides) -> None:
    with with_metrics(sides, "--metrics-orgs", "2") as (proxy, url):
        for org in ("acme", "globex.eu", "initech", "umbrella"):
            assert proxy.ask(headers={**HEADERS, "X-Rollout-Org": org}).status == 200
        until(lambda: requests_in(scrape(url).body) == 4)
        found = values(scrape(url).body, "rollout_gate_requests_total")
        orgs = {dict(labels)["org"]: value for labels, value in found.items()}
        assert orgs == {"acme": 1, "globex.eu": 1, "(others)": 2}


def test_formats_and_compression(sides: TwoSides) -> None:
    with with_metrics(sides) as (proxy, url):
        proxy.ask()
        until(lambda: requests_in(scrape(url).body) == 1)
        plain = scrape(url).body
        packed = scrape(url, {"Accept-Encoding": "gzip"})
        assert gzip.decompress(packed.body) == plain
        theirs = scrape(url, {"Accept": "application/openmetrics-text; version=1.0.0"})
        assert theirs.headers["content-type"].startswith("application/openmetrics-text")
        assert theirs.body.endswith(b"# EOF\n")


def command_line(pid: int) -> bytes:
    """Return the words of a process; nothing of one that has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""


@pytest.mark.slow
def test_several_workers_add_up_also_those_that_died(sides: TwoSides) -> None:
    def workers() -> list[int]:
        children = Path(f"/proc/{proxy.process.pid}/task/{proxy.process.pid}/children")
        found = [int(one) for one in children.read_text().split()]
        return [one for one in found if b"spawn_main" in command_line(one)]

    def counted() -> bool:
        return requests_in(scrape(url).body) == len(sides.lines())

    with with_metrics(sides, "--workers", "2") as (proxy, url):
        until(lambda: proxy.ask().status == 200)
        for _ in range(3):
            for _ in range(20):
                assert proxy.ask().status == 200
            until(counted)
            before = workers()
            os.kill(before[0], signal.SIGKILL)
            until(lambda died=before[0]: died not in workers() and len(workers()) == 2)  # type: ignore[misc]
            until(lambda: proxy.ask().status == 200)
            until(counted)
        folder = metrics_folder(proxy)
        names = [path.stem for path in folder.glob("*.db")]
        # Of the dead one file of each kind is left, with their sums.
        of_dead = [name for name in names if int(name.rpartition("_")[2]) not in workers()]
        assert sorted(of_dead) == ["counter_0", "histogram_0"]
        bucket = "rollout_gate_request_duration_seconds"
        until(lambda: total(scrape(url).body, f"{bucket}_count") == len(sides.lines()))
        assert total(scrape(url).body, "rollout_gate_revision_info") == 1
        assert proxy.stop() == 0
    assert not folder.exists()


def metrics_folder(proxy: Proxy) -> Path:
    for path in Path(tempfile.gettempdir()).glob("rollout-gate-metrics-*"):
        if any(str(path) in os.readlink(one) for one in open_files(proxy.process.pid)):
            return path
    raise AssertionError("the proxy has no folder of metrics open")


def open_files(process: int) -> Iterator[Path]:
    for one in Path(f"/proc/{process}/fd").iterdir():
        if one.is_symlink():
            yield one


def test_the_file_changes(sides: TwoSides) -> None:
    def revisions() -> dict[str, float]:
        found = values(scrape(url).body, "rollout_gate_revision_info", host=os.uname().nodename)
        return {dict(labels)["revision"]: value for labels, value in found.items()}

    with with_metrics(sides) as (proxy, url):
        until(lambda: proxy.ask().status == 200)
        (before,) = revisions()
        sides.decide(50)
        file = sides.gate.file
        assert file is not None
        until(lambda: revisions() == {before: 0, file.revision[:12]: 1})
        sides.path.unlink()
        until(lambda: total(scrape(url).body, "rollout_gate_file_trouble") == 1)


@pytest.fixture
def token(tmp_path: Path) -> Path:
    """A file with the proxy's token."""
    path = tmp_path / "token"
    path.write_text(TOKEN)
    return path


def test_a_proxy_with_a_token_shows_no_metrics_without_it(sides: TwoSides, token: Path) -> None:
    with with_metrics(sides, "--token-file", str(token)) as (proxy, url):
        for headers in (
            {}, {"Authorization": "Bearer wrong"}, {"Authorization": f"Basic {TOKEN}"},
            {"X-Rollout-Token": "wrong"}, {"Authorization": "Bearer "},
            {"X-Rollout-Token": "wrong", "Authorization": f"Bearer {TOKEN}"},
        ):  # fmt: skip
            answer = scrape(url, headers)
            assert (answer.status, b"rollout_gate" in answer.body) == (401, False), headers
        for headers in ({"Authorization": f"Bearer {TOKEN}"}, {"X-Rollout-Token": TOKEN}):
            assert (scrape(url, headers).status, scrape(url, headers, "/").status) == (200, 404)
        # A provider's key is no token of the proxy, which takes it in its own header alone.
        asked = proxy.ask(headers={**HEADERS, "Authorization": f"Bearer {TOKEN}"})
        assert asked.status == 401


@pytest.mark.slow
def test_a_real_prometheus_scrapes_with_the_token(
    sides: TwoSides, token: Path, tmp_path: Path
) -> None:
    def shown(server: Prometheus) -> list[str]:
        return [value for _, value in server.ask("rollout_gate_requests_total")]

    with with_metrics(sides, "--token-file", str(token), "--workers", "2") as (proxy, url):
        target = url.removeprefix("http://").removesuffix("/metrics")
        extra = [f"authorization: {{credentials_file: {token}}}"]
        headers = {**HEADERS, "X-Rollout-Token": TOKEN}
        assert proxy.ask(headers=headers).status == 200
        with prometheus(tmp_path / "prometheus", target, extra=extra) as server:
            until(lambda: shown(server) == ["1"])
            assert [value for _, value in server.ask("up")] == ["1"]
            for _ in range(5):
                proxy.ask(headers=headers)
            until(lambda: shown(server) == [str(len(sides.lines()))] == ["6"])


def test_without_a_token_a_page_of_another_site_is_refused(sides: TwoSides) -> None:
    with with_metrics(sides) as (_, url):
        assert scrape(url, {"Host": "evil.example"}).status == 403
        assert scrape(url, {"Origin": "https://evil.example"}).status == 403
        assert scrape(url, path="/-/healthy").status == 404


def test_the_proxy_itself_has_no_metrics(sides: TwoSides) -> None:
    with with_metrics(sides) as (proxy, _):
        assert proxy.ask("/metrics", None, {}, "GET").status == 404


def test_a_client_that_says_nothing_holds_up_no_scrape(sides: TwoSides) -> None:
    with with_metrics(sides) as (proxy, url):
        proxy.ask()
        host, _, port = url.removeprefix("http://").partition("/")[0].rpartition(":")
        silent = [socket.create_connection((host, int(port))) for _ in range(7)]
        try:
            assert scrape(url).status == 200
        finally:
            for one in silent:
                one.close()


def test_clients_that_send_half_a_request_hold_up_no_scrape(sides: TwoSides) -> None:
    with with_metrics(sides) as (_, url), ExitStack() as stack:
        host, _, port = url.removeprefix("http://").partition("/")[0].rpartition(":")
        for _ in range(60):
            one = stack.enter_context(socket.create_connection((host, int(port))))
            one.sendall(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nX-Slow: ")
        for _ in range(3):
            assert scrape(url).status == 200


@pytest.mark.slow
def test_files_that_are_broken_cost_the_scrape_alone(sides: TwoSides) -> None:
    with with_metrics(sides) as (proxy, url):
        until(lambda: proxy.ask().status == 200)
        until(lambda: requests_in(scrape(url).body) == len(sides.lines()))
        broken = metrics_folder(proxy) / f"counter_{os.getpid()}.db"  # of one that lives
        broken.write_bytes(BROKEN)
        answer = scrape(url)
        assert (answer.status, answer.body[:27]) == (500, b"the metrics cannot be read:")
        assert proxy.ask().status == 200
        broken.write_bytes(b"")  # as one that is being made
        threading.Timer(0.05, broken.unlink).start()
        assert scrape(url).status == 200
        until(lambda: not broken.exists())
        dead = broken.with_name("counter_999999999.db")
        dead.write_bytes(BROKEN)
        until(lambda: requests_in(scrape(url).body) == len(sides.lines()))
        assert not dead.exists()
        until(
            lambda: any("what process 999999999 has counted is lost" in one for one in proxy.said)
        )


def test_tls(sides: TwoSides, certificate: Path) -> None:
    given = ("--certificate", str(certificate), "--private-key", str(certificate))
    with with_metrics(sides, *given) as (_, url):
        assert url.startswith("https://")
        host, port = url.removeprefix("https://").partition("/")[0].split(":")
        trust = ssl.create_default_context(cafile=str(certificate))
        connection = http.client.HTTPSConnection(host, int(port), context=trust)
        connection.request("GET", "/metrics")
        assert connection.getresponse().status == 200
        connection.close()
        with socket.create_connection((host, int(port))) as plain:
            plain.sendall(b"GET /metrics HTTP/1.1\r\n\r\n")
            assert b"rollout_gate" not in plain.recv(65_536)


@pytest.mark.parametrize(
    ("metrics", "says"),
    [
        ("9464", "--metrics is HOST:PORT such as 127.0.0.1:9464"),
        ("unix:here", "--metrics is HOST:PORT"),
        ("127.0.0.1:x", "--metrics is HOST:PORT"),
        ("0.0.0.0:9464", "can be reached from other machines, and metrics name orgs"),
        ("192.0.2.7:0", "can be reached from other machines"),
    ],
)
def test_what_is_wrong_is_one_sentence(sides: TwoSides, metrics: str, says: str) -> None:
    assert says in refused(sides, "--metrics", metrics)


def test_an_address_in_use(sides: TwoSides) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        at = f"127.0.0.1:{taken.getsockname()[1]}"
        assert f"cannot listen on {at} for --metrics" in refused(sides, "--metrics", at)


def refused(sides: TwoSides, *options: str) -> str:
    done = subprocess.run(
        command(sides.path, "--listen", ANYWHERE, *options), capture_output=True, text=True,
        timeout=PATIENCE_S, env={**os.environ, "TOKENLAB_API_KEY": TOKENLAB},
    )  # fmt: skip
    assert (done.returncode, "Traceback" in done.stderr) == (2, False)
    return done.stderr


def test_a_runtime_directory_of_systemd_is_taken(sides: TwoSides, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    environment = {**os.environ, "TOKENLAB_API_KEY": TOKENLAB, "RUNTIME_DIRECTORY": str(folder)}
    with subprocess.Popen(
        command(sides.path, "--listen", ANYWHERE, "--metrics", ANYWHERE), env=environment,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        until(lambda: list(folder.glob("rollout-gate-metrics-*/counter_*.db")) or asked(process))
        (made,) = folder.iterdir()
        assert made.stat().st_mode & 0o777 == 0o700
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=PATIENCE_S)
    assert not list(folder.iterdir())


_urls: dict[int, str] = {}


def asked(process: "subprocess.Popen[str]") -> bool:
    """Send a request, so that there is something to count."""
    assert process.stdout is not None
    if process.pid not in _urls:
        _urls[process.pid] = process.stdout.readline().split()[-1]
    host, port = _urls[process.pid].removeprefix("http://").split(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=PATIENCE_S)
    connection.request("POST", "/chat/v1/chat/completions", ASK, HEADERS)
    connection.getresponse().read()
    connection.close()
    return False
