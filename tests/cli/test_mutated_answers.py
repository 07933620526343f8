"""Commands against an API that lies: no traceback, no control character, no secret, in time."""

import os
import random
import socket
import threading
import time
import unicodedata
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from rollout_console.cli.main import run
from rollout_console.sim.server import SimServer
from tests.support.commands import Commands
from tests.support.mutations import Liar, at_random, good_answers

CANARIES = {
    "TOKENLAB_API_KEY": "sk-canary1234567890abcdefKEY",
    "TOKENLAB_MANAGEMENT_TOKEN": "mt-canary1234567890abcdefTOK",
    "OPENAI_API_KEY": "canary-of-openai-9988",
    "ANTHROPIC_API_KEY": "canary-of-anthropic-9988",
    "GEMINI_API_KEY": "canary-of-gemini-9988",
    "PYTHON_KEYRING_BACKEND": "keyring.backends.fail.Keyring",
}
FILE = """\
schema = 1
algorithm = "fractional-v3"
[tokenlab]
base_url = "{url}"
[health]
access_log = "access.jsonl"
[routes.chat]
format = "openai_chat_completions"
model = "gpt-5.4"
phase = "rollout"
previous_base_url = "{url}/v1"
[routes.chat.orgs]
acme = 1
[routes.claude]
format = "anthropic_messages"
model = "claude-sonnet-4-6"
phase = "pilot"
previous_base_url = "{url}"
[routes.gem]
format = "gemini_generate_content"
model = "gemini-3.5-flash"
phase = "pilot"
previous_base_url = "{url}"
"""
COMMANDS = {
    "models": [["models"], ["models", "--json"], ["check"], ["probe", "--yes"]],
    "model": [["models", "gpt-5.4"], ["check", "--json"], ["probe", "--yes", "--json"]],
    "keys": [
        ["keys", "list"], ["keys", "list", "--json"], ["keys", "list", "--sort", "expires"],
        ["check"], ["keys", "usage", "key_demo"], ["keys", "revoke", "key_demo", "--yes"],
    ],
    "key": [["keys", "create", "x", "--show-secret"], ["keys", "revoke", "key_demo", "--yes"]],
    "billing": [["keys", "usage", "key_demo"], ["keys", "usage", "key_demo", "--json"]],
    "balance": [["check", "--json"], ["guard", "--once"], ["guard", "--once", "--json"]],
    "openai_chat_completions": [
        ["probe", "chat", "--yes"], ["keys", "verify", "--model", "gpt-5.4"],
        ["shadow", "chat", "PROMPTS", "--yes"],
    ],
    "anthropic_messages": [["probe", "claude", "--yes", "--json"]],
    "gemini_generate_content": [["probe", "gem", "--yes"]],
}  # fmt: skip
ROUNDS = 25


@pytest.fixture(scope="module")
def good() -> dict[str, Any]:
    with SimServer(seed=5) as sim:
        return good_answers(sim)


