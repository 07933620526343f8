"""Bytes of an access log as whole lines, and whole lines as records."""

from contextlib import suppress

import msgspec

from console.health.record import AccessRecord

MAX_LINE = 64 * 1024

_SMALL = 4096
_decoder = msgspec.json.Decoder(AccessRecord)


class LineCutter:
    """Holds back what is no whole line yet; of one over MAX_LINE nothing is kept.

    With ``entered`` the first line is cut off at its start and passed over. Zeros at the start
    are no line: a writer that goes on at its old place in a truncated file leaves them there.
    """

    def __init__(self, *, entered: bool = False) -> None:
        self._rest = b""
        self._skipping = entered
        self._empty = not entered
        self.bad_lines = 0

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
                self.bad_lines += 1
            rest, self._skipping = b"", True
        self._rest = b"" if self._skipping else rest
        return whole

    def end(self) -> bytes:
        """Return the last line where it has no end."""
        rest, self._rest = self._rest, b""
        return rest + b"\n" if rest else b""


def decoded(whole: bytes) -> tuple[list[AccessRecord], int]:
    """Return the records of whole lines, and how many lines are none; blank ones do not count."""
    if not _has_long_line(whole):
        # All at once is several times as fast. A value over two lines would pass, so they count.
        with suppress(ValueError, RecursionError):
            records = _decoder.decode_lines(whole)
            if len(records) == whole.count(b"\n"):
                return records, 0
    middle = whole.find(b"\n", len(whole) // 2) + 1
    if len(whole) <= _SMALL or not 0 < middle < len(whole):
        return _one_by_one(whole)
    # A bad line is narrowed down, so that a few of them do not slow down all others.
    first, bad = decoded(whole[:middle])
    second, more_bad = decoded(whole[middle:])
    return first + second, bad + more_bad


def _one_by_one(whole: bytes) -> tuple[list[AccessRecord], int]:
    records, bad = [], 0
    for line in whole.split(b"\n"):
        if line and not line.isspace():
            try:
                if len(line) > MAX_LINE:
                    raise ValueError
                records.append(_decoder.decode(line))
            except (ValueError, RecursionError):
                bad += 1
    return records, bad


def _has_long_line(data: bytes) -> bool:
    """Whether a line may be over MAX_LINE; only such a line leaves a stretch without an end."""
    return any(
        data.find(b"\n", start, start + MAX_LINE) < 0
        for start in range(0, len(data) - MAX_LINE, MAX_LINE)
    )
