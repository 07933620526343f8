"""Whose key goes where: by the host that a request is for, and wherever in it a key may stand."""

import asyncio
import base64
import json
from typing import Any

import httpx
import httpx2
import pytest

from rollout_gate import subject
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


PATHS = (
    "/models", "/openai/v1/models", "/v1/models", "/v1alpha/models", "/v2/models", "/V1/models",
    "/v1beta/models?key={key}", "/models?api_key={key}&limit=3", "/%76%31/models", "/",
)  # fmt: skip


@both
def test_whatever_is_passed_to_tokenlabs_host_has_its_key(sides: TwoSides, library: Any) -> None:
    write(sides)
    headers = {"Authorization": BEARER, "x-api-key": PREVIOUS, "x-goog-api-key": PREVIOUS}
    with make(sides, library=library.__name__) as http:
        for path in PATHS:
            http.get(sides.tokenlab.url + path.format(key=PREVIOUS), headers=headers)
    assert len(sides.tokenlab.received) == len(PATHS)
    for one in sides.tokenlab.received:
        assert one.header("authorization") == f"Bearer {TOKENLAB}"
    assert sides.tokenlab.received[7].target == "/models?limit=3"
    assert sides.crossings == []


@pytest.mark.parametrize("percent", [0, 100])
@pytest.mark.parametrize(
    ("route", "path"),
    [
        (CHAT, "/openai/deployments/d/chat/completions"), (CHAT, "/openai/v1/chat/completions"),
        (CHAT, "/chat/completions"), (CHAT, "/v2/embeddings"), (CLAUDE, "/anthropic/v1/messages"),
        ("gemini_generate_content", "/v1alpha/models/g:generateContent?key={key}"),
    ],
)  # fmt: skip
def test_what_tokenlabs_host_gets_has_its_key_and_is_logged_as_its(
    sides: TwoSides, route: str, path: str, percent: int
) -> None:
    write(sides, route, percent, base="")
    headers = {"Authorization": BEARER, "x-api-key": PREVIOUS, "x-goog-api-key": PREVIOUS}
    with make(sides) as http:
        http.post(sides.tokenlab.url + path.format(key=PREVIOUS), json=BODY, headers=headers)
    (one,) = sides.tokenlab.received
    assert TOKENLAB in one.everything
    assert sides.crossings == []
    assert [line["side"] for line in sides.lines()] == ["tokenlab"]


def test_a_previous_provider_below_another_path_of_tokenlabs_host_keeps_its_own_key(
    sides: TwoSides,
) -> None:
    write(sides, base=f"{sides.tokenlab.url}/openai/v1")
    headers = {"Authorization": BEARER}
    with make(sides) as http:
        http.post(f"{sides.tokenlab.url}/openai/v1/chat/completions", json=BODY, headers=headers)
        http.get(f"{sides.tokenlab.url}/openai/v1/models", headers=headers)
        http.get(f"{sides.tokenlab.url}/models", headers=headers)
    found = [one.header("authorization") for one in sides.tokenlab.received]
    assert found == [BEARER, BEARER, f"Bearer {TOKENLAB}"]
    write(sides, own=f"{sides.tokenlab.url}/tokenlab")
    with make(sides) as http:
        http.get(f"{sides.tokenlab.url}/tokenlab/%2e%2e/openai/models", headers=headers)
    assert sides.tokenlab.received[-1].header("authorization") == BEARER


@both
@pytest.mark.parametrize(
    ("named", "asked"),
    [
        ("http://tokenläb.example", "http://tokenläb.example"),
        ("http://tokenläb.example", "http://xn--tokenlb-bxa.example"),
        ("http://xn--tokenlb-bxa.example", "http://TOKENLÄB.example.:80"),
        ("http://[0:0:0:0:0:0:0:1]:9", "http://[::1]:9"),
    ],
)
def test_tokenlabs_host_is_known_however_it_is_spelled(
    sides: TwoSides, library: Any, named: str, asked: str
) -> None:
    """A proxy is asked for the name, whoever may have it."""
    write(sides, base="", own=named)
    bearer = {"Authorization": BEARER}
    with make(sides, library=library.__name__, proxy=sides.third.url) as http:
        http.post(f"{asked}/v1/chat/completions", json=BODY, headers=bearer)
        http.get(f"{asked}/v1/models", headers=bearer)
    found = [one.header("authorization") for one in sides.third.received]
    assert found == [f"Bearer {TOKENLAB}"] * 2
    assert [line["side"] for line in sides.lines()] == ["tokenlab"]


