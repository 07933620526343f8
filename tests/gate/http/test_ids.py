"""Requests that name an id go to the side that made it, until that side is rolled back."""

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from rollout_gate.http import async_client, client, id_store
from rollout_gate.http.id_store import IDS_NAME, ids_at
from tests.support.loopback import PREVIOUS, TOKENLAB, Received, Reply, TwoSides
from tests.support.sdks import openai
from tests.support.waiting import until

FORMAT = "openai_responses"


def response(name: str, **more: Any) -> dict[str, Any]:
    text = {"type": "output_text", "text": "hi", "annotations": []}
    said = {"type": "message", "id": "m", "role": "assistant", "status": "completed",
            "content": [text]}  # fmt: skip
    return {"id": name, "object": "response", "status": "completed", "output": [said], **more}


def stream(name: str) -> bytes:
    created = {"type": "response.created", "response": {**response(name), "status": "in_progress",
                                                        "output": []}}  # fmt: skip
    delta = {"type": "response.output_text.delta", "delta": "hi"}
    done = {"type": "response.completed", "response": response(name)}
    events = [
        f"event: {one['type']}\ndata: {json.dumps(one)}\n\n" for one in (created, delta, done)
    ]
    return "".join(events).encode()


class Provider:
    """Answers with ids of its own, one after another."""

    def __init__(self, name: str) -> None:
        self._name, self._count = name, 0

    def __call__(self, one: Received) -> Reply:
        self._count += 1
        name = f"resp_{self._name}_{self._count}"
        if b'"stream":true' in one.body:
            return Reply(200, stream(name), {"Content-Type": "text/event-stream"})
        return Reply(200, response(name))


@pytest.fixture
def two(sides: TwoSides) -> TwoSides:
    sides.tokenlab.answer, sides.previous.answer = Provider("t"), Provider("p")
    write(sides, 100)
    return sides


def write(sides: TwoSides, percent: int, latch: str = "", org: str = "") -> None:
    sides.put(
        f'{latch if latch == FILE else ""}[tokenlab]\nbase_url = "{sides.tokenlab.url}"\n'
        f'[routes.r]\nformat = "{FORMAT}"\nmodel = "new"\n'
        f'previous_base_url = "{sides.previous.url}/v1"\n{latch if latch != FILE else ""}'
        f"[routes.r.orgs]\nacme = {org or percent}\n"
    )
    sides.gate.refresh()
    sides.gate.refresh()


FILE = "rolled_back = true \n"
LATCHES = {
    "file": {"latch": FILE},
    "route": {"latch": "rolled_back = true\n"},
    "org": {"org": "{ percent = 100, rolled_back = true }"},
}


def sdk_of(sides: TwoSides) -> "openai.OpenAI":
    made = client(sides.gate, "r", org="acme", tokenlab_key=TOKENLAB)
    return openai.OpenAI(
        base_url=f"{sides.third.url}/v1", api_key=PREVIOUS, http_client=made, max_retries=0
    )


def ask(sdk: "openai.OpenAI", **more: Any) -> Any:
    return sdk.responses.create(model="old", input="hi", **more)


def last(sides: TwoSides) -> dict[str, Any]:
    assert sides.crossings == []
    assert sides.third.received == []
    return sides.lines()[-1]


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize(("made_at", "then"), [(100, 0), (0, 100)])
def test_a_conversation_stays_on_its_side_when_the_percent_changes(
    two: TwoSides, made_at: int, then: int, streamed: bool
) -> None:
    side = "tokenlab" if made_at else "previous"
    write(two, made_at)
    with sdk_of(two) as sdk:
        first = list(ask(sdk, stream=True))[-1].response.id if streamed else ask(sdk).id
        line = last(two)
        assert (line["side"], "bound" in line, "operation" in line) == (side, False, False)
        write(two, then)
        second = ask(sdk, previous_response_id=first).id
        line = last(two)
        assert (line["side"], line["bound"], "bucket" in line) == (side, True, True)
        assert line["model"] == ("new" if side == "tokenlab" else "old")
        ask(sdk, previous_response_id=second)
        assert last(two)["side"] == side
        sdk.responses.retrieve(second)
        assert (last(two)["side"], last(two)["operation"]) == (side, "retrieve")
        sdk.responses.cancel(first)
        sdk.responses.input_items.list(second)
        sdk.responses.delete(first)
        assert {one["side"] for one in two.lines()} == {side}
        ask(sdk)
        assert last(two)["side"] != side, "a new one is decided"


