"""A soak of the gate in applications: official SDKs at full speed while the file changes.

``python -m tests.load.soak [SECONDS]`` (600 unless told) prints what it found and exits with 1 on
any fault: a request on another side than the revision that decided it says, a line of the access
log that is lost or torn (counted against what the simulator served), memory that grows.
"""

import asyncio
import json
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from rollout_console.sim.state import DEMO_KEY
from rollout_gate import Decision, Gate, subject
from rollout_gate.decision.decision import decide
from rollout_gate.file.formats import sdk_base_url
from rollout_gate.file.model import RolloutFile
from rollout_gate.file.parse import parse
from rollout_gate.http import async_client, client
from tests.support.sdks import anthropic, genai, openai, types

SECONDS = 600.0
ORGS = [f"org-{i}" for i in range(50)]
SAID: Any = [{"role": "user", "content": "hi"}]
MODELS = {
    "openai_chat_completions": "gpt-5.4",
    "openai_responses": "gpt-5.4",
    "anthropic_messages": "claude-sonnet-4-6",
    "gemini_generate_content": "gemini-3.5-flash",
}
_CHANGE_S = 1.0
_TASKS = 4
_KEPT = 60
"""So many versions of the file are kept to hold decisions against: those of the last minute."""


class _Watched(Gate):
    """A gate that keeps what it decided: by thread of the watching alone, it is one list."""

    def __init__(self, path: Path) -> None:
        self.decided: list[tuple[str, str, str | None, Decision]] = []
        super().__init__(path, poll_s=0.1)

    def decide(
        self,
        route: str,
        org: str,
        *,
        key: str | None = None,
        key_alias: str | None = None,
        flags: Iterable[str] = (),
    ) -> Decision:
        found = super().decide(route, org, key=key, key_alias=key_alias, flags=flags)
        self.decided.append((route, org, key, found))
        return found


@dataclass
class Soak:
    """What a soak found; ``faults`` is empty where all is well."""

    requests: int = 0
    seconds: float = 0.0
    revisions: int = 0
    memory_mb: list[float] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)


