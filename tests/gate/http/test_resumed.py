"""What a create is answered with that the ledger knows, whatever the ids and the rows in it are."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rollout_gate import subject
from rollout_gate.http import client
from tests.support.loopback import PREVIOUS, TOKENLAB, Reply, TwoSides

CREATE = "/v1/videos/generations"
ASK = {"model": "m", "prompt": "a lighthouse"}
TASK = {"id": "task-1", "status": "queued"}


def decide(sides: TwoSides, percent: int = 0, more: str = "") -> None:
    """Put a route of videos in force."""
    sides.put(
        f'[tokenlab]\nbase_url = "{sides.tokenlab.url}"\n'
        f'[routes.video]\nformat = "video"\ndefault_percent = {percent}\n'
        f'previous_base_url = "{sides.previous.url}/v1"\n{more}'
    )
    sides.gate.refresh()
    sides.gate.refresh()


@pytest.fixture
def http(sides: TwoSides) -> Iterator[Any]:
    """A client of a route of videos, all of which the previous side makes."""
    decide(sides)
    with client(
        sides.gate, "video", org="acme", tokenlab_key=TOKENLAB, previous_key=PREVIOUS
    ) as made:
        yield made


def create(http: Any, sides: TwoSides, job: str, org: str | None = None) -> Any:
    with subject(org, job_id=job):
        return http.post(f"{sides.previous.url}{CREATE}", json=ASK)


def ledger(sides: TwoSides) -> Path:
    return sides.path.parent / "rollout-jobs.sqlite3"


def code(answer: Any) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


@pytest.mark.parametrize("task", ["tâche-1", "t\r\nX-Injected: 1", "задача", "task-1"])
def test_an_id_that_no_header_can_have_is_in_the_body(
    sides: TwoSides, http: Any, task: str
) -> None:
    sides.previous.answer = lambda _: Reply(200, {"id": task, "status": "queued"})
    create(http, sides, "job-1")
    again = create(http, sides, "job-1")
    assert (again.status_code, again.headers["x-rollout-resumed"]) == (200, "true")
    assert again.json()["id"] == task
    assert again.headers.get("x-task-id") == (task if task == "task-1" else None)
    assert len(sides.previous.received) == 1


def test_an_id_that_json_cannot_have_is_escaped(sides: TwoSides, http: Any) -> None:
    sides.previous.answer = lambda _: Reply(500, {})
    assert create(http, sides, "a\udcff", "o\udcff").status_code == 500
    again = create(http, sides, "a\udcff", "o\udcff")
    assert code(again) == (409, "create_outcome_unknown")
    assert "a\\udcff" in again.json()["error"]["message"]
    assert "o\\udcff" in again.json()["error"]["message"]
    assert len(sides.previous.received) == 1


def test_a_model_that_json_cannot_have_loses_no_task(sides: TwoSides, http: Any) -> None:
    sides.previous.answer = lambda _: Reply(200, TASK, {"X-Task-ID": "task-1"})
    body = b'{"model": "m\\udcff", "prompt": "p"}'
    headers = {"Content-Type": "application/json"}
    for _ in range(2):
        with subject(job_id="job-1"):
            answer = http.post(f"{sides.previous.url}{CREATE}", content=body, headers=headers)
        assert answer.json()["id"] == "task-1"
    assert len(sides.previous.received) == 1
