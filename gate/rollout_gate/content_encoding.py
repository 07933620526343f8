"""Decompress the Content-Encoding of a response body, to inspect it (RFC 9110, section 8.4).

``decompressed`` takes a whole body, ``Decompressor`` a stream chunk by chunk.

The application's HTTP client decodes for itself; the gate sees the encoded bytes. gzip and
deflate are in the standard library. br and zstd need the modules that httpx and httpx2 use for
them, and a client without those modules does not ask for these encodings.
"""

import io
import zlib
from collections.abc import Callable, Iterable, Iterator
from importlib import import_module
from typing import Any, Literal

_PIECE = 64 * 1024
_GZIP = 16 + zlib.MAX_WBITS
_RAW_DEFLATE = -zlib.MAX_WBITS


def decompressed(data: bytes, encoding: str, most: int) -> bytes | None:
    """Return ``data`` without its Content-Encoding, at most ``most`` bytes after each encoding.

    ``encoding`` is the header's value: encodings separated by commas, in the order in which they
    were applied. Corrupt data is decoded up to the error. The result is None where an encoding is
    not supported, or its module is not installed.
    """
    names = [name.strip().lower() for name in encoding.split(",")]
    for name in reversed([name for name in names if name not in ("", "identity")]):
        if name not in _DECODERS:
            return None
        try:
            data = _joined(_DECODERS[name](data), most)
        except ModuleNotFoundError:
            return None
    return data[:most]


def fault_of(pieces: Iterable[bytes], encoding: str, most: int) -> Literal["corrupt", "cut"] | None:
    """Return whether data is not of its Content-Encoding, or ends before its encoding does.

    It is decompressed to ``most`` bytes at most.
    """
    coded, left = Decompressor(encoding), most
    for piece in pieces:
        for plain in coded.feed(piece):
            left -= len(plain)
            if left < 0:
                return None
    if coded.corrupt:
        return "corrupt"
    return "cut" if coded.is_cut else None


class Decompressor:
    """Decompresses a stream incrementally: of each chunk as much as it completes.

    ``unsupported`` is set for an encoding that is not known here, or whose module is missing, and
    ``corrupt`` once the data is no longer of the encoding; then there is no more output.
    """

    def __init__(self, encoding: str) -> None:
        self.unsupported = self.corrupt = False
        self._begun = False
        names = [name.strip().lower() for name in encoding.split(",")]
        self._steps: list[_Step] = []
        self._are_over: list[_IsOver] = []
        try:
            for name in reversed([name for name in names if name not in ("", "identity")]):
                step, is_over = _STEPS[name]()
                self._steps.append(step)
                self._are_over.append(is_over)
        except (KeyError, ModuleNotFoundError):
            self.unsupported = True

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield the decompressed bytes of a chunk, in pieces."""
        if not self.unsupported and not self.corrupt:
            self._begun = self._begun or bool(data)
            yield from self._through(data, self._steps)

    @property
    def is_cut(self) -> bool:
        """Whether data came, and its encoding has not ended; False where that is not known."""
        known = self._begun and not self.unsupported and not self.corrupt
        return known and not all(is_over() for is_over in self._are_over)

    def _through(self, data: bytes, steps: "list[_Step]") -> Iterator[bytes]:
        if not steps:
            yield data
            return
        pieces = steps[0](data)
        while True:
            try:
                piece = next(pieces, None)
            except Exception:  # noqa: BLE001 - corrupt data: each module has exceptions of its own
                self.corrupt = True
                return
            if piece is None:
                return
            if piece:
                yield from self._through(piece, steps[1:])


_Step = Callable[[bytes], Iterator[bytes]]
"""Takes a chunk and yields its decompressed pieces; keeps state from one call to the next."""
_IsOver = Callable[[], bool]
"""Whether a step's data has come to its end."""


def _gzip_step() -> tuple[_Step, _IsOver]:
    return _zlib_step(lambda _: _GZIP)


def _deflate_step() -> tuple[_Step, _IsOver]:
    return _zlib_step(lambda data: zlib.MAX_WBITS if _has_zlib_header(data) else _RAW_DEFLATE)


def _zlib_step(bits_for: Callable[[bytes], int]) -> tuple[_Step, _IsOver]:
    one: Any = None
    held = b""

    def step(data: bytes) -> Iterator[bytes]:
        nonlocal one, held
        data = held + data
        held = b""
        while data:
            if one is None or one.eof:  # members may be concatenated
                if len(data) < 2 and one is None:
                    held = data  # the header of deflate is two bytes
                    return
                one = zlib.decompressobj(bits_for(data))
            yield one.decompress(data, _PIECE)
            data = one.unconsumed_tail or one.unused_data

    return step, lambda: one is not None and one.eof


