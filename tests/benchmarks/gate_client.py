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
from tests.benchmarks.stream_server import CHUNKS, SOURCE

ROUNDS = 12
REQUESTS = 60
STREAMS = 4
"""Each of a round."""
MOST_ADDED_MS = 0.3
MOST_RATIO = 1.05

_ASK: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
_KEY = "sk-proj-" + "4f" * 24

_Round = tuple[float, float, float, float]
"""Medians of one round in seconds: wall time plain and with the gate, CPU time of both."""
_CLOCKS = {"wall": 0, "CPU": 2}
"""Where in a round the two figures of a clock are."""


def main(prepare: Callable[[Gate], None] = lambda gate: None) -> None:
    """Print what whole requests cost more, and the ratio of streams, with threads and asyncio.

    ``prepare`` is called with the gate before its first request.
    """
    with tempfile.TemporaryDirectory() as folder, _server() as url, ExitStack() as stack:
        path = Path(folder) / "rollout.toml"
        path.write_text(
            f'schema = 1\nalgorithm = "fractional-v3"\n[tokenlab]\nbase_url = "{url}"\n'
            '[routes.chat]\nformat = "openai_chat_completions"\nmodel = "m"\n'
            f'previous_base_url = "{url}/v1"\n[routes.chat.orgs]\nacme = 100\n'
        )
        gate = stack.enter_context(Gate(path))
        prepare(gate)
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
    process = subprocess.Popen([sys.executable, "-c", SOURCE], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


if __name__ == "__main__":
    main()
