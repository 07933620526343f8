"""The process: how it starts, where it listens, who serves, and how it stops."""

import http.client
import json
import os
import resource
import signal
import socket
import ssl
import stat
import subprocess
import sys
import threading
import time
from configparser import ConfigParser
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest

from tests.gate.serve.test_streams import BODY, CHUNK, STOP, file_of, read_to_end, read_until
from tests.support.loopback import TOKENLAB, Reply, TwoSides
from tests.support.parts import need
from tests.support.serving import ASK, HEADERS, command, gates, request_bytes
from tests.support.serving import serving as serving_either
from tests.support.streaming import Streamer
from tests.support.waiting import PATIENCE_S, until

serving = partial(serving_either, forked=False)
UNIT = Path(__file__).parents[3] / "sample_configs" / "rollout-gate.service"


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--listen", "8787"), "--listen is HOST:PORT such as 127.0.0.1:8787"),
        (("--listen", "0.0.0.0:8787"), "can be reached from other machines"),
        (("--listen", "127.0.0.1:99999"), "--listen is HOST:PORT"),
        (("--listen", "unix:"), "needs a path"),
        (("--workers", "0"), "must be a whole number from 1 to 64"),
        (("--tokenlab-key-file", "nowhere"), "TokenLab's key: nowhere cannot be read"),
        (("--token-file", "short"), "shorter than 16 characters"),
        (("--previous-key-file", "short"), "--previous-key-file is ROUTE=PATH"),
        (("--previous-key-file", "nope=short"), "names 'nope', no route of the rollout file"),
        (("--forward-header", "Authorization"), "--forward-header has authorization"),
        (("--certificate", "short"), "belong together"),
        (("--certificate", "short", "--private-key", "short"), "cannot be used"),
        (("-f", "nowhere.toml"), "nowhere.toml"),
        (("-f", "short"), "short: line 1, column"),
    ],
)
def test_what_is_wrong_is_one_sentence(
    sides: TwoSides, tmp_path: Path, options: tuple[str, ...], says: str
) -> None:
    (tmp_path / "short").write_text("short")
    environment = {**os.environ, "TOKENLAB_API_KEY": TOKENLAB}
    done = gates().run(command(sides.path, *options)[3:], cwd=tmp_path, env=environment)
    assert done.returncode == 2
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert TOKENLAB not in done.stderr


def test_no_key(sides: TwoSides) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "TOKENLAB_API_KEY"}
    done = subprocess.run(
        command(sides.path), env=environment, capture_output=True, text=True, timeout=PATIENCE_S
    )
    assert (done.returncode, "there is no API key for TokenLab" in done.stderr) == (2, True)


def test_a_port_in_use(sides: TwoSides) -> None:
    with serving(sides.path) as proxy:
        done = subprocess.run(
            command(sides.path, "--listen", proxy.url.removeprefix("http://")),
            env={**os.environ, "TOKENLAB_API_KEY": TOKENLAB}, capture_output=True, text=True,
            timeout=PATIENCE_S,
        )  # fmt: skip
    assert (done.returncode, "cannot listen on 127.0.0.1:" in done.stderr) == (2, True)


def test_a_unix_socket(sides: TwoSides, tmp_path: Path) -> None:
    path = tmp_path / "gate.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))  # as a killed process leaves it
    with serving(sides.path, listen=f"unix:{path}") as proxy:
        assert stat.S_IMODE(path.stat().st_mode) == 0o660
        with socket.socket(socket.AF_UNIX) as one:
            one.settimeout(PATIENCE_S)
            one.connect(str(path))
            one.sendall(request_bytes(headers={**HEADERS, "Host": "gate"}))
            assert b" 200 " in one.recv(65_536).partition(b"\r\n")[0]
        done = subprocess.run(
            command(sides.path, "--listen", f"unix:{path}"), capture_output=True, text=True,
            env={**os.environ, "TOKENLAB_API_KEY": TOKENLAB}, timeout=PATIENCE_S,
        )  # fmt: skip
        assert "cannot listen on" in done.stderr
        assert proxy.stop() == 0
    assert not path.exists()


