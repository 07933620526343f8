"""Read a response body in bounded memory, against decompression bombs.

A client that decompresses chunk by chunk yields a thousand times the bytes on the wire at once:
a 64 KiB chunk of a decompression bomb becomes 64 MiB. So the raw bytes are buffered, and both they
and their decompressed size are limited.
"""

import httpx

from rollout_gate.content_encoding import decompressed

MAX_ANSWER = 8 * 1024 * 1024
"""The most bytes of a response, on the wire or decompressed; a larger one is refused."""
_MOST_VALUES = 1_000_000
"""The most JSON values in a response: ``{}`` is two bytes, but 64 and more once decoded."""

ACCEPT_ENCODING = "gzip, deflate"
"""The encodings requested: those that the standard library decodes."""


class TooLongError(Exception):
    """A body exceeds its limit of bytes or JSON values, perhaps an endless one."""


async def read_body(answer: httpx.Response, most: int = MAX_ANSWER) -> bytes:
    """Read a streamed response's complete body, decompressed; at most ``most`` bytes.

    A corrupt Content-Encoding yields the data before the corruption, an unknown one nothing: either
    then fails to parse as JSON. Raises TooLongError, and what httpx raises.
    """
    data = bytearray()
    async for piece in answer.aiter_raw():
        data += piece
        if len(data) > most:
            raise TooLongError
    return plain_body(answer, bytes(data), most)


def plain_body(answer: httpx.Response, data: bytes, most: int = MAX_ANSWER) -> bytes:
    """Decompress ``data`` by the response's Content-Encoding; raises TooLongError."""
    if encoding := answer.headers.get("content-encoding", ""):
        data = decompressed(data, encoding, most + 1) or b""
    if len(data) > most or sum(map(data.count, (b",", b"[", b"{"))) > _MOST_VALUES:
        raise TooLongError
    return data
