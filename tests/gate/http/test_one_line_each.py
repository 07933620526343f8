"""Each request of the route has exactly one line, wherever it ends before an answer came."""

import asyncio
import contextlib
import gc
import sqlite3
import subprocess
import sys
import weakref
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import httpx2
import pytest

from rollout_gate import Gate, subject
from rollout_gate.http import async_client, client
from rollout_gate.http.job_ledger import TaskLedger
from tests.support.loopback import PREVIOUS, TOKENLAB, Reply, TwoSides
from tests.support.waiting import PATIENCE_S, until

libraries = pytest.mark.parametrize("library", [httpx2, httpx], ids=["httpx2", "httpx"])
JSON = {"Content-Type": "application/json"}
CHAT = "/v1/chat/completions"


def open_client(sides: TwoSides, library: Any = httpx2, route: str = "chat") -> Any:
    return client(
        sides.gate, route, org="acme", tokenlab_key=TOKENLAB, previous_key=PREVIOUS,
        library=library.__name__,
    )  # fmt: skip


def open_async_client(sides: TwoSides, library: Any = httpx2, route: str = "chat") -> Any:
    return async_client(
        sides.gate, route, org="acme", tokenlab_key=TOKENLAB, previous_key=PREVIOUS,
        library=library.__name__,
    )  # fmt: skip


def told(sides: TwoSides) -> list[tuple[Any, ...]]:
    names = ("side", "status", "outcome", "error")
    return [tuple(line.get(name) for name in names) for line in sides.lines()]


OWN = ("previous", 0, "abandoned", "unsendable")


@libraries
@pytest.mark.parametrize("path", [CHAT, "/v1/files"])
def test_a_json_body_in_pieces_that_raises_has_a_line(
    sides: TwoSides, library: Any, path: str
) -> None:
    def pieces() -> Iterator[bytes]:
        yield b'{"model":'
        raise RuntimeError("the application's own")

    sides.decide(0)
    with open_client(sides, library) as http, pytest.raises(RuntimeError, match="own"):
        http.post(f"{sides.previous.url}{path}", content=pieces(), headers=JSON)
    assert told(sides) == [OWN]
    assert sides.previous.received == []


@libraries
def test_a_json_body_in_pieces_that_is_consumed_has_a_line(sides: TwoSides, library: Any) -> None:
    sides.decide(0)
    pieces = iter([b'{"model": "m"}'])
    with open_client(sides, library) as http:
        request = http.build_request(
            "POST", f"{sides.previous.url}{CHAT}", content=(one for one in pieces), headers=JSON
        )
        for one in request.stream:
            assert one
        with pytest.raises(library.StreamConsumed):
            http.send(request)
    assert told(sides) == [OWN]


@libraries
async def test_a_json_body_in_pieces_that_is_cancelled_has_a_line(
    sides: TwoSides, library: Any
) -> None:
    reached = asyncio.Event()

    async def pieces() -> AsyncIterator[bytes]:
        yield b'{"model":'
        reached.set()
        await asyncio.sleep(3600)

    sides.decide(0)
    async with open_async_client(sides, library) as http:
        url = f"{sides.previous.url}{CHAT}"
        task = asyncio.create_task(http.post(url, content=pieces(), headers=JSON))
        await asyncio.wait_for(reached.wait(), PATIENCE_S)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
    assert told(sides) == [("previous", 0, "abandoned", "cancelled")]


@libraries
async def test_a_json_body_in_pieces_that_raises_has_a_line_of_the_async_client(
    sides: TwoSides, library: Any
) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield b'{"model":'
        raise RuntimeError("the application's own")

    sides.decide(100)
    async with open_async_client(sides, library) as http:
        with pytest.raises(RuntimeError, match="own"):
            await http.post(f"{sides.previous.url}{CHAT}", content=pieces(), headers=JSON)
        with pytest.raises(RuntimeError, match="own"):  # what is no request of the route has none
            await http.post(f"{sides.previous.url}/v1/models", content=pieces(), headers=JSON)
    assert told(sides) == [("tokenlab", *OWN[1:])]


CREATE = "/v1/videos/generations"
ASK = {"model": "m", "prompt": "a lighthouse"}


