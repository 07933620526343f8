"""Requests in odd shapes: decided, in the log, and with no credential of the other side."""

import base64
import gc
import gzip
import json
import os
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import httpx2
import pytest

from rollout_gate import Gate
from rollout_gate.context import subject
from rollout_gate.http import async_client, client
from rollout_gate.http.response_recorder import Recorder
from tests.support.loopback import CHAT, PREVIOUS, TOKENLAB, Received, Reply, TwoSides

BODY = {"model": "old", "messages": []}


def open_client(sides: TwoSides, **options: Any) -> Any:
    return client(sides.gate, "chat", **{"org": "acme", "tokenlab_key": TOKENLAB, **options})


def chat(sides: TwoSides) -> str:
    return f"{sides.previous.url}/v1/chat/completions"


@pytest.mark.parametrize(
    ("path", "lines"),
    [
        ("/v1/chat/%63ompletions", 1), ("/v1/./chat/completions", 1),
        ("//v1//chat/completions/", 1),
        ("/chat/completions", 1), ("/v1/chat/completions;v=1", 0),
    ],
)  # fmt: skip
def test_a_path_is_read_as_servers_read_it(sides: TwoSides, path: str, lines: int) -> None:
    sides.decide(100)
    with open_client(sides) as http:
        http.post(sides.previous.url + path, json=BODY)
    assert len(sides.lines()) == lines
    assert len(sides.tokenlab.received) == lines


def pieces(whole: bytes) -> Iterator[bytes]:
    yield whole[:5]
    yield whole[5:]


def test_json_in_pieces_is_read_before_it_is_sent(sides: TwoSides) -> None:
    sides.decide(100)
    whole = json.dumps(BODY | {"api_key": PREVIOUS}).encode()
    with open_client(sides) as http:
        http.post(chat(sides), content=pieces(whole), headers={"Content-Type": "application/json"})
        http.post(chat(sides), content=pieces(whole))  # nobody knows what that is
    (there,), (back,) = sides.tokenlab.received, sides.previous.received
    assert json.loads(there.body) == {"model": "new", "messages": []}
    assert PREVIOUS not in there.everything
    assert back.body == whole
    assert [(line["side"], line["model"]) for line in sides.lines()] == [
        ("tokenlab", "new"), ("previous", ""),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "query", [f"alt=json;key={PREVIOUS}", f"stream={PREVIOUS}", f"beta={PREVIOUS[:12]}-x"]
)
def test_a_credential_behind_a_known_name_of_a_query_is_left_out(
    sides: TwoSides, query: str
) -> None:
    sides.decide(100)
    with open_client(sides) as http:
        http.post(f"{chat(sides)}?{query}", json=BODY)
    assert sides.tokenlab.received[0].target == "/v1/chat/completions"


def test_known_headers_with_the_credential_in_them_are_left_out(sides: TwoSides) -> None:
    sides.decide(100)
    mine = {"Authorization": f"Bearer {PREVIOUS}", "User-Agent": f"app ({PREVIOUS})"}
    with open_client(sides) as http:
        http.post(chat(sides), json=BODY, headers=mine | {"X-Stainless-Api-Key": "k"})
    assert PREVIOUS not in sides.tokenlab.received[0].everything
    assert sides.tokenlab.received[0].header("x-stainless-api-key") is None


KEYED: dict[str, Callable[[Any, str, str], Any]] = {
    "basic": lambda http, url, key: http.post(url, json=BODY, auth=("user", key)),
    "userinfo": lambda http, url, key: http.post(
        url.replace("http://", f"http://u:{key}@"), json=BODY
    ),
    "field": lambda http, url, key: http.post(url, json=BODY | {"api_key": key}),
    "escaped twice": lambda http, url, key: http.post(
        f"{url}?k=" + "".join(f"%25{ord(c):02x}" for c in key), json=BODY
    ),
    "inside": lambda http, url, key: http.post(url, json=BODY, headers={"X-Own": f"k_{key}"}),
    "aside": lambda http, url, key: http.get(
        url.replace("/chat/completions", "/models"), headers={"Authorization": f"Bearer {key}"}
    ),
    "aside in a query": lambda http, url, key: http.get(
        url.replace("/chat/completions", f"/models?key={key}")
    ),
}