BASIC = base64.b64encode(f"us:{TOKENLAB}".encode()).decode()
FORM = {"content-type": "application/x-www-form-urlencoded"}


def twice(name: str, value: str, other: str = '"y"') -> str:
    return f'{{"model":"old","messages":[],"{name}":{value},"{name}":{other}}}'


@both
@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
def test_tokenlabs_key_is_taken_out_wherever_a_request_for_another_host_has_it(
    sides: TwoSides, library: Any, is_async: bool
) -> None:
    write(sides)
    told = told_of(sides)
    key = json.dumps(TOKENLAB)
    escaped = key.replace("c", "\\u0063")
    paths = "/v1/realtime/sessions", "/v1/chat/completions", "/v1/embeddings"
    sent: list[dict[str, Any]] = [
        {"json": {"api_key": TOKENLAB, "n": 1}},
        {"json": {"n": 1, TOKENLAB: 1}},
        {"data": {"api_key": TOKENLAB, "n": "1"}},
        {"data": {"api_key": TOKENLAB, "n": "1"}, "files": {"a": ("a.txt", b"text")}},
        {"content": twice("x", key)},
        {"content": twice("x", f'{{"a":{key}}}', '{"a":1}')},
        {"content": json.dumps({"n": 1}).replace("}", f',  "x": {key}, "x": 2}}')},
        {"content": f'{{"n":1,"x":{{"a":{key},"a":1}}}}'},
        {"content": f'{{"n":1,"x":{{"a":{escaped},"a":1}}}}'},
        {"content": f'{{"n":NaN,"x":{key},"x":1}}'},
        {"json": {"n": 1}, "headers": {"Authorization": f"Basic {BASIC.rstrip('=')}"}},
        {"json": {"n": 1}, "headers": {"Authorization": f"basic  {BASIC}"}},
        {"json": {"n": 1}, "headers": {f"X-{TOKENLAB}": "1"}},
    ]
    assert BASIC.endswith("=")
    urls = [f"{host.url}{path}" for host in (sides.previous, sides.third) for path in paths]
    given: Any = {"org": "acme", "tokenlab_key": TOKENLAB, "library": library.__name__}

    async def send() -> None:
        async with async_client(sides.gate, "r", **given) as http:
            for url in urls:
                for more in sent:
                    assert (await http.post(url, **more)).status_code == 200

    if is_async:
        asyncio.run(send())
    else:
        with client(sides.gate, "r", **given) as http:
            for url in urls:
                for more in sent:
                    assert http.post(url, **more).status_code == 200
    received = sides.previous.received + sides.third.received
    assert len(received) == len(urls) * len(sent)
    assert [one.target for one in received if "canary" in one.everything] == []
    assert [one.target for one in received if BASIC.rstrip("=") in one.everything] == []
    for one in received:
        assert b"1" in one.body or b"old" in one.body or b"NaN" in one.body
    sides.gate.refresh()
    assert any("come with TokenLab's key" in one for one in told)


@both
@pytest.mark.parametrize("method", ["POST", "GET"])
@pytest.mark.parametrize(
    ("path", "more"),
    [
        (f"/v1/{TOKENLAB}/chat/completions", {"json": BODY}),
        (f"/v1/{TOKENLAB}/models", {}),
        ("/v1/%63" + TOKENLAB[1:] + "/models", {}),
        ("/v1/%2563" + TOKENLAB[1:] + "/models", {}),
        ("/v1/chat/completions", {"content": TOKENLAB}),
        ("/v1/models", {"json": [{"api_key": TOKENLAB}]}),
        ("/v1/models", {"headers": {"Content-Length": str(len(TOKENLAB))}}),
    ],
)  # fmt: skip
def test_where_tokenlabs_key_cannot_be_taken_out_nothing_is_sent(
    sides: TwoSides, library: Any, method: str, path: str, more: Any
) -> None:
    write(sides)
    with make(sides, library=library.__name__) as http:
        for host in (sides.previous, sides.third):
            if "headers" in more:
                more = {**more, "content": iter([TOKENLAB.encode()])}
            if host is sides.third and method == "POST" and "/chat/" in path:
                continue  # a call goes to the previous provider's own path
            with pytest.raises(ValueError, match="has TokenLab's key, which no other") as raised:
                http.request(method, host.url + path, **more)
            assert TOKENLAB not in str(raised.value)
    assert sides.previous.received == sides.third.received == sides.tokenlab.received == []
    if method == "POST" and path.endswith("completions"):
        assert {line["error"] for line in sides.lines()} == {"credential"}


