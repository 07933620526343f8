"""The demo without a terminal: the loop closes, and the rollback moves the next request."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from rollout_console.cli.commands.demo import _roll_back
from rollout_console.sim.demo import Demo, run_headless
from rollout_console.sim.incidents import clear_incidents, start_incident
from rollout_console.sim.server import SimServer
from tests.sim.test_contract import CHAT, KEY


@pytest.mark.timed
def test_the_rollback_moves_traffic() -> None:
    summary = run_headless(7, rollback=_roll_back)
    assert summary["ok"], summary
    assert summary["after_rollback"]["tokenlab"] == 0
    assert summary["after_rollback"]["previous"] > 0
    assert summary["requests"] == summary["logged"]
    assert summary["requests"]["tokenlab"] > 0


@pytest.mark.slow
def test_without_the_rollback_it_would_be_seen() -> None:
    summary = run_headless(5, rollback=lambda _file: None)
    assert not summary["ok"]


def test_the_children_are_gone_with_the_demo() -> None:
    with Demo() as demo:
        url, folder = demo.base_url, demo.folder
        assert httpx.get(f"{url}/_sim/health", trust_env=False).json()["ok"]
    assert not Path(folder).exists()
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{url}/_sim/health", trust_env=False)


@pytest.mark.parametrize(
    ("name", "statuses"),
    [("5xx storm", {502, 503}), ("rate limit", {429}), ("wrong key", {401})],
)
def test_incidents_do_what_they_say(sim: SimServer, name: str, statuses: set[int]) -> None:
    start_incident(sim.base_url, name)
    seen = set()
    with httpx.Client(base_url=sim.base_url, trust_env=False) as client:
        for asked in range(400):  # the rarest of them is one answer in eleven
            seen.add(client.post("/v1/chat/completions", json=CHAT, headers=KEY).status_code)
            if asked >= 40 and statuses <= seen:
                break
    clear_incidents(sim.base_url)
    assert statuses <= seen <= statuses | {200}
    assert not sim.state.faults.as_json()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_killed_demo_leaves_nothing_behind(tmp_path: Path, number: signal.Signals) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "rollout_console", "demo", "--headless-seconds", "60"],
        env={**os.environ, "TMPDIR": str(tmp_path)}, stdout=subprocess.DEVNULL,
    ) as child:  # fmt: skip
        end = time.monotonic() + 30
        while not list(tmp_path.glob("rollout-demo-*/access.jsonl")):
            assert time.monotonic() < end, "the demo did not start"
            time.sleep(0.1)
        child.send_signal(number)
        assert child.wait(20) == 128 + number
    assert not list(tmp_path.glob("rollout-demo-*"))
