"""Answers as others really send them: compressed, damaged, large, in no encoding that is meant."""

import asyncio
import gzip
import json
import sys
import zlib
from typing import Any

import brotli
import httpx
import httpx2
import pytest

from rollout_gate.http import async_client, client
from tests.support.loopback import CHAT, TOKENLAB, Reply, TwoSides

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

BODY = {"model": "m", "messages": []}
REFUSED = {"error": {"message": "no", "type": "t", "code": "insufficient_balance"}}
PACKED = {
    "gzip": ("gzip", gzip.compress),
    "deflate": ("deflate", zlib.compress),
    "br": ("br", brotli.compress),
    "zstd": ("zstd", zstd.compress),
    "two": ("deflate, gzip", lambda data: gzip.compress(zlib.compress(data))),
    "none": ("", bytes),
}


def ask(sides: TwoSides, library: Any, is_async: bool) -> Any:
    given = {"org": "acme", "tokenlab_key": TOKENLAB, "library": library.__name__}
    url = f"{sides.previous.url}/v1/chat/completions"

    async def run() -> Any:
        async with async_client(sides.gate, "chat", **given) as http:
            return await http.post(url, json=BODY)

    if is_async:
        return asyncio.run(run())
    with client(sides.gate, "chat", **given) as http:
        return http.post(url, json=BODY)


@pytest.mark.parametrize("library", [httpx2, httpx], ids=["httpx2", "httpx"])
@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
@pytest.mark.parametrize(("encoding", "pack"), PACKED.values(), ids=PACKED)
def test_code_and_ids_are_found_in_every_encoding(
    sides: TwoSides, library: Any, is_async: bool, encoding: str, pack: Any
) -> None:
    headers = {"Content-Encoding": encoding} if encoding else {}
    sides.tokenlab.answer = lambda _: Reply(402, pack(json.dumps(REFUSED).encode()), headers)
    assert ask(sides, library, is_async).json() == REFUSED
    whole = pack(json.dumps(CHAT | {"billing_transaction_id": "b-1"}).encode())
    sides.tokenlab.answer = lambda _: Reply(200, whole, headers)
    assert ask(sides, library, is_async).json()["id"] == CHAT["id"]
    refused, good = sides.lines()
    assert (refused["status"], refused["error"]) == (402, "insufficient_balance")
    assert (good["status"], good["billing_transaction_id"]) == (200, "b-1")
    assert "error" not in good


EVENT = b'data: {"choices": [{"delta": {"content": "hi"}, "finish_reason": "stop"}]}\n\n'


@pytest.mark.parametrize("library", [httpx2, httpx], ids=["httpx2", "httpx"])
@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
@pytest.mark.parametrize(
    ("names", "pack"),
    [
        (("gzip", "gzip"), lambda data: gzip.compress(gzip.compress(data))),
        (("deflate", "br"), lambda data: brotli.compress(zlib.compress(data))),
        (("gzip", "identity"), gzip.compress),
        (("", "gzip"), gzip.compress),
    ],
    ids=["gzip-gzip", "deflate-br", "gzip-identity", "nothing-gzip"],
)
def test_encodings_in_headers_of_their_own_are_read(
    sides: TwoSides, library: Any, is_async: bool, names: tuple[str, str], pack: Any
) -> None:
    twice = dict(zip(("Content-Encoding", "content-encoding"), names, strict=True))
    for kind, body in (
        ("application/json", json.dumps(CHAT).encode()),
        ("text/event-stream", EVENT),
    ):
        reply = Reply(200, pack(body), {**twice, "Content-Type": kind})
        sides.tokenlab.answer = lambda _, reply=reply: reply  # type: ignore[misc]
        answer = ask(sides, library, is_async)
        assert answer.content == body
        assert answer.headers.get_list("content-encoding") == list(names)
    assert [(line["status"], line["outcome"]) for line in sides.lines()] == [(200, "ok")] * 2


def test_a_body_cut_at_any_byte_is_truncated(sides: TwoSides) -> None:
    """Also within a character, a number or the byte-order mark; compressed, too."""
    body = (
        b"\xef\xbb\xbf"
        + json.dumps(
            {"n": -1.5e-10, "choices": [{"message": {"content": "h\u00e9\u20ac\U0001f600"}}]},
            ensure_ascii=False,
        ).encode()
    )
    packed = {"Content-Encoding": "gzip"}
    with client(sides.gate, "chat", org="acme", tokenlab_key=TOKENLAB) as http:
        for end in range(1, len(body)):
            for reply in (Reply(200, body[:end]), Reply(200, gzip.compress(body[:end]), packed)):
                sides.tokenlab.answer = lambda _, reply=reply: reply  # type: ignore[misc]
                got = http.post(f"{sides.previous.url}/v1/chat/completions", json=BODY).content
                assert got == body[:end]
    lines = sides.lines()
    assert {line["status"] for line in lines} == {200}
    assert [line["outcome"] for line in lines if line["outcome"] != "truncated"] == ["empty"] * 2
    assert lines[4]["outcome"] == "empty", "of a byte-order mark alone"


@pytest.mark.parametrize("name", ["gzip", "deflate", "br", "zstd", "two"])
def test_a_compressed_body_cut_at_any_byte_is_truncated(sides: TwoSides, name: str) -> None:
    """Also where nothing can be decompressed yet; an encoding of nothing is empty, and whole."""
    encoding, pack = PACKED[name]
    body, headers = pack(b'{"id": "c", "choices": ['), {"Content-Encoding": encoding}
    replies = [Reply(200, body[:end], headers) for end in range(1, len(body))]
    with client(sides.gate, "chat", org="acme", tokenlab_key=TOKENLAB) as http:
        for reply in (*replies, Reply(200, pack(b""), headers), Reply(200, b"", headers)):
            sides.tokenlab.answer = lambda _, reply=reply: reply  # type: ignore[misc]
            url = f"{sides.previous.url}/v1/chat/completions"
            with http.stream("POST", url, json=BODY) as answer:
                assert b"".join(answer.iter_raw()) == reply.body
    *cut, nothing, no_byte = [(line["status"], line["outcome"]) for line in sides.lines()]
    assert set(cut) == {(200, "truncated")}
    assert nothing == no_byte == (200, "empty")