@pytest.mark.parametrize("kind", LATCHES)
def test_a_rollback_moves_what_tokenlab_holds_and_says_so(two: TwoSides, kind: str) -> None:
    told: list[str] = []
    two.gate.subscribe(on_trouble=told.append)
    with sdk_of(two) as sdk:
        first = ask(sdk).id
        write(two, 100, **LATCHES[kind])
        for _ in range(3):
            ask(sdk, previous_response_id=first)
            line = last(two)
            assert (line["side"], line["moved"], "bound" in line) == ("previous", True, False)
        sdk.responses.retrieve(first)
        assert (last(two)["side"], last(two)["moved"]) == ("previous", True)
        ask(sdk)
        assert "moved" not in last(two)
        two.gate.refresh()
        (moved,) = [one for one in told if "conversation" in one]
        assert "that TokenLab holds goes to the previous provider on route r" in moved
        write(two, 0)
        ask(sdk, previous_response_id=first)
        assert (last(two)["side"], last(two)["bound"]) == ("tokenlab", True), "resumed"


@pytest.mark.parametrize("kind", LATCHES)
def test_what_the_previous_side_holds_is_not_moved(two: TwoSides, kind: str) -> None:
    write(two, 0)
    with sdk_of(two) as sdk:
        first = ask(sdk).id
        write(two, 100, **LATCHES[kind])
        ask(sdk, previous_response_id=first)
    assert (last(two)["side"], "moved" in last(two)) == ("previous", False)


def test_an_id_that_nobody_knows_is_decided(two: TwoSides) -> None:
    with sdk_of(two) as sdk:
        ask(sdk, previous_response_id="resp_unknown")
        line = last(two)
        assert (line["side"], "bound" in line, "bucket" in line) == ("tokenlab", False, True)
        sdk.responses.retrieve("resp_unknown")
        line = last(two)
        assert (line["side"], "bound" in line, "bucket" in line) == ("previous", False, False)


def test_an_answer_that_is_not_stored_makes_no_id(two: TwoSides) -> None:
    with sdk_of(two) as sdk:
        first = ask(sdk, store=False).id
        list(ask(sdk, store=False, stream=True))
    assert ids_at(two.path.parent / IDS_NAME).recall([first]) is None
    assert not ids_at(two.path.parent / IDS_NAME)._known


def test_a_failed_answer_makes_none(two: TwoSides) -> None:
    two.tokenlab.answer = lambda _: Reply(400, response("resp_1", error={"code": "x"}))
    with sdk_of(two) as sdk, pytest.raises(openai.BadRequestError):
        ask(sdk)
    assert not ids_at(two.path.parent / IDS_NAME)._known


def test_the_id_of_a_stream_is_known_before_its_end(two: TwoSides) -> None:
    store = ids_at(two.path.parent / IDS_NAME)
    with sdk_of(two) as sdk:
        events = iter(ask(sdk, stream=True))
        assert next(events).type == "response.created"
        assert store.recall(["resp_t_1"]) is not None
        list(events)


def test_files_and_batches_stay_with_their_side(two: TwoSides) -> None:
    def batches(one: Received) -> Reply:
        return Reply(200, {"id": "batch_1", "output_file_id": "file-out", "object": "batch"})

    two.tokenlab.answer = batches
    two.previous.answer = lambda _: Reply(200, {"id": "file-p", "object": "file"})
    with sdk_of(two) as sdk:
        sdk.files.create(file=("a.jsonl", b"{}"), purpose="batch")  # a form: nobody can read it
        assert last(two)["side"] == "previous"
        sdk.batches.create(
            input_file_id="file-p", endpoint="/v1/responses", completion_window="24h"
        )
        assert (last(two)["side"], last(two)["bound"]) == ("previous", True)
        content: Any = [{"role": "user", "content": [{"type": "input_file", "file_id": "file-p"}]}]
        two.previous.answer = Provider("p")
        sdk.responses.create(model="old", input=content)
        assert (last(two)["side"], last(two)["bound"]) == ("previous", True)
        sdk.post("/batches", cast_to=object, body={"endpoint": "/v1/responses"})
        assert last(two)["side"] == "tokenlab"
        write(two, 0)
        sdk.batches.retrieve("batch_1")
        sdk.batches.cancel("batch_1")
        sdk.files.content("file-out")
    found = [(one["side"], one["bound"]) for one in two.lines()[-3:]]
    assert found == [("tokenlab", True)] * 3


