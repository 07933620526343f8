"""A client that a forked child goes on with sends nothing over its parent's connections."""

import subprocess
import sys
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.support.loopback import TwoSides

ANSWER = b'{"choices": [{"message": {"content": "hi"}, "finish_reason": "stop"}]}'


@contextmanager
def ports() -> Iterator[tuple[str, dict[str, set[int]]]]:
    """Serve; yield the URL, and by the ``x-who`` of requests from which ports they came."""
    found: dict[str, set[int]] = defaultdict(set)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            found[self.headers["x-who"]].add(self.client_address[1])
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(ANSWER)))
            self.end_headers()
            self.wfile.write(ANSWER)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", found
        server.shutdown()


SYNC = """
http = client(gate, "chat", **given)
def ask(who):
    for _ in range(3):
        http.post(URL, json={"model": "m"}, headers={"x-who": who}).raise_for_status()
def end():
    http.close()
"""
ASYNC = """
import asyncio
http = async_client(gate, "chat", **given)
loop = asyncio.new_event_loop()
async def post(who):
    for _ in range(3):
        answer = await http.post(URL, json={"model": "m"}, headers={"x-who": who})
        answer.raise_for_status()
def ask(who):
    loop.run_until_complete(post(who))
def end():
    loop.run_until_complete(http.aclose())
"""
FORKS = """
import os, sys
from rollout_gate import Gate
from rollout_gate.http import async_client, client
gate, LIBRARY, URL = Gate(sys.argv[1]), sys.argv[2], "https://previous.test/v1/chat/completions"
given = {{
    "org": "acme", "tokenlab_key": "sk-x", "library": LIBRARY, "forward_headers": ["x-who"],
}}
{client}
ask("parent")
for who in ("one", "two"):
    if os.fork() == 0:
        {before_loop}
        ask(who)
        end()
        os._exit(0)
    assert os.wait()[1] == 0
ask("parent")  # its connection is still open
end()
"""


@pytest.mark.parametrize("library", ["httpx2", "httpx"])
@pytest.mark.parametrize("kind", ["sync", "async"])
def test_a_child_has_connections_of_its_own(sides: TwoSides, library: str, kind: str) -> None:
    script = FORKS.format(
        client=SYNC if kind == "sync" else ASYNC,
        # A loop is no more shared with a parent than a connection is.
        before_loop="pass" if kind == "sync" else "loop = asyncio.new_event_loop()",
    )
    with ports() as (url, found):
        sides.put(
            f'[tokenlab]\nbase_url = "{url}"\n[routes.chat]\nformat = "openai_chat_completions"\n'
            'model = "new"\ndefault_percent = 100\nprevious_base_url = "https://previous.test/v1"\n'
        )
        done = subprocess.run(
            # From 3.12 on, CPython warns of every fork of a process with threads, as this one is.
            [
                *(sys.executable, "-W", "ignore::DeprecationWarning", "-c", script),
                *(str(sides.gate.path), library),
            ],
            capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert [len(found[who]) for who in ("parent", "one", "two")] == [1, 1, 1]
    assert len(set.union(*found.values())) == 3
