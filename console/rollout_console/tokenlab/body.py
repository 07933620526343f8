"""Reading an answer's body with a bound on what it takes in memory.

A client that decompresses piece by piece gives out a thousand times what came over the wire, a
whole piece at once: 64 KiB of a compression bomb are 64 MiB. So the bytes are kept as they came,
and what they decompress to is cut off as well.
"""

import httpx

from rollout_gate.content_encoding import decompressed

MAX_ANSWER = 8 * 1024 * 1024
"""An answer of more bytes than this, on the wire or decompressed, is refused."""
_MOST_VALUES = 1_000_000
"""An answer of more JSON values is refused: ``{}`` are two bytes, and decoded 64 and more."""

ACCEPT_ENCODING = "gzip, deflate"
"""What is asked for: the encodings that need no module beside the standard library."""


class TooLongError(Exception):
    """A body of more bytes or values than it may have, or without an end."""


async def read_body(answer: httpx.Response, most: int = MAX_ANSWER) -> bytes:
    """Return a streamed answer's whole body, decompressed; at most ``most`` bytes.

    Of a damaged Content-Encoding it is what comes before the damage, and nothing of an unknown
    one: neither is the JSON that was expected then. Raises TooLongError, and what httpx raises.
    """
    data = bytearray()
    async for piece in answer.aiter_raw():
        data += piece
        if len(data) > most:
            raise TooLongError
    return plain_body(answer, bytes(data), most)


def plain_body(answer: httpx.Response, data: bytes, most: int = MAX_ANSWER) -> bytes:
    """Return ``data`` without the answer's Content-Encoding; raises TooLongError."""
    if encoding := answer.headers.get("content-encoding", ""):
        data = decompressed(data, encoding, most + 1) or b""
    if len(data) > most or sum(map(data.count, (b",", b"[", b"{"))) > _MOST_VALUES:
        raise TooLongError
    return data
