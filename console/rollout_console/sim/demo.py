"""The demo: a temporary folder with a rollout file; simulator and traffic as child processes."""

import contextlib
import json
import os
import selectors
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import httpx

from rollout_console.common.assets import asset_folder
from rollout_console.sim.incidents import start_incident

ROUTE = "chat"
_PICKED_UP_S = 1.0
"""The gate guarantees to pick up a changed rollout file within this time."""
_START_S = 20.0
RATE_PER_S = 40.0
"""The usual rate of the traffic."""


class DemoError(Exception):
    """The demo could not be set up; ``str()`` is one clear sentence."""


class Demo:
    """The demo's folder and child processes; ``start`` creates them, ``stop`` removes all.

    ``rate`` is that of the traffic, in requests a second.
    """

    def __init__(self, *, rate: float = RATE_PER_S) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="rollout-demo-"))
        self.file = self.folder / "rollout.toml"
        self.access_log = self.folder / "access.jsonl"
        self.base_url = ""
        self._rate = rate
        self._children: list[subprocess.Popen[str]] = []

    @property
    def environment(self) -> dict[str, str]:
        """Environment variables: the simulator's credentials, and a state folder in ``folder``."""
        return {
            "TOKENLAB_API_KEY": "sk-sim-demo",
            "TOKENLAB_MANAGEMENT_TOKEN": "mt-sim-demo",
            "ROLLOUT_STATE_DIR": str(self.folder / "state"),
        }

    def start(self) -> Self:
        """Start both processes; raises DemoError."""
        try:
            self.base_url = self._spawn("serve", "0")
            text = (asset_folder("sample_configs") / "demo.toml").read_text(encoding="utf-8")
            self.file.write_text(text.replace("BASE_URL", self.base_url), encoding="utf-8")
            self._spawn("play", str(self.file), str(self._rate))
        except BaseException:
            self.stop()
            raise
        return self

    def stop_traffic(self) -> None:
        """Stop the traffic, and wait up to 40 s for requests in flight to be logged."""
        if len(self._children) == 2:
            _end(self._children.pop(), 40.0)

    def stop(self) -> None:
        """End both processes and remove the folder."""
        for child in reversed(self._children):
            _end(child, 3.0)
        self._children.clear()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def _spawn(self, *arguments: str) -> str:
        """Start a child process and return its first line of output; raises DemoError."""
        child = subprocess.Popen(
            [sys.executable, "-m", "rollout_console.sim", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**os.environ, **self.environment},
            # A new session: ctrl+c at the terminal sends SIGINT to the console alone.
            start_new_session=True,
        )
        self._children.append(child)
        assert child.stdout is not None
        line = _first_line(child.stdout)
        if not line:
            raise DemoError(f"the demo's {arguments[0]} process did not start; try again")
        return line


def run_headless(
    seconds: float, *, incident: str = "5xx storm", rollback: Callable[[Path], None]
) -> dict[str, Any]:
    """Run the demo without a terminal; return a summary that can be serialized as JSON.

    At 40% of the time an incident starts on one route, at 60% ``rollback`` is called to roll that
    route back, and what the simulator serves from then on proves whether it worked.
    """
    with Demo() as demo:
        started = time.monotonic()
        _wait_until(started + 0.4 * seconds)
        start_incident(demo.base_url, incident, route=ROUTE)
        _wait_until(started + 0.6 * seconds)
        rolled_back_at = time.time()
        rollback(demo.file)
        settled_at = time.time() + _PICKED_UP_S  # a busy machine may take seconds to roll back
        _wait_until(max(started + seconds, time.monotonic() + _PICKED_UP_S + 0.2 * seconds))
        demo.stop_traffic()
        served = _served(demo.base_url)
        log = _read_log(demo.access_log)
    chat = [r for r in served["requests"] if r["route"] == ROUTE]
    late = [
        r["started"] for r in chat if r["side"] == "tokenlab" and r["started"] >= rolled_back_at
    ]
    drained_s = max(late) - rolled_back_at if late else 0.0
    # Requests in flight at the rollback may still finish; after the pick-up time none may start.
    after = Counter(r["side"] for r in chat if r["started"] > settled_at)
    logged = Counter(line["side"] for line in log)
    return {
        "seconds": seconds,
        "incident": incident,
        "requests": served["total"],
        "logged": {"tokenlab": logged["tokenlab"], "previous": logged["previous"]},
        "rollbacks": 1,
        "drained_s": round(drained_s, 2),
        "after_rollback": {"tokenlab": after["tokenlab"], "previous": after["previous"]},
        "last_status": _last_status(log),
        "credential_leaks": served["credential_leaks"],
        "ok": bool(
            after["previous"] > 0
            and after["tokenlab"] == 0
            and served["credential_leaks"] == 0
            and sum(logged.values()) == sum(served["total"].values())
        ),
    }


def _served(base_url: str) -> dict[str, Any]:
    url = f"{base_url}/_sim/requests?limit=20000"
    answer = httpx.get(url, timeout=10.0, trust_env=False)
    found: dict[str, Any] = answer.raise_for_status().json()
    return found


def _read_log(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line]


def _last_status(log: list[dict[str, Any]]) -> dict[str, dict[str, int]]:
    last: dict[str, dict[str, int]] = {}
    for line in log:
        last.setdefault(line["route"], {})[line["side"]] = line["status"]
    return last


def _wait_until(moment: float) -> None:
    time.sleep(max(0.0, moment - time.monotonic()))


def _first_line(stream: IO[str]) -> str:
    with selectors.DefaultSelector() as selector:  # select() fails for descriptors over 1,023
        selector.register(stream, selectors.EVENT_READ)
        ready = selector.select(_START_S)
    return stream.readline().strip() if ready else ""


def _end(child: "subprocess.Popen[str]", patience_s: float) -> None:
    with contextlib.suppress(OSError):
        if child.stdin is not None:
            child.stdin.close()
    try:
        child.wait(timeout=patience_s)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
    if child.stdout is not None:
        child.stdout.close()
