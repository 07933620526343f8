"""The bucket of a subject: flagd's ``fractional`` operator, generation 3.

It is that of openfeature-flagd-core 2.0.0: MurmurHash3 x86 32-bit with seed 0, unsigned, over
the canonical CBOR (RFC 8949, section 4.2) of the array ``[route, key]``, scaled to 0..9999.
"""

from mmh3 import mmh3_32_uintdigest as murmur3

ALGORITHM = "fractional-v3"

SHORT_HEADS = tuple(
    bytes((0x60 | size,)) if size < 24 else bytes((0x78, size)) for size in range(256)
)
"""Precomputed CBOR heads of text strings of 0 to 255 bytes."""


def cbor_text(text: str) -> bytes:
    """Return ``text`` as canonical CBOR major type 3, with the shortest head.

    A lone surrogate has no UTF-8 encoding; it is hashed as "?", so that a decision never raises.
    """
    raw = text.encode("utf-8", "replace")
    size = len(raw)
    if size < 24:
        return bytes((0x60 | size,)) + raw
    if size < 0x100:
        return bytes((0x78, size)) + raw
    if size < 0x1_0000:
        return b"\x79" + size.to_bytes(2, "big") + raw
    if size < 0x1_0000_0000:
        return b"\x7a" + size.to_bytes(4, "big") + raw
    return b"\x7b" + size.to_bytes(8, "big") + raw


def bucket_prefix(route: str) -> bytes:
    """Return the bytes hashed before the key: the same for every request of a route."""
    return b"\x82" + cbor_text(route)


def bucket_of(route: str, key: str) -> int:
    """Return the bucket, 0 to 9999, of ``key`` on ``route``."""
    return bucket_after(bucket_prefix(route), key)


def bucket_after(prefix: bytes, key: str) -> int:
    """Return the same as ``bucket_of``, from a precomputed ``bucket_prefix``."""
    if len(key) < len(SHORT_HEADS) and key.isascii():
        return murmur3(prefix + SHORT_HEADS[len(key)] + key.encode()) * 10_000 >> 32
    return murmur3(prefix + cbor_text(key)) * 10_000 >> 32
