"""An async media job is created once, whatever happens to the request."""

import asyncio
import json
import os
import sqlite3
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any

import httpx2
import pytest

from rollout_gate import Gate, subject
from rollout_gate.http import async_client, client
from rollout_gate.http.job_ledger import TaskLedger
from tests.gate.http.ledgers import BODY, TASK, TEXT, URL, rows, write_without_orgs


class Provider(httpx2.BaseTransport):
    """Answers what it is told to, an answer or an error for each request."""

    def __init__(self, *answers: tuple[int, Any] | Exception) -> None:
        self.answers = list(answers)
        self.seen: list[str] = []

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        self.seen.append(f"{request.method} {request.url}")
        answer = self.answers.pop(0) if self.answers else (200, TASK)
        if isinstance(answer, Exception):
            raise answer
        return httpx2.Response(answer[0], json=answer[1])


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Gate]:
    path = tmp_path / "rollout.toml"
    path.write_text(TEXT)
    with Gate(path, poll_s=60) as made:
        yield made


def open_client(gate: Gate, provider: Provider) -> Any:
    return client(gate, "video", org="acme", tokenlab_key="sk-there", inner=provider)


def test_a_job_is_created_once_and_its_task_is_given_again(gate: Gate) -> None:
    provider = Provider()
    with open_client(gate, provider) as http:
        for _ in range(3):
            with subject(job_id="job-1"):
                answer = http.post(URL, json=BODY)
            assert answer.json() == TASK
        assert answer.headers["x-rollout-resumed"] == "true"
        assert http.post(URL, json=BODY, headers={"X-Rollout-Job-Id": "job-2"}).json() == TASK
        assert http.post(URL, json=BODY).json() == TASK  # without a job id there is no promise
    assert provider.seen == ["POST https://there.example/v1/videos/generations"] * 3
    # Another process, or this one started again, knows the job as well.
    with open_client(gate, provider) as http, subject(job_id="job-1"):
        assert http.post(URL, json=BODY).json() == TASK
    assert len(provider.seen) == 3
    lines = (gate.path.parent / "access.jsonl").read_text().splitlines()
    found = [(json.loads(line).get("job_id"), json.loads(line)["task_id"]) for line in lines]
    assert found == [("job-1", "task_1"), ("job-2", "task_1"), (None, "task_1")]


@pytest.mark.parametrize(
    "lost", [httpx2.ReadTimeout("lost"), httpx2.ReadError("lost"), (503, {}), (502, {})],
    ids=["timeout", "reset", "503", "502"],
)  # fmt: skip
def test_a_create_whose_answer_was_lost_is_never_sent_again(gate: Gate, lost: Any) -> None:
    provider = Provider(lost)
    with open_client(gate, provider) as http, subject(job_id="job-1"):
        if isinstance(lost, Exception):
            with pytest.raises(httpx2.TransportError):
                http.post(URL, json=BODY)
        else:
            assert http.post(URL, json=BODY).status_code == lost[0]
        gate.refresh()  # its own thread records it
        answer = http.post(URL, json=BODY)
        assert answer.status_code == 409
        assert answer.headers["x-should-retry"] == "false"
        error = answer.json()["error"]
        assert error["code"] == "create_outcome_unknown"
        assert "job-1" in error["message"]
        assert "tokenlab" in error["message"]
        assert len(provider.seen) == 1
        ledger = TaskLedger(gate.path.parent / "rollout-jobs.sqlite3")
        ledger.forget("video", "job-1", org="acme")
        ledger.close()
        assert http.post(URL, json=BODY).json() == TASK


@pytest.mark.parametrize(
    "refused", [httpx2.ConnectError("no"), httpx2.ConnectTimeout("no"), (400, {}), (429, {})],
    ids=["connect", "connect-timeout", "400", "429"],
)  # fmt: skip
def test_a_create_that_was_certainly_not_done_may_be_sent_again(gate: Gate, refused: Any) -> None:
    provider = Provider(refused)
    with open_client(gate, provider) as http, subject(job_id="job-1"):
        if isinstance(refused, Exception):
            with pytest.raises(httpx2.TransportError):
                http.post(URL, json=BODY)
        else:
            assert http.post(URL, json=BODY).status_code == refused[0]
        assert http.post(URL, json=BODY).json() == TASK
    assert len(provider.seen) == 2


