"""The outcome of every answer, whatever its status, its framing, its encoding and its pieces."""

import gzip
import json
import math
from collections.abc import Callable, Iterable
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rollout_gate.answers.error_codes import class_of, code_of
from rollout_gate.answers.events import Event, EventParser
from rollout_gate.answers.inspect import NoAnswerError, StreamInspector, inspected
from rollout_gate.answers.reading import Conclusion
from rollout_gate.untrusted import BYTE_ORDER_MARK
from tests.gate.answers.shapes import (
    CHAT,
    CHAT_SHAPES,
    GEMINI,
    MESSAGES,
    MESSAGES_SHAPES,
    RESPONSES,
    SHAPES,
    Shape,
)
from tests.gate.answers.written import ENCODINGS, flushed


def concluded(shape: Shape, pieces: Iterable[bytes], encoding: str = "") -> Conclusion | None:
    inspector = StreamInspector(shape.format, encoding)
    for piece in pieces:
        inspector.feed(piece)
    return inspector.concluded()


def check(shape: Shape, found: Conclusion | None) -> None:
    assert found is not None
    said = (found.outcome, found.error, found.finish_reason)
    assert said == (shape.outcome, shape.error, shape.finish_reason)
    assert (found.input_tokens, found.output_tokens) == shape.tokens


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_every_shape_has_its_outcome(shape: Shape) -> None:
    if shape.streamed:
        check(shape, concluded(shape, [shape.body]))
    else:
        check(shape, inspected(shape.body, shape.format))


STREAMS = {name: shape for name, shape in SHAPES.items() if shape.streamed}


@pytest.mark.parametrize("ends", [b"\n", b"\r\n", b"\r"], ids=["LF", "CRLF", "CR"])
@pytest.mark.parametrize("shape", STREAMS.values(), ids=STREAMS)
def test_events_may_be_split_anywhere(shape: Shape, ends: bytes) -> None:
    body = shape.body.replace(b"\n", ends)
    for size in (1, 2, 3, 7, 64, 1000):
        check(shape, concluded(shape, (body[i : i + size] for i in range(0, len(body), size))))
    *events, rest = body.split(2 * ends)
    check(shape, concluded(shape, [*(event + 2 * ends for event in events), rest]))


@pytest.mark.parametrize("name", ["a stream", "an error first", "an error event of text"])
def test_a_byte_order_mark_may_be_split(name: str) -> None:
    shape = CHAT_SHAPES[name]
    body = BYTE_ORDER_MARK + shape.body
    for edges in ((1,), (2,), (3,), (1, 2), (1, 2, 3), (4,)):
        ends = pairwise((0, *edges, len(body)))
        check(shape, concluded(shape, [body[a:b] for a, b in ends]))
    for end in (1, 2, 3):
        found = concluded(shape, [body[:end]])
        assert found is not None
        assert found.outcome == "empty", "nothing but a part of the mark came"


def test_a_stream_cut_at_any_byte_is_never_whole_nor_foreign() -> None:
    for name, shape in STREAMS.items():
        if shape.outcome == "ok":
            for end in range(len(shape.body)):
                found = concluded(shape, [shape.body[:end]])
                assert found is not None
                wanted = ("truncated", "empty") if not found.finish_reason else ("ok", "truncated")
                assert found.outcome in wanted or b"[DONE]" in shape.body[:end], (name, end)


WHOLE = {
    CHAT: {"id": "c", "f": -1.5e-10, "on": True, "of": None, "choices": [{
        "index": 0, "message": {"content": "h\u00e9 \\ \"\U0001f600 {[\\\""},
        "finish_reason": "stop"}]},
    RESPONSES: {"status": "completed", "output": [
        {"type": "message", "content": [{"type": "output_text", "text": "\u20ac"}]}], "n": -1.5},
    MESSAGES: {"type": "message", "content": [{"type": "text", "text": "\u20ac"}], "n": -1.5,
               "stop_reason": "end_turn"},
    GEMINI: {"n": -1.5, "candidates": [
        {"content": {"parts": [{"text": "\u20ac"}]}, "finishReason": "STOP"}]},
}  # fmt: skip


def written(route_format: str) -> list[bytes]:
    """The same answer as servers write it: escaped or not, with a mark, in lines, by others."""
    value = WHOLE[route_format]
    plain = json.dumps(value, ensure_ascii=False).encode()
    capital = plain.replace(b"e-10", b"E+10")
    odd = json.dumps({"odd": [math.nan, -math.inf, 1], **value}).replace("1]", "1e999]").encode()
    return [plain, json.dumps(value, indent=1).encode(), BYTE_ORDER_MARK + plain, capital,
            plain.replace("\u20ac".encode(), b"\x01\xe2\x82\xac\n"), odd]  # fmt: skip


