"""What the gate's client adds to a request, against the SDK's own client, over loopback.

Both ask the same server, in turn, so that a noisy machine hits both alike. The server is a process
of its own and answers with bytes that are ready.
"""

import asyncio
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, ExitStack, contextmanager
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import openai

from rollout_gate import Gate, subject
from rollout_gate.http import async_client, client

REQUESTS = 400
STREAMS = 30
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
    head = "HTTP/1.1 200 OK\\r\\nContent-Type: %s\\r\\nx-request-id: r-1\\r\\n" % kind
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
    except asyncio.IncompleteReadError:
        writer.close()

async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()

asyncio.run(main())
"""
_ASK: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}


def main() -> None:
    """Print medians of whole requests and of streams, with threads and without."""
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


def _print(how: str, whole: tuple[float, float], stream: tuple[float, float]) -> None:
    plain, ours = whole
    print(
        f"the gate's client, {how}: a request {1000 * plain:.2f} ms plain, {1000 * ours:.2f} ms"
        f" with the gate, {1000 * (ours - plain):.2f} ms more (target {MOST_ADDED_MS});"
        f" a stream of {CHUNKS} chunks {1000 * stream[0]:.1f} ms plain,"
        f" {1000 * stream[1]:.1f} ms, ratio {stream[1] / stream[0]:.3f} (target {MOST_RATIO})"
    )


def _with_threads(gate: Gate, url: str) -> tuple[tuple[float, float], tuple[float, float]]:
    made = client(gate, "chat", tokenlab_key="sk-x")
    with (
        openai.OpenAI(api_key="k", base_url=f"{url}/v1") as plain,
        openai.OpenAI(api_key="k", base_url=f"{url}/v1", http_client=made) as ours,
        subject(org="acme", key="user-1"),
    ):

        def whole(sdk: Any) -> Callable[[], None]:
            return lambda: sdk.chat.completions.create(**_ASK)

        def stream(sdk: Any) -> Callable[[], None]:
            def run() -> None:
                for _ in sdk.chat.completions.create(**_ASK, stream=True):
                    pass

            return run

        return (
            _in_turn(whole(plain), whole(ours), REQUESTS),
            _in_turn(stream(plain), stream(ours), STREAMS),
        )


def _in_turn(one: Callable[[], None], other: Callable[[], None], times: int) -> tuple[float, float]:
    taken: tuple[list[float], list[float]] = ([], [])
    for number in range(times + 5):
        for run, samples in zip((one, other), taken, strict=True):
            start = perf_counter()
            run()
            if number >= 5:
                samples.append(perf_counter() - start)
    return median(taken[0]), median(taken[1])


async def _asyncio(gate: Gate, url: str) -> tuple[tuple[float, float], tuple[float, float]]:
    async with AsyncExitStack() as stack:
        made = async_client(gate, "chat", tokenlab_key="sk-x")
        plain, ours = [
            await stack.enter_async_context(
                openai.AsyncOpenAI(api_key="k", base_url=f"{url}/v1", http_client=http)
            )
            for http in (None, made)
        ]
        stack.enter_context(subject(org="acme", key="user-1"))

        async def whole(sdk: Any) -> None:
            await sdk.chat.completions.create(**_ASK)

        async def stream(sdk: Any) -> None:
            async for _ in await sdk.chat.completions.create(**_ASK, stream=True):
                pass

        async def in_turn(run: Callable[[Any], Awaitable[None]], times: int) -> tuple[float, float]:
            taken: tuple[list[float], list[float]] = ([], [])
            for number in range(times + 5):
                for sdk, samples in zip((plain, ours), taken, strict=True):
                    start = perf_counter()
                    await run(sdk)
                    if number >= 5:
                        samples.append(perf_counter() - start)
            return median(taken[0]), median(taken[1])

        return await in_turn(whole, REQUESTS), await in_turn(stream, STREAMS)


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