def test_a_conversation_that_was_made_stays_with_its_side(two: TwoSides) -> None:
    two.previous.answer = lambda _: Reply(200, {"id": "conv_1", "object": "conversation"})
    with sdk_of(two) as sdk:
        made = sdk.conversations.create()
        two.previous.answer = Provider("p")
        for named in (made.id, {"id": made.id}):
            ask(sdk, conversation=named)
            assert (last(two)["side"], last(two)["bound"]) == ("previous", True)
        sdk.conversations.items.list(made.id)
        assert last(two)["operation"] == "conversations"


def other_process(two: TwoSides, code: str, *arguments: str) -> str:
    start = (
        "import sys\nfrom rollout_gate import Gate\nfrom rollout_gate.http import client\n"
        f"http = client(Gate({str(two.path)!r}), 'r', org='acme', tokenlab_key={TOKENLAB!r})\n"
        f"url = '{two.previous.url}/v1/responses'\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", start + code, *arguments], capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    return done.stdout.strip()


def test_two_processes_share_ids(two: TwoSides) -> None:
    code = "print(http.post(url, json={'model': 'm', 'input': 'hi'}).json()['id'])"
    theirs = other_process(two, code)
    write(two, 0)
    with sdk_of(two) as sdk:
        mine = ask(sdk, previous_response_id=theirs).id
        assert (last(two)["side"], last(two)["bound"]) == ("tokenlab", True)
        code = "http.post(url, json={'model': 'm', 'previous_response_id': sys.argv[1]})"
        until(lambda: id_store.IdStore(two.path.parent / IDS_NAME).find([mine]))
        other_process(two, code, mine)
    assert (last(two)["side"], last(two)["bound"]) == ("tokenlab", True)


def test_without_threads_the_file_is_read_off_the_loop(
    two: TwoSides, monkeypatch: pytest.MonkeyPatch
) -> None:
    other_process(two, "print(http.post(url, json={'input': 'hi'}).json()['id'])")
    write(two, 0)
    seen: list[bool] = []
    find = id_store.IdStore.find

    def noted(self: Any, names: Any) -> Any:
        try:
            asyncio.get_running_loop()
            seen.append(True)
        except RuntimeError:
            seen.append(False)
        return find(self, names)

    monkeypatch.setattr(id_store.IdStore, "find", noted)

    async def run() -> None:
        async with async_client(two.gate, "r", org="acme", tokenlab_key=TOKENLAB) as http:
            for _ in range(2):
                ask = {"previous_response_id": "resp_t_1"}
                await http.post(f"{two.third.url}/v1/responses", json=ask)

    asyncio.run(run())
    assert seen == [False], "once, and then it is in memory"
    assert last(two)["side"] == "tokenlab"


def test_a_forked_worker_knows_what_its_parent_knew(two: TwoSides) -> None:
    with sdk_of(two) as sdk:
        first = ask(sdk).id
    write(two, 0)
    child = os.fork()
    if not child:
        try:
            with client(two.gate, "r", org="acme", tokenlab_key=TOKENLAB) as http:
                body = {"input": "hi", "previous_response_id": first}
                http.post(f"{two.third.url}/v1/responses", json=body)
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    assert (last(two)["side"], last(two)["bound"]) == ("tokenlab", True)


@pytest.mark.parametrize("what", ["a folder", "no database"])
def test_a_store_that_cannot_be_used_fails_no_request(two: TwoSides, what: str) -> None:
    path = Path(two.path.parent / IDS_NAME)
    path.mkdir() if what == "a folder" else path.write_bytes(b"no database" * 100)
    with sdk_of(two) as sdk:
        first = ask(sdk).id
        write(two, 0)
        ask(sdk, previous_response_id=first)
        assert last(two)["side"] == "tokenlab"
        ask(sdk, previous_response_id="resp_x")
        assert last(two)["side"] == "previous"


def test_a_request_without_an_id_looks_nothing_up(
    two: TwoSides, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise AssertionError("looked up")

    monkeypatch.setattr(id_store.IdStore, "recall", fail)
    monkeypatch.setattr(id_store.IdStore, "find", fail)
    with sdk_of(two) as sdk:
        ask(sdk, metadata={"x": '"previous_response_id": "a"'})
    assert last(two)["status"] == 200