@pytest.mark.parametrize("route_format", WHOLE)
def test_a_body_cut_at_any_byte_is_truncated(route_format: str) -> None:
    for body in written(route_format):
        whole = inspected(body, route_format)
        assert whole is not None
        assert whole.outcome == "ok"
        for end in range(1, len(body)):
            found = inspected(body[:end], route_format)
            blank = not body[:end].removeprefix(BYTE_ORDER_MARK).strip()
            assert found is not None
            assert found.outcome == ("empty" if blank else "truncated"), body[:end]


@pytest.mark.parametrize(
    "body",
    [b'{"a": 1}\xc3', b"{} {", b"[1] -", b"[error] upstream died", b"{ color: red; }", b'{"a": -}',
     b'[emerg] open() "a" failed (2'],
)  # fmt: skip
def test_what_only_begins_like_json_is_not_cut(body: bytes) -> None:
    with pytest.raises(NoAnswerError):
        inspected(body, CHAT)


def test_a_string_of_escapes_that_is_cut_is_read_in_linear_time() -> None:
    found = inspected(b'{"n": NaN, "a": "' + b'\\"\\\\' * 2_000_000, CHAT)
    assert found is not None
    assert found.outcome == "truncated"


@settings(max_examples=200)
@given(cuts=st.lists(st.integers(0, 2000)), name=st.sampled_from(sorted(STREAMS)))
def test_any_split_has_the_same_conclusion(cuts: list[int], name: str) -> None:
    shape = STREAMS[name]
    edges = sorted({0, len(shape.body), *(cut % (len(shape.body) + 1) for cut in cuts)})
    pieces = [shape.body[a:b] for a, b in pairwise(edges)]
    check(shape, concluded(shape, pieces))


@pytest.mark.parametrize(("encoding", "encode"), ENCODINGS.values(), ids=ENCODINGS)
@pytest.mark.parametrize(
    "shape",
    [CHAT_SHAPES["a stream"], CHAT_SHAPES["an error in the stream"], CHAT_SHAPES["cut"],
     MESSAGES_SHAPES["a stream"]],
)  # fmt: skip
def test_compressed_streams_are_read(
    shape: Shape, encoding: str, encode: Callable[[bytes], bytes]
) -> None:
    body = encode(shape.body)
    for size in (1, 13, 100_000):
        pieces = (body[i : i + size] for i in range(0, len(body), size))
        check(shape, concluded(shape, pieces, encoding))


