"""Whose key goes where: by the host that a request is for, and wherever in it a key may stand."""

import asyncio
from typing import Any

import httpx
import httpx2
import pytest

from rollout_gate.http import async_client, client
from tests.support.loopback import PREVIOUS, TOKENLAB, Reply, TwoSides
from tests.support.sdks import openai

CHAT, VIDEO, CLAUDE = "openai_chat_completions", "video", "anthropic_messages"
both = pytest.mark.parametrize("library", [httpx2, httpx], ids=["httpx2", "httpx"])
BEARER = f"Bearer {PREVIOUS}"
BODY: dict[str, Any] = {"model": "old", "messages": []}


def write(
    sides: TwoSides, route: str = CHAT, percent: int = 0, base: str | None = None, own: str = ""
) -> None:
    """Write a file with one route; ``base`` is its previous address, ``own`` TokenLab's."""
    base = sides.previous.url + ("" if route == CLAUDE else "/v1") if base is None else base
    previous = f'previous_base_url = "{base}"\n' if base else ""
    sides.put(
        f'[tokenlab]\nbase_url = "{own or sides.tokenlab.url}"\n[routes.r]\nformat = "{route}"\n'
        f'model = "new"\n{previous}[routes.r.orgs]\nacme = {percent}\n'
    )
    sides.gate.refresh()
    sides.gate.refresh()


def make(sides: TwoSides, **more: Any) -> Any:
    return client(sides.gate, "r", **{"org": "acme", "tokenlab_key": TOKENLAB, **more})


def told_of(sides: TwoSides) -> list[str]:
    found: list[str] = []
    sides.gate.subscribe(on_trouble=found.append)
    return found


DOWNLOADS = (
    "/files/clip.mp4", "/cdn/batches/7", "/v1/files/clip.mp4", "/images/clip.png",
    "/files/clip.mp4?X-Amz-Signature=abc", "/v1/files/clip.mp4?Expires=9&sig=abc",
)  # fmt: skip


@both
@pytest.mark.parametrize("route", [CHAT, VIDEO, "image"])
@pytest.mark.parametrize("is_named", [True, False], ids=["previous address", "none"])
@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
def test_a_download_from_another_host_goes_there_without_a_key(
    sides: TwoSides, library: Any, route: str, is_named: bool, is_async: bool
) -> None:
    write(sides, route, base=None if is_named else "")
    given: Any = {"org": "acme", "tokenlab_key": TOKENLAB, "previous_key": PREVIOUS}
    urls = [sides.third.url + path for path in DOWNLOADS]

    async def fetch() -> None:
        async with async_client(sides.gate, "r", library=library.__name__, **given) as http:
            for url in urls:
                await http.get(url)

    if is_async:
        asyncio.run(fetch())
    else:
        with client(sides.gate, "r", library=library.__name__, **given) as http:
            for url in urls:
                http.get(url)
    assert [one.target for one in sides.third.received] == list(DOWNLOADS)
    assert sides.tokenlab.received == sides.previous.received == []
    for one in sides.third.received:
        assert PREVIOUS not in one.everything
        assert TOKENLAB not in one.everything


def test_a_signed_download_from_either_side_goes_where_it_was_signed(sides: TwoSides) -> None:
    write(sides, VIDEO)
    for key in (PREVIOUS, None):
        with make(sides, previous_key=key) as http:
            http.post(f"{sides.previous.url}/v1/videos/generations", json={"model": "m"})
            sides.previous.received.clear()
            for side in (sides.tokenlab, sides.previous):
                http.get(f"{side.url}/v1/files/clip.mp4?sig=abc", headers={"X-Api-Key": "own"})
                http.get(f"{side.url}/files/clip.mp4?X-Amz-Signature=abc")
                targets = [one.target for one in side.received]
                assert targets == ["/v1/files/clip.mp4?sig=abc", DOWNLOADS[4]]
                side.received.clear()
    assert sides.crossings == []


def test_a_known_task_in_the_url_of_a_download_does_not_call_for_it_elsewhere(
    sides: TwoSides,
) -> None:
    write(sides, VIDEO)
    sides.previous.answer = lambda _: Reply(200, {"id": "task-1", "status": "queued"})
    with make(sides, previous_key=PREVIOUS) as http:
        http.post(f"{sides.previous.url}/v1/videos/generations", json={"model": "m"})
        http.get(f"{sides.third.url}/media/videos/task-1")
        http.get(f"{sides.third.url}/v1/videos/task-1?Signature=abc")
        http.get(f"{sides.third.url}/v1/tasks/task-1")  # as the API has it: a poll
    assert [one.target for one in sides.third.received] == [
        "/media/videos/task-1", "/v1/videos/task-1?Signature=abc",
    ]  # fmt: skip
    assert PREVIOUS not in repr(sides.third.received)
    assert sides.previous.received[-1].target == "/v1/tasks/task-1"


@pytest.mark.parametrize("how", ["base_url", "generation", "task"])
def test_without_a_previous_address_the_clients_key_goes_where_the_client_asks_for_the_api(
    sides: TwoSides, how: str
) -> None:
    write(sides, VIDEO, base="")
    sides.third.answer = lambda _: Reply(200, {"id": "task-1", "status": "queued"})
    url = sides.third.url
    with make(
        sides, previous_key=PREVIOUS, **({"base_url": url} if how == "base_url" else {})
    ) as h:
        if how != "base_url":
            h.post(f"{url}/v1/videos/generations", json={"model": "m"})
            assert sides.third.received[0].header("authorization") == BEARER
        if how != "task":
            h.get(f"{url}/v1/files/f1")
    if how == "task":  # another process, which has the ledger alone
        with make(sides, previous_key=PREVIOUS) as h:
            h.get(f"{url}/v1/tasks/task-1")
    assert sides.third.received[-1].header("authorization") == BEARER


def test_an_operation_at_a_host_that_nobody_names_has_the_key_that_it_came_with(
    sides: TwoSides,
) -> None:
    write(sides, base="")
    told = told_of(sides)
    with make(sides, previous_key=PREVIOUS) as http:
        http.post(f"{sides.third.url}/v1/embeddings", json={"model": "e"})
        http.get(f"{sides.third.url}/v1/files", headers={"Authorization": "Bearer of-another"})
    first, second = sides.third.received
    assert first.header("authorization") is None
    assert second.header("authorization") == "Bearer of-another"
    sides.gate.refresh()
    assert [one for one in told if "without previous_key" in one] == [
        "requests on route r are sent without previous_key, as nothing says that their host is the"
        " previous provider's: give the route a previous_base_url"
    ]


@pytest.mark.parametrize("below", ["/v1", "", "/openai"])
def test_an_sdk_on_whatever_address_goes_to_the_side_of_its_operation(
    sides: TwoSides, below: str
) -> None:
    write(sides)
    sides.previous.answer = lambda _: Reply(200, {"id": "file-1", "object": "file"})
    url = sides.third.url + below
    with openai.OpenAI(api_key=PREVIOUS, base_url=url, http_client=make(sides)) as sdk:
        sdk.files.retrieve("file-1")
        sdk.files.list()
    assert [one.target for one in sides.previous.received] == ["/v1/files/file-1", "/v1/files"]
    assert sides.third.received == []
    write(sides, base="")
    with openai.OpenAI(api_key=PREVIOUS, base_url=url, http_client=make(sides)) as sdk:
        sdk.files.retrieve("file-1")
    (one,) = sides.third.received
    assert one.target == f"{below}/files/file-1"
    assert one.header("authorization") == BEARER