def test_what_people_write_is_sent_as_it_is_though_it_speaks_of_the_key(sides: TwoSides) -> None:
    write(sides)
    said = {"model": "old", "messages": [{"role": "user", "content": f"is {TOKENLAB} mine?"}]}
    with make(sides) as http:
        http.post(f"{sides.previous.url}/v1/chat/completions", json=said)
        http.post(f"{sides.previous.url}/v1/files", files={"file": ("a", f"k={TOKENLAB}")})
    first, second = sides.previous.received
    assert json.loads(first.body) == said
    assert f"k={TOKENLAB}".encode() in second.body


def test_a_form_without_tokenlabs_key_passes_byte_for_byte(sides: TwoSides) -> None:
    write(sides)
    bodies = [b"a=%FF&b=+&c&a=1", b"a=1&&", b'{ "n" : 1,\n"m":2 }', b'{"n": 1, "m": "\\u0063"}']
    with make(sides) as http:
        for path in ("/v1/models", "/v1/chat/completions", "/v1/embeddings"):
            for body in bodies:
                http.post(sides.previous.url + path, content=body, headers=FORM)
    assert [one.body for one in sides.previous.received] == bodies * 3


def test_a_key_that_was_rotated_long_ago_reaches_no_other_host(sides: TwoSides) -> None:
    write(sides)
    keys = [f"sk-canary-{n:04}" for n in range(50)]
    now = iter(keys)
    with make(sides, tokenlab_key=lambda: next(now)) as http:
        for _ in range(49):
            http.post(
                f"{sides.previous.url}/v1/chat/completions?k={keys[0]}",
                json=BODY | {"user": keys[0]}, headers={"Authorization": f"Bearer {keys[0]}"},
            )  # fmt: skip
    assert len(sides.previous.received) == 49
    assert "canary" not in repr(sides.previous.received)


@both
@pytest.mark.parametrize(
    ("headers", "query"),
    [
        ({"x-api-key": PREVIOUS}, ""), ({"x-api-key": f"{PREVIOUS} "}, ""),
        ({"Authorization": f"Bearer\t{PREVIOUS} "}, ""), ({}, f"?key={PREVIOUS}"),
        ({}, f"?api_key={PREVIOUS}&limit=1"), ({"X-Gateway-Auth": f"Bearer {PREVIOUS}"}, ""),
        ({"Helicone-Auth": PREVIOUS}, ""), ({"Cookie": f"a=1; session={PREVIOUS}; b=2"}, ""),
        ({"Authorization": "Basic " + base64.b64encode(f"us:{PREVIOUS}".encode()).decode()}, ""),
        ({}, "with previous_key"),
    ],
)  # fmt: skip
def test_the_previous_providers_key_is_taken_out_wherever_a_request_for_tokenlab_has_it(
    sides: TwoSides, library: Any, headers: dict[str, str], query: str
) -> None:
    write(sides, percent=100)
    more: Any = {"previous_key": PREVIOUS} if query.startswith("with") else {}
    query = "" if more else query
    key = json.dumps(PREVIOUS)
    bodies: list[dict[str, Any]] = [
        {"json": {**BODY, "extra": {"x": PREVIOUS}, "n": 1}},
        {"json": {**BODY, PREVIOUS: 1}},
        {"content": twice("x", key)}, {"content": twice("messages", key, "[]")},
        {"content": twice("x", f'{{"a":{key}}}', '{"a":1}')},
        {"content": f'{{"model":"old","messages":[],"x":{{"a":{key},"a":1}}}}'},
        {"content": f'{{"model":"old","n":NaN,"x":{key},"x":1}}'},
    ]  # fmt: skip
    named = {**headers, "User-Agent": f"app/1 {PREVIOUS}"}
    with make(sides, library=library.__name__, **more) as http:
        for path in ("/v1/chat/completions", "/v1/models", "/models"):
            for body in bodies:
                http.post(sides.tokenlab.url + path + query, headers=named, **body)
        form = {"x": PREVIOUS, "n": "1"}
        http.post(f"{sides.tokenlab.url}/v1/models{query}", headers=named, data=form)
    assert len(sides.tokenlab.received) == 3 * len(bodies) + 1
    assert sides.tokenlab.received[-1].body == b"n=1"
    for one in sides.tokenlab.received:
        assert PREVIOUS not in one.everything
        assert one.header("authorization") == f"Bearer {TOKENLAB}"


