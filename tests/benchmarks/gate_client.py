"""What the gate's client adds to a request, against the SDK's own client, over loopback.

Both ask the same server, request by request in turn, so that a noisy machine hits both alike. The
server is a process of its own and answers with bytes that are ready; keys and ids have the length
that they have in production, as the gate searches for them.

Each round gives a median of each client. Wall time has what other processes do in it, so beside it
is the CPU time of this process, kernel included. Of each client the round that was disturbed least
counts; the spread of single rounds says how far to trust that.
"""

import asyncio
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, ExitStack, contextmanager
from pathlib import Path
from statistics import median
from time import perf_counter, process_time
from typing import Any

import openai

from rollout_gate import Gate, subject
from rollout_gate.http import async_client, client

ROUNDS = 12
REQUESTS = 60
STREAMS = 4
"""Each of a round."""
CHUNKS = 400
MOST_ADDED_MS = 0.3
MOST_RATIO = 1.05

_SERVER = f"""
import asyncio, json

def chunk(text, finish=None):
    delta = {{"content": text}} if text else {{}}
    choice = {{"index": 0, "delta": delta, "finish_reason": finish}}
    return {{"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m",
            "choices": [choice]}}

def answer(kind, body):
    head = "HTTP/1.1 200 OK\\r\\nContent-Type: %s\\r\\n" % kind
    head += "x-request-id: req_%s\\r\\n" % ("7c" * 16)
    return (head + "Content-Length: %d\\r\\n\\r\\n" % len(body)).encode() + body

message = {{"role": "assistant", "content": "word " * 200}}
usage = {{"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}}
WHOLE = answer("application/json", json.dumps({{
    "id": "c", "object": "chat.completion", "created": 1, "model": "m", "usage": usage,
    "choices": [{{"index": 0, "message": message, "finish_reason": "stop"}}]}}).encode())
EVENTS = ["data: " + json.dumps(chunk("word ")) + "\\n\\n"] * {CHUNKS}
EVENTS += ["data: " + json.dumps(chunk("", "stop")) + "\\n\\n", "data: [DONE]\\n\\n"]
STREAM = [b"%x\\r\\n%s\\r\\n" % (len(one), one) for one in (text.encode() for text in EVENTS)]
STREAM_HEAD = (b"HTTP/1.1 200 OK\\r\\nContent-Type: text/event-stream\\r\\n"
               b"Transfer-Encoding: chunked\\r\\n\\r\\n")

async def serve(reader, writer):
    try:
        while True:
            head = await reader.readuntil(b"\\r\\n\\r\\n")
            length = int(head.lower().split(b"content-length:")[1].split(b"\\r\\n")[0])
            body = await reader.readexactly(length)
            if b'"stream":true' not in body.replace(b" ", b""):
                writer.write(WHOLE)
                continue
            writer.write(STREAM_HEAD)
            for piece in STREAM:
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(0)
            writer.write(b"0\\r\\n\\r\\n")
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()

async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()

asyncio.run(main())
"""
_ASK: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
_KEY = "sk-proj-" + "4f" * 24

_Round = tuple[float, float, float, float]
"""Medians of one round in seconds: wall time plain and with the gate, CPU time of both."""
_CLOCKS = {"wall": 0, "CPU": 2}
"""Where in a round the two figures of a clock are."""


def main() -> None:
    """Print what whole requests cost more, and the ratio of streams, with threads and asyncio."""
    with tempfile.TemporaryDirectory() as folder, _server() as url, ExitStack() as stack:
        path = Path(folder) / "rollout.toml"
        path.write_text(
            f'schema = 1\nalgorithm = "fractional-v3"\n[tokenlab]\nbase_url = "{url}"\n'
            '[routes.chat]\nformat = "openai_chat_completions"\nmodel = "m"\n'
            f'previous_base_url = "{url}/v1"\n[routes.chat.orgs]\nacme = 100\n'
        )
        gate = stack.enter_context(Gate(path))
        _print("with threads", *_with_threads(gate, url))
        _print("asyncio", *asyncio.run(_asyncio(gate, url)))


