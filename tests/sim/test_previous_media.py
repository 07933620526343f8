"""The previous provider makes media too: what is the same there, and what is TokenLab's alone."""

from pathlib import Path
from typing import Any

import httpx
import pytest

from rollout_console.sim.app import PREVIOUS
from rollout_console.sim.server import SimServer
from rollout_console.sim.state import DEMO_KEY
from rollout_gate import Gate, subject
from rollout_gate.http import client
from tests.sim.test_contract import KEY

THEIRS = {"Authorization": "Bearer theirs"}
MODELS = {"videos": "runway-video-1", "music": "suno-music-1", "3d": "tripo-3d-1"}
RESULTS = {"videos": "video_url", "music": "audio_url", "3d": "model_url"}


def create(
    api: httpx.Client, kind: str, *, previous: bool, headers: dict[str, str] | None = None
) -> httpx.Response:
    base, usual = (PREVIOUS, THEIRS) if previous else ("", KEY)
    body = {"model": MODELS[kind], "prompt": "a lighthouse"}
    return api.post(f"{base}/v1/{kind}/generations", json=body, headers=headers or usual)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rollout_console.sim.media.QUEUED_S", 0.0)
    monkeypatch.setattr("rollout_console.sim.media.WORKING_S", 0.0)


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.usefixtures("quick")
def test_a_task_of_the_previous_side_has_the_same_form(api: httpx.Client, kind: str) -> None:
    def finished(previous: bool) -> dict[str, Any]:
        made = create(api, kind, previous=previous)
        assert made.status_code == 200
        headers = THEIRS if previous else KEY
        task: dict[str, Any] = api.get(made.json()["poll_url"], headers=headers).json()
        assert task["id"] == task["task_id"] == made.json()["id"]
        assert task["status"] == "completed"
        return task

    theirs, ours = finished(True), finished(False)
    assert ours.keys() - theirs.keys() == {"billing_transaction_id"}
    assert theirs.keys() <= ours.keys()
    assert theirs[RESULTS[kind]]


def test_what_is_tokenlabs_alone(api: httpx.Client, sim: SimServer) -> None:
    used, records = sim.state.used, len(sim.state.usage)
    theirs = create(api, "videos", previous=True)
    assert (sim.state.used, len(sim.state.usage)) == (used, records)
    assert not {"x-task-id", "x-request-id", "x-billing-transaction-id"} & theirs.headers.keys()
    assert theirs.json()["poll_url"].startswith(f"{PREVIOUS}/v1/tasks/")
    assert api.delete(theirs.json()["poll_url"], headers=THEIRS).status_code == 404
    ours = create(api, "videos", previous=False)
    assert sim.state.used > used
    assert ours.headers["x-task-id"] == ours.json()["id"]
    assert ours.json()["id"][:5] != theirs.json()["id"][:5]


def test_a_task_is_known_on_its_own_side_and_to_its_own_key(api: httpx.Client) -> None:
    theirs = create(api, "videos", previous=True).json()
    ours = create(api, "videos", previous=False).json()
    assert api.get(theirs["poll_url"], headers=THEIRS).json()["status"] == "pending"
    assert api.get(f"/v1/tasks/{theirs['id']}", headers=KEY).status_code == 404
    assert api.get(f"{PREVIOUS}/v1/tasks/{ours['id']}", headers=THEIRS).status_code == 404
    other = {"Authorization": "Bearer another"}
    assert api.get(theirs["poll_url"], headers=other).status_code == 403
    assert api.get(theirs["poll_url"]).status_code == 401


def test_tokenlabs_key_is_no_key_there(api: httpx.Client, sim: SimServer) -> None:
    made = create(api, "videos", previous=True).json()
    leaks, tasks = sim.state.credential_leaks, len(sim.state.tasks)
    assert create(api, "videos", previous=True, headers=KEY).status_code == 401
    assert api.get(made["poll_url"], headers=KEY).status_code == 401
    assert sim.state.credential_leaks == leaks + 2
    assert len(sim.state.tasks) == tasks


def test_an_image_is_answered_at_once_on_both_sides(api: httpx.Client) -> None:
    body = {"model": "openai-image-1", "prompt": "a cube"}
    theirs = api.post(f"{PREVIOUS}/v1/images/generations", json=body, headers=THEIRS)
    ours = api.post("/v1/images/generations", json=body, headers=KEY)
    assert theirs.json()["data"] == ours.json()["data"]
    assert ours.json()["billing_transaction_id"] == ours.headers["x-billing-transaction-id"]
    assert "billing_transaction_id" not in theirs.json()


@pytest.mark.parametrize("missing", ["model", "prompt"])
def test_a_create_without_what_it_needs_is_refused(api: httpx.Client, missing: str) -> None:
    body = {"model": "anything", "prompt": "a cube"}
    del body[missing]
    url = f"{PREVIOUS}/v1/videos/generations"
    refused = api.post(url, json=body, headers=THEIRS)
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, missing)


@pytest.mark.parametrize(("percent", "side"), [(0, "previous"), (100, "tokenlab")])
def test_a_job_through_the_gate_is_made_once_on_the_side_decided(
    api: httpx.Client, sim: SimServer, tmp_path: Path, percent: int, side: str
) -> None:
    path, base = tmp_path / "rollout.toml", sim.previous_base_url
    path.write_text(
        f'schema = 1\nalgorithm = "fractional-v3"\n[tokenlab]\nbase_url = "{sim.base_url}"\n'
        f'[routes.video]\nformat = "video"\nprevious_base_url = "{base}/v1"\n'
        f"default_percent = {percent}\n"
    )
    used = sim.state.used
    with Gate(path) as gate, client(
        gate, "video", org="acme", tokenlab_key=DEMO_KEY, library="httpx", headers=THEIRS
    ) as http, subject(job_id=f"order-{side}"):  # fmt: skip
        body = {"model": "runway-video-1", "prompt": "a lighthouse"}
        made, again = (http.post(f"{base}/v1/videos/generations", json=body) for _ in range(2))
    assert made.json() == again.json()
    assert again.headers["x-rollout-resumed"] == "true"
    asked = api.get(made.json()["poll_url"], headers=KEY if side == "tokenlab" else THEIRS)
    assert asked.json()["id"] == made.json()["id"]
    assert sim.state.tasks[made.json()["id"]].side == side
    assert (sim.state.used == used) == (side == "previous")