@pytest.mark.parametrize("name", ["gzip", "deflate", "br", "zstd"])
def test_a_body_that_nobody_decodes_is_no_answer_if_it_is_not_of_its_encoding(
    sides: TwoSides, name: str
) -> None:
    """As a proxy reads it, which passes the bytes on."""
    encoding, pack = PACKED[name]
    sent = pack(b"{")[:2] + b"\xff\xfe no such data" * 9
    sides.tokenlab.answer = lambda _: Reply(200, sent, {"Content-Encoding": encoding})
    with client(sides.gate, "chat", org="acme", tokenlab_key=TOKENLAB) as http:
        url = f"{sides.previous.url}/v1/chat/completions"
        with http.stream("POST", url, json=BODY) as answer:
            assert b"".join(answer.iter_raw()) == sent
    (line,) = sides.lines()
    assert (line["status"], line["outcome"], line["error"]) == (0, "error", "protocol")


def long_answer(size: int) -> bytes:
    return json.dumps(CHAT | {"pad": "x" * size, "billing_transaction_id": "b-1"}).encode()


@pytest.mark.parametrize("size", [300_000, 5_000_000])
def test_a_long_answer_is_looked_through_to_its_end(sides: TwoSides, size: int) -> None:
    body = long_answer(size)
    sides.tokenlab.answer = lambda _: Reply(200, body)
    assert ask(sides, httpx2, False).content == body
    (line,) = sides.lines()
    assert (line["status"], line["billing_transaction_id"]) == (200, "b-1")


def test_a_long_answer_in_one_piece_is_no_protocol_error(sides: TwoSides) -> None:
    """A transport of the application's own need not cut what it gives."""
    inner = httpx2.MockTransport(lambda _: httpx2.Response(200, content=long_answer(300_000)))
    with client(sides.gate, "chat", org="acme", tokenlab_key=TOKENLAB, inner=inner) as http:
        http.post("https://x/v1/chat/completions", json=BODY)
    (line,) = sides.lines()
    assert (line["status"], line["billing_transaction_id"]) == (200, "b-1")


ODD = {
    "a byte-order mark": (200, b"\xef\xbb\xbf" + json.dumps(CHAT).encode(), (200, None)),
    "a bad id": (200, b'{"id": "\xff", "choices": []}', (0, "protocol")),
    "a bad text": (200, b'{"id": "a", "choices": ["caf\xe9"]}', (0, "protocol")),
    "deep": (200, b'{"id":' + b"[" * 100_000 + b'"', (200, None)),
    "a Latin-1 message": (400, b'{"error": {"message": "caf\xe9", "code": "x"}}', (400, "x")),
    "a bad code": (400, b'{"error": {"code": "\xff", "type": "t"}}', (400, "t")),
    "a huge number": (400, b'{"error": {"code": "x", "cost": 1e999}}', (400, "x")),
    "Google's list": (429, b'[{"error": {"code": 429, "status": "NO"}}]', (429, "NO")),
    "an empty list": (429, b"[]", (429, "protocol")),
    "a text for an error": (500, b'{"error": "it broke"}', (500, "protocol")),
    "a page": (502, b"<html>", (502, "protocol")),
    "nothing": (503, b"", (503, "protocol")),
}


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
@pytest.mark.parametrize(("status", "body", "line"), ODD.values(), ids=ODD)
def test_no_bytes_raise_into_a_request(
    sides: TwoSides, is_async: bool, status: int, body: bytes, line: tuple[int, str | None]
) -> None:
    for percent in (100, 0):
        sides.decide(percent)
        sides.tokenlab.answer = sides.previous.answer = lambda _: Reply(status, body)
        answer = ask(sides, httpx2, is_async)
        assert (answer.status_code, answer.content) == (status, body)
    assert [(one["status"], one.get("error")) for one in sides.lines()] == [line] * 2


@pytest.mark.parametrize("encoding", ["gzip", "br", "zstd"])
def test_damage_reaches_the_application_as_it_would(sides: TwoSides, encoding: str) -> None:
    headers = {"Content-Encoding": encoding}
    sides.tokenlab.answer = lambda _: Reply(200, b"\x00not packed at all", headers)
    with pytest.raises(httpx2.DecodingError):
        ask(sides, httpx2, False)
    (line,) = sides.lines()
    assert line["side"] == "tokenlab"


def test_an_encoding_that_nobody_asked_for_is_passed_on(sides: TwoSides) -> None:
    sides.tokenlab.answer = lambda _: Reply(200, b"\x01\x02", {"Content-Encoding": "compress"})
    assert ask(sides, httpx2, False).content == b"\x01\x02"
    assert [line["status"] for line in sides.lines()] == [200]


def test_ids_have_an_end(sides: TwoSides) -> None:
    long = json.dumps({"error": {"code": "c" * 5000}}).encode()
    sides.tokenlab.answer = lambda _: Reply(400, long, {"X-Request-ID": "r" * 5000})
    ask(sides, httpx2, False)
    (line,) = sides.lines()
    assert (len(line["error"]), len(line["request_id"])) == (60, 200)
