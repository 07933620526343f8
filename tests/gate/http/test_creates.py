"""Every create of an async job is accounted for, with and without a job id, on both sides."""

import asyncio
import contextlib
import json
import multiprocessing
import sqlite3
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from rollout_gate import Gate, subject
from rollout_gate.http import async_client, client
from rollout_gate.http.create_records import Create, select
from rollout_gate.http.job_answers import forget_command
from rollout_gate.http.job_ledger import TaskLedger
from rollout_gate.http.task_answers import task_answer
from tests.gate.http.ledgers import TEXT as VIDEO_ROUTE
from tests.gate.http.ledgers import URL as VIDEO
from tests.gate.http.ledgers import ledger_path

TEXT = f"""{VIDEO_ROUTE}{{extra}}
[routes.image]
format = "image"
model = "gpt-image-2"
default_percent = 100
previous_base_url = "https://before.example/v1"
{{extra}}
"""
IMAGE = "https://before.example/v1/images/generations"
EDIT = "https://before.example/v1/images/edits"
BODY = {"model": "kling-v3", "prompt": "a lighthouse in the canary's colours"}
TASK = {"id": "task_1", "task_id": "task_1", "status": "pending", "poll_url": "/v1/tasks/task_1",
        "model": "kling-v3"}  # fmt: skip
MEDIA = {"created": 1, "data": [{"url": "https://assets.example/signed-canary.png"}]}


class Provider(httpx2.BaseTransport):
    """Answers each path with what it is told to; counts the requests."""

    def __init__(self, **answers: Any) -> None:
        self.answers = answers
        self.seen: list[str] = []

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        self.seen.append(f"{request.method} {request.url}")
        told = self.answers.get(request.method.lower(), TASK)
        answer = told.pop(0) if isinstance(told, list) else told
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, httpx2.Response):
            return answer
        return httpx2.Response(200, json=answer, headers={"x-request-id": "req_1"})

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        return self.handle_request(request)


class AsyncProvider(Provider, httpx2.AsyncBaseTransport):
    """The same, for the async client."""


def gate_of(tmp_path: Path, extra: str = "") -> Gate:
    path = tmp_path / "rollout.toml"
    path.write_text(TEXT.format(extra=extra))
    return Gate(path, poll_s=60)


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Gate]:
    with gate_of(tmp_path) as made:
        yield made


@pytest.fixture
def deduping(tmp_path: Path) -> Iterator[Gate]:
    with gate_of(tmp_path, 'dedupe = "10m"') as made:
        yield made


def open_client(gate: Gate, provider: Provider, route: str = "video", org: str = "acme") -> Any:
    return client(gate, route, org=org, tokenlab_key="sk-there-canary", inner=provider)


def creates(gate: Gate) -> list[Create]:
    database = sqlite3.connect(ledger_path(gate))
    try:
        return list(select(database, "order by sent_at"))
    finally:
        database.close()


