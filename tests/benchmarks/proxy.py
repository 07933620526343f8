"""What the local proxy adds to a request, beside nginx as a plain proxy and LiteLLM's proxy.

All send the same chat request, made by wrk, to the same upstream, which is nginx and answers at
once from memory; so the differences are the proxies'. The proxy under test has a core of its own,
and wrk and the upstream share the other: requests a second are those of one core.

Debian's packages ``nginx-light`` and ``wrk`` are needed. LiteLLM is measured where ``$LITELLM``
names its command, from an environment of its own (``pip install 'litellm[proxy]'``).
"""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from statistics import median
from typing import NamedTuple

from tests.benchmarks.stream_server import SOURCE

SECONDS = 6
AT_ONCE = 16
ROUNDS = 3
STREAMS = 40
MOST_ADDED_MS = 1.5
LEAST_RATE = 1000
MOST_MB = 90

_KEY = "sk-proj-" + "4f" * 24
_ASK = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
_HEADERS = {
    "Content-Type": "application/json", "Authorization": f"Bearer {_KEY}", "X-Rollout-Org": "acme",
    "X-Rollout-Key": "user-1", "User-Agent": "OpenAI/JS 7.59.0", "Accept": "application/json",
}  # fmt: skip
_ANSWER = json.dumps({
    "id": "c", "object": "chat.completion", "created": 1, "model": "m",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "word " * 200},
                 "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
})  # fmt: skip
_NGINX = """
daemon off; worker_processes 1; error_log stderr emerg; pid {folder}/{name}.pid;
events {{ worker_connections 4096; }}
http {{
  access_log off; keepalive_requests 10000000; client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u;
  scgi_temp_path {folder}/s;
  upstream up {{ server 127.0.0.1:{to}; keepalive 64; keepalive_requests 10000000; }}
  server {{ listen 127.0.0.1:{port}; {place} }}
}}
"""
_PLACE = "location / {{ default_type application/json; return 200 '{answer}'; }}"
_PROXY = (
    "location / { proxy_pass http://up; proxy_http_version 1.1; proxy_buffering off;"
    ' proxy_set_header Connection ""; }'
)


class Figures(NamedTuple):
    """What one proxy does: milliseconds, requests a second, MB."""

    p50_ms: float
    p99_ms: float
    rate: float
    first_byte_ms: float
    memory_mb: float


def main() -> None:
    """Print the table."""
    for program in ("nginx", "wrk", "taskset"):
        if shutil.which(program) is None:
            print(f"the proxy is not measured: there is no {program} here")
            return
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        whole, stream = _free_port(), _free_port()
        place = _PLACE.format(answer=_ANSWER)
        stack.enter_context(_nginx(folder, "whole", whole, 1, place, core=0))
        stack.enter_context(_running(
            ["taskset", "-c", "0", sys.executable, "-c", SOURCE, str(stream)], stream
        ))  # fmt: skip
        rows: dict[str, Figures] = {"direct": _measured(whole, stream, "/v1", [])}
        rows["nginx"] = _of(folder, whole, stream, _with_nginx, "/v1")
        rows["rollout-gate serve"] = _of(folder, whole, stream, _with_gate, "/chat/v1")
        if "LITELLM" in os.environ:
            rows["LiteLLM"] = _of(folder, whole, stream, _with_litellm, "/v1")
        _print(rows)


def _print(rows: dict[str, Figures]) -> None:
    floor = rows["direct"]
    print(f"added to {floor.p50_ms:.2f} ms (p50) and {floor.p99_ms:.2f} ms (p99), one at a time;")
    print(f"requests/s of one core with {AT_ONCE} at once; the median of {ROUNDS} rounds")
    for name, one in rows.items():
        if name != "direct":
            print(
                f"  {name:20} +{one.p50_ms - floor.p50_ms:6.2f} ms p50"
                f" +{one.p99_ms - floor.p99_ms:6.2f} ms p99 {one.rate:8,.0f}/s"
                f" +{one.first_byte_ms - floor.first_byte_ms:6.2f} ms to a stream's first byte"
                f" {one.memory_mb:5.0f} MB"
            )
    print(f"  targets: {MOST_ADDED_MS} ms, {LEAST_RATE:,}/s a core, {MOST_MB} MB")


_Proxy = Callable[[Path, int, int], tuple[list[str], dict[str, str]]]


def _of(folder: Path, whole: int, stream: int, proxy: _Proxy, below: str) -> Figures:
    """Measure a proxy twice, in front of either upstream, and merge what was found."""
    found = []
    for upstream in (whole, stream):
        port = _free_port()
        command, environment = proxy(folder, port, upstream)
        with _running(["taskset", "-c", "1", *command], port, environment) as process:
            _ask(port, below)
            if upstream == whole:
                found.append(_measured(port, 0, below, [process.pid]))
            else:
                found.append(_measured(0, port, below, []))
    return found[0]._replace(first_byte_ms=found[1].first_byte_ms)


def _measured(whole: int, stream: int, below: str, processes: Sequence[int]) -> Figures:
    p50, p99, rate, memory = 0.0, 0.0, 0.0, 0.0
    if whole:
        alone = [_wrk(whole, below, 1) for _ in range(ROUNDS)]
        loaded = [_wrk(whole, below, AT_ONCE) for _ in range(ROUNDS)]
        p50, p99 = median(one[0] for one in alone), median(one[1] for one in alone)
        rate = median(one[2] for one in loaded)
        memory = sum(_memory_mb(process) for process in processes)
    first = median(_first_byte_ms(stream, below) for _ in range(STREAMS)) if stream else 0.0
    return Figures(p50, p99, rate, first, memory)


