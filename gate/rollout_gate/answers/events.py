"""Parse server-sent events incrementally, as their bytes pass.

Source: WHATWG HTML, section 9.2.6, "Interpreting an event stream". Lines may end in LF, CR or CRLF,
and a chunk may end anywhere, also between CR and LF.
"""

import re
from collections.abc import Iterator

from rollout_gate.untrusted import BYTE_ORDER_MARK

MOST_EVENT = 32 * 1024 * 1024
"""Limit in bytes of the buffer of one event; a longer one is dropped, and ``overflowed`` is set."""

Event = tuple[bytes, bytes]
"""The type of an event (empty where it names none), and its data."""

_SKIPPED = re.compile(rb"(?:(?::[^\n]*)?\n)++")
"""Blank lines and comments between events, which a decompression bomb may have millions of.

Written without alternatives: a possessive quantifier of CPython before 3.11.5 (Debian 12's is
3.11.2) ends where the last alternative gave up, here within a comment that is cut
(python/cpython#100061).
"""
ERROR = b"error"
"""The type of the events that say that an answer failed."""

_FIELDS = (b"data", b"event", b"id", b"retry", b"")


class EventParser:
    """Turns chunks of an event stream into events; comments, ids and retry times are skipped.

    ``foreign`` is set by a line that is no field of an event stream, such as those of a web page.
    ``strays`` are texts that begin as JSON outside of any field: clients skip them, but a gateway
    may have written an error so.
    """

    def __init__(self) -> None:
        self.foreign = False
        self.strays: list[bytes] = []
        self.overflowed = False
        self._buffer = bytearray()
        self._after_cr = False
        self._begun = False
        self._mark = b""

    def feed(self, chunk: bytes) -> list[Event]:
        """Return the events that a chunk completes."""
        if not chunk:
            return []
        return list(self._events(self._with_newlines(chunk)))

    @property
    def at_boundary(self) -> bool:
        """Whether the next byte begins an event: nothing of one is buffered."""
        return not self._buffer and not self._after_cr

    def end(self) -> list[Event]:
        """Return the last event, if no blank line terminates it: some clients accept that."""
        rest, self._buffer = bytes(self._buffer), bytearray()
        line = rest.rpartition(b"\n")[2]
        if any(field.startswith(line) for field in _FIELDS):  # cut in the name of a field
            rest = rest.removesuffix(line)
        event = self._parsed(rest)
        return [event] if event is not None and event[1] else []

    def _with_newlines(self, chunk: bytes) -> bytes:
        """Return a chunk with LF line endings, and without a byte-order mark at the start."""
        if not self._begun:
            chunk = self._mark + chunk
            if chunk != BYTE_ORDER_MARK and BYTE_ORDER_MARK.startswith(chunk):
                self._mark = chunk  # it may be the beginning of the mark
                return b""
            self._begun = True
            chunk = chunk.removeprefix(BYTE_ORDER_MARK)
        if self._after_cr and chunk[:1] == b"\n":
            chunk = chunk[1:]
            self._after_cr = False
        if chunk:
            self._after_cr = chunk[-1:] == b"\r"
        if b"\r" in chunk:
            chunk = chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        return chunk

    def _events(self, chunk: bytes) -> Iterator[Event]:
        buffer = self._buffer
        searched = max(len(buffer) - 1, 0)
        buffer += chunk
        begin = _skip(buffer, 0) if b"\n" in chunk else 0
        while (end := buffer.find(b"\n\n", max(begin, searched))) >= 0:
            event = self._parsed(bytes(buffer[begin:end]))
            begin = _skip(buffer, end + 2)
            if event is not None:
                yield event
        del buffer[:begin]
        if len(buffer) > MOST_EVENT:
            self.overflowed = True
            del buffer[:-1]  # a newline may be half of the blank line that ends the event

    def _parsed(self, block: bytes) -> Event | None:
        if block[:6] == b"data: " and b"\n" not in block:
            return b"", block[6:]
        name = b""
        data: list[bytes] = []
        stray: list[bytes] = []
        for line in block.split(b"\n"):
            field, colon, value = line.partition(b":")
            if field not in _FIELDS:
                self.foreign = True
                if stray or line[:1] in (b"{", b"["):
                    stray.append(line)
            value = value.removeprefix(b" ")
            if field == b"data":
                data.append(value)
            elif field == b"event" and colon:
                name = value
        if stray:
            self.strays.append(b"\n".join(stray))
        # An error event without data is none of the standard's, but some clients raise for it.
        return (name, b"\n".join(data)) if data or name == ERROR else None


def _skip(buffer: bytearray, at: int) -> int:
    """Return where the next event begins: after the blank lines and comments at ``at``."""
    found = _SKIPPED.match(buffer, at)
    return at if found is None else found.end()