def _print(how: str, whole: list[_Round], stream: list[_Round]) -> None:
    print(f"the gate's client, {how}; the least of {ROUNDS} rounds (single rounds):")
    for name, at in _CLOCKS.items():
        plain, ours = _least(whole, at)
        single = [1000 * (one[at + 1] - one[at]) for one in whole]
        print(
            f"  a request, {name}: {1000 * plain:.2f} ms plain, {1000 * (ours - plain):.2f} ms more"
            f" ({min(single):.2f} to {max(single):.2f}, target {MOST_ADDED_MS})"
        )
    for name, at in _CLOCKS.items():
        plain, ours = _least(stream, at)
        single = [one[at + 1] / one[at] for one in stream]
        print(
            f"  a stream of {CHUNKS} chunks, {name}: {1000 * plain:.1f} ms plain,"
            f" {ours / plain:.3f} times"
            f" ({min(single):.3f} to {max(single):.3f}, target {MOST_RATIO})"
        )


def _least(rounds: list[_Round], at: int) -> tuple[float, float]:
    return min(one[at] for one in rounds), min(one[at + 1] for one in rounds)


def _with_threads(gate: Gate, url: str) -> tuple[list[_Round], list[_Round]]:
    made = client(gate, "chat", tokenlab_key=_KEY)
    with (
        openai.OpenAI(api_key=_KEY, base_url=f"{url}/v1") as plain,
        openai.OpenAI(api_key=_KEY, base_url=f"{url}/v1", http_client=made) as ours,
        subject(org="acme", key="user-1"),
    ):

        async def whole(sdk: Any) -> None:
            sdk.chat.completions.create(**_ASK)

        async def stream(sdk: Any) -> None:
            for _ in sdk.chat.completions.create(**_ASK, stream=True):
                pass

        return (
            asyncio.run(_rounds(whole, (plain, ours), REQUESTS)),
            asyncio.run(_rounds(stream, (plain, ours), STREAMS)),
        )


async def _asyncio(gate: Gate, url: str) -> tuple[list[_Round], list[_Round]]:
    async with AsyncExitStack() as stack:
        made = async_client(gate, "chat", tokenlab_key=_KEY)
        plain, ours = [
            await stack.enter_async_context(
                openai.AsyncOpenAI(api_key=_KEY, base_url=f"{url}/v1", http_client=http)
            )
            for http in (None, made)
        ]
        stack.enter_context(subject(org="acme", key="user-1"))

        async def whole(sdk: Any) -> None:
            await sdk.chat.completions.create(**_ASK)

        async def stream(sdk: Any) -> None:
            async for _ in await sdk.chat.completions.create(**_ASK, stream=True):
                pass

        both = (plain, ours)
        return await _rounds(whole, both, REQUESTS), await _rounds(stream, both, STREAMS)


async def _rounds(
    run: Callable[[Any], Awaitable[None]], sdks: tuple[Any, Any], times: int
) -> list[_Round]:
    """Return the medians of each round, after one round to warm up."""
    rounds = [await _round(run, sdks, times) for _ in range(ROUNDS + 1)]
    return rounds[1:]


async def _round(
    run: Callable[[Any], Awaitable[None]], sdks: tuple[Any, Any], times: int
) -> _Round:
    wall: tuple[list[float], list[float]] = ([], [])
    cpu: tuple[list[float], list[float]] = ([], [])
    for number in range(times):
        # Either goes first in turn: the second one finds warm caches.
        for which in (0, 1) if number % 2 else (1, 0):
            used, start = process_time(), perf_counter()
            await run(sdks[which])
            wall[which].append(perf_counter() - start)
            cpu[which].append(process_time() - used)
    return median(wall[0]), median(wall[1]), median(cpu[0]), median(cpu[1])


@contextmanager
def _server() -> Iterator[str]:
    process = subprocess.Popen([sys.executable, "-c", _SERVER], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


if __name__ == "__main__":
    main()
