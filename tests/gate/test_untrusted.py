"""JSON from outside: one error for all that can be wrong with it."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollout_gate.untrusted import UndecodableError, as_utf8, decode_json


class Answer(msgspec.Struct):
    id: str = ""
    cost: float = 0.0
    deep: object = None


DECODER = msgspec.json.Decoder(Answer)
WRONG = {
    "no JSON": b"<html>",
    "nothing": b"",
    "cut off": b'{"id": "a',
    "a wrong type": b'{"id": 1}',
    "a bad byte in a string": b'{"id": "caf\xe9"}',
    "a bad byte in a key of a map": b'{"deep": {"caf\xe9": 1}}',
    "deep": b'{"deep":' + b"[" * 100_000,
    "a huge number": b'{"cost": 1e999}',
    "a long number": b'{"deep": ' + b"9" * 10_000 + b"}",
    "NaN": b'{"cost": NaN}',
    "a lone surrogate": b'{"id": "\\ud800"}',
    "UTF-16": '{"id": "a"}'.encode("utf-16"),
    "something after it": b'{"id": "a"} {}',
}


@pytest.mark.parametrize("data", WRONG.values(), ids=WRONG)
def test_whatever_is_wrong_is_one_error_without_the_content(data: bytes) -> None:
    with pytest.raises(UndecodableError) as raised:
        decode_json(data, DECODER)
    assert "\n" not in str(raised.value)
    assert "caf" not in str(raised.value)
    assert raised.value.__cause__ is None


def test_a_byte_order_mark_is_skipped() -> None:
    assert decode_json(b'\xef\xbb\xbf{"id": "a"}', DECODER) == Answer("a")


@given(st.binary(max_size=200) | st.binary(max_size=60).map(lambda b: b'{"id": "' + b + b'"}'))
def test_no_bytes_raise_anything_else(data: bytes) -> None:
    decoders: list[Any] = [DECODER, msgspec.json.Decoder(), msgspec.json.Decoder(dict[str, Answer])]
    for decoder in decoders:
        try:
            decode_json(data, decoder)
        except UndecodableError:
            continue


def test_what_is_not_utf8_is_made_so_and_the_rest_is_left_alone() -> None:
    good = '{"id": "café"}'.encode()
    assert as_utf8(good) is good
    assert as_utf8(b'{"id": "caf\xe9"}') == '{"id": "caf\ufffd"}'.encode()