def lines(gate: Gate) -> list[dict[str, Any]]:
    text = (gate.path.parent / "access.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines()]


def test_a_create_without_a_job_id_is_accounted_for_and_polled_where_it_was_made(
    gate: Gate,
) -> None:
    done = {**TASK, "status": "completed", "progress": 100, "billing_transaction_id": "bt_1",
            "video_url": "https://assets.example/signed-canary.mp4"}  # fmt: skip
    provider = Provider(get=[{**TASK, "status": "processing", "progress": 40}, done, TASK])
    with open_client(gate, provider) as http:
        http.post(VIDEO, json=BODY)
        (made,) = creates(gate)
        assert (made.route, made.org, made.side, made.model) == (
            "video", "acme", "tokenlab", "kling-v3",
        )  # fmt: skip
        assert (made.job_id, made.has_own_id, made.task_id, made.state) == (
            "", False, "task_1", "open",
        )  # fmt: skip
        assert (made.endpoint, made.poll_url, made.request_id, made.status) == (
            "/v1/videos/generations", "/v1/tasks/task_1", "req_1", 200,
        )  # fmt: skip
        http.get("https://before.example/v1/tasks/task_1")
        (polled,) = creates(gate)
        assert (polled.state, polled.progress, polled.ended_at) == ("open", 40, None)
        http.get("https://before.example/v1/tasks/task_1")
        (ended,) = creates(gate)
        assert (ended.state, ended.progress, ended.billing_transaction_id) == (
            "completed", 100, "bt_1",
        )  # fmt: skip
        assert ended.ended_at is not None
        assert ended.ended_at >= ended.sent_at
        http.get("https://before.example/v1/tasks/task_1")  # a stale answer of a replica
        (again,) = creates(gate)
        assert (again.state, again.polls, again.seen_at) == ("completed", 3, ended.seen_at)
    assert provider.seen[1:] == ["GET https://there.example/v1/tasks/task_1"] * 3
    told = [(one.get("operation"), one["task_id"], one["task_status"]) for one in lines(gate)]
    assert told == [
        (None, "task_1", "open"), ("task", "task_1", "open"), ("task", "task_1", "completed"),
        ("task", "task_1", "open"),
    ]  # fmt: skip
    assert lines(gate)[2]["billing_transaction_id"] == "bt_1"


@pytest.mark.parametrize(
    ("answer", "state", "status"),
    [
        (httpx2.ReadTimeout("lost"), "unknown", 0),
        (httpx2.Response(503, json={}), "unknown", 503),
        (httpx2.Response(200, html="<html>"), "unknown", 200),
        (httpx2.Response(200, json=TASK, headers={"X-Task-ID": "task_9"}), "open", 200),
        (httpx2.Response(200, json={"id": "v_1", "status": "queued"}), "open", 200),
        (httpx2.Response(200, json={**TASK, "status": "failed", "error": {"code": "nsfw"}}),
         "failed", 200),
    ],
)  # fmt: skip
def test_what_became_of_a_create(gate: Gate, answer: Any, state: str, status: int | None) -> None:
    lost = contextlib.suppress(httpx2.ReadTimeout)
    with open_client(gate, Provider(post=[answer])) as http, lost:
        http.post(VIDEO, json=BODY)
    (made,) = creates(gate)
    assert (made.state, made.status) == (state, status)
    assert made.error == ("nsfw" if state == "failed" else None)


def test_who_leaves_after_the_last_byte_has_had_the_answer(gate: Gate) -> None:
    """As a caller of a proxy does, which need not wait for the end of the connection."""
    provider = Provider(get={**TASK, "status": "completed"})
    with open_client(gate, provider) as http:
        for job in (None, "job-1"):
            with subject(job_id=job), http.stream("POST", VIDEO, json=BODY) as answer:
                next(answer.iter_raw())
        gate.refresh()  # its own thread records it
        assert [(one.state, one.status, one.task_id) for one in creates(gate)] == [
            ("open", 200, "task_1")
        ] * 2
        with subject(job_id="job-1"):
            assert http.post(VIDEO, json=BODY).json() == TASK
        with http.stream("GET", "https://before.example/v1/tasks/task_1") as answer:
            next(answer.iter_raw())
        gate.refresh()
        assert [one.state for one in creates(gate)] == ["completed"] * 2
    found = [(one["outcome"], one.get("error"), one["task_status"]) for one in lines(gate)]
    assert found == [("ok", None, "open")] * 2 + [("ok", None, "completed")]


async def test_a_caller_that_is_cancelled_after_the_last_byte_has_had_the_answer(
    gate: Gate,
) -> None:
    async def body() -> AsyncIterator[bytes]:
        yield json.dumps(TASK).encode()
        passed.set()
        await asyncio.Event().wait()  # the end of the connection, which comes late

    async def ask() -> None:
        await http.post(VIDEO, json=BODY)

    class Slow(AsyncProvider):
        async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
            length = {"Content-Length": str(len(json.dumps(TASK)))}
            return httpx2.Response(200, headers=length, content=body())

    passed = asyncio.Event()
    async with async_client(gate, "video", org="acme", tokenlab_key="k", inner=Slow()) as http:
        task = asyncio.create_task(ask())
        await passed.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    gate.refresh()
    assert [(one.state, one.task_id) for one in creates(gate)] == [("open", "task_1")]
    assert [one["outcome"] for one in lines(gate)] == ["ok"]


@pytest.mark.parametrize(
    "refused", [httpx2.ConnectError("no"), httpx2.Response(400, json={}),
                httpx2.Response(429, json={})],
)  # fmt: skip
@pytest.mark.parametrize("job", [None, "job-1"])
def test_a_create_that_made_nothing_is_no_row(gate: Gate, refused: Any, job: str | None) -> None:
    unsent = contextlib.suppress(httpx2.ConnectError)
    with open_client(gate, Provider(post=[refused])) as http, subject(job_id=job), unsent:
        assert http.post(VIDEO, json=BODY).status_code in (400, 429)
    assert creates(gate) == []


def test_an_image_is_a_job_where_its_answer_is_a_task(gate: Gate) -> None:
    provider = Provider(post=[MEDIA, TASK, {**TASK, "id": "task_2", "task_id": "task_2"}])
    with open_client(gate, provider, "image") as http:
        assert http.post(IMAGE, json=BODY).json() == MEDIA
        assert not ledger_path(gate).exists() or creates(gate) == [], "made at once: no job"
        http.post(IMAGE, json={**BODY, "async": True})
        http.post(EDIT, json={**BODY, "image_url": "https://x.example/a.png"})
        http.get("https://before.example/v1/images/task_2")
        first, second = creates(gate)
    assert (first.task_id, first.operation, first.endpoint) == (
        "task_1", None, "/v1/images/generations",
    )  # fmt: skip
    assert (second.task_id, second.operation, second.endpoint) == (
        "task_2", "edits", "/v1/images/edits",
    )  # fmt: skip
    assert provider.seen[-1] == "GET https://there.example/v1/images/task_2"
    assert [one.get("task_id") for one in lines(gate)] == [None, "task_1", "task_2", "task_2"]


def test_one_job_id_makes_one_image_task(gate: Gate) -> None:
    provider = Provider()
    with open_client(gate, provider, "image") as http, subject(job_id="job-1"):
        for _ in range(3):
            assert http.post(IMAGE, json={**BODY, "async": True}).json() == TASK
    assert len(provider.seen) == 1


def test_a_job_that_was_made_at_once_is_not_made_again_and_its_media_are_not_kept(
    gate: Gate,
) -> None:
    provider = Provider(post=[MEDIA])
    with open_client(gate, provider, "image") as http, subject(job_id="job-1"):
        assert http.post(IMAGE, json=BODY).json() == MEDIA
        again = http.post(IMAGE, json=BODY)
    assert (again.status_code, again.json()["error"]["code"]) == (409, "job_already_done")
    assert "rollout-console jobs forget image job-1 --org acme" in again.json()["error"]["message"]
    (made,) = creates(gate)
    assert (made.state, made.task_id) == ("completed", None)
    assert b"canary" not in b"".join(
        one.read_bytes() for one in gate.path.parent.glob("rollout-jobs*")
    )


def test_neither_prompt_nor_media_nor_credential_is_in_the_file(gate: Gate) -> None:
    poll = "https://jo:pw-canary@there.example/v1/tasks/task_1?sig=canary#canary"
    done = {**TASK, "status": "completed", "video_url": "https://a.example/canary",
            "error": "canary said no"}  # fmt: skip
    provider = Provider(post=[{**TASK, "poll_url": poll}], get=[done])
    with open_client(gate, provider) as http:
        http.post(VIDEO, json=BODY)
        assert creates(gate)[0].poll_url == "https://there.example/v1/tasks/task_1"
        http.get("https://before.example/v1/tasks/task_1")
    assert creates(gate)[0].state == "completed"
    assert b"canary" not in b"".join(
        one.read_bytes() for one in gate.path.parent.glob("rollout-jobs*")
    )


def test_a_credential_that_a_server_echoes_is_not_in_the_file(gate: Gate) -> None:
    key = "sk-there-canary"
    echo = {
        **TASK, "poll_url": f"https://there.example/v1/tasks/{key}", "status": "failed",
        "error": {"code": f"bad {key}"}, "billing_transaction_id": f"b-{key}",
    }  # fmt: skip
    headers = {"x-request-id": f"r-{key}", "x-billing-transaction-id": key}
    queued = {**echo, "status": "queued"}
    provider = Provider(
        post=[httpx2.Response(200, json=queued, headers=headers)],
        get=[httpx2.Response(200, json=echo, headers=headers)],
    )
    with open_client(gate, provider) as http:
        http.post(VIDEO, json=BODY)
        http.get("https://before.example/v1/tasks/task_1")
    (made,) = creates(gate)
    assert (made.state, made.error, made.poll_url) == ("failed", "redacted", None)
    assert (made.request_id, made.billing_transaction_id) == ("redacted", "redacted")
    database = sqlite3.connect(ledger_path(gate))
    rows = database.execute("select * from creates").fetchall()
    database.close()
    assert "canary" not in str(rows)


def test_an_endpoint_has_no_part_that_may_be_a_secret(tmp_path: Path) -> None:
    with gate_of(tmp_path) as gate:
        gate.path.write_text(
            gate.path.read_text()
            .replace("default_percent = 100", "")
            .replace("https://before.example/v1", "https://before.example/t0ken123456789/v1")
        )
        gate.refresh()
        gate.refresh()
        with open_client(gate, Provider()) as http:
            http.post("https://before.example/t0ken123456789/v1/videos/generations", json=BODY)
        (made,) = creates(gate)
        assert (made.side, made.endpoint) == ("previous", "/{}/v1/videos/generations")


def test_a_blind_retry_makes_no_second_task(deduping: Gate) -> None:
    provider = Provider(post=[TASK, {**TASK, "id": "task_2", "task_id": "task_2"}])
    with open_client(deduping, provider) as http:
        first, again = http.post(VIDEO, json=BODY), http.post(VIDEO, json=BODY)
        assert (first.json(), again.json()) == (TASK, TASK)
        assert again.headers["x-rollout-resumed"] == "true"
        assert http.post(VIDEO, json={**BODY, "prompt": "another"}).json()["id"] == "task_2"
        made = creates(deduping)
    assert len(provider.seen) == 2
    assert [one.job_id.startswith("auto-") for one in made] == [True, True]
    assert lines(deduping)[0]["job_id"] == made[0].job_id


def test_a_retry_after_a_lost_answer_is_refused_until_it_is_forgotten(deduping: Gate) -> None:
    provider = Provider(post=[httpx2.ReadTimeout("lost"), TASK])
    with open_client(deduping, provider) as http:
        with pytest.raises(httpx2.ReadTimeout):
            http.post(VIDEO, json=BODY)
        deduping.refresh()  # its own thread records it
        refused = http.post(VIDEO, json=BODY)
        assert refused.json()["error"]["code"] == "create_outcome_unknown"
        (lost,) = creates(deduping)
        assert lost.job_id in refused.json()["error"]["message"]
        assert len(provider.seen) == 1
        ledger = TaskLedger(ledger_path(deduping))
        ledger.forget("video", lost.job_id, org="acme")
        ledger.close()
        assert creates(deduping) == []
        assert http.post(VIDEO, json=BODY).json() == TASK


@contextlib.contextmanager
def unreadable(gate: Gate, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Lock a ledger even for readers, as it is where there can be no write-ahead log."""
    for name in ("_WAIT_S", "_WAIT_AGAIN_S", "_PAUSE_S"):
        monkeypatch.setattr(f"rollout_gate.http.job_ledger.{name}", 0.05)
    ledger = TaskLedger(ledger_path(gate))
    ledger.fingerprint(b"x")
    ledger.close()
    lock = sqlite3.connect(ledger_path(gate), isolation_level=None)
    lock.execute("pragma journal_mode = delete")
    lock.execute("begin exclusive")
    yield
    lock.execute("commit")
    lock.close()


def test_a_promise_that_cannot_be_kept_is_not_given(
    deduping: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider = Provider()
    with open_client(deduping, provider) as http:
        with unreadable(deduping, monkeypatch):
            answer = http.post(VIDEO, json=BODY)
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
        assert provider.seen == []
        assert http.post(VIDEO, json=BODY).json() == TASK


def test_a_create_without_a_promise_does_not_wait_for_a_ledger_that_is_locked(
    gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_client(gate, Provider()) as http, unreadable(gate, monkeypatch):
        assert http.post(VIDEO, json=BODY).json() == TASK
    assert [one.task_id for one in creates(gate)] == ["task_1"]


def test_without_a_usable_ledger_a_retry_is_known_all_the_same(deduping: Gate) -> None:
    ledger_path(deduping).write_bytes(b"garbage " * 1_000)
    provider = Provider()
    with open_client(deduping, provider) as http:
        for _ in range(3):
            assert http.post(VIDEO, json=BODY).json() == TASK
    assert len(provider.seen) == 1


def test_an_image_made_at_once_touches_no_ledger(gate: Gate) -> None:
    with open_client(gate, Provider(post=MEDIA), "image") as http:
        http.post(IMAGE, json=BODY)
    assert not ledger_path(gate).exists()


def test_another_org_and_a_failed_task_are_another_job(deduping: Gate) -> None:
    failed = {**TASK, "status": "failed", "error": {"code": "server_error"}}
    provider = Provider(get=[failed])
    with open_client(deduping, provider) as http, open_client(deduping, provider, org="b") as other:
        http.post(VIDEO, json=BODY)
        other.post(VIDEO, json=BODY)
        assert len(provider.seen) == 2
        http.get("https://before.example/v1/tasks/task_1")
        http.post(VIDEO, json=BODY)
    assert [one.split()[0] for one in provider.seen] == ["POST", "POST", "GET", "POST"]


def test_a_form_is_accounted_for_and_is_no_request_to_compare(deduping: Gate) -> None:
    provider = Provider()
    with open_client(deduping, provider, "image") as http:
        for _ in range(2):
            http.post(EDIT, data={"model": "m", "prompt": "p"}, files={"image": b"\x89PNG" * 99})
    assert len(provider.seen) == 2
    assert [one.fingerprint for one in creates(deduping)] == [b"", b""]


def test_images_made_at_once_may_be_made_again(deduping: Gate) -> None:
    provider = Provider(post=MEDIA)
    with open_client(deduping, provider, "image") as http:
        for _ in range(2):
            assert http.post(IMAGE, json=BODY).json() == MEDIA
    assert len(provider.seen) == 2


def test_of_many_at_once_one_is_sent(deduping: Gate) -> None:
    provider, statuses = Provider(), []
    with open_client(deduping, provider) as http:

        def create() -> None:
            statuses.append(http.post(VIDEO, json=BODY).status_code)

        threads = [threading.Thread(target=create) for _ in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(provider.seen) == 1
    assert set(statuses) <= {200, 409}


def _claims(path: Path, start: Any, found: Any) -> None:
    ledger = TaskLedger(path)
    hashed = ledger.fingerprint(b"one request")
    start.wait()
    mine = Create(
        create_id=f"{multiprocessing.current_process().pid}", route="video", org="acme",
        side="tokenlab", sent_at=1e9, job_id=f"auto-{multiprocessing.current_process().pid}",
        fingerprint=hashed,
    )  # fmt: skip
    known = ledger.begin_unlike(mine, 600)
    found.put((hashed, None if known is None else known.job_id))
    ledger.close()


def test_of_several_processes_one_sends(tmp_path: Path) -> None:
    fresh = multiprocessing.get_context("spawn")
    start, found = fresh.Barrier(4), fresh.Queue()
    path = tmp_path / "rollout-jobs.sqlite3"
    workers = [fresh.Process(target=_claims, args=(path, start, found)) for _ in range(4)]
    for worker in workers:
        worker.start()
    told = [found.get(timeout=60) for _ in workers]
    for worker in workers:
        worker.join()
    assert len({hashed for hashed, _ in told}) == 1, "one key for all processes of a file"
    assert [job for _, job in told].count(None) == 1
    assert len({job for _, job in told}) == 2, "the others are given that one job"


async def test_the_async_client_accounts_alike(deduping: Gate) -> None:
    provider = AsyncProvider(get=[{**TASK, "status": "completed"}])
    async with async_client(
        deduping, "video", org="acme", tokenlab_key="sk-there", inner=provider
    ) as http:
        answers = await asyncio.gather(*(http.post(VIDEO, json=BODY) for _ in range(8)))
        assert {one.status_code for one in answers} <= {200, 409}
        await http.get("https://before.example/v1/tasks/task_1")
    assert [one.split()[0] for one in provider.seen] == ["POST", "GET"]
    assert [one.state for one in creates(deduping)] == ["completed"]


def test_what_waits_for_the_file_is_written_later(
    gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("_WAIT_S", "_WAIT_AGAIN_S", "_PAUSE_S"):
        monkeypatch.setattr(f"rollout_gate.http.job_ledger.{name}", 0.05)
    provider = Provider(get=[{**TASK, "status": "processing", "progress": 7}])
    with open_client(gate, provider) as http:
        http.post(VIDEO, json=BODY)
        lock = sqlite3.connect(ledger_path(gate), isolation_level=None)
        lock.execute("begin exclusive")
        http.post(VIDEO, json=BODY)
        http.get("https://before.example/v1/tasks/task_1")
        lock.execute("commit")
        lock.close()
        assert len(creates(gate)) == 1
    first, second = creates(gate)
    assert first.create_id != second.create_id
    assert (second.state, second.progress) == ("open", 7), "as the poll in between left it"


@pytest.mark.parametrize(
    ("body", "state", "progress"),
    [
        ({"id": "a", "status": "SUCCEEDED"}, "completed", None),
        ({"id": "a", "status": "in-progress", "progress": 50.4}, "open", 50),
        ({"id": "a", "status": "a word of tomorrow"}, "open", None),
        ({"id": "a", "status": "failed", "cancelled": True}, "cancelled", None),
        ({"id": "a", "status": 7, "progress": 700}, None, None),
        ({"data": []}, None, None),
        ([1], None, None),
    ],
)  # fmt: skip
def test_the_words_of_several_apis(body: Any, state: str | None, progress: int | None) -> None:
    found = task_answer(json.dumps(body).encode())
    assert (found.state, found.progress) == (state, progress)
    assert found.is_task == (state is not None)


def test_garbage_says_nothing_of_a_task() -> None:
    for garbage in (b"", b"<html>", b"\xff", b"[" * 100_000, b'{"id": "a", "status": "\xff"}'):
        assert task_answer(garbage).state is None
        assert not task_answer(garbage).is_task


@pytest.mark.parametrize(
    ("job", "org", "words"),
    [
        ("order-1", "acme", "video order-1 --org acme"),
        ("order 1; rm x", "a's", """video 'order 1; rm x' --org 'a'"'"'s'"""),
        ("-x", "", "-- video -x"),
        ("-x", "-y", "--org=-y -- video -x"),
    ],
)
def test_the_command_that_is_advised_is_quoted_for_a_shell(job: str, org: str, words: str) -> None:
    assert forget_command("video", job, org) == f"rollout-console jobs forget {words}"
