"""Decode untrusted JSON: responses of providers and of TokenLab, log records, others' files.

msgspec raises four exceptions for bad input: DecodeError and ValidationError, but also
UnicodeDecodeError for a byte that is not UTF-8 inside a string, and RecursionError for deep
nesting. Code that catches only the first crashes on the others, so everything from outside is
decoded here, and there is one exception to catch.
"""

import codecs
import json
from typing import Any, TypeVar

import msgspec

_T = TypeVar("_T")

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
ANYTHING: msgspec.json.Decoder[Any] = msgspec.json.Decoder()
"""A decoder of any JSON value."""


class UndecodableError(ValueError):
    """Bytes that are not the JSON that was expected.

    ``str()`` is one sentence with the reason and the field; it holds nothing of the content.
    """


def decode_json(data: bytes | bytearray | msgspec.Raw, decoder: msgspec.json.Decoder[_T]) -> _T:
    """Return the decoded value; a leading UTF-8 byte-order mark is skipped.

    Raises UndecodableError, and nothing else, for whatever is wrong with ``data``.
    """
    if not isinstance(data, msgspec.Raw) and data.startswith(BYTE_ORDER_MARK):
        data = data[len(BYTE_ORDER_MARK) :]
    try:
        return decoder.decode(data)
    except UnicodeDecodeError as error:
        byte = error.object[error.start]
        raise UndecodableError(f"byte 0x{byte:02x} in a string is not UTF-8") from None
    except RecursionError:
        raise UndecodableError("nested too deeply") from None
    except ValueError as error:  # DecodeError, ValidationError
        raise UndecodableError(str(error)) from None


def decode_json_of_others(data: bytes) -> Any:
    """Decode JSON as leniently as the standard library does: NaN, lone surrogates and control
    characters in strings, UTF-16 and UTF-32, as applications write and other parsers accept them.

    Raises UndecodableError, and nothing else.
    """
    try:
        return json.loads(data, strict=False)
    except (ValueError, RecursionError) as error:
        raise UndecodableError(f"not JSON: {type(error).__name__}") from None


def begins_as_utf8(data: bytes) -> bool:
    """Return whether ``data`` is UTF-8, or the beginning of it that ends within a character."""
    try:
        codecs.utf_8_decode(data, "strict", False)
    except UnicodeDecodeError:
        return False
    return True


def as_utf8(data: bytes) -> bytes:
    """Return ``data`` as valid UTF-8: invalid bytes become U+FFFD.

    It serves to read a code or an id out of a response that is broken elsewhere, such as an error
    whose message is Latin-1.
    """
    if data.isascii():
        return data
    try:
        data.decode()
    except UnicodeDecodeError:
        return data.decode(errors="replace").encode()
    return data