def test_a_compressed_stream_that_is_cut_is_truncated() -> None:
    shape = CHAT_SHAPES["a stream"]
    body = flushed(shape.body)
    found = concluded(shape, [body[: len(body) // 2]], "gzip")
    assert found is not None
    assert found.outcome == "truncated"


@pytest.mark.parametrize(("encoding", "encode"), ENCODINGS.values(), ids=ENCODINGS)
def test_a_compressed_stream_cut_at_any_byte_is_truncated(
    encoding: str, encode: Callable[[bytes], bytes]
) -> None:
    """Also where nothing can be decompressed yet."""
    shape = CHAT_SHAPES["cut"]
    body = encode(shape.body)
    for end in range(1, len(body)):
        check(shape, concluded(shape, [body[:end]], encoding))
    for nothing in (CHAT_SHAPES["no event"], CHAT_SHAPES["only comments"]):
        check(nothing, concluded(nothing, [encode(nothing.body)], encoding))
        check(nothing, concluded(nothing, [], encoding))


def test_nothing_is_said_of_what_cannot_be_read() -> None:
    shape = CHAT_SHAPES["a stream"]
    assert concluded(shape, [shape.body], "snappy") is None
    assert concluded(shape._replace(format="later"), [shape.body]) is None
    assert inspected(b"{}", "later") is None
    assert inspected(b'{"id":' + b"[" * 100_000, CHAT) is None


@pytest.mark.parametrize("page", [b"<html><body>nginx: 502</body></html>", b"upstream timed out\n"])
def test_a_web_page_is_no_answer(page: bytes) -> None:
    with pytest.raises(NoAnswerError):
        concluded(CHAT_SHAPES["a stream"], [page])
    with pytest.raises(NoAnswerError):
        inspected(page, CHAT)


def test_the_first_content_counts_and_not_the_first_byte() -> None:
    for shape, before in ((CHAT_SHAPES["comments"], 3), (MESSAGES_SHAPES["a stream"], 3)):
        inspector = StreamInspector(shape.format)
        begun = []
        for event in shape.body.split(b"\n\n")[:-1]:
            inspector.feed(event + b"\n\n")
            begun.append(inspector.begun)
        assert begun.index(True) == before


def test_a_stream_left_after_its_last_word_was_not_abandoned() -> None:
    shape = CHAT_SHAPES["a stream"]
    for end, outcome in ((len(shape.body), "ok"), (200, "abandoned")):
        inspector = StreamInspector(shape.format)
        inspector.feed(shape.body[:end])
        found = inspector.abandoned()
        assert found is not None
        assert found.outcome == outcome


@given(st.binary())
def test_no_bytes_raise(data: bytes) -> None:
    for shape in (CHAT_SHAPES["a stream"], MESSAGES_SHAPES["a stream"]):
        inspector = StreamInspector(shape.format)
        inspector.feed(shape.body[:200])
        inspector.feed(data)
        inspector.abandoned()
        for encoding in ("gzip", "br", "zstd", "deflate"):
            inspector = StreamInspector(shape.format, encoding)
            inspector.feed(data)


NAMES = st.sampled_from(
    ["choices", "delta", "message", "content", "finish_reason", "error", "code", "usage", "type",
     "output", "response", "status", "incomplete_details", "candidates", "finishReason", "parts",
     "promptFeedback", "usageMetadata", "stop_reason", "content_block", "item", "index",
     "prompt_tokens_details", "id", "data"]
)  # fmt: skip
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=300)
@given(value=st.dictionaries(NAMES, JSON, max_size=6), kind=st.sampled_from(sorted(SHAPES)))
def test_no_json_raises(value: dict[str, Any], kind: str) -> None:
    """The enums and the types of others' fields are open: nothing in them breaks an answer."""
    body = json.dumps(value).encode()
    assert inspected(body, SHAPES[kind].format) is not None
    assert concluded(SHAPES[kind], [b"data: " + body + b"\n\n"]) is not None


def test_a_long_event_in_small_pieces_is_read_in_linear_time() -> None:
    parser = EventParser()
    piece = b"x" * 1024
    assert parser.feed(b"data: ") == []
    for _ in range(8 * 1024):
        assert parser.feed(piece) == []
    ((_, data),) = parser.feed(b"\n\n")
    assert len(data) == 8 * 1024 * 1024


@pytest.mark.parametrize("filler", [b"\n", b": \n", b":\n\n"])
def test_blank_lines_and_comments_of_a_bomb_are_skipped_together(
    filler: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    parsed: list[bytes] = []
    parse = EventParser._parsed

    def counted(self: EventParser, block: bytes) -> Event | None:
        parsed.append(block)
        return parse(self, block)

    monkeypatch.setattr(EventParser, "_parsed", counted)
    shape = CHAT_SHAPES["a stream"]
    inspector = StreamInspector(CHAT, "gzip")
    inspector.feed(gzip.compress(filler * (4_000_000 // len(filler)) + shape.body))
    check(shape, inspector.concluded())
    assert len(parsed) <= 80  # some for each piece of 64 KiB, and none for each line


CODES = {
    "rate_limit": ["rate_limit_exceeded", "rate_limit_error", "RESOURCE_EXHAUSTED", "429",
                   "too_many_requests", "ThrottlingException"],
    "auth": ["invalid_api_key", "authentication_error", "permission_error", "UNAUTHENTICATED",
             "PERMISSION_DENIED", "401", "403", "expired_api_key", "model_not_allowed"],
    "balance": ["insufficient_balance", "billing_error", "insufficient_quota", "402",
                "quota_exceeded"],
    "contract": ["invalid_request_error", "invalid_prompt", "not_found_error", "INVALID_ARGUMENT",
                 "request_too_large", "context_length_exceeded", "404", "model_not_found"],
    "gateway": ["overloaded_error", "api_error", "server_error", "timeout_error", "UNAVAILABLE",
                "INTERNAL", "DEADLINE_EXCEEDED", "all_channels_failed", "error", "503",
                "truncated", "MALFORMED_FUNCTION_CALL", "a new one"],
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "code"), [(name, code) for name, codes in CODES.items() for code in codes]
)
def test_a_code_names_its_class(name: str, code: str) -> None:
    assert class_of(code) == name


def test_a_code_is_bounded_and_one_that_says_something() -> None:
    assert code_of({"code": "x" * 10_000}) == "x" * 8192
    assert code_of({"code": True, "type": ["a"]}) == "error"
    assert code_of({"code": 429, "status": "RESOURCE_EXHAUSTED"}) == "RESOURCE_EXHAUSTED"
    assert code_of({"code": 429, "type": "K-17"}) == "429"
    assert code_of("text") == code_of(None) == code_of([]) == "error"