def test_the_end_of_a_proxy_leaves_the_socket_of_the_next(sides: TwoSides, tmp_path: Path) -> None:
    """It drains for up to a minute, in which the one that follows it has taken the path."""
    path = tmp_path / "socket"
    with serving(sides.path, listen=f"unix:{path}") as proxy:
        with socket.socket(socket.AF_UNIX) as one:
            one.settimeout(PATIENCE_S)
            one.connect(str(path))
            one.sendall(request_bytes(headers={**HEADERS, "Host": "gate"}))
            assert one.recv(65_536), "it serves"
        path.unlink()
        with socket.socket(socket.AF_UNIX) as following:
            following.bind(str(path))
            assert proxy.stop() == 0
            assert path.is_socket()


def test_ipv6(sides: TwoSides) -> None:
    with serving(sides.path, listen="[::1]:0") as proxy:
        assert proxy.url.startswith("http://[::1]:")
        assert proxy.ask().status == 200


def test_https(sides: TwoSides, certificate: Path) -> None:
    chain = key = certificate
    with serving(sides.path, "--certificate", str(chain), "--private-key", str(key)) as proxy:
        assert proxy.url.startswith("https://")
        trust = ssl.create_default_context(cafile=str(chain))
        connection = http.client.HTTPSConnection(*proxy.address, context=trust, timeout=PATIENCE_S)
        connection.request("POST", "/chat/v1/chat/completions", ASK, HEADERS)
        assert connection.getresponse().status == 200
        connection.close()


def test_several_workers(sides: TwoSides) -> None:
    """One that is killed is replaced, and a stop ends all."""
    with serving(sides.path, "--workers", "2") as proxy:
        until(lambda: proxy.ask().status == 200)
        children = Path(f"/proc/{proxy.process.pid}/task/{proxy.process.pid}/children")
        workers = [int(one) for one in children.read_text().split()]
        names = {one: Path(f"/proc/{one}/cmdline").read_text() for one in workers}
        (first, *_) = [one for one, name in names.items() if "spawn_main" in name]
        os.kill(first, signal.SIGKILL)
        until(lambda: any("died" in line for line in proxy.said))
        until(lambda: len(children.read_text().split()) == len(workers))
        for _ in range(10):
            assert proxy.ask().status == 200
        assert proxy.stop() == 0
    until(lambda: not any(Path(f"/proc/{one}").exists() for one in workers))
    assert TOKENLAB not in "".join(names.values())


def test_no_worker_outlives_a_parent_that_is_killed(sides: TwoSides) -> None:
    """It would keep the address, and go on by itself."""
    with serving(sides.path, "--workers", "2") as proxy:
        until(lambda: proxy.ask().status == 200)
        address = proxy.address
        proxy.process.kill()
        proxy.process.wait(PATIENCE_S)
        until(lambda: refuses(address))


def soft_limit(process: int) -> int:
    return resource.prlimit(process, resource.RLIMIT_NOFILE)[0]


