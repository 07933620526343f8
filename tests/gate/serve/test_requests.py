"""Requests through the proxy: decided, sent with the right credential, logged, answered."""

import json
from functools import partial
from pathlib import Path

import pytest

from rollout_gate.gate import MOST_REPORTED
from tests.support.loopback import CHAT, PREVIOUS, TOKENLAB, Received, Reply, TwoSides
from tests.support.serving import ASK, HEADERS, Proxy, request_bytes, serving
from tests.support.waiting import until

STREAM = b'{"model": "old", "stream": true, "messages": []}'


def put(sides: TwoSides, proxy: Proxy, percent: int, more: str = "") -> None:
    """Change the file; return once the proxy has it in force."""
    sides.write(percent, more)
    revision = sides.gate
    revision.refresh()
    revision.refresh()
    assert revision.file is not None
    wanted = revision.file.revision[:12]
    until(lambda: json.loads(proxy.ask("/-/ready", None, {}, "GET").body)["revision"] == wanted)


def test_each_side_gets_its_own_and_a_line(sides: TwoSides, proxy: Proxy) -> None:
    for percent in (100, 0):
        put(sides, proxy, percent)
        answer = proxy.ask(headers={**HEADERS, "X-Rollout-Key": "user-1", "X-Other": "1"})
        assert (answer.status, json.loads(answer.body)) == (200, CHAT)
        assert "x-rollout-answer" not in answer.headers
    (new,), (old,) = sides.tokenlab.received, sides.previous.received
    assert (new.target, old.target) == ("/v1/chat/completions",) * 2
    assert new.header("Authorization") == f"Bearer {TOKENLAB}"
    assert old.header("Authorization") == f"Bearer {PREVIOUS}"
    assert json.loads(new.body)["model"] == "new"
    assert old.body == ASK
    assert old.header("X-Other") == "1"
    for one in (new, old):
        assert not any(name.lower().startswith("x-rollout") for name, _ in one.headers)
        assert str(one.header("Host")) in sides.tokenlab.url + sides.previous.url
    until(lambda: len(sides.lines()) == 2)
    first, second = sides.lines()
    assert (first["side"], second["side"]) == ("tokenlab", "previous")
    assert {first["org"], second["org"], first["outcome"]} == {"acme", "ok"}
    assert sides.crossings == []


def test_a_header_that_the_application_sends_says_the_org(sides: TwoSides, proxy: Proxy) -> None:
    put(sides, proxy, 100, '[serve]\norg_header = "X-Org-Id"\nkey_header = "X-User"\n')
    sent = {**HEADERS, "X-Org-Id": "acme", "X-User": "u1"}
    del sent["X-Rollout-Org"]
    assert proxy.ask(headers=sent).status == 200
    proxy.ask(headers={**sent, "X-Rollout-Org": "other"})
    until(lambda: len(sides.lines()) == 2)
    assert [line["org"] for line in sides.lines()] == ["acme", "other"]
    assert [line["side"] for line in sides.lines()] == ["tokenlab", "previous"]
    assert not any("x-org-id" in line for line in proxy.said)


def test_an_empty_header_of_the_application_says_that_there_is_no_org(
    sides: TwoSides, proxy: Proxy
) -> None:
    put(sides, proxy, 100, '[serve]\norg_header = "X-Org-Id"\nkey_header = "X-User"\n')
    sent = {**HEADERS, "X-Org-Id": "", "X-User": ""}
    del sent["X-Rollout-Org"]
    assert proxy.ask(headers=sent).status == 200
    assert not any("without an org" in line for line in proxy.said)
    del sent["X-Org-Id"]
    assert proxy.ask(headers=sent).status == 200
    until(lambda: any("without an org" in line for line in proxy.said))
    until(lambda: len(sides.lines()) == 2)
    assert [line["org"] for line in sides.lines()] == ["", ""]


