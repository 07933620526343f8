"""An idempotent create that is retried while the first is in flight: 409, to be retried."""

import sqlite3
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx2
import pytest

from rollout_gate import Gate, subject
from rollout_gate.http import client
from rollout_gate.http.create_records import SENDING_S, Create
from rollout_gate.http.job_ledger import TaskLedger
from tests.gate.http.ledgers import BODY, TASK, TEXT, URL, ledger_path
from tests.support.waiting import until


class Provider(httpx2.BaseTransport):
    """Blocks each response until ``may_answer`` is set."""

    def __init__(self) -> None:
        self.seen = 0
        self.may_answer = threading.Event()
        self.answer: Any = TASK

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        self.seen += 1
        assert self.may_answer.wait(60)
        if isinstance(self.answer, Exception):
            raise self.answer
        if isinstance(self.answer, str):
            return httpx2.Response(200, html=self.answer)
        return httpx2.Response(200, json=self.answer)


@pytest.fixture(params=["job id", "dedupe"])
def gate(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Gate]:
    path = tmp_path / "rollout.toml"
    path.write_text(TEXT + ('dedupe = "10m"\n' if request.param == "dedupe" else ""))
    with Gate(path, poll_s=60) as made:
        yield made


def send(gate: Gate, http: httpx2.Client) -> httpx2.Response:
    if 'dedupe = "10m"' in gate.path.read_text():
        return http.post(URL, json=BODY)
    with subject(job_id="job-1"):
        return http.post(URL, json=BODY)


def assert_in_flight(answer: httpx2.Response) -> None:
    assert answer.status_code == 409
    error = answer.json()["error"]
    assert error["code"] == "create_in_flight"
    assert "no answer to it is known yet; nothing was sent now, try again" in error["message"]
    assert "jobs forget" not in error["message"]
    assert answer.headers["x-should-retry"] == "true"
    assert answer.headers["retry-after"] == "5"


def assert_unknown(answer: httpx2.Response) -> None:
    assert answer.status_code == 409
    assert answer.json()["error"]["code"] == "create_outcome_unknown"
    assert answer.headers["x-should-retry"] == "false"


@pytest.mark.parametrize("is_locked", [False, True])
def test_it_is_told_apart_from_one_whose_answer_is_lost(
    gate: Gate, is_locked: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the ledger's file is locked for writing, and both are in its buffer."""
    with closing(TaskLedger(ledger_path(gate))) as made:
        made.fingerprint(b"")  # makes the file, and its key
    if is_locked:
        for name in ("_WAIT_S", "_PAUSE_S"):
            monkeypatch.setattr(f"rollout_gate.http.job_ledger.{name}", 0.05)
    provider = Provider()
    with (
        closing(sqlite3.connect(ledger_path(gate), isolation_level=None)) as other,
        client(gate, "video", org="acme", tokenlab_key="sk-there", inner=provider) as http,
        ThreadPoolExecutor() as pool,
    ):
        if is_locked:
            other.execute("begin immediate")
        first = pool.submit(send, gate, http)
        until(lambda: provider.seen == 1)
        assert_in_flight(send(gate, http))
        provider.answer = httpx2.ReadTimeout("lost")
        provider.may_answer.set()
        with pytest.raises(httpx2.ReadTimeout):
            first.result()
        gate.refresh()  # the gate's own thread records it
        assert_unknown(send(gate, http))
        assert provider.seen == 1
        if is_locked:
            other.execute("commit")  # what is buffered is written when the client closes


def test_who_tries_again_is_given_the_task(gate: Gate) -> None:
    provider = Provider()
    with (
        client(gate, "video", org="acme", tokenlab_key="sk-there", inner=provider) as http,
        ThreadPoolExecutor() as pool,
    ):
        first = pool.submit(send, gate, http)
        until(lambda: provider.seen == 1)
        assert_in_flight(send(gate, http))
        provider.may_answer.set()
        assert first.result().json() == TASK
        again = send(gate, http)
        assert (again.json(), again.headers["x-rollout-resumed"]) == (TASK, "true")
        assert provider.seen == 1


def test_who_closes_the_answer_unread_does_not_know_it(gate: Gate) -> None:
    provider = Provider()
    provider.may_answer.set()
    with client(gate, "video", org="acme", tokenlab_key="sk-there", inner=provider) as http:
        with subject(job_id="job-1"), http.stream("POST", URL, json=BODY):
            assert_in_flight(http.post(URL, json=BODY))
        gate.refresh()
        with subject(job_id="job-1"):
            assert_unknown(http.post(URL, json=BODY))


def test_a_page_in_place_of_the_answer_ends_it(gate: Gate) -> None:
    provider = Provider()
    provider.answer = "<html>it works!"
    provider.may_answer.set()
    with client(gate, "video", org="acme", tokenlab_key="sk-there", inner=provider) as http:
        assert send(gate, http).text == "<html>it works!"
        assert_unknown(send(gate, http))
    with closing(sqlite3.connect(ledger_path(gate))) as database:
        found = database.execute("select state, status from creates").fetchall()
    assert found == [("unknown", 200)]


@pytest.mark.parametrize(
    ("ago_s", "is_in_flight"), [(SENDING_S - 60, True), (SENDING_S + 1, False)]
)
def test_one_whose_process_has_ended_is_in_flight_for_a_quarter_of_an_hour(
    tmp_path: Path, ago_s: float, is_in_flight: bool
) -> None:
    path = tmp_path / "rollout.toml"
    path.write_text(TEXT)
    create = Create(
        create_id="c1", route="video", org="acme", side="tokenlab", sent_at=time.time() - ago_s,
        job_id="job-1",
    )  # fmt: skip
    with Gate(path, poll_s=60) as gate:
        ended = TaskLedger(ledger_path(gate))
        assert ended.begin("video", "job-1", "tokenlab", org="acme", create=create) is None
        ended.close()
        with client(gate, "video", org="acme", tokenlab_key="k", inner=Provider()) as http:
            (assert_in_flight if is_in_flight else assert_unknown)(send(gate, http))


def test_an_older_create_of_the_same_job_id_says_nothing_of_this_one(tmp_path: Path) -> None:
    """A job id is kept for 14 days, what it has made for 90."""
    ledger, now = TaskLedger(tmp_path / "jobs.sqlite3"), time.time()
    of_job: dict[str, Any] = {
        "route": "video",
        "org": "acme",
        "side": "tokenlab",
        "job_id": "job-1",
    }
    ledger.record(Create(create_id="c1", sent_at=now - 86_400 * 20, status=200, **of_job))
    new = Create(create_id="c2", sent_at=now, **of_job)
    assert ledger.begin("video", "job-1", "tokenlab", org="acme", create=new) is None
    again = Create(create_id="c3", sent_at=now + 1, **of_job)
    known = ledger.begin("video", "job-1", "tokenlab", org="acme", create=again)
    assert known is not None
    assert not known.request_ended
    ledger.close()