def decide_video(sides: TwoSides, more: str = "") -> None:
    sides.put(
        f'[tokenlab]\nbase_url = "{sides.tokenlab.url}"\n'
        f'[routes.video]\nformat = "video"\ndefault_percent = 0\n'
        f'previous_base_url = "{sides.previous.url}/v1"\n{more}'
    )
    sides.gate.refresh()
    sides.gate.refresh()


@contextlib.contextmanager
def locked(sides: TwoSides) -> Iterator[None]:
    """Another process has the ledger locked for writing."""
    path = sides.path.parent / "rollout-jobs.sqlite3"
    with contextlib.closing(TaskLedger(path)) as made:
        made.fingerprint(b"")  # makes the file, and its key
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("begin immediate")
        yield
        other.execute("commit")


@libraries
@pytest.mark.parametrize("job", ["job-1", None])
@pytest.mark.parametrize("more", ["", 'dedupe = "10m"\n'], ids=["", "dedupe"])
async def test_a_create_that_is_cancelled_while_the_ledger_is_locked_has_a_line(
    sides: TwoSides, library: Any, job: str | None, more: str
) -> None:
    decide_video(sides, more)
    async with open_async_client(sides, library, "video") as http:
        with locked(sides):
            with subject(job_id=job):
                task = asyncio.create_task(http.post(f"{sides.previous.url}{CREATE}", json=ASK))
            await asyncio.sleep(0.2)
            assert not task.done(), "it waits for the lock"
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
            assert told(sides) == [("previous", 0, "abandoned", "cancelled")]
        sides.previous.answer = lambda _: Reply(200, {"id": "task-1", "status": "queued"})
        await asyncio.sleep(0.3)  # its thread withdraws it
        with subject(job_id=job):
            assert (await http.post(f"{sides.previous.url}{CREATE}", json=ASK)).status_code == 200
    assert told(sides)[1:] == [("previous", 200, "ok", None)]
    assert len(sides.previous.received) == 1