@pytest.mark.parametrize("behind", [b" ", b"\t", b" \t \t"])
@pytest.mark.parametrize(
    ("name", "value"),
    [
        (b"X-Rollout-Org", b"back"), (b"X-Org-Id", b"back"), (b"X-Rollout-Key-Alias", b"low"),
        (b"X-Rollout-Flags", b"off"),
    ],
)  # fmt: skip
def test_whitespace_behind_a_header_passes_no_rollback_by(
    sides: TwoSides, name: bytes, value: bytes, behind: bytes
) -> None:
    """It is no part of the value (RFC 9110, 5.5)."""
    sides.put(
        f'[tokenlab]\nbase_url = "{sides.tokenlab.url}"\n[serve]\norg_header = "X-Org-Id"\n'
        '[routes.chat]\nformat = "openai_chat_completions"\nmodel = "new"\n'
        f'default_percent = 100\nprevious_base_url = "{sides.previous.url}/v1"\n'
        "[routes.chat.orgs]\nback = { percent = 100, rolled_back = true }\n"
        "[routes.chat.keys]\nlow = 0\n[routes.chat.flags]\noff = 0\n"
    )
    sent = request_bytes(headers={"Content-Type": "application/json"})
    with serving(sides.path) as proxy, proxy.connect() as one:
        one.sendall(sent.replace(b"\r\n", b"\r\n%s: %s%s\r\n" % (name, value, behind), 1))
        assert b" 200 " in one.recv(65_536).partition(b"\r\n")[0]
        until(sides.lines)
    assert sides.lines()[0]["side"] == "previous"
    if value == b"back":
        assert sides.lines()[0]["org"] == "back"


def test_the_lines_of_the_flags_are_one_list_and_others_say_one_thing(
    sides: TwoSides, proxy: Proxy
) -> None:
    more = '[routes.chat.flags]\noff = 0\n[serve]\norg_header = "X-Org-Id"\nflags_header = "X-F"\n'
    put(sides, proxy, 100, more)
    sent = request_bytes(headers={"Content-Type": "application/json"})
    for lines, status in (
        (b"X-Rollout-Org: acme\r\nX-Rollout-Org: acme \r\n", 200),
        (b"X-Org-Id: acme\r\nX-Rollout-Flags: off\r\nX-Rollout-Flags: other\r\n", 200),
        (b"X-Org-Id: acme\r\nX-F: off\r\nX-F: other\r\n", 200),
        (b"X-Org-Id: acme\r\nX-Org-Id: other\r\n", 400),
    ):
        with proxy.connect() as one:
            one.sendall(sent.replace(b"\r\n", b"\r\n" + lines, 1))
            assert b" %d " % status in one.recv(65_536).partition(b"\r\n")[0]
    until(lambda: len(sides.lines()) == 3)
    assert [line["side"] for line in sides.lines()] == ["tokenlab", "previous", "previous"]


def test_names_that_a_client_makes_up_silence_no_warning(sides: TwoSides, proxy: Proxy) -> None:
    flood = {f"x-h{number}": "1" for number in range(700)}
    assert proxy.ask(headers={**HEADERS, **flood}).status == 200
    until(lambda: sum("have the header x-h" in line for line in proxy.said) == MOST_REPORTED)
    without = {name: value for name, value in HEADERS.items() if name != "X-Rollout-Org"}
    own_key = {**without, "Authorization": f"Bearer {TOKENLAB}"}
    assert proxy.ask(headers=own_key).status == 200
    until(lambda: any("come without an org" in line for line in proxy.said))
    until(lambda: any("come with TokenLab's key" in line for line in proxy.said))


def test_an_answer_of_the_gate_for_a_job_that_was_sent_is_marked(
    sides: TwoSides, proxy: Proxy
) -> None:
    put(sides, proxy, 100, '[routes.video]\nformat = "video"\ndefault_percent = 100\n')
    forged = {"X-Rollout-Answer": "proxy"}
    sides.tokenlab.answer = lambda _: Reply(200, b'{"id": "t1", "status": "pending"}', forged)
    sent = {**HEADERS, "X-Rollout-Job-Id": "job-1"}
    create = partial(proxy.ask, "/video/v1/videos/generations", ASK, sent)
    first = create()
    assert "x-rollout-answer" not in first.headers
    until(lambda: create().status == 200)  # until its end is recorded, it is in flight
    again = create()
    assert again.body == first.body
    assert (again.headers["x-rollout-answer"], again.headers["x-rollout-resumed"]) == (
        "proxy", "true",
    )  # fmt: skip
    assert len(sides.tokenlab.received) == 1