@pytest.mark.parametrize("way", sorted(KEYED))
@pytest.mark.parametrize("route", ["chat", "unknown"])
@pytest.mark.parametrize("given", [TOKENLAB, lambda: TOKENLAB], ids=["text", "function"])
def test_tokenlabs_key_never_reaches_the_previous_provider(
    sides: TwoSides, way: str, route: str, given: Any
) -> None:
    sides.decide(0)
    with client(sides.gate, route, org="acme", tokenlab_key=given) as http:
        KEYED[way](http, chat(sides), TOKENLAB)
    (one,) = sides.previous.received
    shown = one.everything + base64.b64decode(
        (one.header("authorization") or "").removeprefix("Basic ")
    ).decode("latin-1")
    assert TOKENLAB not in shown
    assert TOKENLAB not in httpx2.URL(f"http://x/?{one.target}").query.decode()


def test_nor_does_the_key_before_the_last(sides: TwoSides) -> None:
    keys = iter(["first-key-of-tokenlab", "second-key-of-tokenlab"])
    with open_client(sides, tokenlab_key=lambda: next(keys)) as http:
        sides.decide(100)
        for _ in range(2):
            http.post(chat(sides), json=BODY)
        sides.decide(0)
        for key in ("first", "second"):
            bearer = {"Authorization": f"Bearer {key}-key-of-tokenlab"}
            http.post(chat(sides), json=BODY, headers=bearer)
    assert [one.header("authorization") for one in sides.previous.received] == [None, None]


def test_what_passes_by_to_tokenlab_has_its_key_and_no_other(sides: TwoSides) -> None:
    mine = {"Authorization": f"Bearer {PREVIOUS}", "Helicone-Auth": f"Bearer {PREVIOUS}"}
    with open_client(sides) as http:
        http.get(f"{sides.tokenlab.url}/v1/models?recommended_for=chat", headers=mine)
    (one,) = sides.tokenlab.received
    assert one.header("authorization") == f"Bearer {TOKENLAB}"
    assert PREVIOUS not in one.everything
    assert one.target == "/v1/models?recommended_for=chat"


@pytest.mark.parametrize("name", ["LOCALHOST", "localhost."])
def test_tokenlabs_address_is_known_however_it_is_written(sides: TwoSides, name: str) -> None:
    port = httpx2.URL(sides.tokenlab.url).port
    sides.put(
        f'[tokenlab]\nbase_url = "http://{name}:{port}"\n'
        '[routes.chat]\nformat = "openai_chat_completions"\n'
    )
    for _ in range(2):
        sides.gate.refresh()
    with open_client(sides) as http:
        bearer = {"Authorization": f"Bearer {PREVIOUS}"}
        for path in ("/v1/chat/completions", "/chat/completions"):
            http.post(f"http://localhost:{port}{path}", json=BODY, headers=bearer)
    assert [line["side"] for line in sides.lines()] == ["tokenlab"] * 2
    for one in sides.tokenlab.received:
        assert PREVIOUS not in one.everything


def test_a_cookie_of_the_previous_address_is_not_sent_to_the_sdks_own(sides: TwoSides) -> None:
    sides.decide(0)
    sides.previous.answer = lambda _: Reply(200, CHAT, {"Set-Cookie": f"session={PREVIOUS}"})
    with open_client(sides) as http:
        http.post(f"{sides.third.url}/v1/chat/completions", json=BODY)
        http.get(f"{sides.third.url}/v1/models")
    assert len(sides.previous.received) == 1
    assert sides.third.received[0].header("cookie") is None


def test_a_retry_for_other_flags_is_decided_anew(sides: TwoSides) -> None:
    sides.decide(0, "[routes.chat.flags]\nbeta = 100\n")
    sides.tokenlab.answer = lambda _: Reply(500, {})
    with open_client(sides) as http:
        for flags in (("beta",), (), ("other",)):
            with subject(flags=flags):
                http.post(chat(sides), json=BODY)
    found = [(line["side"], line["attempt"]) for line in sides.lines()]
    assert found == [("tokenlab", 1), ("previous", 1), ("previous", 1)]


def test_an_answer_that_nobody_reads_has_its_line(sides: TwoSides) -> None:
    with open_client(sides) as http:
        answer = http.send(http.build_request("POST", chat(sides), json=BODY), stream=True)
        del answer
        gc.collect()
        sides.gate.refresh()
        assert [line["error"] for line in sides.lines()] == ["abandoned"]


