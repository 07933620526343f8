"""Redirects through the gate's clients: followed as httpx does, with what belongs to the side."""

import asyncio
from typing import Any

import httpx
import httpx2
import pytest

from rollout_gate.http import async_client, client
from tests.support.loopback import CHAT, PREVIOUS, TOKENLAB, Answer, Received, Reply, TwoSides

BODY = {"model": "m", "messages": []}
MINE = {"Authorization": f"Bearer {PREVIOUS}", "x-api-key": PREVIOUS}


def moved(status: int, target: str) -> Answer:
    """Send whatever comes on to one address, and answer there."""

    def answer(one: Received) -> Reply:
        if one.target.endswith("/moved"):
            return Reply(200, CHAT, {"X-Request-ID": "there"})
        return Reply(status, {}, {"Location": target})

    return answer


def post(sides: TwoSides, library: Any, is_async: bool, **more: Any) -> Any:
    given = {"org": "acme", "tokenlab_key": TOKENLAB, "library": library.__name__}
    url = f"{sides.previous.url}/v1/chat/completions"

    async def run() -> Any:
        async with async_client(sides.gate, "chat", **given) as http:
            return await http.post(url, headers=MINE, json=BODY, **more)

    if is_async:
        return asyncio.run(run())
    with client(sides.gate, "chat", **given) as http:
        return http.post(url, headers=MINE, json=BODY, **more)


both = pytest.mark.parametrize("library", [httpx2, httpx], ids=["httpx2", "httpx"])
threads = pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])


@both
@threads
@pytest.mark.parametrize("target", ["/v1/moved", "moved", "//{host}/moved"])
@pytest.mark.parametrize(("status", "method"), [(307, "POST"), (308, "POST"), (303, "GET")])
def test_a_redirect_is_resolved_against_the_side_that_answered(
    sides: TwoSides, library: Any, is_async: bool, status: int, method: str, target: str
) -> None:
    host = sides.tokenlab.url.removeprefix("http://")
    sides.tokenlab.answer = moved(status, target.format(host=host))
    answer = post(sides, library, is_async)
    assert answer.json() == CHAT
    assert [one.status_code for one in answer.history] == [status]
    first, second = sides.tokenlab.received
    assert (second.method, second.target.rsplit("/", 1)[1]) == (method, "moved")
    assert second.body == (first.body if method == "POST" else b"")
    assert second.header("authorization") == f"Bearer {TOKENLAB}"
    assert sides.previous.received == sides.third.received == []
    (line,) = sides.lines()
    wanted = {"side": "tokenlab", "status": 200, "request_id": "there", "attempt": 1}
    assert {name: line[name] for name in wanted} == wanted


@both
@threads
def test_who_does_not_want_to_be_redirected_is_not(
    sides: TwoSides, library: Any, is_async: bool
) -> None:
    sides.tokenlab.answer = moved(307, "/v1/moved")
    answer = post(sides, library, is_async, follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (307, "/v1/moved")
    assert answer.next_request is None, "it would be to the address and with the key of the other"
    assert len(sides.tokenlab.received) == 1
    (line,) = sides.lines()
    assert (line["status"], line["error"]) == (307, "redirect")


@both
def test_a_redirect_whose_body_nobody_reads_is_logged_as_one(sides: TwoSides, library: Any) -> None:
    sides.tokenlab.answer = moved(307, "/v1/moved")
    given = {"org": "acme", "tokenlab_key": TOKENLAB, "library": library.__name__}
    url = f"{sides.previous.url}/v1/chat/completions"
    with (
        client(sides.gate, "chat", **given, follow_redirects=False) as http,
        http.stream("POST", url, json=BODY) as answer,
    ):
        assert answer.status_code == 307
    assert [(line["status"], line["error"]) for line in sides.lines()] == [(307, "redirect")]


@both
@threads
def test_a_loop_ends_at_once_and_a_chain_at_its_length(
    sides: TwoSides, library: Any, is_async: bool
) -> None:
    sides.tokenlab.answer = lambda _: Reply(307, {}, {"Location": "/v1/round"})
    with pytest.raises(library.TooManyRedirects):
        post(sides, library, is_async)
    assert len(sides.tokenlab.received) == 2
    sides.tokenlab.received.clear()
    sides.tokenlab.answer = lambda one: Reply(307, {}, {"Location": one.target + "x"})
    with pytest.raises(library.TooManyRedirects):
        post(sides, library, is_async)
    assert len(sides.tokenlab.received) == 21
    assert [(line["status"], line["error"]) for line in sides.lines()] == [(0, "redirect")] * 2


@both
def test_a_call_never_goes_to_another_host_and_that_is_told(sides: TwoSides, library: Any) -> None:
    told: list[str] = []
    sides.gate.subscribe(on_trouble=told.append)
    for status in (301, 302, 303, 307, 308):
        sides.tokenlab.answer = moved(status, f"{sides.third.url}/moved")
        assert post(sides, library, False).status_code == status
    assert sides.third.received == []
    sides.gate.refresh()
    (sentence,) = [one for one in told if "redirect" in one]
    assert sentence.startswith("TokenLab redirects requests on route chat to 127.0.0.1, which is")


def test_a_download_goes_to_another_host_without_saying_who_asks(sides: TwoSides) -> None:
    """As providers keep files elsewhere; a request with a body does not follow."""
    sides.previous.answer = moved(302, f"{sides.third.url}/moved")
    with client(sides.gate, "chat", tokenlab_key=TOKENLAB) as http:
        got = http.get(f"{sides.previous.url}/v1/files/f-1/content", headers=MINE | {"X-Own": "1"})
        assert got.json() == CHAT
        sides.previous.answer = moved(307, f"{sides.third.url}/moved")
        assert http.post(f"{sides.previous.url}/v1/files", json={}, headers=MINE).status_code == 307
    (there,) = sides.third.received
    names = {name.lower() for name, _ in there.headers}
    assert names <= {"host", "accept", "accept-encoding", "user-agent"}
    assert sides.crossings == []
    found = [(line["side"], line["operation"], line["status"]) for line in sides.lines()]
    assert found == [("previous", "files", 200), ("previous", "files", 307)]


def test_a_cookie_from_elsewhere_is_nobodys(sides: TwoSides) -> None:
    def bake(one: Received) -> Reply:
        return Reply(200, CHAT, {"Set-Cookie": "from=elsewhere"})

    sides.previous.answer = moved(302, f"{sides.third.url}/moved")
    sides.third.answer = bake
    with client(sides.gate, "chat", tokenlab_key=TOKENLAB) as http:
        http.get(f"{sides.previous.url}/v1/files/f-1/content")
        sides.previous.answer = bake
        http.get(f"{sides.previous.url}/v1/models")
        http.get(f"{sides.previous.url}/v1/models")
    assert [one.header("cookie") for one in sides.previous.received] == [
        None, None, "from=elsewhere",
    ]  # fmt: skip


def test_the_side_rolled_back_to_follows_its_own_redirects_too(sides: TwoSides) -> None:
    sides.decide(0)
    sides.previous.answer = moved(308, "/v1/moved")
    with client(sides.gate, "chat", org="acme", tokenlab_key=TOKENLAB) as http:
        url = f"{sides.previous.url}/v1/chat/completions"
        answer = http.post(url, json=BODY, headers=MINE)
    assert answer.status_code == 200
    assert sides.previous.received[1].header("x-api-key") == PREVIOUS
    assert sides.previous.received[1].body == sides.previous.received[0].body
