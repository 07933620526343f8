"""Media whose status is 200 and whose answer is none: images, creates of tasks, and their polls."""

import json
from typing import Any

import httpx
import pytest

from rollout_console.sim.app import PREVIOUS
from rollout_console.sim.server import SimServer
from tests.sim.asking import NO_JSON, SIDES, THEIRS, set_fault
from tests.sim.test_contract import KEY

BOTH = pytest.mark.parametrize("side", SIDES)
CREATES = {
    "images": ("openai-image-1", "data"),
    "videos": ("google-video-1", "video_url"),
    "music": ("suno-music-1", "audio_url"),
    "3d": ("tripo-3d-1", "model_url"),
}
TASKS = [kind for kind in CREATES if kind != "images"]


def headers_of(side: str) -> dict[str, str]:
    return KEY if side == "tokenlab" else THEIRS


def create(api: httpx.Client, side: str, kind: str) -> httpx.Response:
    base = "" if side == "tokenlab" else PREVIOUS
    body = {"model": CREATES[kind][0], "prompt": "a cube"}
    answer = api.post(f"{base}/v1/{kind}/generations", json=body, headers=headers_of(side))
    assert answer.status_code == 200
    assert int(answer.headers["content-length"]) == len(answer.content)
    return answer


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rollout_console.sim.media.QUEUED_S", 0.0)
    monkeypatch.setattr("rollout_console.sim.media.WORKING_S", 0.0)


@BOTH
@pytest.mark.parametrize("kind", CREATES)
def test_a_create_fails_inside_a_200(
    api: httpx.Client, sim: SimServer, side: str, kind: str
) -> None:
    used, tasks = sim.state.used, len(sim.state.tasks)
    set_fault(api, kind="failure", code="balance")
    answer = create(api, side, kind)
    assert [*answer.json()] == ["error"]
    code = "insufficient_balance" if side == "tokenlab" else "insufficient_quota"
    assert answer.json()["error"]["code"] == code
    assert "x-task-id" not in answer.headers
    assert (sim.state.used, len(sim.state.tasks)) == (used, tasks)
    assert sim.state.requests[-1].fault == "failure"


@BOTH
@pytest.mark.parametrize("kind", CREATES)
def test_a_create_is_cut_or_empty(api: httpx.Client, side: str, kind: str) -> None:
    set_fault(api, kind="cut")
    with pytest.raises(ValueError, match=NO_JSON):
        json.loads(create(api, side, kind).content)
    set_fault(api, kind="empty", variant="blank")
    assert create(api, side, kind).content == b""
    for variant in ("", "bare"):
        set_fault(api, kind="empty", variant=variant)
        body = create(api, side, kind).json()
        assert not {"id", "task_id", "poll_url"} & body.keys()
        if kind == "images":
            assert body.get("data") == (None if variant else [])
        else:
            assert body["status"] == "pending"


@BOTH
@pytest.mark.parametrize("kind", TASKS)
@pytest.mark.usefixtures("quick")
def test_a_poll_is_no_answer(api: httpx.Client, side: str, kind: str) -> None:
    url = create(api, side, kind).json()["poll_url"]

    def poll(**fault: Any) -> httpx.Response:
        set_fault(api, path="/v1/tasks/", **fault)
        answer = api.get(url, headers=headers_of(side))
        assert answer.status_code == 200
        return answer

    assert [*poll(kind="failure").json()] == ["error"]
    ended = poll(kind="failure", variant="ending", code="timeout").json()
    assert (ended["status"], ended["id"]) == ("failed", url.rsplit("/", 1)[1])
    assert ended["error"]["message"]
    result = CREATES[kind][1]
    assert not {result, "progress"} & ended.keys()
    empty = poll(kind="empty").json()
    assert empty["status"] == "completed"
    assert result not in empty
    with pytest.raises(ValueError, match=NO_JSON):
        poll(kind="cut").json()
    api.delete("/_sim/faults")
    assert api.get(url, headers=headers_of(side)).json()[result]


@BOTH
def test_a_task_that_is_made_and_fails_can_be_polled(api: httpx.Client, side: str) -> None:
    set_fault(api, kind="failure", variant="ending")
    made = create(api, side, "videos").json()
    assert made["status"] == "failed"
    assert api.get(made["poll_url"], headers=headers_of(side)).json()["status"] == "failed"


@BOTH
@pytest.mark.parametrize("fault", ["filter", "length", "stall", "trickle"])
def test_what_makes_no_sense_for_media_changes_nothing(
    api: httpx.Client, sim: SimServer, side: str, fault: str
) -> None:
    set_fault(api, kind=fault)
    assert create(api, side, "images").json()["data"]
    assert sim.state.requests[-1].fault == ""


def test_an_image_is_a_task_where_the_request_asks_for_one(api: httpx.Client) -> None:
    body = {"model": "openai-image-1", "prompt": "a cube", "async": True}
    task = api.post("/v1/images/generations", json=body, headers=KEY)
    made = task.json()
    assert (made["status"], made["id"]) == ("pending", task.headers["x-task-id"])
    for path in (made["poll_url"], f"/v1/images/{made['id']}"):
        assert api.get(path, headers=KEY).json()["status"] in ("pending", "processing")


@BOTH
@pytest.mark.parametrize("kind", TASKS)
@pytest.mark.usefixtures("quick")
def test_a_task_fails_or_never_ends_after_its_200(
    api: httpx.Client, sim: SimServer, side: str, kind: str
) -> None:
    base, used = "" if side == "tokenlab" else PREVIOUS, sim.state.used
    for fate, status in (("task_failed", "failed"), ("task_stuck", "processing")):
        set_fault(api, kind=fate)
        made = create(api, side, kind).json()
        api.delete("/_sim/faults")
        found = api.get(f"{base}/v1/tasks/{made['id']}", headers=headers_of(side)).json()
        assert found["status"] == status
        assert ("error" in found) == (status == "failed")
        assert "billing_transaction_id" not in found
    assert sim.state.used == used, "a failure is not charged"
