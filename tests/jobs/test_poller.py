"""Open tasks are polled politely until they end, over HTTP on the simulator."""

import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from rollout_console.jobs.job_book import JobBook
from rollout_console.jobs.poller import GONE, Polled, TaskPoller, interval_s
from rollout_console.sim.server import SimServer
from rollout_console.sim.state import DEMO_KEY
from rollout_console.tokenlab.errors import Refused, Unreachable
from rollout_console.tokenlab.tasks import TasksClient, poll_path
from rollout_gate import Gate
from rollout_gate.http import client
from rollout_gate.http.task_answers import TaskAnswer
from rollout_gate.secret import Secret
from tests.jobs.ledgers import FILE, create, write
from tests.sim.asking import set_fault
from tests.support.loopback import Origin, Reply

BODY = {"model": "google-video-1", "prompt": "a cube"}


def made(sim: SimServer, folder: Path, count: int = 1) -> JobBook:
    """Make tasks through the gate's client on the simulator; return their book."""
    path = folder / "rollout.toml"
    path.write_text(FILE.format(url=sim.base_url))
    with (
        Gate(path, poll_s=60) as gate,
        client(gate, "video", org="acme", tokenlab_key=DEMO_KEY, previous_key="k") as http,
    ):
        for i in range(count):
            body = {**BODY, "prompt": f"a cube {i}"}
            answer = http.post(f"{sim.base_url}/_previous/v1/videos/generations", json=body)
            assert answer.status_code == 200
    return JobBook(folder / "rollout-jobs.sqlite3")


def tasks_of(sim: SimServer) -> TasksClient:
    return TasksClient(sim.base_url, Secret(DEMO_KEY))


async def polled(book: JobBook, sim: SimServer) -> list[Polled]:
    async with tasks_of(sim) as api:
        return await TaskPoller(book, api, clock=time.time).turn()


