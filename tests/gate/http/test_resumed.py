"""What a create is answered with that the ledger knows, whatever the ids and the rows in it are."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from rollout_gate import subject
from rollout_gate.http import client
from rollout_gate.http.job_ledger import TaskLedger
from tests.support.loopback import PREVIOUS, TOKENLAB, Received, Reply, TwoSides

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


def damage(sides: TwoSides, *statements: str) -> None:
    with closing(sqlite3.connect(ledger(sides))) as database:
        for statement in statements:
            database.execute(statement)
        database.commit()


NOTHING = "task_id = null, status = null, body = null"
DAMAGED = [
    ("sent_at = 'abc'", 200), ("sent_at = 9e99", 200), ("sent_at = -9e99", 200),
    ("sent_at = x'00'", 200), ("side = 'mars'", 200), ("side = x'ff'", 200),
    ("status = 'abc'", 200), ("status = 99999", 200), ("status = 4.5", 200),
    ("task_id = x'ff'", 200), ("task_id = cast(x'ff' as text)", 200),
    ("body = 'text'", 200), ("body = x'00'", 200), ("body = x'5b5d'", 200), ("body = 7", 200),
    (f"sent_at = 'abc', {NOTHING}", 409), (f"sent_at = 9e99, {NOTHING}", 409),
    (f"sent_at = 9e999, {NOTHING}", 409), (f"sent_at = -1, {NOTHING}", 409),
    (f"side = 7, {NOTHING}", 409), ("task_id = null, status = 'abc', body = 'text'", 409),
]  # fmt: skip


@pytest.mark.parametrize(("values", "status"), DAMAGED)
def test_a_damaged_row_is_a_job_that_was_sent(
    sides: TwoSides, http: Any, values: str, status: int
) -> None:
    sides.previous.answer = lambda _: Reply(200, TASK)
    create(http, sides, "job-1")
    damage(sides, f"update jobs set {values}")
    for _ in range(2):
        again = create(http, sides, "job-1")
        if status == 409:
            assert code(again) == (409, "create_outcome_unknown")
            assert "jobs forget video job-1 --org acme" in again.json()["error"]["message"]
        else:
            assert (again.status_code, again.json()["id"]) == (200, "task-1")
    assert http.get(f"{sides.previous.url}/v1/tasks/task-1").status_code == 200
    assert create(http, sides, "job-2").status_code == 200, "and others are created"
    assert [one.method for one in sides.previous.received] == ["POST", "GET", "POST"]


@pytest.mark.parametrize(
    "values",
    ["sent_at = 'abc'", "sent_at = 9e99", "state = 'mars'", "task_id = x'ff'", "status = 'abc'",
     "fingerprint = fingerprint, side = 5", "polls = 'many', progress = 'half'"],
)  # fmt: skip
def test_a_damaged_row_of_a_request_is_one_that_was_sent(
    sides: TwoSides, http: Any, values: str
) -> None:
    decide(sides, more='dedupe = "10m"\n')
    sides.previous.answer = lambda _: Reply(200, TASK)
    url = f"{sides.previous.url}{CREATE}"
    http.post(url, json=ASK)
    damage(sides, f"update creates set {values}", "delete from jobs")
    assert http.post(url, json=ASK).status_code in (200, 409)
    assert http.get(f"{sides.previous.url}/v1/tasks/task-1").status_code == 200
    assert [one.method for one in sides.previous.received] == ["POST", "GET"]


@pytest.mark.parametrize("value", ["'text'", "1000000000000", "4.5"])
def test_a_damaged_key_of_the_hashes_stops_no_create(
    sides: TwoSides, http: Any, value: str
) -> None:
    sides.previous.answer = lambda _: Reply(200, TASK)
    create(http, sides, "job-1")
    damage(sides, f"update ledger_keys set value = {value}")
    with client(
        sides.gate, "video", org="acme", tokenlab_key=TOKENLAB, previous_key=PREVIOUS,
        ledger=TaskLedger(ledger(sides)),
    ) as other:  # fmt: skip
        assert create(other, sides, "job-2").status_code == 200


def numbered(sides: TwoSides) -> None:
    """Answer each create with a task of its own."""
    sides.previous.answer = lambda _: Reply(
        200, {"id": f"task-{len(sides.previous.received)}", "status": "queued"}
    )


@pytest.mark.parametrize("orgs", [["\0", "acme"], ["acme", "\0"], ["\0", "", "\0\0", "\0\0\0"]])
@pytest.mark.parametrize("in_header", [False, True])
def test_no_orgs_job_is_that_of_another(
    sides: TwoSides, http: Any, orgs: list[str], in_header: bool
) -> None:
    numbered(sides)
    url = f"{sides.previous.url}{CREATE}"
    for _ in range(2):
        for at, org in enumerate(orgs, 1):
            if in_header:
                headers = {"X-Rollout-Org": org, "X-Rollout-Job-Id": "job-1"}
                answer = http.post(url, json=ASK, headers=headers)
            else:
                answer = create(http, sides, "job-1", org)
            assert answer.json()["id"] == f"task-{at}", ascii(org)
    assert len(sides.previous.received) == len(orgs)


def test_no_orgs_request_is_that_of_another(sides: TwoSides, http: Any) -> None:
    decide(sides, more='dedupe = "10m"\n')
    numbered(sides)
    for _ in range(2):
        for at, org in enumerate(("\0", "acme", "\0\0"), 1):
            with subject(org):
                answer = http.post(f"{sides.previous.url}{CREATE}", json=ASK)
            assert answer.json()["id"] == f"task-{at}"


def test_a_job_of_a_nul_is_forgotten_alone(sides: TwoSides, http: Any) -> None:
    sides.previous.answer = lambda _: Reply(500, {})
    for org in ("acme", "\0"):
        create(http, sides, "job-1", org)
    with closing(TaskLedger(ledger(sides))) as made:
        made.forget("video", "job-1", org="\0")
    assert create(http, sides, "job-1", "acme").status_code == 409
    numbered(sides)
    assert create(http, sides, "job-1", "\0").json()["id"] == "task-3"
    assert create(http, sides, "job-1", "\0").headers["x-rollout-resumed"] == "true"


ECHO = {
    "id": "task-1", "object": "video", "status": "queued", "model": "sora-2", "progress": 0,
    "created_at": 17, "seconds": "8", "size": "720x1280", "error": None,
    "poll_url": "https://jo:canary@a.example/v1/tasks/task-1?sig=canary",
    "prompt": "canary of a prompt", "input": {"prompt": "canary"},
    "video_url": "https://a.example/1.mp4?sig=canary", "image_url": "https://a.example/canary.png",
    "videos": [{"url": "https://a.example/canary"}],
    "content": {"video_url": "https://jo:canary@a.example/", "text": "canary"},
    "video": {"url": "https://a.example/1.mp4", "duration": 8, "prompt": "canary"},
    "quality": "https://a/canary", "debug": {"auth": PREVIOUS}, "request_id": PREVIOUS,
    "service_tier": {"canary": 1}, "type": f"Bearer {PREVIOUS}", "metadata": {"note": "canary"},
}  # fmt: skip


def stored(sides: TwoSides) -> bytes:
    return b"".join(one.read_bytes() for one in sides.path.parent.glob("rollout-jobs*"))


@pytest.mark.parametrize("more", [{}, {"status": "running", "error": {
    "code": "nsfw", "type": PREVIOUS, "message": "canary said no", "canary": 1}}])  # fmt: skip
def test_the_ledger_keeps_no_prompt_no_asset_and_no_credential(
    sides: TwoSides, http: Any, more: dict[str, Any]
) -> None:
    sides.previous.answer = lambda _: Reply(200, {**ECHO, **more})
    assert "canary" in create(http, sides, "job-1").text, "the first has all of it"
    again = create(http, sides, "job-1")
    assert "canary" not in again.text
    assert b"canary" not in stored(sides)
    if not more:
        assert again.json() == {
            "id": "task-1", "object": "video", "status": "queued", "model": "sora-2",
            "progress": 0, "created_at": 17, "seconds": "8", "size": "720x1280",
            "poll_url": "https://a.example/v1/tasks/task-1", "quality": "", "error": None,
            "request_id": "redacted", "type": "redacted", "content": {},
            "video": {"url": "https://a.example/1.mp4", "duration": 8},
        }  # fmt: skip


@pytest.mark.parametrize(
    ("body", "is_whole"),
    [(b'{ "status": "queued",\n "id": "task-1"}', True),
     (b'{"status": "canary", "id": "task-1", "status": "queued"}', False),
     (b'{"id": "task-1", "video": {"url": "https://a/?canary", "url": "https://a"}}', False)],
)  # fmt: skip
def test_an_answer_without_any_such_is_given_again_byte_for_byte(
    sides: TwoSides, http: Any, body: bytes, is_whole: bool
) -> None:
    sides.previous.answer = lambda _: Reply(200, body)
    create(http, sides, "job-1")
    again = create(http, sides, "job-1")
    assert (again.content == body) == is_whole
    assert again.json()["id"] == "task-1"
    assert b"canary" not in stored(sides)


@pytest.mark.parametrize("headers", [{}, {"X-Task-ID": PREVIOUS}])
def test_a_task_that_is_named_like_a_credential_is_none(
    sides: TwoSides, http: Any, headers: dict[str, str]
) -> None:
    answer = {"id": PREVIOUS, "status": "queued"} if not headers else {"no": "id"}
    sides.previous.answer = lambda _: Reply(200, answer, headers)
    create(http, sides, "job-1")
    http.get(f"{sides.previous.url}/v1/tasks/{PREVIOUS}")
    assert code(create(http, sides, "job-1")) == (409, "create_outcome_unknown")
    assert PREVIOUS.encode() not in stored(sides)
    assert PREVIOUS not in sides.log.read_text()
    assert [line["task_id"] for line in sides.lines()] == ["redacted", "redacted"]


def test_an_id_that_only_looks_like_a_credential_is_whole(sides: TwoSides, http: Any) -> None:
    sides.previous.answer = lambda _: Reply(200, {"id": "mt-4f2a91c0", "status": "queued"})
    create(http, sides, "job-1")
    assert create(http, sides, "job-1").json()["id"] == "mt-4f2a91c0"
    assert sides.lines()[0]["task_id"] == "mt-4f2a91c0"


def test_an_answer_that_an_earlier_release_has_kept_whole_is_given_again(
    sides: TwoSides, http: Any
) -> None:
    whole = b'{"id": "task-1", "prompt": "p"}'
    with closing(TaskLedger(ledger(sides))) as made:
        made.begin("video", "job-1", "previous", org="acme")
        made.created("video", "job-1", "task-1", 200, whole, org="acme")
    assert create(http, sides, "job-1").content == whole
    assert sides.previous.received == []


@pytest.mark.parametrize("number", ["123", "0", "9" * 30], ids=len)
@pytest.mark.parametrize("name", ["id", "task_id"])
@pytest.mark.parametrize("percent", [0, 100])
def test_a_task_may_be_numbered(
    sides: TwoSides, http: Any, number: str, name: str, percent: int
) -> None:
    decide(sides, percent)
    side, other = (sides.previous, sides.tokenlab)[:: -1 if percent else 1]
    body = f'{{"{name}": {number}, "status": "queued"}}'.encode()
    side.answer = lambda _: Reply(200, body)
    create(http, sides, "job-1")
    again = create(http, sides, "job-1")
    assert (again.status_code, again.headers["x-rollout-resumed"]) == (200, "true")
    assert str(again.json()[name]) == number
    decide(sides, 100 - percent)
    http.get(f"{sides.previous.url}/v1/tasks/{number}")
    assert [one.method for one in side.received] == ["POST", "GET"]
    assert other.received == []
    assert [line["task_id"] for line in sides.lines()] == [number] * 2


def test_what_is_no_number_of_a_task(sides: TwoSides, http: Any) -> None:
    for at, word in enumerate((b"true", b"-1", b"1.5", b"null", b"{}", b"[1]")):
        body = b'{"id": %s, "status": "queued"}' % word
        sides.previous.answer = lambda _, body=body: Reply(200, body)  # type: ignore[misc]
        create(http, sides, f"job-{at}")
        assert create(http, sides, f"job-{at}").status_code == 409


@pytest.mark.parametrize("is_buffered", [False, True])
@pytest.mark.parametrize(
    ("method", "ended", "is_repeated"),
    [
        ("GET", {"status": "failed"}, True), ("GET", {"status": "EXPIRED"}, True),
        ("DELETE", {"status": "failed", "cancelled": True}, True),
        ("GET", {"status": "canceled"}, True), ("POST", {"status": "failed"}, True),
        ("GET", {"status": "completed"}, False), ("GET", {"status": "running"}, False),
    ],
)  # fmt: skip
def test_a_job_is_repeated_at_once_after_its_task_has_failed(
    sides: TwoSides, http: Any, method: str, ended: Any, is_repeated: bool, is_buffered: bool
) -> None:
    made = TaskLedger(sides.path)  # no database
    if is_buffered:
        http = client(
            sides.gate, "video", org="acme", tokenlab_key=TOKENLAB, previous_key=PREVIOUS,
            ledger=made,
        )  # fmt: skip
    tasks: list[str] = []

    def answer(one: Received) -> Reply:
        if one.method == "POST":
            tasks.append(f"task-{len(tasks) + 1}")
        stands = ended if one.method == method and len(tasks) == 1 else {"status": "queued"}
        return Reply(200, {"id": tasks[-1], **stands})

    sides.previous.answer = answer
    create(http, sides, "job-1")
    http.request("GET" if method == "POST" else method, f"{sides.previous.url}/v1/tasks/task-1")
    for _ in range(2):
        again = create(http, sides, "job-1")
        assert again.json()["id"] == ("task-2" if is_repeated else "task-1")
    assert again.headers["x-rollout-resumed"] == "true"
    assert len(tasks) == 1 + is_repeated
    http.close()
    made.close()


def test_another_process_repeats_a_failed_job_once(sides: TwoSides, http: Any) -> None:
    numbered(sides)
    create(http, sides, "job-1")
    sides.previous.answer = lambda _: Reply(200, {"id": "task-1", "status": "failed"})
    http.get(f"{sides.previous.url}/v1/tasks/task-1")
    with closing(TaskLedger(ledger(sides))) as one, closing(TaskLedger(ledger(sides))) as other:
        assert one.begin("video", "job-1", "previous", org="acme") is None
        known = other.begin("video", "job-1", "previous", org="acme")
    assert known is not None
    assert known.task_id is None


REFUSALS = [
    {"id": "req-1", "code": 1, "message": "no balance"},
    {"id": "req-1", "code": "1002", "msg": "no balance"},
    {"request_id": "req-1", "code": "InvalidParameter", "message": "no such model"},
    {"id": "req-1", "error": {"code": "insufficient_quota"}},
    {"id": "req-1", "error": "no"},
]


@pytest.mark.parametrize("answer", REFUSALS)
def test_a_refusal_in_a_200_is_an_error_and_its_id_no_task(
    sides: TwoSides, http: Any, answer: dict[str, Any]
) -> None:
    sides.previous.answer = lambda _: Reply(200, answer)
    create(http, sides, "job-1")
    (line,) = sides.lines()
    assert (line["status"], line["outcome"], line.get("task_id")) == (200, "error", None)
    assert code(create(http, sides, "job-1")) == (409, "create_outcome_unknown")


@pytest.mark.parametrize(
    "answer",
    [{"id": "t", "code": 0, "message": "SUCCEED"}, {"id": "t", "code": 200, "msg": "x"},
     {"id": "t", "code": "ok", "message": "x"}, {"id": "t", "code": 1, "message": "Success!"},
     {"id": "t", "status": "queued", "code": 1, "message": "x"}, {"id": 0, "message": "x"},
     {"task_id": "t", "code": 7, "message": "x"}, {"id": "t", "code": None, "message": "x"},
     {"id": "t", "error": None}, {"id": "t", "error": {}}, {"id": "t", "code": True, "msg": "x"}],
)  # fmt: skip
def test_what_is_no_refusal(sides: TwoSides, http: Any, answer: dict[str, Any]) -> None:
    sides.previous.answer = lambda _: Reply(200, answer)
    create(http, sides, "job-1")
    (line,) = sides.lines()
    task = answer.get("task_id", answer.get("id"))
    assert (line["outcome"], line["task_id"]) == ("ok", str(task))
    assert create(http, sides, "job-1").headers["x-rollout-resumed"] == "true"


WORDS = ["failed", "FAILED", "failure", "rejected", "error", "expired", "Timeout", "cancelled",
         "canceled", "queued", "succeeded", "a word of tomorrow"]  # fmt: skip


@pytest.mark.parametrize("word", WORDS)
def test_a_task_that_has_failed_is_no_good_answer(sides: TwoSides, http: Any, word: str) -> None:
    sides.previous.answer = lambda _: Reply(200, {"id": "t", "status": word})
    create(http, sides, "job-1")
    (line,) = sides.lines()
    assert (line["outcome"] == "error") == (line["task_status"] == "failed")


@pytest.mark.parametrize("is_buffered", [False, True])
@pytest.mark.parametrize("jobs", [("job-1", "job-2"), (None, None), ("job-1", None)])
@pytest.mark.parametrize("first", [0, 100])
def test_of_two_tasks_of_one_id_the_newer_is_asked_about(
    sides: TwoSides, jobs: tuple[str | None, str | None], first: int, is_buffered: bool
) -> None:
    for side in (sides.previous, sides.tokenlab):
        side.answer = lambda one: Reply(
            200, {"id": "1", "status": "queued" if one.method == "POST" else "completed"}
        )
    made = TaskLedger(sides.path if is_buffered else ledger(sides))
    with client(
        sides.gate, "video", org="acme", tokenlab_key=TOKENLAB, previous_key=PREVIOUS, ledger=made
    ) as http:
        for percent, job in zip((first, 100 - first), jobs, strict=True):
            decide(sides, percent)
            with subject(job_id=job):
                assert http.post(f"{sides.previous.url}{CREATE}", json=ASK).status_code == 200
        http.get(f"{sides.previous.url}/v1/tasks/1")
    older, newer = (sides.previous, sides.tokenlab)[:: -1 if first else 1]
    assert [one.method for one in older.received] == ["POST"]
    assert [one.method for one in newer.received] == ["POST", "GET"]
    if is_buffered:
        found = {one.side: one.state for one in made._creates.values() if one is not None}
    else:
        with closing(sqlite3.connect(ledger(sides))) as database:
            found = dict(database.execute("select side, state from creates").fetchall())
    assert sorted(found.values()) == ["completed", "open"], "the other's job stays as it is"
    made.close()


def test_of_two_tasks_of_one_id_each_org_asks_about_its_own(sides: TwoSides, http: Any) -> None:
    for side in (sides.previous, sides.tokenlab):
        side.answer = lambda _: Reply(200, {"id": "1", "status": "queued"})
    create(http, sides, "job-1", "acme")
    decide(sides, 100)
    create(http, sides, "job-1", "globex")
    for org in ("acme", "globex", "initech"):
        with subject(org):
            http.get(f"{sides.previous.url}/v1/tasks/1")
    assert [one.method for one in sides.previous.received] == ["POST", "GET"]
    assert [one.method for one in sides.tokenlab.received] == ["POST", "GET", "GET"]