class Odd(Provider):
    """A provider with something in front of it."""

    def __init__(self, *odd: httpx2.Response) -> None:
        super().__init__()
        self.odd = list(odd)

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        answer = super().handle_request(request)
        return self.odd.pop(0) if self.odd else answer


def test_a_web_page_is_never_a_jobs_answer(gate: Gate) -> None:
    provider = Odd(httpx2.Response(200, html="<html>it works!"))
    with open_client(gate, provider) as http, subject(job_id="job-1"):
        assert http.post(URL, json=BODY).text == "<html>it works!"
        answer = http.post(URL, json=BODY)
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "create_outcome_unknown")
    assert len(provider.seen) == 1


def test_a_task_that_a_header_names_is_known_whatever_the_body_is(gate: Gate) -> None:
    page = httpx2.Response(200, html="<html>", headers={"X-Task-ID": "task_9"})
    provider = Odd(page)
    with open_client(gate, provider) as http, subject(job_id="job-1"):
        http.post(URL, json=BODY)
        assert http.post(URL, json=BODY).json()["task_id"] == "task_9"
    assert len(provider.seen) == 1


def test_a_redirected_create_is_sent_on_and_its_task_is_kept(gate: Gate) -> None:
    provider = Odd(httpx2.Response(307, headers={"Location": "/eu/v1/videos/generations"}))
    with open_client(gate, provider) as http, subject(job_id="job-1"):
        for _ in range(2):
            assert http.post(URL, json=BODY).json() == TASK
    assert len(provider.seen) == 2


def test_a_route_without_jobs_has_no_ledger(gate: Gate) -> None:
    gate.path.write_text(TEXT.replace('"video"', '"openai_responses"'))
    gate.refresh()
    gate.refresh()
    with open_client(gate, Provider()) as http:
        http.get("https://before.example/v1/images/one")
    assert [path.name for path in gate.path.parent.glob("*.sqlite3")] == []


class AsyncProvider(httpx2.AsyncBaseTransport):
    """As Provider, for the async client; what ``before`` does comes before each answer."""

    def __init__(self, before: Callable[[], None] = lambda: None) -> None:
        self.before = before
        self.seen: list[str] = []

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        self.seen.append(str(request.url))
        self.before()
        return httpx2.Response(200, json=TASK)


class Held:
    """The ledger's file while somebody else writes to it, and takes his time."""

    def __init__(self, gate: Gate) -> None:
        self._connection = sqlite3.connect(_ledger_path(gate), isolation_level=None)

    def take(self) -> None:
        self._connection.execute("begin exclusive")

    def take_from_readers_too(self) -> None:
        """As it is where there can be no write-ahead log; nobody may have it open."""
        self._connection.execute("pragma journal_mode = delete")
        self.take()

    async def beats_beside(self, task: "asyncio.Task[Any]") -> int:
        """Let go after 20 beats of the event loop; return during how many the task waited."""
        beats = 0
        for _ in range(20):
            await asyncio.sleep(0.02)
            beats += not task.done()
        self.let_go()
        return beats

    def let_go(self) -> None:
        self._connection.execute("commit")
        self._connection.close()


async def in_ledger() -> None:
    """Wait until a thread is at work on the ledger: another than that which writes what a ledger
    has buffered, as one of another test may have."""
    while True:
        await asyncio.sleep(0.01)
        buffers = {one.ident for one in threading.enumerate() if one.name == "rollout-jobs"}
        for ident, frame in sys._current_frames().items():
            at: FrameType | None = None if ident in buffers else frame
            while at is not None:
                if at.f_code.co_filename.endswith("job_ledger.py"):
                    return
                at = at.f_back


def _ledger_path(gate: Gate) -> Path:
    return gate.path.parent / "rollout-jobs.sqlite3"


def open_async_client(gate: Gate, provider: AsyncProvider) -> Any:
    return async_client(gate, "video", org="acme", tokenlab_key="sk-there", inner=provider)