@pytest.mark.parametrize(
    "requests",
    [
        [{"custom_id": "1", "api_key": PREVIOUS, "params": BODY}],
        [{"custom_id": "1", "extra": {"x": PREVIOUS}, "params": {**BODY, "model": "new"}}],
        [{"custom_id": "1", "api_key": PREVIOUS}], [{"custom_id": "1", "params": [PREVIOUS]}],
        [PREVIOUS, {"custom_id": "1"}], {"custom_id": "1", "x": PREVIOUS},
    ],
)  # fmt: skip
def test_a_batch_for_tokenlab_has_no_credential_beside_its_params(
    sides: TwoSides, requests: Any
) -> None:
    write(sides, CLAUDE, 100)
    url = f"{sides.third.url}/v1/messages/batches"
    told = told_of(sides)
    with make(sides) as http:
        http.post(url, json={"requests": requests}, headers={"x-api-key": PREVIOUS})
    (one,) = sides.tokenlab.received
    assert PREVIOUS not in one.everything
    if isinstance(requests, list):
        (kept,) = [found for found in json.loads(one.body)["requests"] if found is not None]
        assert kept["custom_id"] == "1"
        assert ("params" not in kept) or kept["params"]["model"] == "new"
    sides.gate.refresh()
    assert any("looks like a credential" in one for one in told)


def test_a_name_that_a_request_of_a_batch_has_twice_is_sent_once(sides: TwoSides) -> None:
    write(sides, CLAUDE, 100)
    first = f'{{"custom_id":"1","x":"{PREVIOUS}","x":"y","params":{{"model":"new"}}}}'
    with make(sides) as http:
        http.post(
            f"{sides.third.url}/v1/messages/batches", content=f'{{"requests":[{first}]}}',
            headers={"x-api-key": PREVIOUS},
        )  # fmt: skip
    (one,) = sides.tokenlab.received
    assert PREVIOUS not in one.everything
    assert json.loads(one.body)["requests"][0]["x"] == "y"


def test_what_is_no_credential_goes_to_tokenlab_byte_for_byte(sides: TwoSides) -> None:
    write(sides, percent=100)
    body = b'{ "model": "new", "messages":[],\n"x": {"a": "https://app.example/some/page"} }'
    headers = {"Referer": "https://app.example/some/page", "X-Rollout-Key": "user-0123456789abcdef"}
    with make(sides, forward_headers=["x-trace-key"]) as http:
        http.post(
            f"{sides.third.url}/v1/chat/completions", content=body,
            headers={**headers, "X-Trace-Key": "0123456789abcdef0"},
        )  # fmt: skip
    (one,) = sides.tokenlab.received
    assert one.body == body
    assert one.header("x-trace-key") == "0123456789abcdef0"


@both
@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_to_another_host_has_neither_body_nor_target(
    sides: TwoSides, library: Any, is_async: bool, status: int
) -> None:
    write(sides)
    location = {"Location": f"{sides.third.url}/x?a=1"}
    sides.previous.answer = lambda _: Reply(status, {}, location)
    url = f"{sides.previous.url}/v1"
    target = f"/v1/files/f1/content?key={PREVIOUS}".encode()
    sent: list[tuple[str, dict[str, Any]]] = [
        ("/models", {"json": {"note": PREVIOUS}, "headers": {"Authorization": BEARER}}),
        ("/models", {"data": {"note": PREVIOUS}}),
        ("/models", {"content": f"note {PREVIOUS}"}),
        ("/files/f1/content?key=" + PREVIOUS, {"extensions": {"target": target}}),
        ("/models", {"extensions": {"target": target, "sni_hostname": "x"}}),
    ]
    given: Any = {"org": "acme", "tokenlab_key": TOKENLAB, "library": library.__name__}

    async def send() -> None:
        async with async_client(sides.gate, "r", **given) as http:
            for path, more in sent:
                await http.request("GET", url + path, **more)

    if is_async:
        asyncio.run(send())
    else:
        with client(sides.gate, "r", **given) as http:
            for path, more in sent:
                http.request("GET", url + path, **more)
    assert [one.target for one in sides.previous.received[-2:]] == [target.decode()] * 2
    assert [one.target for one in sides.third.received] == ["/x?a=1"] * len(sent)
    for one in sides.third.received:
        assert one.body == b""
        assert PREVIOUS not in one.everything