async def test_a_task_is_polled_to_its_end_and_no_further(
    sim: SimServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    book = made(sim, tmp_path, 2)
    monkeypatch.setattr("rollout_console.sim.media.WORKING_S", 3_600.0)
    assert [one.answer.state for one in await polled(book, sim) if one.answer] == ["open"] * 2
    monkeypatch.setattr("rollout_console.sim.media.WORKING_S", 0.0)
    monkeypatch.setattr("rollout_console.sim.media.QUEUED_S", 0.0)
    ended = await polled(book, sim)
    assert [one.has_ended for one in ended] == [True, True]
    assert await polled(book, sim) == []
    rows = book.rows(time.time())
    assert {row.create.state for row in rows} == {"completed"}
    assert all(row.create.billing_transaction_id for row in rows)
    book.close()


async def test_nothing_here_creates_a_task(sim: SimServer, tmp_path: Path) -> None:
    book = made(sim, tmp_path)
    tasks = len(sim.state.tasks)
    served = len(sim.state.requests)
    await polled(book, sim)
    assert len(sim.state.tasks) == tasks
    assert [one.path.startswith("/v1/tasks/") for one in [*sim.state.requests][served:]] == [True]
    book.close()


async def test_a_rate_limit_makes_the_rest_wait(
    sim: SimServer, api: httpx.Client, tmp_path: Path
) -> None:
    book = made(sim, tmp_path, 3)
    set_fault(api, kind="error", status=429, path="/v1/tasks")
    async with tasks_of(sim) as client:
        poller = TaskPoller(book, client, clock=time.time)
        (first,) = await poller.turn()
        assert first.answer is None
        assert "429" in first.problem
        assert poller.waits_s > 4
        assert await poller.turn() == []
        assert poller.next_in_s() >= poller.waits_s - 0.1
    book.close()


async def test_a_task_that_is_gone_has_failed(sim: SimServer, tmp_path: Path) -> None:
    book = made(sim, tmp_path)
    write(tmp_path, create("gone", now=time.time(), ago=5, task_id="ldtask_" + "0" * 32))
    found = {one.create.create_id: one for one in await polled(book, sim)}
    gone = found["gone"]
    assert gone.answer == TaskAnswer("ldtask_" + "0" * 32, "failed", error=GONE)
    (row,) = book.find("ldtask_" + "0" * 32, time.time())
    assert (row.standing, row.create.error) == ("failed", GONE)
    book.close()


class Lying:
    """A client that answers what it is told to."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []

    async def task(self, task_id: str, poll_url: str | None = None) -> TaskAnswer:
        self.asked.append(task_id)
        found = self.answers.pop(0)
        if isinstance(found, Exception):
            raise found
        assert isinstance(found, TaskAnswer)
        return found


async def test_an_api_that_is_down_is_left_alone_longer_and_longer(tmp_path: Path) -> None:
    now = time.time()
    book = JobBook(write(tmp_path, create("a", now=now), create("b", now=now, ago=1)))
    waits = []
    for failures in range(1, 4):
        lying = Lying(*[Unreachable("down")] * failures)
        poller = TaskPoller(book, lying, clock=time.time)
        for _ in range(failures):
            poller._paused_until = 0.0
            poller._due.clear()
            await poller.turn()
        waits.append(round(poller.waits_s))
        assert len(lying.asked) == failures, "one request a turn while it is down"
    assert waits == [5, 10, 20]
    book.close()


@pytest.mark.parametrize("status", [401, 429, 503])
async def test_refusals_of_all_tasks_are_repeated_more_and_more_rarely(
    tmp_path: Path, status: int
) -> None:
    book = JobBook(write(tmp_path, create("a", now=time.time()), create("b", now=time.time())))
    lying = Lying(*[Refused(status, "no", "", None)] * 3)
    poller, waits = TaskPoller(book, lying, clock=time.time), []
    for _ in range(3):
        poller._paused_until = 0.0
        poller._due.clear()
        (polled,) = await poller.turn()
        assert polled.key_is_refused == (status == 401)
        waits.append(round(poller.waits_s))
    assert waits == [5, 10, 20]
    book.close()


async def test_a_long_wait_that_the_api_asks_for_is_kept(tmp_path: Path) -> None:
    book = JobBook(write(tmp_path, create("a", now=time.time())))
    poller = TaskPoller(book, Lying(Refused(429, "slow down", "", 300.0)), clock=time.time)
    await poller.turn()
    assert poller.waits_s > 299
    book.close()


def test_the_older_a_task_the_rarer_it_is_polled() -> None:
    assert [interval_s(age) for age in (0, 59, 60, 599, 600, 3_599, 3_600, 10**6)] == [
        5, 5, 10, 10, 30, 30, 60, 60,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("/v1/tasks/t-1", "/v1/tasks/t-1"),
        ("https://elsewhere.example/v1/images/t-1", "/v1/images/t-1"),
        ("https://elsewhere.example/v1/management/balance", "/v1/tasks/t%2F1"),
        ("/v1/tasks/../management/balance", "/v1/tasks/t%2F1"),
        ("/v1/tasks/..", "/v1/tasks/t%2F1"),
        ("", "/v1/tasks/t%2F1"),
        (None, "/v1/tasks/t%2F1"),
    ],
)
def test_the_credential_goes_to_a_tasks_own_path_alone(url: str | None, path: str) -> None:
    assert poll_path("t/1", url) == path


async def test_a_404_without_the_apis_own_code_is_no_end_of_a_task(tmp_path: Path) -> None:
    """A wrong base URL, or an intermediary's page, has none of the tasks."""
    write(tmp_path, create("a", now=time.time(), ago=5, task_id="ldtask_" + "1" * 32))
    book = JobBook(tmp_path / "rollout-jobs.sqlite3")
    with Origin(
        lambda _: Reply(404, b"<html>not here</html>", {"Content-Type": "text/html"})
    ) as at:
        async with TasksClient(at.url, Secret(DEMO_KEY)) as api:
            (one,) = await TaskPoller(book, api, clock=time.time).turn()
    assert one.answer is None
    assert "404" in one.problem
    (row,) = book.rows(time.time())
    assert row.standing == "open"
    book.close()
