"""The guard against async jobs that fail after their 200, on the simulator's media API.

``python -m tests.benchmarks job_drill`` plays videos of twelve orgs, and makes a share of their
tasks fail, or one org's. Of each it prints how many creates went to TokenLab from the first one
that fails until the verdict, and how long it took, to the verdict and to the last create.
"""

import asyncio
import random
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import msgspec

from rollout_console.changes.switch import Switch
from rollout_console.guard.balance import BalanceWatch
from rollout_console.guard.loop import GuardLoop
from rollout_console.guard.monitor import Monitor
from rollout_console.history.actor import Actor
from rollout_console.history.history import History
from rollout_console.jobs.job_book import JobBook
from rollout_console.sim.server import SimServer
from rollout_console.sim.state import DEMO_KEY
from rollout_console.sim.traffic import ORGS
from rollout_gate import Gate, subject
from rollout_gate.http import async_client
from rollout_gate.paths import LEDGER_NAME

SICK_ORG = ORGS[1]
FAULTS: Mapping[str, Mapping[str, Any]] = {
    "20% fail": {"kind": "task_failed", "share": 0.2},
    "50% fail": {"kind": "task_failed", "share": 0.5},
    "all fail": {"kind": "task_failed"},
    "all are stuck": {"kind": "task_stuck"},
    "one org fails": {"kind": "task_failed", "org": SICK_ORG},
}
PATIENCE_S = 120.0
TURN_S = 1.0
AFTER_S = 3.0
_FILE = """\
schema = 1
algorithm = "fractional-v3"
[tokenlab]
base_url = "{url}"
[health]
access_log = "access.jsonl"
[guard]
mode = "enforce"
[routes.video]
format = "video"
model = "google-video-1"
phase = "rollout"
default_percent = 100
max_open = "10s"
previous_base_url = "{url}/_previous/v1"
[routes.video.orgs]
"""


class JobDrill(msgspec.Struct, frozen=True):
    """One fault: jobs of whom it is, from the first that fails until the verdict; seconds."""

    jobs: int
    verdict_s: float
    drained_s: float
    reason: str
    org: str | None


class Rollout:
    """Videos of twelve orgs, ``rate`` a second, each polled every second until it has ended."""

    def __init__(self, folder: Path, sim: SimServer, rate: float) -> None:
        self.file = folder / "rollout.toml"
        orgs = "".join(f'"{org}" = 100\n' for org in ORGS)
        self.file.write_text(_FILE.format(url=sim.base_url) + orgs)
        self._sim, self._rate, self._random = sim, rate, random.Random(5)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._play()))
        self.switch = Switch(self.file, History(folder / "h.sqlite3"), Actor("guard", "drill"))
        self.monitor = Monitor(self.file, self.switch.open().file)
        self.guard = GuardLoop(self.switch, self.monitor)

    def start(self) -> None:
        """Begin the traffic and the guard."""
        self.guard.start(time.time())
        self._thread.start()

    def end(self) -> None:
        """End both, without waiting for open jobs."""
        self._stop.set()
        self._thread.join()
        self.guard.end()

    def drill(self, fault: Mapping[str, Any]) -> JobDrill:
        """Inject a fault, and watch until it is rolled back and has drained.

        Where it is the whole route's, an org of it may be rolled back first: that is right as far
        as it goes, and is not what is waited for.
        """
        begun = time.time()
        with httpx.Client(base_url=self._sim.base_url, trust_env=False) as api:
            api.post("/_sim/faults", json={"side": "tokenlab", **fault}).raise_for_status()
        end = time.monotonic() + PATIENCE_S
        while True:
            events = self.guard.turn(BalanceWatch(), {}, time.time()).events
            found = [
                one
                for one in events
                if one.kind == "rollback" and (one.org is None) == ("org" not in fault)
            ]
            if found:
                break
            if time.monotonic() > end:
                raise TimeoutError(f"not rolled back within {PATIENCE_S:.0f} s")
            time.sleep(TURN_S)
        back, event = time.time(), found[0]
        time.sleep(AFTER_S)
        book = JobBook(self.file.parent / LEDGER_NAME)
        rows = [one.create for one in book.rows(time.time(), since=begun, most=10_000)]
        ours = [one for one in rows if one.side == "tokenlab" and event.org in (None, one.org)]
        ours = [one for one in ours if one.sent_at >= begun]
        bad = [
            one.sent_at for one in ours if one.state == "failed" or fault["kind"] != "task_failed"
        ]
        first = min(bad, default=begun)
        sent = [one.sent_at for one in ours if one.sent_at >= first]
        return JobDrill(
            sum(at <= back for at in sent), back - first, max(sent, default=first) - first,
            event.evidence, event.org,
        )  # fmt: skip

    async def _play(self) -> None:
        running: set[asyncio.Task[None]] = set()
        with Gate(self.file, poll_s=0.1) as gate:
            async with async_client(
                gate, tokenlab_key=DEMO_KEY, previous_key="prev", library="httpx",
                forward_headers=["X-Sim-Org"], timeout=30.0, trust_env=False,
            ) as client:  # fmt: skip
                due = time.monotonic()
                while not self._stop.is_set():
                    due += self._random.expovariate(self._rate)
                    await asyncio.sleep(max(due - time.monotonic(), 0))
                    task = asyncio.create_task(self._one(client))
                    running.add(task)
                    task.add_done_callback(running.discard)
                for task in running:
                    task.cancel()
                await asyncio.gather(*running, return_exceptions=True)

    async def _one(self, client: httpx.AsyncClient) -> None:
        org = self._random.choice(ORGS)
        previous = self._sim.previous_base_url
        body = {"model": "google-video-1", "prompt": f"{org} {self._random.random()}"}
        with subject(org, route="video"), suppress(httpx.HTTPError):
            headers = {"X-Sim-Org": org, "Authorization": "Bearer prev"}
            made = await client.post(
                f"{previous}/v1/videos/generations", json=body, headers=headers
            )
            task = made.json()["id"]
            while made.json()["status"] not in ("completed", "failed"):
                await asyncio.sleep(TURN_S)
                made = await client.get(f"{previous}/v1/tasks/{task}", headers=headers)


@contextmanager
def rollout(rate: float) -> Iterator[Rollout]:
    """Play videos on a simulator, with a guard in mode enforce."""
    with tempfile.TemporaryDirectory() as name, SimServer(seed=11) as sim:
        made = Rollout(Path(name), sim, rate)
        made.start()
        try:
            yield made
        finally:
            made.end()


def main() -> None:
    """Print the table."""
    print("job drill: from the first job that fails on route video, 4 jobs a second")
    for name, fault in FAULTS.items():
        with rollout(4.0) as made:
            time.sleep(10.0)
            one = made.drill(fault)
        times = f"{one.verdict_s:>6.1f} s {one.drained_s:>6.1f} s"
        whose = "" if one.org is None else f" ({one.org} alone)"
        print(f"  {name:<15} {one.jobs:>4} {times}  {one.reason}{whose}", flush=True)


if __name__ == "__main__":
    main()