def test_a_target_beside_the_url_has_no_key_of_the_other_side(sides: TwoSides) -> None:
    write(sides)
    with make(sides) as http:
        for host, key in ((sides.previous, TOKENLAB), (sides.tokenlab, PREVIOUS)):
            target = f"/v1/models?key={key}".encode()
            http.get(f"{host.url}/v1/models", extensions={"target": target})
            assert [one.target for one in host.received] == ["/v1/models"]


FORMS = ("sk-0123456789abcdef", "AIza" + "x1y2z" * 7, "0123456789abcdef0123456789abcdef")


@pytest.mark.parametrize("percent", [0, 100])
@pytest.mark.parametrize("key", [PREVIOUS, TOKENLAB, *FORMS])
def test_a_key_in_place_of_a_name_is_not_told(
    sides: TwoSides, caplog: pytest.LogCaptureFixture, percent: int, key: str
) -> None:
    write(sides, percent=percent)
    told = told_of(sides)
    more = {"Authorization": BEARER, f"X-{key}": TOKENLAB, key: "1", "X-Own": "1"}
    with make(sides) as http:
        for url in (sides.previous.url, sides.tokenlab.url):
            for path in ("/v1/chat/completions", "/v1/models", f"/{'k' * 9}/sk-abcdefghijklmn"):
                for body in ({**BODY, key: TOKENLAB}, {**BODY, key: {"api_key": PREVIOUS}}):
                    http.post(f"{url}{path}?{key}={TOKENLAB}&a=1", json=body, headers=more)
                http.post(f"{url}{path}", data={key: TOKENLAB}, headers=more)
    with client(sides.gate, "sk-0123456789abcdef", org="acme", tokenlab_key=TOKENLAB) as http:
        http.post(f"{sides.previous.url}/v1/chat/completions", json=BODY)
    sides.gate.refresh()
    said = "\n".join([*told, *caplog.messages]).lower()
    assert said
    assert key.lower() not in said
    assert "sk-abcdefgh" not in said
    if percent:
        assert "header x-own" in said


@pytest.mark.parametrize("percent", [0, 100])
@pytest.mark.parametrize("where", ["header", "body", "path"])
def test_a_credential_in_place_of_a_tasks_id_is_not_kept(
    sides: TwoSides, percent: int, where: str
) -> None:
    write(sides, VIDEO, percent)
    key = TOKENLAB if percent else PREVIOUS
    headers = {"X-Task-Id": f"task {key}"} if where == "header" else {}
    made = {"id": f"task {key}" if where == "body" else "task-1", "status": "queued"}
    sides.tokenlab.answer = sides.previous.answer = lambda _: Reply(200, made, headers)
    with make(sides, previous_key=PREVIOUS) as http:
        with subject(job_id="job-1"):
            http.post(f"{sides.previous.url}/v1/videos/generations", json={"model": "m"})
        if where == "path":
            host = sides.tokenlab if percent else sides.previous
            theirs = PREVIOUS if not percent else "sk-0123456789abcdef"
            http.get(f"{host.url}/v1/tasks/{theirs}", headers={"Authorization": BEARER})
    lines = json.dumps(sides.lines())
    assert '"task_id"' in lines
    assert "canary" not in lines
    assert "sk-01234" not in lines
    if where != "body":  # which is kept, to be the answer to a repeated create
        ledger = [path.read_bytes() for path in sides.path.parent.glob("rollout-jobs.sqlite3*")]
        assert b"canary" not in b"".join(ledger)