def _brotli_step() -> tuple[_Step, _IsOver]:
    one = _module("brotli", "brotlicffi").Decompressor()
    step: Callable[[bytes], bytes] = getattr(one, "process", None) or one.decompress

    def steps(data: bytes) -> Iterator[bytes]:
        for start in range(0, len(data), _PIECE):
            yield step(data[start : start + _PIECE])

    return steps, getattr(one, "is_finished", lambda: True)


def _zstd_step() -> tuple[_Step, _IsOver]:
    module = _module("compression.zstd", "backports.zstd", "zstandard")
    made = module.ZstdDecompressor
    if hasattr(made, "decompressobj"):  # zstandard
        one = made().decompressobj(read_across_frames=True)
        return lambda data: iter((one.decompress(data),)), lambda: True
    frame = made()

    def step(data: bytes) -> Iterator[bytes]:
        nonlocal frame
        while data:
            if frame.eof:  # frames may be concatenated
                frame = made()
            yield frame.decompress(data)
            data = frame.unused_data if frame.eof else b""

    return step, lambda: frame.eof


_MOST_MEMBERS = 1_000
"""Limit on gzip members (RFC 1952, section 2.2): a body of more is an attack, or empty."""


def _joined(pieces: Iterator[bytes], most: int) -> bytes:
    """Join at most ``most`` bytes: a decompression bomb is not expanded beyond that."""
    out = bytearray()
    try:
        for piece in pieces:
            out += piece
            if len(out) >= most:
                break
    except ModuleNotFoundError:
        raise
    except Exception:  # noqa: BLE001, S110 - corrupt data: each module has exceptions of its own
        pass
    return bytes(out[:most])


def _gzip(data: bytes) -> Iterator[bytes]:
    at, view = 0, memoryview(data)
    for _ in range(_MOST_MEMBERS):  # members may be concatenated
        one = zlib.decompressobj(_GZIP)
        while at < len(data) and not one.eof:
            piece = bytes(view[at : at + _PIECE])
            at += len(piece)
            while out := one.decompress(piece, _PIECE):
                yield out
                piece = one.unconsumed_tail
        at -= len(one.unused_data)
        if at >= len(data):
            return


def _deflate(data: bytes) -> Iterator[bytes]:
    """Decode both formats called deflate: with a zlib header (RFC 1950), and raw (RFC 1951)."""
    bits = zlib.MAX_WBITS if _has_zlib_header(data) else _RAW_DEFLATE
    return _zlib(zlib.decompressobj(bits), data)


def _has_zlib_header(data: bytes) -> bool:
    return len(data) > 1 and data[0] & 0x0F == 8 and (data[0] << 8 | data[1]) % 31 == 0


def _zlib(one: Any, data: bytes) -> Iterator[bytes]:
    while piece := one.decompress(data, _PIECE):
        yield piece
        data = one.unconsumed_tail


def _brotli(data: bytes) -> Iterator[bytes]:
    one = _module("brotli", "brotlicffi").Decompressor()
    step: Callable[..., bytes] = getattr(one, "process", None) or one.decompress
    try:
        piece = step(data, output_buffer_limit=_PIECE)
    except TypeError:  # brotli before 1.2 has no output limit: feed small chunks
        yield from (step(data[start : start + 256]) for start in range(0, len(data), 256))
        return
    while piece:
        yield piece
        piece = step(b"", output_buffer_limit=_PIECE)


def _zstd(data: bytes) -> Iterator[bytes]:
    module = _module("compression.zstd", "backports.zstd", "zstandard")
    if hasattr(module, "ZstdFile"):
        read = module.ZstdFile(io.BytesIO(data)).read1
    else:
        read = module.ZstdDecompressor().stream_reader(data, read_across_frames=True).read
    while piece := read(_PIECE):
        yield piece


def _module(*names: str) -> Any:
    """Import the first module that is installed; raises ModuleNotFoundError where none is."""
    for name in names:
        try:
            return import_module(name)
        except ModuleNotFoundError:
            continue
    raise ModuleNotFoundError(names[0])


_DECODERS: dict[str, Callable[[bytes], Iterator[bytes]]] = {
    "gzip": _gzip,
    "x-gzip": _gzip,
    "deflate": _deflate,
    "br": _brotli,
    "zstd": _zstd,
}

_STEPS: dict[str, Callable[[], tuple[_Step, _IsOver]]] = {
    "gzip": _gzip_step,
    "x-gzip": _gzip_step,
    "deflate": _deflate_step,
    "br": _brotli_step,
    "zstd": _zstd_step,
}