@pytest.fixture
def at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Write a rollout file for an API at a URL; return its path."""
    (tmp_path / "prompts.jsonl").write_text('{"prompt": "hi"}\n')
    for name, value in CANARIES.items():
        monkeypatch.setenv(name, value)

    def write(url: str) -> Path:
        path = tmp_path / "rollout.toml"
        path.write_text(FILE.format(url=url))
        return path

    return write


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_says_what_is_wrong(
    good: dict[str, Any],
    at: Callable[[str], Path],
    name: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rng, liar = random.Random(name), Liar(good)
    with liar.origin:
        file = at(liar.url)
        for _ in range(ROUNDS):
            what, liar.says[name] = at_random(good[name], rng)
            command = rng.choice(COMMANDS[name])
            words = [str(file.parent / "prompts.jsonl") if w == "PROMPTS" else w for w in command]
            for variable, value in CANARIES.items():  # a command takes them out of its environment
                monkeypatch.setenv(variable, value)
            code = run(["-f", str(file), *words])
            out, err = capsys.readouterr()
            assert code in (0, 1, 2, 3), (command, what, err)
            _is_safe(out + err, f"{command} {what}")


def _is_safe(text: str, what: str) -> None:
    assert "Traceback" not in text, what
    assert "internal error" not in text, what
    assert "canary" not in text, what
    odd = {s for s in set(text) if unicodedata.category(s) in ("Cc", "Cf", "Cs", "Co")} - {"\n"}
    assert not odd, (what, odd)
    assert len(text) < 5_000_000, what


# -- answers that are wrong as HTTP ----------------------------------------------------------------
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


@cache
def _bomb() -> bytes:
    packer = zlib.compressobj(9, wbits=16 + zlib.MAX_WBITS)
    zeros = b" " * (1 << 20)
    packed = packer.compress(b"[") + b"".join(packer.compress(zeros) for _ in range(200))
    return packed + packer.compress(b"]") + packer.flush()


def _then(first: bytes, rest: bytes, pause_s: float = 0.0) -> Iterator[bytes]:
    yield first
    while True:
        yield rest
        time.sleep(pause_s)


LIES: dict[str, Callable[[], Iterator[bytes]]] = {
    "endless": lambda: _then(HEAD + b"\r\n[", b" " * 65536),
    "endless events": lambda: _then(
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n",
        b'data: {"choices":[{"delta":{"content":"x"}}]}\n\n' * 500,
    ),
    "endless head": lambda: _then(b"HTTP/1.1 200 OK\r\n", b"X-A: " + b"b" * 60_000 + b"\r\n"),
    "bomb": lambda: iter([HEAD + b"Content-Encoding: gzip\r\n\r\n", _bomb()]),
    "too many values": lambda: iter([HEAD + b"\r\n[", b"{}," * 2_700_000, b"{}]"]),
    "drip": lambda: _then(HEAD + b"Content-Length: 100000\r\n\r\n", b" ", 0.5),
    "drip of head": lambda: _then(b"HTTP/1.1 200 OK\r\n", b"X-A: b\r\n", 0.5),
    "continue for ever": lambda: _then(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 10, 0.05),
    "no HTTP": lambda: iter([bytes.fromhex("160301020001000200")]),
    "nothing": lambda: iter([b""]),
}
SLOW = ("drip", "drip of head", "continue for ever")


class Socket:
    """A server that sends the same bytes to everybody, whatever they ask."""

    def __init__(self, lie: Callable[[], Iterator[bytes]]) -> None:
        self._lie = lie
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                one, _ = self._socket.accept()
            except OSError:
                return
            threading.Thread(target=self._talk, args=(one,), daemon=True).start()

    def _talk(self, one: socket.socket) -> None:
        with one:
            try:
                one.recv(65536)
                for piece in self._lie():
                    one.sendall(piece)
            except OSError:
                pass

    def close(self) -> None:
        self._socket.close()


# Not by wait4: a child's ru_maxrss begins with that of who forked it at its highest; VmHWM with
# what that one had at the fork.
MEASURED = """
import sys
from pathlib import Path
from rollout_console.cli.main import run
code = run(sys.argv[2:])
Path(sys.argv[1]).write_text(Path("/proc/self/status").read_text())
sys.exit(code)
"""


@pytest.mark.slow
@pytest.mark.parametrize("lies", [*((one,) for one in LIES if one not in SLOW), SLOW])
def test_bytes_and_time_are_bounded(
    commands: Commands, at: Callable[[str], Path], lies: tuple[str, ...], tmp_path: Path
) -> None:
    """Each command in a process of its own, with its memory as the kernel counts it."""
    asked = [["check"], ["probe", "--yes"], ["guard", "--once"]]
    if lies is not SLOW:
        asked += [["models"], ["keys", "list"], ["keys", "verify", "--model", "gpt-5.4"]]
    if "bomb" in lies:
        _bomb()  # once, and not in each thread of the server
    servers = [Socket(LIES[lie]) for lie in lies]
    with ExitStack() as stack:
        nothing = stack.enter_context(open(os.devnull, "rb"))
        for server in servers:
            stack.callback(server.close)
        running = []
        for i, (server, words) in enumerate(product(servers, asked)):
            environment = dict(os.environ, ROLLOUT_STATE_DIR=str(tmp_path / f"state-{i}"))
            file = at(server.url).rename(tmp_path / f"rollout-{i}.toml")
            out = stack.enter_context((tmp_path / f"out-{i}").open("wb"))
            process = stack.enter_context(
                commands.start(
                    [str(tmp_path / f"status-{i}"), "-f", str(file), *words], script=MEASURED,
                    env=environment, stdin=nothing, stdout=out, stderr=out,
                )
            )  # fmt: skip
            running.append((words, process))
        end = time.monotonic() + 60  # bounded: what is dripped would take a day
        for i, (words, process) in enumerate(running):
            process.wait(max(end - time.monotonic(), 0.1))
            text = (tmp_path / f"out-{i}").read_text()
            assert process.returncode in (0, 1, 3), (words, text)
            status = (tmp_path / f"status-{i}").read_text()
            (peak,) = (line.split() for line in status.splitlines() if line.startswith("VmHWM"))
            assert int(peak[1]) < 300 * 1024, (words, peak)
            _is_safe(text, str(words))
