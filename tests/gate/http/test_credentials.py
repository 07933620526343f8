"""A matrix of credentials: nothing of one side reaches the other, and nothing goes round the gate.

Every way to carry a key, every redirect status, both directions, seven network settings, both
libraries, with and without threads. Each server keeps what it was sent, byte for byte.
"""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import httpx
import httpx2
import pytest

from rollout_gate.http import async_client, client
from tests.support.loopback import CHAT, PREVIOUS, TOKENLAB, Received, Reply, TwoSides

BODY = {"model": "old", "messages": [{"role": "user", "content": "hi"}]}

HEADERS = {
    "Authorization": f"Bearer {PREVIOUS}",
    "x-api-key": PREVIOUS,
    "x-goog-api-key": PREVIOUS,
    "api-key": PREVIOUS,
    "Cookie": f"session={PREVIOUS}",
    "Proxy-Authorization": f"Basic {PREVIOUS}",
    "Helicone-Auth": f"Bearer {PREVIOUS}",
    "x-portkey-api-key": PREVIOUS,
    "cf-aig-authorization": f"Bearer {PREVIOUS}",
    "Ocp-Apim-Subscription-Key": PREVIOUS,
    "OpenAI-Organization": f"org-{PREVIOUS}",
    "X-Something-Of-A-Gateway": PREVIOUS,
}
QUERY = f"key={PREVIOUS}&api_key={PREVIOUS}&api-version={PREVIOUS}"
FIELDS = {"api_key": PREVIOUS, "extra_headers": {"x": PREVIOUS}}
STATUSES = (301, 302, 303, 307, 308)
NETWORKS = ("plain", "proxy", "mounts", "environment", "limits", "no environment", "inner")


def network(sides: TwoSides, name: str, library: Any, is_async: bool) -> dict[str, Any]:
    transport = library.AsyncHTTPTransport if is_async else library.HTTPTransport
    made: dict[str, dict[str, Any]] = {
        "plain": {},
        "proxy": {"proxy": sides.proxy.url},
        "mounts": {"mounts": {"http://": transport(proxy=sides.proxy.url)}},
        "environment": {},
        "limits": {"limits": library.Limits(max_connections=3), "verify": False, "http1": True},
        "no environment": {"trust_env": False},
        "inner": {"inner": transport(retries=1)},
    }
    return made[name]


def redirecting(one: Received) -> Reply:
    """Send on what asks to be, as status and address in the field ``user`` of its body say."""
    user = json.loads(one.body or b"{}").get("user", "")
    if user and one.target.startswith("/v1/chat/completions"):
        status, _, target = user.partition(" ")
        return Reply(int(status), {}, {"Location": target})
    return Reply(200, CHAT)


Sent = tuple[str, dict[str, str], Any]


def sender(
    sides: TwoSides, library: Any, is_async: bool, options: dict[str, Any]
) -> Callable[[list[Sent]], list[int]]:
    """Return what posts url, headers and body of each with one client, and gives the statuses."""
    given = {"org": "acme", "tokenlab_key": TOKENLAB, "library": library.__name__, **options}

    def run(requests: list[Sent]) -> list[int]:
        found = []
        with client(sides.gate, "chat", **given) as http:
            for url, headers, body in requests:
                try:
                    found.append(http.post(url, headers=headers, json=body).status_code)
                except library.HTTPError:
                    found.append(0)
        return found

    async def run_async(requests: list[Sent]) -> list[int]:
        found = []
        async with async_client(sides.gate, "chat", **given) as http:
            for url, headers, body in requests:
                try:
                    found.append((await http.post(url, headers=headers, json=body)).status_code)
                except library.HTTPError:
                    found.append(0)
        return found

    return (lambda requests: asyncio.run(run_async(requests))) if is_async else run


