"""Line framing and decoding: bytes of an access log to complete lines, those to records."""

import re
from contextlib import suppress
from functools import cache
from typing import Any

import msgspec

from rollout_console.health.log.record import AccessRecord
from rollout_console.health.log.unusable import ALL_USABLE, LineDater, Unusable
from rollout_gate.untrusted import UndecodableError, decode_json

MAX_LINE = 64 * 1024

_SMALL = 4096
_decoder = msgspec.json.Decoder(AccessRecord)
_FIELD = r" - at `\$\.(\w+)`$"
_TIME = "is no RFC 3339 time with a zone, such as 2026-11-25T10:00:00.000Z"

TOO_LONG = Unusable(1, f"it is longer than {MAX_LINE // 1024} KiB")


class LineCutter:
    """Buffers an incomplete line until its newline; a line over MAX_LINE bytes is discarded.

    With ``entered`` reading starts inside a line, and that first partial line is skipped. NUL bytes
    at the start are stripped: a writer without O_APPEND that continues at its old offset after the
    file was truncated leaves such a hole.
    """

    def __init__(self, *, entered: bool = False) -> None:
        self._rest = b""
        self._skipping = entered
        self._empty = not entered
        self.unusable = Unusable()

    def cut(self, data: bytes) -> bytes:
        """Return the lines that ``data`` completes, and buffer the rest."""
        if self._empty:
            data = data.lstrip(b"\0")
            self._empty = not data
        data = self._rest + data
        end = data.rfind(b"\n") + 1
        whole, rest = data[:end], data[end:]
        if self._skipping and end:
            whole = whole[whole.index(b"\n") + 1 :]
            self._skipping = False
        if len(rest) > MAX_LINE:
            if not self._skipping:
                self.unusable = self.unusable.plus(TOO_LONG)
            rest, self._skipping = b"", True
        self._rest = b"" if self._skipping else rest
        return whole

    def end(self) -> bytes:
        """Flush the buffer: return a last line without a newline, if there is one."""
        rest, self._rest = self._rest, b""
        return rest + b"\n" if rest else b""


@cache
def decoder_of(shape: type[AccessRecord]) -> msgspec.json.Decoder[Any]:
    """Return the decoder of a line's fields that a subclass of AccessRecord names."""
    return msgspec.json.Decoder(shape)


def decoded(
    whole: bytes,
    decoder: msgspec.json.Decoder[Any] = _decoder,
    dater: LineDater | None = None,
) -> tuple[list[AccessRecord], Unusable]:
    """Decode complete lines; return the records and the unusable lines, which blank ones are not.

    ``decoder`` is of AccessRecord, or of a subclass with more fields of the line (`decoder_of`).
    ``dater`` is called with both, in their order.

    A batch that does not decode as JSON Lines is bisected down to the bad lines.
    """
    if not _has_long_line(whole):
        # One batch decode is several times as fast as one a line. It would accept a value that
        # spans two lines, so the number of records is compared with that of newlines.
        with suppress(ValueError, RecursionError):
            records: list[AccessRecord] = decoder.decode_lines(whole)
            if len(records) == whole.count(b"\n"):
                if dater is not None and records:
                    dater.usable(records[0], records[-1])
                return records, ALL_USABLE
    middle = whole.find(b"\n", len(whole) // 2) + 1
    if len(whole) <= _SMALL or not 0 < middle < len(whole):
        return _one_by_one(whole, decoder, dater)
    # Bisect: a few bad lines must not cost the batch decode of all others.
    first, unusable = decoded(whole[:middle], decoder, dater)
    second, more = decoded(whole[middle:], decoder, dater)
    return first + second, unusable.plus(more)


def _one_by_one(
    whole: bytes, decoder: msgspec.json.Decoder[Any], dater: LineDater | None
) -> tuple[list[AccessRecord], Unusable]:
    dater = dater or LineDater()
    records, unusable = [], ALL_USABLE
    for line in whole.split(b"\n"):
        if not line or line.isspace():
            continue
        found = TOO_LONG
        if len(line) <= MAX_LINE:
            try:
                record = decode_json(line, decoder)
            except UndecodableError as error:
                found = Unusable(1, _why(str(error)))
            else:
                records.append(record)
                dater.usable(record, record)
                continue
        unusable = unusable.plus(found)
        dater.unusable(found)
    return records, unusable


def _why(message: str) -> str:
    """Translate a msgspec error into the log format's terms: the field and what is wrong."""
    found = re.search(_FIELD, message)
    name = found[1] if found else ""
    if name == "ts":
        return f"ts {_TIME}"
    reason = message[: found.start()] if found else message
    return f"{name}: {reason}" if name else reason


def _has_long_line(data: bytes) -> bool:
    """Whether a line may be over MAX_LINE: only such a line leaves a MAX_LINE range unbroken."""
    return any(
        data.find(b"\n", start, start + MAX_LINE) < 0
        for start in range(0, len(data) - MAX_LINE, MAX_LINE)
    )