def test_a_create_that_is_interrupted_while_it_is_recorded_has_a_line(
    sides: TwoSides, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    decide_video(sides)
    with open_client(sides, route="video") as http:
        monkeypatch.setattr(TaskLedger, "begin", interrupt)
        with subject(job_id="job-1"), pytest.raises(KeyboardInterrupt):
            http.post(f"{sides.previous.url}{CREATE}", json=ASK)
    assert told(sides) == [("previous", 0, "abandoned", "cancelled")]


def test_a_create_that_the_gate_answers_has_none(sides: TwoSides) -> None:
    """No side was asked, and the figures are those of the sides."""
    decide_video(sides)
    sides.previous.answer = lambda _: Reply(200, {"id": "task-1", "status": "queued"})
    with open_client(sides, route="video") as http, subject(job_id="job-1"):
        for _ in range(3):
            assert http.post(f"{sides.previous.url}{CREATE}", json=ASK).status_code == 200
    assert told(sides) == [("previous", 200, "ok", None)]


SCRIPT = """
import gc, os, sys
from rollout_gate import Gate
from rollout_gate.http import client
gate, url, path = Gate(sys.argv[1], poll_s=60), sys.argv[2], sys.argv[3]
http = client(gate, sys.argv[4], org="acme", tokenlab_key="sk-x", previous_key="sk-y")
def open_response():
    request = http.build_request("POST", url + path, json={"model": "m"})
    return http.send(request, stream=True)
def child(does):
    if os.fork() == 0:
        does()
        gate.refresh()
        os._exit(0)
    assert os.wait()[1] == 0
"""


def run(sides: TwoSides, script: str, path: str = CHAT, route: str = "chat") -> None:
    done = subprocess.run(
        # From 3.12 on, CPython warns of every fork of a process with threads.
        [*(sys.executable, "-W", "ignore::DeprecationWarning", "-c", SCRIPT + script),
         *(str(sides.path), sides.previous.url, path, route)],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")


FORKS = {
    "dropped before": """
response = open_response()
del response
child(lambda: None)
gate.refresh()
""",
    "closed by both": """
response = open_response()
child(response.close)
response.read()
""",
    "read by both": """
response = open_response()
child(lambda: [*response.iter_raw()])
response.close()
""",
    "dropped by both": """
response = open_response()
def drop():
    global response
    del response
child(drop)
drop()
gate.refresh()
""",
}


@pytest.mark.parametrize("name", FORKS)
def test_a_request_of_before_a_fork_has_one_line(sides: TwoSides, name: str) -> None:
    sides.decide(0)
    run(sides, FORKS[name])
    assert len(sides.lines()) == 1


def test_a_forked_child_says_nothing_of_its_parents_job(sides: TwoSides) -> None:
    decide_video(sides)
    sides.previous.answer = lambda _: Reply(200, {"id": "task-1", "status": "queued"})
    script = "response = open_response()\nresponse.read()\nresponse = open_response()\n"
    run(sides, script + "response.read()\nchild(response.close)", CREATE, "video")
    script = "response = open_response()\nchild(response.close)\nresponse.read()"
    run(sides, script, CREATE, "video")
    path = sides.path.parent / "rollout-jobs.sqlite3"
    with contextlib.closing(sqlite3.connect(path)) as database:
        found = database.execute("select state, status from creates").fetchall()
    assert found == [("open", 200)] * 3
    assert len(sides.lines()) == 3


ENDS = {
    "exit": "",
    "the gate closed before": "gate.close()",
    "another gate": "other = Gate(sys.argv[1], poll_s=60)",
}


@pytest.mark.parametrize("name", ENDS)
def test_a_response_that_was_dropped_unread_has_a_line_at_the_end(
    sides: TwoSides, name: str
) -> None:
    sides.decide(0)
    run(sides, f"{ENDS[name]}\nresponse = open_response()\ndel response\ngc.collect()")
    assert told(sides) == [("previous", 200, "abandoned", "abandoned")]


def test_a_create_that_was_dropped_unread_is_known_at_the_end(sides: TwoSides) -> None:
    decide_video(sides)
    sides.previous.answer = lambda _: Reply(200, {"id": "task-1", "status": "queued"})
    run(sides, "response = open_response()\ndel response\ngc.collect()", CREATE, "video")
    path = sides.path.parent / "rollout-jobs.sqlite3"
    with contextlib.closing(sqlite3.connect(path)) as database:
        found = database.execute("select state, status from creates").fetchall()
    assert found == [("unknown", 0)]
    assert len(sides.lines()) == 1


@pytest.mark.parametrize("first", ["close", "drop"])
def test_a_closed_gate_owes_no_line(sides: TwoSides, first: str) -> None:
    sides.decide(0)
    with Gate(sides.path, poll_s=60) as gate:
        http = client(gate, "chat", org="acme", tokenlab_key=TOKENLAB)
        request = http.build_request("POST", f"{sides.previous.url}{CHAT}", json={"model": "m"})
        response = http.send(request, stream=True)
        if first == "close":
            gate.close()
        del response
        gc.collect()
        gate.close()
        until(lambda: len(sides.lines()) == 1)
        http.close()


def test_a_gate_that_is_dropped_with_its_response_owes_no_line(sides: TwoSides) -> None:
    sides.decide(0)
    gate = Gate(sides.path, poll_s=0.2)
    inner = httpx2.MockTransport(lambda _: httpx2.Response(200, stream=httpx2.ByteStream(b"{}")))
    http = client(gate, "chat", org="acme", tokenlab_key=TOKENLAB, inner=inner)
    request = http.build_request("POST", f"{sides.previous.url}{CHAT}", json={"model": "m"})
    response = http.send(request, stream=True)
    gone = weakref.ref(gate)
    del response, request, http, gate, inner
    gc.collect()
    until(lambda: len(sides.lines()) == 1)
    until(lambda: gc.collect() >= 0 and gone() is None)


@libraries
def test_a_port_that_is_none_is_refused_by_the_library_alone(sides: TwoSides, library: Any) -> None:
    """The gate compares hosts and ports, and raised for this one itself."""
    url = "http://127.0.0.1:99999/v1/models"
    with library.Client() as plain, pytest.raises(library.TransportError):
        plain.get(url)
    with open_client(sides, library) as http:
        with pytest.raises(library.TransportError):
            http.get(url)
        assert http.post("http://127.0.0.1:99999" + CHAT, json={"model": "m"}).status_code == 200
