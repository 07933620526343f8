"""Looking into answers that are compressed, damaged, cut off, or bombs."""

import gzip
import random
import sys
import zlib
from collections.abc import Callable
from functools import partial
from types import ModuleType
from typing import Any

import brotli
import pytest
import zstandard

from rollout_gate import content_encoding
from rollout_gate.content_encoding import decompressed

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

RANDOM = random.Random(7)
PLAIN = RANDOM.randbytes(1000) * 3 + b"x" * 200_000
MOST = 1 << 20


def raw_deflate(data: bytes) -> bytes:
    one = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return one.compress(data) + one.flush()


def halves(compress: Any) -> bytes:
    made: bytes = compress(PLAIN[:500]) + compress(PLAIN[500:])
    return made


PACKED = {
    "gzip": ("gzip", gzip.compress(PLAIN)),
    "gzip of two members": ("GZip", halves(gzip.compress)),
    "deflate": ("deflate", zlib.compress(PLAIN)),
    "deflate without a header": ("deflate", raw_deflate(PLAIN)),
    "br": ("br", brotli.compress(PLAIN)),
    "zstd": ("zstd", zstd.compress(PLAIN)),
    "zstd of two frames": ("zstd", halves(zstd.compress)),
    "several": ("gzip, br", brotli.compress(gzip.compress(PLAIN))),
    "identity": ("identity", PLAIN),
    "none": ("", PLAIN),
}


@pytest.mark.parametrize(("encoding", "data"), PACKED.values(), ids=PACKED)
def test_every_encoding(encoding: str, data: bytes) -> None:
    assert decompressed(data, encoding, MOST) == PLAIN
    if "," not in encoding:
        assert decompressed(data, encoding, 777) == PLAIN[:777]


@pytest.mark.parametrize(("encoding", "data"), PACKED.values(), ids=PACKED)
def test_what_is_cut_off_or_damaged_raises_nothing(encoding: str, data: bytes) -> None:
    for end in (0, 1, 2, len(data) // 2, len(data) - 1):
        found = decompressed(data[:end], encoding, MOST)
        assert found is not None
        assert PLAIN.startswith(found)
    for _ in range(100):
        damaged = bytearray(data)
        damaged[RANDOM.randrange(len(damaged))] ^= 1 << RANDOM.randrange(8)
        assert decompressed(bytes(damaged), encoding, MOST) is not None
        assert decompressed(RANDOM.randbytes(RANDOM.randrange(300)), encoding, MOST) is not None


@pytest.mark.parametrize("name", ["gzip", "br", "zstd"])
def test_a_bomb_is_not_decompressed_further_than_asked(name: str) -> None:
    size = 200_000_000
    # Quality 5 packs zeros as 11 does, in a tenth of the time.
    compress: dict[str, Callable[[bytes], bytes]] = {
        "gzip": gzip.compress,
        "br": partial(brotli.compress, quality=5),
        "zstd": zstd.compress,
    }
    bomb = compress[name](b"\0" * size)
    found = decompressed(bomb, name, MOST)
    assert found is not None
    assert len(found) == MOST


def test_an_encoding_that_is_not_known_or_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert decompressed(b"x", "compress", MOST) is None
    assert decompressed(b"x", "gzip, aws-chunked", MOST) is None
    for name in ("brotli", "brotlicffi", "backports.zstd", "compression.zstd", "zstandard"):
        monkeypatch.setitem(sys.modules, name, None)
    assert decompressed(PACKED["br"][1], "br", MOST) is None
    assert decompressed(PACKED["zstd"][1], "zstd", MOST) is None


def test_the_modules_that_an_older_httpx_uses(monkeypatch: pytest.MonkeyPatch) -> None:
    """zstandard has another interface than the standard library; brotli had no limit once."""

    class Old:
        def __init__(self) -> None:
            self._one = brotli.Decompressor()

        def process(self, data: bytes) -> bytes:
            return bytes(self._one.process(data))

    old_brotli = ModuleType("brotli")
    old_brotli.Decompressor = Old  # type: ignore[attr-defined]
    found = {"brotli": old_brotli, "compression.zstd": zstandard}
    monkeypatch.setattr(content_encoding, "_module", lambda *names: found[names[0]])
    for name in ("br", "zstd", "zstd of two frames"):
        encoding, data = PACKED[name]
        assert decompressed(data, encoding, MOST) == PLAIN
        assert decompressed(data, encoding, 777) == PLAIN[:777]
