"""5,000 chat and media requests with known troubles: jobs and reconciliation find just these."""

import asyncio
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest

from rollout_console.credentials.api_keys import ApiKeys
from rollout_console.credentials.vault.environment import Given
from rollout_console.credentials.vault.profiles import ProfileList
from rollout_console.jobs.job_book import JobBook
from rollout_console.reconcile.reconciliation import Asked, reconcile
from rollout_console.sim.server import SimServer
from rollout_console.sim.state import DEMO_KEY
from rollout_gate import Gate, subject
from rollout_gate.file.parse import parse
from rollout_gate.http import async_client
from tests.credentials.vault.test_vault import vault_of

REQUESTS = 5_000
AT_ONCE = 8
"""Few: the client's pool looks at every connection for each request, and asks idle ones."""
CHATS_LOST, REFUNDS, NEVER_BILLED = 20, 15, 10
FAILED, STUCK, FORGOTTEN, TWICE, VANISHED, RETRIED = 12, 7, 6, 8, 9, 4
GOOD_VIDEOS = 400
FILE = """\
schema = 1
algorithm = "fractional-v3"
[tokenlab]
base_url = "{url}"
[routes.chat]
format = "openai_chat_completions"
model = "gpt-5.4"
default_percent = 100
previous_base_url = "{previous}/v1"
[routes.video]
format = "video"
model = "google-video-1"
default_percent = 100
previous_base_url = "{previous}/v1"
"""
FAULTS: Sequence[dict[str, Any]] = (
    {"kind": "lost", "org": "lossy"},
    {"kind": "lost", "org": "vanishing"},
    {"kind": "task_failed", "org": "failing"},
    {"kind": "task_stuck", "org": "stuck"},
)


@pytest.fixture
def own(monkeypatch: pytest.MonkeyPatch) -> Iterator[SimServer]:
    monkeypatch.setattr("rollout_console.sim.media.QUEUED_S", 0.0)
    monkeypatch.setattr("rollout_console.sim.media.WORKING_S", 0.0)
    with SimServer(seed=11) as sim:
        yield sim


