"""Requests through the gate to the simulator, with settlement going wrong: just that is found."""

import time
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest

from rollout_console.reconcile.piles import Row
from rollout_console.sim.server import SimServer
from rollout_console.sim.state import DEMO_KEY, Settlement, Usage
from rollout_gate import Gate, subject
from rollout_gate.http import client
from tests.reconcile.world import World
from tests.support.waiting import until

FILE = """
schema = 1
algorithm = "fractional-v3"
[tokenlab]
base_url = "BASE"
[routes.chat]
format = "openai_chat_completions"
model = "gpt-5.4"
previous_base_url = "https://api.openai.com/v1"
default_percent = 100
[routes.clips]
format = "video"
model = "runway-video-1"
previous_base_url = "https://videos.example.com"
default_percent = 100
"""


class Traffic:
    """Applications that send their requests through the gate."""

    def __init__(self, world: World) -> None:
        self.world = world
        world.path.write_text(FILE.replace("BASE", world.sim.base_url))
        self.gate = Gate(world.path)
        self.clients = {
            route: client(self.gate, route, tokenlab_key=DEMO_KEY) for route in ("chat", "clips")
        }

    def close(self) -> None:
        for one in self.clients.values():
            one.close()
        self.gate.close()

    def chat(self, count: int, *, stream: bool = False) -> None:
        body = {
            "model": "gpt-5.4", "messages": [{"role": "user", "content": "hi"}], "stream": stream
        }  # fmt: skip
        for number in range(count):
            with subject(org=f"org-{number % 3}"):
                answer = self.clients["chat"].post(
                    "https://api.openai.com/v1/chat/completions", json=body
                )
                assert answer.status_code in (200, 503)

    def clip(self) -> dict[str, Any]:
        with subject(org="org-0"):
            made = self.clients["clips"].post(
                "https://videos.example.com/videos/generations",
                json={"model": "runway-video-1", "prompt": "a cube"},
            )
        assert made.status_code == 200
        return dict(made.json())

    def rows(self) -> dict[str, list[Row]]:
        """Reconcile what was sent, a moment later, with nothing left to settle."""
        now = time.time() + 5
        found: dict[str, list[Row]] = {}
        with self.world.reconciled(
            now - 600, now, now, settle_s=0.0, settle_async_s=0.0
        ) as outcome:
            for row in outcome.piles.rows():
                found.setdefault(row.pile, []).append(row)
            clock = self.world.sim.state.clock()
            listed = [one.cost for one in self.usage if one.listed_from <= clock]
            assert outcome.piles.records.cost == sum(listed, Decimal(0))
        return found

    @property
    def usage(self) -> list[Usage]:
        return list(self.world.sim.state.usage)


@pytest.fixture
def traffic(sim: SimServer, tmp_path: Path) -> Iterator[Traffic]:
    made = Traffic(World(sim, tmp_path))
    yield made
    made.close()


def test_all_is_well(traffic: Traffic) -> None:
    traffic.chat(10)
    traffic.chat(10, stream=True)
    traffic.clip()
    found = traffic.rows()
    assert set(found) == {"matched"}
    assert len(found["matched"]) == len(traffic.usage) == 21
    how = [row.matched_by for row in found["matched"]]
    assert (how.count("billing_transaction_id"), how.count("request_id")) == (10, 11)
    assert {row.org for row in found["matched"]} == {"org-0", "org-1", "org-2"}


def test_just_what_went_wrong_is_found(traffic: Traffic) -> None:
    state = traffic.world.sim.state
    traffic.chat(30)
    state.settlement = Settlement(lost_share=0.5)
    traffic.chat(20, stream=True)
    traffic.chat(20)
    lost = 70 - len(traffic.usage)
    state.settlement = Settlement(refund_share=1)
    traffic.chat(5)
    state.settlement = Settlement(no_billing_id_share=1)
    traffic.chat(5)
    state.settlement = Settlement(no_request_id_share=1, no_billing_id_share=1)
    traffic.chat(2)
    state.settlement = Settlement()
    state.faults.add({"kind": "error", "status": 503, "share": 0.5})
    traffic.chat(20)
    state.faults.clear()
    headers = {"Authorization": f"Bearer {DEMO_KEY}"}
    body = {"model": "gpt-5.4", "messages": [{"role": "user", "content": "past the gate"}]}
    for _ in range(3):
        httpx.post(
            f"{traffic.world.sim.base_url}/v1/chat/completions", json=body, headers=headers,
            trust_env=False,
        )  # fmt: skip
    found = traffic.rows()
    assert 5 < lost < 35
    # The lines of the two records without ids have theirs: they are logged and not billed.
    assert len(found["logged-only"]) == lost + 2
    reasons = [row.reason for row in found["billed-only"]]
    assert sorted(reasons) == ["no id"] * 2 + ["not in the log"] * 3
    assert sum(row.reason == "refund" for row in found["matched"]) == 5
    assert len(found["matched"]) + 5 == len(traffic.usage)


def test_late_records_are_found_by_the_next_pull(
    traffic: Traffic, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = traffic.world.sim.state
    state.settlement = Settlement(late_share=1, late_s=3600.0)
    traffic.chat(5)
    assert len(traffic.rows()["logged-only"]) == 5
    monkeypatch.setattr(state, "clock", lambda: time.time() + 3601)
    found = traffic.rows()
    assert (len(found["matched"]), set(found)) == (5, {"matched"})


@pytest.mark.slow
def test_a_task_that_failed_is_not_charged_and_not_missed(traffic: Traffic) -> None:
    traffic.world.sim.state.faults.add({"kind": "task_failed"})
    made = traffic.clip()
    traffic.world.sim.state.faults.clear()

    def has_ended() -> bool:
        with subject(org="org-0"):
            task = traffic.clients["clips"].get(f"https://videos.example.com/v1/tasks/{made['id']}")
        return bool(task.status_code == 200 and task.json()["status"] == "failed")

    until(has_ended)
    assert traffic.rows() == {}
    assert traffic.usage == []