def test_a_route_of_the_path_and_no_other(sides: TwoSides, proxy: Proxy) -> None:
    """A route's name in a header, dot segments and absolute targets lead nowhere else."""
    answer = proxy.ask("/nope/v1/chat/completions")
    assert answer.status == 404
    assert (
        "no route of the rollout file (it has chat)" in json.loads(answer.body)["error"]["message"]
    )
    assert proxy.ask(headers={**HEADERS, "X-Rollout-Route": "nope"}).status == 200
    for path in ("/chat/../chat/v1/x", "/chat/%2e%2e/v1/x", "/chat/v1/..%2f..", "/chat/v1/%2E"):
        assert proxy.ask(path).status == 400, path
    with proxy.connect() as one:
        one.sendall(request_bytes(f"{sides.third.url}/v1/chat/completions"))
        assert b" 404 " in one.recv(65_536).partition(b"\r\n")[0]
    assert sides.third.received == []
    assert len(sides.tokenlab.received) == 1


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "evil.example"}, 403),
        ({"Host": "localhost.evil.example:8787"}, 403),
        ({"Host": "127.0.0.1.evil.example"}, 403),
        ({"Host": ""}, 403),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Host": "localhost:8787", "Origin": "http://localhost:3000"}, 200),
        ({"Host": "[::1]:8787"}, 200),
        ({"Host": "127.0.0.2"}, 200),
    ],
)
def test_no_web_page_of_another_site(
    sides: TwoSides, proxy: Proxy, headers: dict[str, str], status: int
) -> None:
    assert proxy.ask(headers={**HEADERS, **headers}).status == status
    assert len(sides.tokenlab.received) == (status == 200)