def _wrk(port: int, below: str, at_once: int) -> tuple[float, float, float]:
    """Return the latency, p50 and p99 in milliseconds, and the requests a second."""
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        lines = ['wrk.method = "POST"', f"wrk.body = {json.dumps(json.dumps(_ASK))}"]
        lines += [f'wrk.headers["{name}"] = "{value}"' for name, value in _HEADERS.items()]
        script.write("\n".join(lines))
        script.flush()
        done = subprocess.run(
            ["taskset", "-c", "0", "wrk", "-t1", f"-c{at_once}", f"-d{SECONDS}s", "--latency",
             "-s", script.name, f"http://127.0.0.1:{port}{below}/chat/completions"],
            capture_output=True, text=True, check=True,
        ).stdout  # fmt: skip
    if "Non-2xx" in done or "Socket errors" in done:
        raise RuntimeError(done)
    at = {name: _ms(value) for name, value in re.findall(r"(50|99)%\s+([\d.]+\w+)", done)}
    rate = re.search(r"Requests/sec:\s+([\d.]+)", done)
    assert rate is not None, done
    return at["50"], at["99"], float(rate[1])


def _ms(text: str) -> float:
    number, unit = re.fullmatch(r"([\d.]+)(us|ms|s)", text).groups()  # type: ignore[union-attr]
    return float(number) * {"us": 0.001, "ms": 1.0, "s": 1000.0}[unit]


def _request(below: str, *, stream: bool) -> bytes:
    body = json.dumps(_ASK | ({"stream": True} if stream else {})).encode()
    lines = [f"POST {below}/chat/completions HTTP/1.1", "Host: 127.0.0.1"]
    lines += [f"{name}: {value}" for name, value in _HEADERS.items()]
    return "\r\n".join([*lines, f"Content-Length: {len(body)}", "", ""]).encode() + body


def _first_byte_ms(port: int, below: str) -> float:
    """Return the time from a request to the first event of its stream."""
    with socket.create_connection(("127.0.0.1", port)) as one:
        one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        start, data = time.perf_counter(), b""
        one.sendall(_request(below, stream=True))
        while b"data: " not in data:
            data += one.recv(65_536)
        first = 1000 * (time.perf_counter() - start)
        while not data.endswith(b"0\r\n\r\n"):  # to the end: what is left would slow the next one
            data = data[-16:] + one.recv(65_536)
        return first


def _ask(port: int, below: str) -> None:
    with socket.create_connection(("127.0.0.1", port)) as one:
        one.sendall(_request(below, stream=False))
        answer = one.recv(65_536)
    assert b" 200 " in answer.partition(b"\r\n")[0], answer


def _with_nginx(folder: Path, port: int, upstream: int) -> tuple[list[str], dict[str, str]]:
    return _nginx_command(folder, f"proxy{port}", port, upstream, _PROXY), {}


def _with_gate(folder: Path, port: int, upstream: int) -> tuple[list[str], dict[str, str]]:
    path = folder / f"{port}.toml"
    path.write_text(
        f'schema = 1\nalgorithm = "fractional-v3"\n'
        f'[tokenlab]\nbase_url = "http://127.0.0.1:{upstream}/t"\n'
        '[routes.chat]\nformat = "openai_chat_completions"\nmodel = "m"\n'
        f'previous_base_url = "http://127.0.0.1:{upstream}/v1"\n[routes.chat.orgs]\nacme = 50\n'
    )
    command = [sys.executable, "-m", "rollout_gate", "serve", "-f", str(path)]
    return [*command, "--listen", f"127.0.0.1:{port}"], {"TOKENLAB_API_KEY": _KEY}


def _with_litellm(folder: Path, port: int, upstream: int) -> tuple[list[str], dict[str, str]]:
    path = folder / f"{port}.yaml"
    path.write_text(
        "model_list:\n  - model_name: m\n    litellm_params:\n      model: openai/m\n"
        f"      api_base: http://127.0.0.1:{upstream}/v1\n      api_key: {_KEY}\n"
    )
    command = [os.environ["LITELLM"], "--config", str(path), "--port", str(port)]
    return [*command, "--host", "127.0.0.1"], {"LITELLM_LOG": "ERROR", "LITELLM_MASTER_KEY": _KEY}


def _nginx_command(folder: Path, name: str, port: int, to: int, place: str) -> list[str]:
    path = folder / f"{name}.conf"
    path.write_text(_NGINX.format(folder=folder, name=name, port=port, to=to, place=place))
    return ["nginx", "-c", str(path), "-p", str(folder)]


def _nginx(
    folder: Path, name: str, port: int, to: int, place: str, *, core: int
) -> AbstractContextManager[subprocess.Popen[bytes]]:
    command = _nginx_command(folder, name, port, to, place)
    return _running(["taskset", "-c", str(core), *command], port)


@contextmanager
def _running(
    command: list[str], port: int, environment: dict[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(
        command,
        env=os.environ | (environment or {}),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            _wait(port, process)
            yield process
        finally:
            process.terminate()


def _wait(port: int, process: "subprocess.Popen[bytes]") -> None:
    until = time.monotonic() + 120
    while time.monotonic() < until and process.poll() is None:
        with socket.socket() as one:
            if one.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise RuntimeError(f"{process.args!r} does not listen")


def _memory_mb(process: int) -> float:
    """Return the resident set of a process and its children."""
    children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    status = Path(f"/proc/{process}/status").read_text()
    found = re.search(r"VmRSS:\s+(\d+) kB", status)
    return (int(found[1]) / 1024 if found else 0.0) + sum(_memory_mb(int(c)) for c in children)


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


if __name__ == "__main__":
    main()
