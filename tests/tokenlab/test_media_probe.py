"""Media probes: made once, watched to the end, never sent again."""

import asyncio
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import msgspec
import pytest

from rollout_console.sim.server import SimServer
from rollout_console.tokenlab import media_probe
from rollout_console.tokenlab.catalogue import CatalogueClient
from rollout_console.tokenlab.media_probe import cheapest_body, probe_media
from rollout_console.tokenlab.models import Contract, ModelInfo
from rollout_console.tokenlab.probe import Probe, Target
from rollout_gate.file.model import MEDIA_FORMATS
from tests.support.waiting import soon
from tests.tokenlab.test_probe import KEY, MADE, target_of


@pytest.mark.parametrize("kind", MEDIA_FORMATS)
async def test_media_is_made_once_and_watched_to_its_end(
    sim: SimServer, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(media_probe, "POLL_S", 0.5)
    monkeypatch.setattr("rollout_console.sim.media.WORKING_S", 1.0)
    monkeypatch.setattr("rollout_console.sim.media.QUEUED_S", 0.5)
    async with CatalogueClient(sim.base_url) as client:
        model = await client.model(MADE[kind])
    assert model is not None
    before = len(sim.state.usage)
    done = await probe_media(target_of(sim, kind), KEY, model)
    assert done.problems == ()
    assert done.billing_id
    assert bool(done.task_id) == (kind != "image")
    assert len(sim.state.usage) == before + 1


@pytest.mark.parametrize("fault", [{"kind": "drop"}, {"kind": "slow", "latency_ms": 30_000}])
async def test_a_create_without_an_answer_is_never_sent_again(
    sim: SimServer, monkeypatch: pytest.MonkeyPatch, fault: dict[str, object]
) -> None:
    monkeypatch.setattr(media_probe, "LIMIT_S", 1.0)
    sim.state.faults.add(fault)
    before = sum(sim.state.counts.values())
    done = await probe_media(target_of(sim, "video"), KEY, ModelInfo("runway-video-1"))
    assert any("may have been created" in problem for problem in done.problems)
    await asyncio.sleep(0.2)
    assert sum(sim.state.counts.values()) <= before + 1


async def test_a_task_that_does_not_end_is_told(
    sim: SimServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(media_probe, "POLL_S", 0.2)
    done = await probe_media(target_of(sim, "video"), KEY, ModelInfo("runway-video-1"), wait_s=0.4)
    still, later = done.problems
    assert done.task_id in still
    assert "is still" in still
    assert "do not create it again" in later


async def test_a_task_that_is_never_told_of_ends_in_time(
    tasks: "Tasks", monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks.silent = True
    tasks.body = {"id": "t1"}
    with soon():
        done = await made_on(tasks)
    still, last, later = done.problems
    assert "task t1 is still unknown" in still
    assert last == "the last look: no answer in time"
    assert "do not create it again" in later


@pytest.mark.parametrize(
    "result",
    [
        {"video": {"url": "https://x.invalid/v.mp4"}},
        {"content": {"video_url": "https://x.invalid/v.mp4"}},
        {"status": "completed", "videos": [{"url": "x"}]},
        {"created": 1, "data": [{"b64_json": "eA=="}]},
    ],
)
async def test_a_result_that_comes_at_once_is_taken(
    tasks: "Tasks", result: dict[str, object]
) -> None:
    tasks.body = {"id": "t1", **result}
    done = await made_on(tasks)
    assert (done.problems, tasks.asked) == ((), [])
    assert [words.partition(":")[0] for words in done.notes] == [
        "there is no billing transaction id"
    ]


@pytest.mark.parametrize(
    ("said", "why"),
    [("no capacity", "no capacity"), ({"message": "no capacity"}, "no capacity"), (7, "no reason")],
)
async def test_a_failed_task_says_why(tasks: "Tasks", said: object, why: str) -> None:
    tasks.body = {"id": "t1", "status": "failed", "error": said}
    (problem,) = (await made_on(tasks)).problems
    assert problem.startswith(f"task t1 failed: {why}")


class Tasks:
    """A server that answers a create as told, and every GET with a task that is done."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.body: dict[str, object] = {}
        self.headers: dict[str, str] = {}
        self.silent = False
        tasks = self

        class Handler(BaseHTTPRequestHandler):
            def _say(self, body: object, **headers: str) -> None:
                data = json.dumps(body).encode()
                self.send_response(200)
                for name, value in {"content-length": str(len(data)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(data)

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["content-length"]))
                self._say(tasks.body, **tasks.headers)

            def do_GET(self) -> None:
                tasks.asked.append(self.path)
                if tasks.silent:
                    self.rfile.read(1)  # until the client goes away
                    return
                done = {"status": "completed", "video_url": "x", "billing_transaction_id": "b"}
                self._say(done)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def tasks(monkeypatch: pytest.MonkeyPatch) -> Iterator[Tasks]:
    monkeypatch.setattr(media_probe, "POLL_S", 0.01)
    made = Tasks()
    yield made
    made.server.shutdown()
    made.server.server_close()


async def made_on(tasks: Tasks) -> Probe:
    target = Target("clips", "video", "v", "tokenlab", tasks.url)
    return await probe_media(target, KEY, ModelInfo("v"), wait_s=1)


@pytest.mark.parametrize(
    ("poll_url", "asked"),
    [
        ("/v1/tasks/t1", "/v1/tasks/t1"),
        ("/v1/videos/generations/t1/status", "/v1/videos/generations/t1/status"),
        ("/v1/management/balance", "/v1/tasks/t1"),
        ("/v1/tasks/t1/../../management/api-keys", "/v1/tasks/t1"),
        ("/v1/videos/generations/../../management/api-keys", "/v1/tasks/t1"),
        ("/v1/videos/generations/%2e%2e/%2e%2e/management/api-keys", "/v1/tasks/t1"),
        ("/v1/videos/generations/t1?x=/../", "/v1/tasks/t1"),
        ("/v1/videos/generations/..\\..\\management", "/v1/tasks/t1"),
        ("http://[", "/v1/tasks/t1"),
        ("//elsewhere.example/v1/videos/generations/t1", "/v1/tasks/t1"),
        ("https://elsewhere.example/v1/videos/generations/t1", "/v1/tasks/t1"),
        ("@elsewhere.example/", "/v1/tasks/t1"),
        ({"a": 1}, "/v1/tasks/t1"),
    ],
)
async def test_a_key_goes_to_the_task_and_nowhere_else(
    tasks: Tasks, poll_url: object, asked: str
) -> None:
    tasks.body = {"task_id": "t1", "status": "pending", "poll_url": poll_url}
    done = await made_on(tasks)
    assert (done.problems, done.task_id) == ((), "t1")
    assert tasks.asked == [asked]


@pytest.mark.parametrize(
    ("task", "asked"),
    [
        ("../management/api-keys", ["/v1/tasks/..%2Fmanagement%2Fapi-keys"]),
        ("%2e%2e/x?y#z", ["/v1/tasks/%252e%252e%2Fx%3Fy%23z"]),
        ("..", []),
        (".", []),
        ("t" * 101, []),
        (f"x{KEY.reveal()}", []),
    ],
)
async def test_a_task_id_is_no_path(tasks: Tasks, task: str, asked: list[str]) -> None:
    tasks.headers = {"x-task-id": task}
    tasks.body = {"status": "pending", "poll_url": "/v1/management/balance"}
    done = await made_on(tasks)
    assert tasks.asked == asked
    none = ("there is neither a result nor a task id that can be one",)
    assert done.problems == (() if asked else none)
    assert KEY.reveal() not in repr(done)


def test_the_cheapest_documented_request() -> None:
    contract = Contract(
        example={"model": "x", "prompt": "a cat", "duration": 10, "resolution": "1080p", "n": 4},
        limits={"durations": "10, 5", "resolutions": "1080p, 480p, 720p"},
    )
    model = msgspec.structs.replace(ModelInfo("v"), contract=contract)
    assert cheapest_body(model) == {
        "model": "v", "prompt": "a cat", "duration": 5, "resolution": "480p", "n": 1,
    }  # fmt: skip
    assert cheapest_body(ModelInfo("v")) == {"model": "v", "prompt": media_probe.PROMPT}