class Player:
    """An application that sends every kind of request the given number of times."""

    def __init__(self, gate: Gate, previous: str) -> None:
        self._gate = gate
        self._previous = previous
        self._at_once = asyncio.Semaphore(AT_ONCE)
        self.sent = 0

    async def play(self) -> None:
        chats = REQUESTS - CHATS_LOST - GOOD_VIDEOS - FAILED - STUCK - FORGOTTEN - 2 * TWICE
        chats -= VANISHED + RETRIED
        async with async_client(
            self._gate, tokenlab_key=DEMO_KEY, previous_key="prev", library="httpx",
            forward_headers=["X-Sim-Org"], limits=httpx.Limits(max_connections=AT_ONCE),
            timeout=30.0, trust_env=False,
        ) as http:  # fmt: skip
            self._http = http
            await asyncio.gather(
                *(self._chat(f"org-{i % 30}") for i in range(chats)),
                *(self._chat("lossy") for _ in range(CHATS_LOST)),
                *(self._video(f"org-{i % 30}", i) for i in range(GOOD_VIDEOS)),
                *(self._video("failing", i) for i in range(FAILED)),
                *(self._video("stuck", i) for i in range(STUCK)),
                *(self._video("forgetful", i, polls=False) for i in range(FORGOTTEN)),
                *(self._video("doubling", i, times=2) for i in range(TWICE)),
                *(self._vanished(i) for i in range(VANISHED)),
            )

    async def _chat(self, org: str) -> None:
        body = {"model": "gpt-5.4", "messages": [{"role": "user", "content": "hi"}]}
        await self._post("chat", org, "/chat/completions", body)

    async def _video(self, org: str, i: int, *, polls: bool = True, times: int = 1) -> None:
        body = {"model": "google-video-1", "prompt": f"{org} {i}"}
        for _ in range(times):
            made = await self._post("video", org, "/videos/generations", body)
            assert made is not None
            if polls:
                task = made.json()["id"]
                with subject(org, route="video"):
                    await self._http.get(f"{self._previous}/v1/tasks/{task}")

    async def _vanished(self, i: int) -> None:
        """Lose the answer while the task is made all the same; some are blindly sent again."""
        body = {"model": "google-video-1", "prompt": f"vanished {i}"}
        await self._post("video", "vanishing", "/videos/generations", body)
        if i < RETRIED:
            made = await self._post(
                "video", "vanishing", "/videos/generations", body, mark="none in trouble"
            )
            assert made is not None
            with subject("vanishing", route="video"):
                await self._http.get(f"{self._previous}/v1/tasks/{made.json()['id']}")

    async def _post(
        self, route: str, org: str, path: str, body: dict[str, Any], *, mark: str = ""
    ) -> httpx.Response | None:
        """Send; None where the answer is lost. ``mark`` is the org that faults are looked up by."""
        async with self._at_once:
            self.sent += 1
            with subject(org, route=route):
                try:
                    answer: httpx.Response = await self._http.post(
                        f"{self._previous}/v1{path}", json=body,
                        headers={"X-Sim-Org": mark or org, "Authorization": "Bearer prev"},
                    )  # fmt: skip
                except httpx.TransportError:
                    return None
                return answer


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_just_what_was_injected_is_found(own: SimServer, tmp_path: Path) -> None:
    path = tmp_path / "rollout.toml"
    path.write_text(FILE.format(url=own.base_url, previous=own.previous_base_url))
    began = time.time() - 1
    with httpx.Client(base_url=own.base_url, trust_env=False) as api:
        for fault in FAULTS:
            api.post("/_sim/faults", json=fault).raise_for_status()
    with Gate(path, poll_s=60) as gate:
        player = Player(gate, own.previous_base_url)
        asyncio.run(player.play())
    assert player.sent == REQUESTS
    own.state.faults.clear()
    _settle(own)

    book, later = JobBook(tmp_path / "rollout-jobs.sqlite3"), time.time() + 3_600
    counts = Counter({standing: n for (_, standing), n in book.counts(later, since=began).items()})
    assert counts == Counter(
        unknown=VANISHED, lost=FORGOTTEN, late=STUCK, failed=FAILED,
        completed=GOOD_VIDEOS + 2 * TWICE + RETRIED,
    )  # fmt: skip
    repeated = Counter(one.kind for one in book.repeated(since=began, window_s=600))
    assert repeated == Counter(request=TWICE, after_unknown=RETRIED)
    assert book.ended(since=began)["video", "tokenlab"].failed == FAILED

    vault = vault_of(tmp_path, Given(variables={"management_token": "mt-sim-demo"}))
    room = ApiKeys(vault, ProfileList(tmp_path / "profiles.json"), "prod", own.base_url)
    asked = Asked(began, time.time() + 1, settle_s=0.0, settle_async_s=0.0)
    file = parse(path.read_bytes())
    with reconcile(asked, room, file, path, tmp_path, clock=lambda: time.time() + 60) as outcome:
        piles = {name: pile.all for name, pile in outcome.piles.piles.items()}
        billed = list(outcome.piles.rows("billed-only"))
        logged = list(outcome.piles.rows("logged-only"))
    assert Counter(row.model for row in billed) == {
        "gpt-5.4": CHATS_LOST, "google-video-1": VANISHED,
    }  # fmt: skip
    assert Counter(row.route for row in logged) == {"chat": NEVER_BILLED, "video": STUCK}
    assert piles["settling"].records == piles["settling"].lines == piles["no-id"].lines == 0
    assert sum(pile.cost for pile in piles.values()) == sum(one.cost for one in own.state.usage)
    assert sum(pile.records for pile in piles.values()) == len(own.state.usage)


def _settle(own: SimServer) -> None:
    """Refund some chats, and forget the records of some others."""
    chats = [one for one in own.state.usage if one.model.id == "gpt-5.4"]
    answered = {one.id for one in own.state.requests if one.org != "lossy"}
    logged = [one for one in chats if one.request_id in answered]
    for one in logged[:REFUNDS]:
        own.state.refund(one)
    for one in logged[-NEVER_BILLED:]:
        own.state.usage.remove(one)