async def test_the_event_loop_does_not_wait_for_a_create(gate: Gate) -> None:
    provider = AsyncProvider()
    TaskLedger(_ledger_path(gate)).begin("video", "other", "tokenlab")
    held = Held(gate)
    held.take()
    async with open_async_client(gate, provider) as http:
        with subject(job_id="job-1"):
            create = asyncio.create_task(http.post(URL, json=BODY))
        assert await held.beats_beside(create) == 20
        assert (await create).json() == TASK
        with subject(job_id="job-1"):
            assert (await http.post(URL, json=BODY)).headers["x-rollout-resumed"] == "true"
    assert len(provider.seen) == 1


async def test_the_event_loop_does_not_wait_for_the_side_of_a_task(gate: Gate) -> None:
    provider = AsyncProvider()
    ledger = TaskLedger(_ledger_path(gate))
    ledger.begin("video", "other", "tokenlab")
    ledger.created("video", "other", "task_1", 200, b"{}")
    ledger.close()
    held = Held(gate)
    held.take_from_readers_too()
    async with open_async_client(gate, provider) as http:
        asked = asyncio.create_task(http.get("https://before.example/v1/tasks/task_1"))
        assert await held.beats_beside(asked) == 20
        assert (await asked).json() == TASK
    assert provider.seen == ["https://there.example/v1/tasks/task_1"]


async def test_the_event_loop_does_not_wait_for_a_job_to_be_forgotten(gate: Gate) -> None:
    held = Held(gate)

    def refuse() -> None:
        held.take()
        raise httpx2.ConnectError("no")

    provider = AsyncProvider(refuse)
    async with open_async_client(gate, provider) as http:
        with subject(job_id="job-1"):
            create = asyncio.create_task(http.post(URL, json=BODY))
        assert await held.beats_beside(create) == 20
        with pytest.raises(httpx2.ConnectError):
            await create
        provider.before = lambda: None
        with subject(job_id="job-1"):
            assert (await http.post(URL, json=BODY)).json() == TASK
    assert len(provider.seen) == 2


async def test_the_event_loop_does_not_wait_to_close_a_client(gate: Gate) -> None:
    http = open_async_client(gate, AsyncProvider())
    TaskLedger(_ledger_path(gate)).begin("video", "other", "tokenlab")
    held = Held(gate)
    held.take()
    with subject(job_id="job-1"):
        create = asyncio.create_task(http.post(URL, json=BODY))
    await in_ledger()
    create.cancel()  # its thread waits on, and has the ledger
    close = asyncio.create_task(http.aclose())
    assert await held.beats_beside(close) == 20
    await close
    with pytest.raises(asyncio.CancelledError):
        await create


async def test_a_create_that_is_cancelled_before_it_is_sent_may_be_sent_again(gate: Gate) -> None:
    provider = AsyncProvider()
    TaskLedger(_ledger_path(gate)).begin("video", "other", "tokenlab")
    async with open_async_client(gate, provider) as http:
        for late in (False, True):
            held = Held(gate)
            held.take()
            with subject(job_id="job-1"):
                create = asyncio.create_task(http.post(URL, json=BODY))
            await in_ledger()
            if late:  # what it waited for is done, and it has not heard of it
                held.let_go()
                time.sleep(0.5)  # noqa: ASYNC251 - the loop must not hear of it
            create.cancel()
            with pytest.raises(asyncio.CancelledError):
                await create
            if not late:
                held.let_go()
            await asyncio.sleep(0.5)
            assert provider.seen == []
        with subject(job_id="job-1"):
            assert (await http.post(URL, json=BODY)).json() == TASK
    assert len(provider.seen) == 1


class Closing(httpx2.AsyncByteStream):
    """A body that knows whether it was closed."""

    closed = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield json.dumps(TASK).encode()

    async def aclose(self) -> None:
        self.closed = True


async def test_a_create_that_is_cancelled_when_its_answer_began_is_known(gate: Gate) -> None:
    held, body, answered = Held(gate), Closing(), asyncio.Event()

    class Answering(AsyncProvider):
        async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
            await super().handle_async_request(request)
            answered.set()
            return httpx2.Response(200, headers={"X-Task-ID": "task_1"}, stream=body)

    provider = Answering(held.take)
    async with open_async_client(gate, provider) as http:
        with subject(job_id="job-1"):
            create = asyncio.create_task(http.post(URL, json=BODY))
        await answered.wait()
        await in_ledger()
        create.cancel()
        with pytest.raises(asyncio.CancelledError):
            await create
        held.let_go()
        with subject(job_id="job-1"):
            assert (await http.post(URL, json=BODY)).json()["task_id"] == "task_1"
    assert len(provider.seen) == 1
    assert body.closed
    (line,) = (gate.path.parent / "access.jsonl").read_text().splitlines()
    assert (json.loads(line)["status"], json.loads(line)["error"]) == (0, "cancelled")


