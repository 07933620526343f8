"""Event streams as servers write them: with any newline, mark, comment, field, encoding, pieces."""

import gzip
import importlib
import json
import zlib
from collections.abc import Callable
from itertools import pairwise
from typing import Any, NamedTuple

import pytest
from hypothesis import strategies as st

from rollout_gate.untrusted import BYTE_ORDER_MARK
from tests.gate.answers.shapes import SHAPES

Event = tuple[str, str | None]
"""The type of an event (empty without one), and its data; None where it has no field of data."""

STRAY = "in no field"
"""In place of a type: the data is written as it is, in no field of the event stream."""


def _events(body: bytes) -> list[Event]:
    found: list[Event] = []
    for block in body.decode().split("\n\n")[:-1]:
        fields = dict(line.split(": ", 1) for line in block.split("\n"))
        found.append((fields.get("event", ""), fields["data"]))
    return found


_SHAPES = {
    name: SHAPES[f"{name}: a stream"] for name in ("chat", "responses", "messages", "gemini")
}
GOOD = {shape.format: _events(shape.body) for shape in _SHAPES.values()}
"""The events of a good answer of each format."""
LAST = {shape.format: 3 if name == "chat" else -1 for name, shape in _SHAPES.items()}
"""Where the last word of each is."""

_CODED = '{"type": "server_error", "code": "server_error", "message": "x"}'
FAILURES: list[Event] = [
    ("error", "upstream failed"),
    ("error", "two\nlines"),
    ("error", '"overloaded"'),
    ("error", _CODED),
    ("error", '{"message": "x", "code": "server_error"}'),
    ("error", '{"error": {"type": "overloaded_error"}}'),
    ("error", '{"type": "error", "error": {"type": "overloaded_error"}}'),
    ("error", '{"type": "ping"}'),
    ("error", '{"choices": [{"index": 0, "delta": {"content": "hi"}}]}'),
    ("error", "[DONE]"),
    ("error", "[1]"),
    ("error", ""),
    ("error", None),
    ("", '{"error": {"code": 503}}'),
    ("", '{"error": "it broke"}'),
    ("", '{"error": {"code": NaN}}'),
    ("", '[{"error": {"code": 503}}]'),
    ("", '{"object": "error", "message": "CUDA OOM", "code": 500}'),
    ("", '{"type": "error", "error": {"type": "overloaded_error"}}'),
    ("note", '{"type": "error", "code": "server_error"}'),
    (STRAY, '{"error": {"code": 503}}'),
    (STRAY, '{"object": "error",\n "code": 500}'),
    (STRAY, '[{"error": {"code": 503}}]'),
]
"""Failures in a stream, of any format."""


def module(*names: str) -> Any:
    for name in names:
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError:
            continue
    pytest.fail(f"none of {names} is installed")


def raw_deflate(data: bytes) -> bytes:
    one = zlib.compressobj(wbits=-15)
    return one.compress(data) + one.flush()


def in_members(data: bytes) -> bytes:
    return gzip.compress(data[: len(data) // 2]) + gzip.compress(data[len(data) // 2 :])


def flushed(data: bytes) -> bytes:
    """As a server compresses a live stream: each piece can be read when it comes."""
    one = zlib.compressobj(wbits=31)
    pieces = (one.compress(data[i : i + 50]) + one.flush(zlib.Z_SYNC_FLUSH)
              for i in range(0, len(data), 50))  # fmt: skip
    return b"".join(pieces) + one.flush()


ENCODINGS: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "gzip": ("gzip", gzip.compress),
    "gzip, flushed": ("gzip", flushed),
    "gzip in members": ("gzip", in_members),
    "deflate": ("deflate", zlib.compress),
    "raw deflate": ("deflate", raw_deflate),
    "br": ("br", lambda data: module("brotli").compress(data)),
    "zstd": ("zstd", lambda data: module("compression.zstd", "backports.zstd", "zstandard")
             .compress(data)),
    "gzip twice": ("gzip, gzip", lambda data: gzip.compress(gzip.compress(data))),
}  # fmt: skip

_PLAIN: tuple[str, Callable[[bytes], bytes]] = ("", bytes)
encodings = st.just(_PLAIN) | st.sampled_from(list(ENCODINGS.values()))


class Written(NamedTuple):
    """A stream: its events one by one, with what the server wrote between them."""

    format: str
    blocks: list[bytes]

    @property
    def body(self) -> bytes:
        return b"".join(self.blocks)


@st.composite
def _blocks(draw: st.DrawFn, event: Event) -> str:
    name, data = event
    if name == STRAY:
        return f"{data}\n\n"
    if data is not None and data[:1] == "{" and draw(st.booleans()):
        data = json.dumps(json.loads(data), indent=draw(st.sampled_from([None, 1])),
                          ensure_ascii=draw(st.booleans()))  # fmt: skip
    space = draw(st.sampled_from([" ", ""]))
    lines = [] if data is None else [f"data:{space}{line}" for line in data.split("\n")]
    if name:
        lines.insert(draw(st.sampled_from([0, len(lines)])), f"event:{space}{name}")
    for more in draw(
        st.lists(st.sampled_from(["id: 1", "id", "retry: 5", ":", ": {}"]), max_size=2)
    ):
        lines.insert(draw(st.integers(0, len(lines))), more)
    after = draw(st.sampled_from(["", "", "", "\n", ": ping\n\n", ":\n", "retry: 9\n\n"]))
    return "\n".join(lines) + "\n\n" + after


@st.composite
def streams(draw: st.DrawFn, fails: bool = False) -> Written:
    """Good streams of any format, or such with one failure anywhere in them."""
    route_format = draw(st.sampled_from(sorted(GOOD)))
    events = list(GOOD[route_format])
    if fails:
        events.insert(draw(st.integers(0, len(events))), draw(st.sampled_from(FAILURES)))
    end = draw(st.sampled_from(["\n", "\r\n", "\r"]))
    blocks = [draw(_blocks(event)).replace("\n", end).encode() for event in events]
    blocks[0] = draw(st.sampled_from([b"", b"", BYTE_ORDER_MARK])) + blocks[0]
    return Written(route_format, blocks)


@st.composite
def pieces_of(draw: st.DrawFn, data: bytes) -> list[bytes]:
    """Split bytes anywhere: all of one size, or at some places."""
    size = draw(st.sampled_from([1, 2, 3, 7, 64, 0, 0]))
    if size:
        return [data[at : at + size] for at in range(0, len(data), size)]
    cuts = draw(st.lists(st.integers(0, len(data)), max_size=8))
    return [data[a:b] for a, b in pairwise([0, *sorted(cuts), len(data)])]