def test_a_token(sides: TwoSides, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("correct-horse-battery\n")
    with serving(sides.path, "--token-file", str(file)) as proxy:
        assert proxy.ask().status == 401
        assert (
            proxy.ask(headers={**HEADERS, "X-Rollout-Token": "correct-horse-batter"}).status == 401
        )
        given = {**HEADERS, "X-Rollout-Token": "correct-horse-battery", "Host": "gate.internal"}
        assert proxy.ask(headers=given).status == 200
        assert proxy.ask("/-/healthy", None, {}, "GET").status == 200
        file.write_text("another-horse-battery\n")
        assert proxy.ask(headers=given).status == 401
        file.write_text("")
        again = {**given, "X-Rollout-Token": "another-horse-battery \t"}
        assert proxy.ask(headers=again).status == 200  # an empty file opens nothing, and locks none
        assert proxy.ask(headers={**given, "X-Rollout-Token": ""}).status == 401
        assert "battery" not in "".join(proxy.said)
    assert not any("battery" in one.everything for one in sides.tokenlab.received)


@pytest.mark.parametrize(
    ("route_format", "names"),
    [
        ("openai_chat_completions", {"message", "type", "param", "code"}),
        ("anthropic_messages", {"type", "message"}),
        ("gemini_generate_content", {"code", "message", "status"}),
    ],
)
def test_a_refusal_has_the_shape_of_its_route(
    sides: TwoSides, route_format: str, names: set[str]
) -> None:
    """Also where nothing but the headers or the path was looked at."""
    sides.put(f'[routes.chat]\nformat = "{route_format}"\nmodel = "m"\n')
    with serving(sides.path) as proxy:
        for path, headers in (("/chat/../x", HEADERS), ("/chat/v1/x", {"Origin": "null"})):
            answer = proxy.ask(path, headers=headers)
            assert answer.status in (400, 403)
            assert set(json.loads(answer.body)["error"]) == names


def test_a_path_that_no_library_takes(sides: TwoSides) -> None:
    """httpx has a limit of 65,536 characters for a whole URL."""
    sides.put(
        f'[tokenlab]\nbase_url = "{sides.tokenlab.url}"\n'
        '[routes.chat]\nformat = "openai_chat_completions"\nmodel = "m"\n'
        f'previous_base_url = "{sides.previous.url}/{"b" * 400}"\n'
    )
    with serving(sides.path) as proxy:
        answer = proxy.ask("/chat/v2x/files?x=" + "a" * 65_300, None, {}, "GET")
        assert answer.status == 400
        assert b"the path or query" in answer.body
        assert proxy.said == []


def test_a_request_without_a_body_has_none(sides: TwoSides, proxy: Proxy) -> None:
    """Whatever its Content-Type: some servers refuse a GET in chunks."""
    upload = {**HEADERS, "Content-Type": "application/octet-stream"}
    assert proxy.ask("/chat/v1/files/file-1/content", None, upload, "GET").status == 200
    (one,) = sides.previous.received
    assert one.header("Transfer-Encoding") is None
    assert one.body == b""


@pytest.mark.parametrize(
    ("route_format", "path", "shape"),
    [
        ("openai_chat_completions", "/v1/chat/completions", lambda e: e["error"]["message"]),
        ("anthropic_messages", "/v1/messages",
         lambda e: e["error"]["message"] * (e["type"] == "error")),
        ("gemini_generate_content", "/v1beta/models/m:generateContent",
         lambda e: e["error"]["message"] * (e["error"]["status"] == "UNAVAILABLE")),
    ],
)  # fmt: skip
def test_a_provider_that_is_away(
    sides: TwoSides, route_format: str, path: str, shape: object
) -> None:
    assert callable(shape)
    sides.put(
        '[tokenlab]\nbase_url = "http://127.0.0.1:1"\n'
        f'[routes.chat]\nformat = "{route_format}"\nmodel = "m"\ndefault_percent = 100\n'
        '[routes.lost]\nformat = "openai_responses"\nmodel = "m"\n'
    )
    with serving(sides.path) as proxy:
        answer = proxy.ask(f"/chat{path}")
        assert answer.status == 502
        assert "the provider cannot be reached" in shape(json.loads(answer.body))
        assert answer.headers["x-rollout-answer"] == "proxy"
        lost = proxy.ask("/lost/v1/responses")
        assert lost.status == 502
        assert b"route lost has no previous_base_url" in lost.body
    lines = sides.lines()
    assert [(one["side"], one["error"]) for one in lines] == [
        ("tokenlab", "connect"), ("previous", "connect")
    ]  # fmt: skip


def test_health(sides: TwoSides, proxy: Proxy) -> None:
    ready = proxy.ask("/-/ready", None, {}, "GET")
    assert (ready.status, json.loads(ready.body)["ready"]) == (200, True)
    sides.put("[routes")
    until(lambda: json.loads(proxy.ask("/-/ready", None, {}, "GET").body)["trouble"])
    still = proxy.ask("/-/ready", None, {}, "GET")
    assert still.status == 200  # by the last good version
    assert proxy.ask().status == 200


def test_declared_retries_stay_on_their_side(sides: TwoSides, proxy: Proxy) -> None:
    """A retry goes where its first attempt went, also after a rollback; a new request does not."""
    sides.tokenlab.answer = lambda _: Reply(503, {"error": {}})
    put(sides, proxy, 100)
    assert proxy.ask(headers={**HEADERS, "x-stainless-retry-count": "0"}).status == 503
    put(sides, proxy, 0)
    assert proxy.ask(headers={**HEADERS, "x-stainless-retry-count": "1"}).status == 503
    assert proxy.ask(headers={**HEADERS, "x-stainless-retry-count": "0"}).status == 200
    assert proxy.ask(headers=HEADERS).status == 200
    until(lambda: len(sides.lines()) == 4)
    found = [(line["side"], line["attempt"]) for line in sides.lines()]
    assert found == [("tokenlab", 1), ("tokenlab", 2), ("previous", 1), ("previous", 1)]


def test_redirects(sides: TwoSides, proxy: Proxy) -> None:
    """One to the same host is followed; a client never sees where another one leads."""

    def sends_on(one: Received) -> Reply:
        if one.target == "/v1/chat/completions":
            return Reply(307, {}, {"Location": "/v1/again/chat/completions"})
        return Reply(200, CHAT)

    sides.tokenlab.answer = sends_on
    assert proxy.ask().status == 200
    assert len(sides.tokenlab.received) == 2
    sides.tokenlab.answer = lambda _: Reply(307, {}, {"Location": f"{sides.third.url}/v1/steal"})
    answer = proxy.ask()
    assert answer.status == 502
    assert "location" not in answer.headers
    assert sides.third.received == []
    assert sides.crossings == []


def test_what_is_not_passed_on(sides: TwoSides, proxy: Proxy) -> None:
    upgrade = {**HEADERS, "Connection": "Upgrade", "Upgrade": "websocket"}
    answer = proxy.ask("/chat/v1/realtime", None, upgrade, "GET")
    assert (answer.status, b"websockets are not passed on" in answer.body) == (501, True)
    assert proxy.ask(method="TRACE", body=None).status == 501
    hops = {
        **HEADERS, "Connection": "keep-alive, X-Hop", "X-Hop": "1", "TE": "trailers",
        "Proxy-Authorization": "Basic c2VjcmV0", "Keep-Alive": "timeout=5",
        "Expect": "100-continue",
    }  # fmt: skip
    put(sides, proxy, 0)
    with proxy.connect() as one:
        one.sendall(request_bytes(headers=hops).partition(b"\r\n\r\n")[0] + b"\r\n\r\n")
        assert one.recv(100).startswith(b"HTTP/1.1 100")
        one.sendall(ASK)
        assert b" 200 " in one.recv(65_536).partition(b"\r\n")[0]
    (old,) = sides.previous.received
    names = {name.lower() for name, _ in old.headers}
    assert not names & {"x-hop", "te", "proxy-authorization", "keep-alive", "expect"}


def test_bodies(sides: TwoSides) -> None:
    """JSON up to a limit is read whole; chunks arrive joined; an upload of any size passes."""
    with serving(sides.path, "--max-body", "1") as proxy:
        long = b'{"model": "old", "x": "%s"}' % (b"x" * 2**20)
        assert proxy.ask(body=long).status == 413
        with proxy.connect() as one:
            one.sendall(
                request_bytes().replace(
                    b"Content-Length: %d" % len(ASK), b"Transfer-Encoding: chunked"
                )[: -len(ASK)]
            )
            one.sendall(b"5\r\n%s\r\n%x\r\n%s\r\n0\r\n\r\n" % (ASK[:5], len(ASK) - 5, ASK[5:]))
            assert b" 200 " in one.recv(65_536).partition(b"\r\n")[0]
        upload = {**HEADERS, "Content-Type": "multipart/form-data; boundary=b"}
        body = (
            b"--b\r\nContent-Disposition: form-data; name=purpose\r\n\r\nbatch\r\n--b--"
            + b"x" * 2**21
        )
        assert proxy.ask("/chat/v1/files", body, upload).status == 200
    assert json.loads(sides.tokenlab.received[0].body)["model"] == "new"
    got = [
        one
        for one in sides.tokenlab.received + sides.previous.received
        if one.target == "/v1/files"
    ]
    assert [one.body for one in got] == [body]


def test_with_a_key_for_the_previous_provider_applications_need_none(
    sides: TwoSides, tmp_path: Path
) -> None:
    key = tmp_path / "old.key"
    key.write_text("sk-of-the-previous")
    with serving(sides.path, "--previous-key-file", f"chat={key}") as proxy:
        put(sides, proxy, 0)
        proxy.ask("/chat/v1/chat/completions?key=of-the-app")
        proxy.ask("/chat/v1/models?key=of-the-app", None, {"Authorization": "Bearer app"}, "GET")
    assert [one.target for one in sides.previous.received] == ["/v1/chat/completions", "/v1/models"]
    sent = {one.header("Authorization") for one in sides.previous.received}
    assert sent == {"Bearer sk-of-the-previous"}


def test_a_key_that_is_rotated(sides: TwoSides, tmp_path: Path) -> None:
    new, old = tmp_path / "new.key", tmp_path / "old.key"
    new.write_text("sk-first-of-tokenlab\n")
    old.write_text("sk-of-the-previous")
    options = ("--tokenlab-key-file", str(new), "--previous-key-file", f"chat={old}")
    with serving(sides.path, *options) as proxy:
        proxy.ask()
        new.write_text("sk-second-of-tokenlab\n")
        proxy.ask()
        new.unlink()
        proxy.ask()
        put(sides, proxy, 0)
        proxy.ask()
    sent = [one.header("Authorization") for one in sides.tokenlab.received]
    assert sent == ["Bearer sk-first-of-tokenlab", *["Bearer sk-second-of-tokenlab"] * 2]
    (previous,) = sides.previous.received
    assert previous.header("Authorization") == "Bearer sk-of-the-previous"
    told = "".join(proxy.said)
    assert "stays in force" in told
    assert "sk-second" not in told