async def test_nor_does_one_of_an_async_client_go_without(sides: TwoSides) -> None:
    options: Any = {"org": "acme", "tokenlab_key": TOKENLAB}
    async with async_client(sides.gate, "chat", **options) as http:
        request = http.build_request("POST", chat(sides), json=BODY)
        answer = await http.send(request, stream=True)
        del answer
        gc.collect()
    assert [line["error"] for line in sides.lines()] == ["abandoned"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"forward_headers": "X-Title"}, {"flags": "beta"}, {"models": {"tokenlb": "x"}},
        {"models": {"tokenlab": None}}, {"org": b"acme"}, {"org": True}, {"tokenlab_key": b"k"},
        {"previous_key": 5}, {"key": 1.5},
    ],
    ids=repr,
)  # fmt: skip
def test_what_would_have_no_effect_is_refused(sides: TwoSides, wrong: dict[str, Any]) -> None:
    with pytest.raises(TypeError):
        open_client(sides, **wrong)


def test_numbers_are_names_too(sides: TwoSides) -> None:
    with open_client(sides, org=5) as http, subject(key=17):
        http.post(chat(sides), json=BODY)
    assert sides.lines()[0]["org"] == "5"


@pytest.mark.parametrize("route", ["chta", None])
def test_a_route_that_the_file_does_not_have_is_told(sides: TwoSides, route: str | None) -> None:
    told: list[str] = []
    sides.gate.subscribe(on_trouble=told.append)
    with client(sides.gate, route, org="acme", tokenlab_key=TOKENLAB) as http:
        for _ in range(2):
            http.post(chat(sides), json=BODY)
    sides.gate.refresh()
    (sentence,) = told
    assert "which the rollout file does not have" in sentence


def test_a_relative_access_log_stays_where_it_was(
    sides: TwoSides, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    before = _open_files()
    with open_client(sides, access_log="own.jsonl") as http:
        (tmp_path / "elsewhere").mkdir()
        monkeypatch.chdir(tmp_path / "elsewhere")
        for _ in range(5):
            http.post(chat(sides), json=BODY)
        assert _open_files("own.jsonl") == 1
    assert len((tmp_path / "own.jsonl").read_text().splitlines()) == 5
    assert _open_files("own.jsonl") == 0
    assert _open_files() <= before + 1


@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_client_that_is_dropped_leaves_no_file_open(sides: TwoSides) -> None:
    for _ in range(5):
        http = open_client(sides)
        http.post(chat(sides), json=BODY)
        del http
    gc.collect()
    assert _open_files(str(sides.log)) == 0


def test_a_gate_that_is_dropped_leaves_no_thread(tmp_path: Path) -> None:
    gate = Gate(tmp_path / "rollout.toml", poll_s=60)
    thread = gate._thread
    del gate
    gc.collect()
    assert thread is not None
    thread.join(timeout=5)
    assert not thread.is_alive()


def test_what_is_downloaded_is_not_kept(sides: TwoSides) -> None:
    sides.previous.answer = lambda _: Reply(200, b"x" * (8 << 20))
    with open_client(sides) as http:
        answer = http.send(
            http.build_request("GET", f"{sides.previous.url}/v1/files/f/content"), stream=True
        )
        assert sum(len(piece) for piece in answer.iter_raw()) == 8 << 20
        kept = [one for one in gc.get_objects() if isinstance(one, Recorder)]
        assert all(one._pieces == [] for one in kept)
        answer.close()


def test_a_bomb_of_empty_members_does_not_stop_the_loop(sides: TwoSides) -> None:
    empty = gzip.compress(b"")
    sides.decide(100)
    times = []
    for size in (1 << 17, 1 << 20):
        reply = Reply(200, empty * (size // len(empty)), {"Content-Encoding": "gzip"})
        sides.tokenlab.answer = partial(_always, reply)
        with open_client(sides) as http:
            answer = http.send(http.build_request("POST", chat(sides), json=BODY), stream=True)
            began = time.perf_counter()
            for _ in answer.iter_raw():
                pass
            times.append(time.perf_counter() - began)
            answer.close()
    assert times[1] < 30 * max(times[0], 0.01), "eight times as much is not 64 times the work"


def _always(reply: Reply, _: Received) -> Reply:
    return reply


def _open_files(name: str = "") -> int:
    found = 0
    for number in os.listdir("/proc/self/fd"):
        try:
            found += os.readlink(f"/proc/self/fd/{number}").endswith(name)
        except OSError:
            continue
    return found