def soak(seconds: float, folder: Path, requests: int = 0, revisions: int = 0) -> Soak:
    """Run in a folder for so many seconds, requests and revisions; return what was found.

    A busy machine makes fewer in a second; after ten times the seconds it ends anyway.
    """
    command = [sys.executable, "-m", "rollout_console", "sim"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            base = server.stdout.readline().strip()
            return _soak(seconds, folder, base, requests, revisions)
        finally:
            server.terminate()


def _soak(seconds: float, folder: Path, base: str, requests: int, revisions: int) -> Soak:
    path, found = folder / "rollout.toml", Soak()
    versions: dict[str, RolloutFile] = {}
    rng = random.Random(1)
    _write(path, base, rng, versions)
    gate, stop = _Watched(path), threading.Event()
    faults: list[str] = []
    workers = [
        threading.Thread(target=_guarded, args=(run, gate, base, stop, faults))
        for run in (_by_openai, _by_anthropic, _by_genai, _by_async)
    ]
    start = time.monotonic()
    for worker in workers:
        worker.start()
    checked: Counter[str] = Counter()
    while (ago := time.monotonic() - start) < seconds or (
        (checked.total() < requests or found.revisions < revisions) and ago < 10 * seconds
    ):
        time.sleep(_CHANGE_S)
        _write(path, base, rng, versions)
        _check(gate, versions, checked, found.faults)
        found.revisions += 1
        for old in list(versions)[:-_KEPT]:
            del versions[old]
        found.memory_mb.append(_resident_mb())
    stop.set()
    for worker in workers:
        worker.join()
    found.seconds = time.monotonic() - start
    gate.close()
    _check(gate, versions, checked, found.faults)
    found.faults += faults
    found.requests = checked.total()
    _count(folder / "access.jsonl", base, checked, found.faults)
    return found


def _write(path: Path, base: str, rng: random.Random, versions: dict[str, RolloutFile]) -> None:
    lines = [
        'schema = 1\nalgorithm = "fractional-v3"',
        f"rolled_back = {str(rng.random() < 0.1).lower()}",
        f'[tokenlab]\nbase_url = "{base}"',
    ]
    for kind in MODELS:
        previous = sdk_base_url(kind, f"{base}/_previous")
        lines += [f'[routes.{kind}]\nformat = "{kind}"\nprevious_base_url = "{previous}"']
        lines += [f"[routes.{kind}.orgs]"]
        lines += [f"{org} = {rng.randrange(101)}" for org in ORGS]
    data = ("\n".join(lines) + "\n").encode()
    file = parse(data)
    versions[file.revision] = file
    temp = path.with_suffix(".new")
    temp.write_bytes(data)
    temp.replace(path)


def _check(
    gate: _Watched, versions: dict[str, RolloutFile], checked: Counter[str], faults: list[str]
) -> None:
    """Hold what was decided so far against the version that each decision names."""
    count = len(gate.decided)
    for route, org, key, found in gate.decided[:count]:
        checked[found.side] += 1
        if decide(versions[found.revision], route, org, key=key) != found:
            faults.append(f"{route} {org} {key}: {found}")
    del gate.decided[:count]


def _count(log: Path, base: str, checked: Counter[str], faults: list[str]) -> None:
    """Hold the log against what was decided, and against what the simulator served."""
    lines: Counter[str] = Counter()
    for number, line in enumerate(log.read_bytes().splitlines(), 1):
        try:
            read = json.loads(line)
            lines[read["side"]] += 1
            if read["status"] != 200 or read.get("error"):
                faults.append(f"line {number}: {read}")
        except (ValueError, KeyError):
            faults.append(f"line {number} is torn: {line[:80]!r}")
    end = time.monotonic() + 10
    served: dict[str, int] = {}
    while served != dict(lines) and time.monotonic() < end:
        total = httpx.get(f"{base}/_sim/requests?limit=0").json()["total"]
        served = {side: count for side, count in total.items() if count}
    if not lines == checked == Counter(served):
        faults.append(f"decided {dict(checked)}, lines {dict(lines)}, served {served}")


def _guarded(
    run: Callable[[Gate, str, threading.Event], None],
    gate: Gate,
    base: str,
    stop: threading.Event,
    faults: list[str],
) -> None:
    try:
        run(gate, base, stop)
    except Exception as error:
        faults.append(f"{run.__name__}: {type(error).__name__}: {error}")


def _by_openai(gate: Gate, base: str, stop: threading.Event) -> None:
    http = client(gate, "openai_chat_completions", tokenlab_key=DEMO_KEY)
    url, number = f"{base}/_previous/v1", 0
    with openai.OpenAI(base_url=url, api_key="prev-a", http_client=http, max_retries=0) as sdk:
        while not stop.is_set():
            number += 1
            with subject(org=ORGS[number % 50], key=f"a-{number}"):
                made: Any = sdk.chat.completions.create(
                    model="gpt-5.4", messages=SAID, stream=number % 3 == 0
                )
                assert list(made)


def _by_anthropic(gate: Gate, base: str, stop: threading.Event) -> None:
    http = client(gate, "anthropic_messages", tokenlab_key=DEMO_KEY)
    url, number = f"{base}/_previous", 0
    with anthropic.Anthropic(
        base_url=url, api_key="prev-b", http_client=http, max_retries=0
    ) as sdk:
        while not stop.is_set():
            number += 1
            with subject(org=ORGS[number % 50], key=f"b-{number}"):
                assert sdk.messages.create(model="claude-sonnet-4-6", max_tokens=64, messages=SAID)


def _by_genai(gate: Gate, base: str, stop: threading.Event) -> None:
    http = client(gate, "gemini_generate_content", tokenlab_key=DEMO_KEY)
    options = types.HttpOptions(base_url=f"{base}/_previous", httpx_client=http)
    sdk, number = genai.Client(api_key="prev-c", http_options=options), 0
    while not stop.is_set():
        number += 1
        with subject(org=ORGS[number % 50], key=f"c-{number}"):
            assert list(sdk.models.generate_content_stream(model="gemini-3.5-flash", contents="hi"))
    sdk.close()


def _by_async(gate: Gate, base: str, stop: threading.Event) -> None:
    asyncio.run(_many(gate, base, stop))


async def _many(gate: Gate, base: str, stop: threading.Event) -> None:
    http = async_client(gate, "openai_responses", tokenlab_key=DEMO_KEY)
    url = f"{base}/_previous/v1"

    async def one(task: int) -> None:
        number = 0
        while not stop.is_set():
            number += 1
            with subject(org=ORGS[number % 50], key=f"d-{task}-{number}"):
                made: Any = await sdk.responses.create(
                    model="gpt-5.4", input="hi", stream=number % 2 == 0
                )
                if number % 2 == 0:
                    assert [event async for event in made]

    async with openai.AsyncOpenAI(
        base_url=url, api_key="prev-d", http_client=http, max_retries=0
    ) as sdk:
        await asyncio.gather(*(one(task) for task in range(_TASKS)))


def _resident_mb() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1e6


def main(seconds: float = SECONDS) -> int:
    """Run it and print what it found; return the exit code."""
    with tempfile.TemporaryDirectory() as folder:
        found = soak(seconds, Path(folder))
    memory = found.memory_mb
    quarter = memory[len(memory) // 4]
    print(
        f"{found.requests:,} requests in {found.seconds:.0f} s "
        f"({found.requests / found.seconds:.0f} a second), {found.revisions} versions of the file; "
        f"memory {quarter:.0f} MB after a quarter, {memory[-1]:.0f} MB at the end; "
        f"{len(found.faults) or 'no'} faults"
    )
    for fault in found.faults[:20]:
        print(f"  {fault}")
    return 1 if found.faults or memory[-1] > quarter * 1.1 + 2 else 0


if __name__ == "__main__":
    raise SystemExit(main(*(float(text) for text in sys.argv[1:2])))