def test_as_many_files_as_the_system_allows(sides: TwoSides) -> None:
    """Shells allow 1,024, which are 500 streams."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(256, soft), hard))
    try:
        with serving(sides.path) as proxy:
            assert proxy.ask().status == 200
            assert soft_limit(proxy.process.pid) == hard
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_no_more_files(sides: TwoSides) -> None:
    """The client is told what is wrong, which is not the provider; then all is well again."""
    with serving(sides.path) as proxy:
        assert proxy.ask(headers={**HEADERS, "X-Rollout-Org": "other"}).status == 200  # previous
        connections = [proxy.connect() for _ in range(2)]
        for one in connections:
            one.sendall(b"GET /-/healthy HTTP/1.1\r\nHost: localhost\r\n\r\n")
            read_until(one, b"}")
        count = len(list(Path(f"/proc/{proxy.process.pid}/fd").iterdir()))
        _, hard = resource.prlimit(proxy.process.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(proxy.process.pid, resource.RLIMIT_NOFILE, (count, hard))
        connections[0].sendall(request_bytes())
        answer = read_until(connections[0], b"}}")
        assert b" 503 " in answer.partition(b"\r\n")[0]
        assert b"may not open more files" in answer
        resource.prlimit(proxy.process.pid, resource.RLIMIT_NOFILE, (hard, hard))
        connections[1].sendall(request_bytes())
        assert b" 200 " in read_until(connections[1], b"}}").partition(b"\r\n")[0]
        for one in connections:
            one.close()
        proxy.stop()
        assert sum("may not open more files" in one for one in proxy.said) == len(proxy.said) == 1
    assert [line["status"] for line in sides.lines()] == [200, 0, 200]


@pytest.mark.parametrize("path", ["/dev/full", "folder", "nowhere/access.jsonl"])
def test_an_access_log_that_cannot_be_written(sides: TwoSides, tmp_path: Path, path: str) -> None:
    (tmp_path / "folder").mkdir()
    with serving(sides.path, "--access-log", str(tmp_path / path)) as proxy:
        assert [proxy.ask().status for _ in range(3)] == [200] * 3
        if path == "nowhere/access.jsonl":
            until(lambda: len(proxy.said) == 2)
            (tmp_path / "nowhere").mkdir()
            assert proxy.ask().status == 200
            until(lambda: "is writable again" in proxy.said[-1])
        proxy.stop()
        # At the start, by the first request, and once it is well; /dev/full tells nothing before.
        assert len(proxy.said) == {"/dev/full": 1, "folder": 2, "nowhere/access.jsonl": 3}[path]
        assert "cannot be written to" in proxy.said[0]


def test_a_file_that_is_deleted(sides: TwoSides) -> None:
    with serving(sides.path) as proxy:
        assert proxy.ask().status == 200
        sides.path.unlink()
        until(lambda: json.loads(proxy.ask("/-/ready", None, {}, "GET").body)["trouble"])
        assert proxy.ask().status == 200
        sides.write(0)
        until(lambda: not json.loads(proxy.ask("/-/ready", None, {}, "GET").body)["trouble"])
        assert proxy.ask().status == 200
        until(lambda: any("is valid again" in one for one in proxy.said))
    assert len(sides.previous.received) == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_stop_answers_what_is_in_flight(tmp_path: Path, number: int) -> None:
    with Streamer() as provider, serving(file_of(provider, tmp_path)) as proxy:
        with proxy.connect() as client:
            client.sendall(request_bytes(body=BODY))
            upstream = provider.next()
            upstream.begin()
            upstream.say(CHUNK)
            read_until(client, CHUNK)
            proxy.process.send_signal(number)
            until(lambda: refuses(proxy.address))
            upstream.say(STOP)
            upstream.end()
            read_until(client, b"\r\n0\r\n\r\n")
        assert proxy.process.wait(PATIENCE_S) == 0
        assert "".join(proxy.said) == ""
    assert '"outcome":"ok"' in (tmp_path / "access.jsonl").read_text()


@pytest.mark.parametrize("after_s", [0.0, 0.02, 0.2])
@pytest.mark.parametrize(
    ("options", "number"),
    [
        ((), signal.SIGTERM),
        ((), signal.SIGHUP),  # workers are restarted by it
        ((), signal.SIGINT),
        (("--workers", "2"), signal.SIGTERM),
        (("--metrics", "127.0.0.1:0"), signal.SIGTERM),
        (("--metrics", "127.0.0.1:0"), signal.SIGHUP),
    ],
)
def test_a_stop_at_any_time_of_its_start_leaves_nothing_behind(
    sides: TwoSides, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    options: tuple[str, ...], after_s: float, number: int,
) -> None:  # fmt: skip
    folder = tmp_path / "tmp"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    path = tmp_path / "s"
    with serving(sides.path, *options, listen=f"unix:{path}", forked=not options) as proxy:
        assert path.exists()
        time.sleep(after_s)  # a race with each step of the server's start
        proxy.process.send_signal(number)
        assert proxy.process.wait(PATIENCE_S) == 0
    assert not path.exists()
    assert list(folder.iterdir()) == []
    assert "Traceback" not in "".join(proxy.said)


def test_a_stop_does_not_wait_for_ever(tmp_path: Path) -> None:
    with ExitStack() as stack:
        provider = stack.enter_context(Streamer())
        proxy = stack.enter_context(serving(file_of(provider, tmp_path), "--drain", "1"))
        begun, waits, sends = (stack.enter_context(proxy.connect()) for _ in range(3))
        begun.sendall(request_bytes(body=BODY))
        upstream = provider.next()
        upstream.begin()
        read_until(begun, b"\r\n\r\n")
        waits.sendall(request_bytes(body=BODY))
        provider.next()
        sends.sendall(request_bytes()[:-1])
        assert proxy.stop() == 0
        assert read_to_end(begun) == b""
        answer = read_to_end(waits)
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert b"the proxy is being stopped" in answer
        assert not any("Exception" in one for one in proxy.said)
    log = (tmp_path / "access.jsonl").read_text()
    assert log.count('"error":"cancelled"') == log.count("\n") == 2


def test_systemd_hears_of_start_and_stop(
    sides: TwoSides, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        path = tmp_path / "notify"
        systemd.bind(str(path))
        systemd.settimeout(PATIENCE_S)
        monkeypatch.setenv("NOTIFY_SOCKET", str(path))
        with serving(sides.path) as proxy:
            assert systemd.recv(100) == b"READY=1"
            assert proxy.ask().status == 200
            proxy.stop()
            assert systemd.recv(100) == b"STOPPING=1"


def test_the_unit(tmp_path: Path) -> None:
    """systemd accepts the sample unit, and its command is one that this version has."""
    need("systemd-analyze")
    unit = ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment, method-assign]
    unit.read_string(UNIT.read_text())
    words = unit["Service"]["ExecStart"].split()
    assert words[0].endswith("/rollout-gate")
    copy = tmp_path / UNIT.name
    copy.write_text(UNIT.read_text().replace(words[0], sys.executable))
    done = subprocess.run(
        ["systemd-analyze", "verify", str(copy)], capture_output=True, text=True, timeout=PATIENCE_S
    )
    assert done.returncode == 0, done.stderr
    asked = subprocess.run(
        [sys.executable, "-m", "rollout_gate", *words[1:], "--workers", "none"],
        capture_output=True, text=True, timeout=PATIENCE_S,
    )  # fmt: skip
    assert "argument --workers: must be a whole number" in asked.stderr


def refuses(address: tuple[str, int]) -> bool:
    with socket.socket() as one:
        return one.connect_ex(address) != 0


def test_one_process_after_another_on_a_socket(sides: TwoSides) -> None:
    """Restarted on the same port at once: no client waits for TIME_WAIT."""
    with serving(sides.path) as first:
        assert first.ask().status == 200
        address = first.url.removeprefix("http://")
        first.stop()
    with serving(sides.path, listen=address) as second:
        done: list[int] = []
        threads = [threading.Thread(target=lambda: done.append(second.ask().status)) for _ in "abc"]
        for one in threads:
            one.start()
        for one in threads:
            one.join()
    assert done == [200] * 3


def test_ids_outlive_a_stop_of_several_workers(sides: TwoSides) -> None:
    """A conversation goes on where it began, after a stop right behind its first answer."""
    route = (
        f'[tokenlab]\nbase_url = "{sides.tokenlab.url}"\n'
        '[routes.chat]\nformat = "openai_responses"\nmodel = "new"\ndefault_percent = %d\n'
        f'previous_base_url = "{sides.previous.url}/v1"\n'
    )
    made = {"id": "resp_0123456789", "object": "response", "status": "completed", "output": []}
    sides.tokenlab.answer = lambda _: Reply(200, made)
    sides.put(route % 100)
    with serving(sides.path, "--workers", "2") as proxy:
        until(
            lambda: proxy.ask("/chat/v1/responses", b'{"model": "m", "input": "a"}').status == 200
        )
        proxy.stop()
    sides.put(route % 0)
    with serving(sides.path) as proxy:
        follows = b'{"model": "m", "input": "b", "previous_response_id": "resp_0123456789"}'
        assert proxy.ask("/chat/v1/responses", follows).status == 200
        assert proxy.ask("/chat/v1/responses", b'{"model": "m", "input": "c"}').status == 200
        until(lambda: len(sides.lines()) == 3)
    assert [line["side"] for line in sides.lines()] == ["tokenlab", "tokenlab", "previous"]


def test_an_access_log_that_cannot_be_written_is_said_at_the_start(sides: TwoSides) -> None:
    log = sides.path.parent / "missing" / "access.jsonl"
    with serving(sides.path, "--access-log", str(log)) as proxy:
        until(lambda: proxy.said)
        assert proxy.said[0].startswith(f"rollout-gate: {log} cannot be written to: there is no")
        ready = proxy.ask("/-/ready", None, {}, "GET")
        assert ready.status == 200
        assert "there is no folder" in json.loads(ready.body)["access_log"]
        assert proxy.ask().status == 200
        log.parent.mkdir()
        assert json.loads(proxy.ask("/-/ready", None, {}, "GET").body)["access_log"] == ""
