"""Bytes of an access log as whole lines, and whole lines as records."""

import re
from contextlib import suppress
from typing import NamedTuple

import msgspec

from rollout_console.health.log.record import AccessRecord
from rollout_gate.untrusted import UndecodableError, decode_json

MAX_LINE = 64 * 1024

_SMALL = 4096
_decoder = msgspec.json.Decoder(AccessRecord)
_FIELD = re.compile(r" - at `\$\.(\w+)`$")
_TIME = "is no RFC 3339 time with a zone, such as 2026-11-25T10:00:00.000Z"


class Unusable(NamedTuple):
    """Lines that are no access-log lines: how many, and why the first of them is none."""

    lines: int = 0
    why: str = ""

    def plus(self, other: "Unusable") -> "Unusable":
        """Return these and others, which came later."""
        return Unusable(self.lines + other.lines, self.why or other.why)


ALL_USABLE = Unusable()
_TOO_LONG = Unusable(1, f"it is longer than {MAX_LINE // 1024} KiB")


class LineCutter:
    """Holds back what is no whole line yet; of one over MAX_LINE nothing is kept.

    With ``entered`` the first line is cut off at its start and passed over. Zeros at the start
    are no line: a writer that goes on at its old place in a truncated file leaves them there.
    """

    def __init__(self, *, entered: bool = False) -> None:
        self._rest = b""
        self._skipping = entered
        self._empty = not entered
        self.unusable = Unusable()

    def cut(self, data: bytes) -> bytes:
        """Return the lines that are whole now."""
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
                self.unusable = self.unusable.plus(_TOO_LONG)
            rest, self._skipping = b"", True
        self._rest = b"" if self._skipping else rest
        return whole

    def end(self) -> bytes:
        """Return the last line where it has no end."""
        rest, self._rest = self._rest, b""
        return rest + b"\n" if rest else b""


def decoded(whole: bytes) -> tuple[list[AccessRecord], Unusable]:
    """Return the records of whole lines, and what of them cannot be used; blank ones can be."""
    if not _has_long_line(whole):
        # All at once is several times as fast. A value over two lines would pass, so they count.
        with suppress(ValueError, RecursionError):
            records = _decoder.decode_lines(whole)
            if len(records) == whole.count(b"\n"):
                return records, ALL_USABLE
    middle = whole.find(b"\n", len(whole) // 2) + 1
    if len(whole) <= _SMALL or not 0 < middle < len(whole):
        return _one_by_one(whole)
    # A bad line is narrowed down, so that a few of them do not slow down all others.
    first, unusable = decoded(whole[:middle])
    second, more = decoded(whole[middle:])
    return first + second, unusable.plus(more)


def _one_by_one(whole: bytes) -> tuple[list[AccessRecord], Unusable]:
    records, unusable = [], ALL_USABLE
    for line in whole.split(b"\n"):
        if not line or line.isspace():
            continue
        if len(line) > MAX_LINE:
            unusable = unusable.plus(_TOO_LONG)
            continue
        try:
            records.append(decode_json(line, _decoder))
        except UndecodableError as error:
            unusable = unusable.plus(Unusable(1, _why(str(error))))
    return records, unusable


def _why(message: str) -> str:
    """Return in the words of the log's form why a line has not got it."""
    found = _FIELD.search(message)
    name = found[1] if found else ""
    if name == "ts":
        return f"ts {_TIME}"
    reason = message[: found.start()] if found else message
    return f"{name}: {reason}" if name else reason


def _has_long_line(data: bytes) -> bool:
    """Whether a line may be over MAX_LINE; only such a line leaves a stretch without an end."""
    return any(
        data.find(b"\n", start, start + MAX_LINE) < 0
        for start in range(0, len(data) - MAX_LINE, MAX_LINE)
    )