def test_a_task_is_asked_for_where_it_was_created(gate: Gate) -> None:
    provider = Provider()
    with open_client(gate, provider) as http:
        with subject(job_id="job-1"):
            http.post(URL, json=BODY)
        gate.path.write_text(TEXT.replace("= 100", "= 0"))
        gate.refresh()
        gate.refresh()
        http.get("https://before.example/v1/tasks/task_1")
        http.get("https://before.example/v1/tasks/of-somebody-else")
    assert provider.seen[1:] == [
        "GET https://there.example/v1/tasks/task_1",
        "GET https://before.example/v1/tasks/of-somebody-else",
    ]


def test_of_many_at_once_one_is_sent(gate: Gate) -> None:
    provider = Provider()
    statuses = []
    with open_client(gate, provider) as http:

        def create() -> None:
            with subject(job_id="job-1"):
                statuses.append(http.post(URL, json=BODY).status_code)

        threads = [threading.Thread(target=create) for _ in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(provider.seen) == 1
    assert set(statuses) <= {200, 409}


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for a lock for seconds."""
    for name in ("_WAIT_S", "_WAIT_AGAIN_S", "_PAUSE_S"):
        monkeypatch.setattr(f"rollout_gate.http.job_ledger.{name}", 0.05)


@pytest.mark.usefixtures("quick")
def test_what_the_file_has_is_never_created_again_and_what_it_has_not_is_written_later(
    gate: Gate, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "rollout_gate")
    provider = Provider()
    held = Held(gate)
    with open_client(gate, provider) as http:

        def create(job: str) -> Any:
            with subject(job_id=job):
                return http.post(URL, json=BODY)

        create("before")
        held.take()
        assert create("before").headers["x-rollout-resumed"] == "true"
        assert create("meanwhile").status_code == 200
        assert create("meanwhile").headers["x-rollout-resumed"] == "true"
        assert rows(_ledger_path(gate)) == [("before", "task_1")]
        held.let_go()
        time.sleep(0.1)
        assert create("before").headers["x-rollout-resumed"] == "true"
        create("after")
    assert len(provider.seen) == 3
    assert [job for job, _ in rows(_ledger_path(gate))] == ["before", "meanwhile", "after"]
    assert {task for _, task in rows(_ledger_path(gate))} == {"task_1"}
    said = [one.getMessage() for one in caplog.records if "jobs.sqlite3" in one.getMessage()]
    assert [one.split("sqlite3 ")[1] for one in said] == [
        "cannot be used (database is locked); jobs are buffered in memory until it can be",
        "is usable again; all buffered jobs were written",
    ]


@pytest.mark.usefixtures("quick")
def test_where_nobody_knows_what_the_file_has_nothing_is_sent(gate: Gate) -> None:
    provider = Provider()
    ledger = TaskLedger(_ledger_path(gate))
    ledger.begin("video", "job-1", "tokenlab", org="acme")
    ledger.close()
    held = Held(gate)
    held.take_from_readers_too()
    with open_client(gate, provider) as http, subject(job_id="job-1"):
        answer = http.post(URL, json=BODY)
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
        assert answer.json()["error"]["code"] == "ledger_busy"
        held.let_go()
        assert http.post(URL, json=BODY).status_code == 409
    assert provider.seen == []


@pytest.mark.usefixtures("quick")
def test_a_job_that_two_processes_created_meanwhile_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "jobs.sqlite3"
    mine, theirs = TaskLedger(path), TaskLedger(path)
    theirs.begin("video", "other", "tokenlab")
    lock = sqlite3.connect(path, isolation_level=None)
    lock.execute("begin immediate")
    assert mine.begin("video", "job-1", "tokenlab") is None
    mine.created("video", "job-1", "task_mine", 200, b"{}")
    lock.execute("commit")
    lock.close()
    assert theirs.begin("video", "job-1", "previous") is None
    theirs.created("video", "job-1", "task_theirs", 200, b"{}")
    time.sleep(0.1)
    mine.begin("video", "job-2", "tokenlab")
    for ledger in (mine, theirs):
        ledger.close()
    (said,) = [one.getMessage() for one in caplog.records if one.levelname == "ERROR"]
    assert "job job-1 of route video was created twice" in said
    assert "on previous as task task_theirs, and on tokenlab as task task_mine" in said
    assert ("job-1", "task_theirs") in rows(path)


@pytest.mark.parametrize("job", [os.fsdecode(b"caf\xe9"), "\ud800", "a\0b", "x" * 100_000])
def test_a_job_id_is_any_text(gate: Gate, job: str) -> None:
    provider = Provider()
    with open_client(gate, provider) as http:
        for _ in range(2):
            with subject(job_id=job):
                assert http.post(URL, json=BODY).json() == TASK
        with subject(job_id=job + "x"):
            http.post(URL, json=BODY)
    assert len(provider.seen) == 2


def test_the_same_job_id_of_another_org_is_another_job(gate: Gate) -> None:
    provider = Provider((200, TASK), (200, {"id": "task_2", "task_id": "task_2"}))
    with open_client(gate, provider) as http:
        for org, task in (("acme", "task_1"), ("globex", "task_2"), ("acme", "task_1")):
            with subject(org, job_id="job-1"):
                assert http.post(URL, json=BODY).json()["task_id"] == task
    assert len(provider.seen) == 2


def test_an_empty_job_id_is_none(gate: Gate) -> None:
    provider = Provider()
    with open_client(gate, provider) as http:
        for _ in range(2):
            with subject(job_id=""):
                http.post(URL, json=BODY)
            http.post(URL, json=BODY, headers={"X-Rollout-Job-Id": ""})
    assert len(provider.seen) == 4


def test_a_ledger_from_before_orgs_were_kept_still_knows_its_jobs(gate: Gate) -> None:
    write_without_orgs(_ledger_path(gate))
    provider = Provider()
    with open_client(gate, provider) as http, subject(job_id="job-1"):
        assert http.post(URL, json=BODY).json() == TASK
    assert provider.seen == []


@pytest.mark.parametrize("kept", [True, False])
def test_an_answer_is_kept_also_where_the_file_was_deleted_meanwhile(
    gate: Gate, kept: bool
) -> None:
    class Deleting(Provider):
        def handle_request(self, request: httpx2.Request) -> httpx2.Response:
            if not kept:
                for name in _ledger_path(gate).parent.glob("rollout-jobs.sqlite3*"):
                    name.unlink()
            return super().handle_request(request)

    provider = Deleting()
    with open_client(gate, provider) as http, subject(job_id="job-1"):
        http.post(URL, json=BODY)
        assert http.post(URL, json=BODY).json() == TASK
    assert len(provider.seen) == 1


@pytest.mark.parametrize(
    ("status", "location", "created"),
    [
        (303, "/v1/tasks/task_1", 1), (302, "/v1/tasks/task_1", 1), (308, "/v2/videos", 2),
        (303, "https://elsewhere.example/", 1), (408, None, 1), (400, None, 2),
    ],
)  # fmt: skip
def test_a_create_that_was_taken_is_not_sent_again_whatever_its_answer_says(
    gate: Gate, status: int, location: str | None, created: int
) -> None:
    """What sends on with another method has taken the create, wherever its answer is."""

    class Sending(Provider):
        def handle_request(self, request: httpx2.Request) -> httpx2.Response:
            self.seen.append(request.method)
            if request.url.path == "/v1/videos/generations":
                headers = {} if location is None else {"location": location}
                return httpx2.Response(status, json={}, headers=headers)
            raise httpx2.ConnectError("gone")

    provider = Sending()
    with open_client(gate, provider) as http, subject(job_id="job-1"):
        for _ in range(2):
            with suppress(httpx2.ConnectError):
                http.post(URL, json=BODY)
    creates = [one for one in provider.seen if one == "POST"]
    assert len(creates) == (created if status != 308 else 4), "308 has two addresses, both times"