@pytest.mark.parametrize("network_name", NETWORKS)
@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
@pytest.mark.parametrize("library", [httpx2, httpx], ids=["httpx2", "httpx"])
def test_no_credential_crosses_and_nothing_goes_round(
    sides: TwoSides,
    monkeypatch: pytest.MonkeyPatch,
    library: Any,
    is_async: bool,
    network_name: str,
) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    if network_name in ("environment", "no environment"):
        monkeypatch.setenv("HTTP_PROXY", sides.proxy.url)
    proxied = network_name in ("proxy", "mounts", "environment")
    options = network(sides, network_name, library, is_async)
    send = sender(sides, library, is_async, options)
    url = f"{sides.previous.url}/v1/chat/completions"
    turns = ((100, sides.tokenlab, sides.previous), (0, sides.previous, sides.tokenlab))
    sent = 0
    for percent, side, other in turns:
        sides.decide(percent)
        side.answer = other.answer = redirecting
        requests: list[Sent] = []
        for status in STATUSES:
            for target in (
                "/v1/elsewhere", side.url + "/v1/elsewhere", other.url + "/v1/chat/completions",
                other.url + "/elsewhere", sides.third.url + "/v1/chat/completions", "ftp://x/y",
            ):  # fmt: skip
                asked = BODY | {"user": f"{status} {target}"}
                requests += [(f"{url}?{QUERY}", HEADERS, asked | FIELDS), (url, HEADERS, asked)]
        userinfo = url.replace("http://", f"http://user:{PREVIOUS}@")
        requests += [(userinfo, {}, BODY), (url, {}, BODY)]
        assert send(requests)[-2:] == [200, 200]
        sent += len(requests)
    assert sides.crossings == []
    lines = sides.lines()
    assert len(lines) == sent, "each request has one line"
    assert [line["side"] for line in lines] == ["tokenlab"] * (sent // 2) + ["previous"] * (
        sent // 2
    )
    assert all(line["model"] == ("new" if line["side"] == "tokenlab" else "old") for line in lines)
    assert bool(sides.proxy.received) == proxied
    if proxied:
        origins = (sides.tokenlab, sides.previous, sides.third)
        assert len(sides.proxy.received) == sum(len(one.received) for one in origins)
    # Each side did get its own, all of it.
    for one in sides.tokenlab.received:
        assert one.header("authorization") == f"Bearer {TOKENLAB}"
    assert all(one.header("host") for one in sides.previous.received)
    first = sides.previous.received[0]
    whole = HEADERS if not proxied else HEADERS | {"Proxy-Authorization": None}  # ends there
    assert {name: first.header(name) for name in HEADERS} == whole
    assert first.target.endswith(QUERY)


@pytest.mark.parametrize("name", ["x-request-id", "x-billing-transaction-id", "code"])
def test_a_credential_that_a_server_echoes_is_not_logged(sides: TwoSides, name: str) -> None:
    def echo(one: Received) -> Reply:
        said = f"bad key {one.header('authorization')}"
        return Reply(401, {"error": {"code": said}}, {} if name == "code" else {name: said})

    sides.previous.answer = sides.tokenlab.answer = echo
    for percent in (0, 100):
        sides.decide(percent)
        with client(sides.gate, "chat", org="acme", tokenlab_key=TOKENLAB) as one:
            one.post(
                f"{sides.previous.url}/v1/chat/completions", json=BODY,
                headers={"Authorization": f"Bearer {PREVIOUS}"},
            )  # fmt: skip
    assert {line["status"] for line in sides.lines()} == {401}
    said = json.dumps(sides.lines())
    assert PREVIOUS not in said
    assert TOKENLAB not in said


def test_a_key_that_was_rotated_reaches_no_other_host(sides: TwoSides) -> None:
    """The function is asked, although no request has gone to TokenLab since."""
    sides.decide(0)
    keys = ["sk-tokenlab-canary-0001", "sk-tokenlab-canary-0002"]
    now = keys[:1]
    given: Any = {"org": "acme", "tokenlab_key": lambda: now[0]}
    with client(sides.gate, "chat", **given) as http:
        for key in keys:
            now[0] = key
            for sent in keys[: keys.index(key) + 1]:
                http.post(
                    f"{sides.previous.url}/v1/chat/completions?key={sent}",
                    json=BODY | {"user": sent}, headers={"Authorization": f"Bearer {sent}"},
                )  # fmt: skip
    assert len(sides.previous.received) == 3
    seen = "".join(one.everything for one in sides.previous.received)
    assert "canary" not in seen
