"""Inspect one answer as its bytes pass: the stream reader, and the reader of a whole body."""

import re
from collections.abc import Mapping
from typing import Any

from rollout_gate.answers.events import ERROR, Event, EventParser
from rollout_gate.answers.formats import FormatReader, reader_of
from rollout_gate.answers.reading import Conclusion, Reading, failure_in, objects
from rollout_gate.content_encoding import Decompressor
from rollout_gate.untrusted import (
    ANYTHING,
    BYTE_ORDER_MARK,
    UndecodableError,
    as_utf8,
    decode_json,
    decode_json_of_others,
)

_DONE = b"[DONE]"
_PINGS = ("ping", "keepalive")
"""Types of events that keep a connection open, and are nothing of an answer."""
_OF_JSON = re.compile(rb"[\s{}\[\],:\w.+-]*")
"""What may be in JSON outside of strings."""


class NoAnswerError(Exception):
    """A body that is neither JSON nor server-sent events, such as an intermediary's web page."""


class StreamInspector:
    """Reads a stream of server-sent events; a chunk may end anywhere, in whatever encoding.

    ``begun`` is set once content, a tool call, a refusal or reasoning came. Every event is decoded,
    as a text that only looks like an error must not count; one in the middle of a stream only as
    far as it takes to see that it is one.
    """

    def __init__(self, route_format: str, encoding: str = "") -> None:
        self.reading = Reading()
        self._format: FormatReader | None = reader_of(route_format)
        self._events = EventParser()
        self._decompressor = Decompressor(encoding) if encoding else None
        self._middle = self._format.middle.decode if self._format is not None else None
        self._in_middle = False

    @property
    def is_blind(self) -> bool:
        """Whether nothing can be said of this answer: an unsupported encoding or format."""
        coded = self._decompressor
        lost = coded is not None and coded.unsupported
        return self._format is None or lost or self._events.overflowed

    @property
    def _is_corrupt(self) -> bool:
        return self._decompressor is not None and self._decompressor.corrupt

    @property
    def begun(self) -> bool:
        """Whether the first content, tool call, refusal or reasoning came."""
        return self.reading.begun

    def feed(self, chunk: bytes) -> None:
        """Read a chunk of the response body, as it came over the wire."""
        if self._in_middle and self._middle is not None and chunk[-2:] == b"\n\n":
            # Fast path: servers mostly send one event in one chunk. Two in one, or one of several
            # lines, do not decode, as bytes follow the JSON.
            at = chunk.find(b"data: ")
            if at == 0 or (
                chunk[:7] == b"event: "
                and chunk.find(b"\n") == at - 1
                and chunk[7 : at - 1] != ERROR
            ):
                try:
                    self._middle(chunk[at + 6 :])
                except (ValueError, RecursionError):
                    pass
                else:
                    return
        if self._decompressor is None:
            self._feed_plain(chunk)
        else:
            for plain in self._decompressor.feed(chunk):
                self._feed_plain(plain)

    def concluded(self) -> Conclusion | None:
        """Return the conclusion at the end of the body; None where nothing can be said.

        Raises NoAnswerError for a body that is no event stream, or not of its Content-Encoding.
        """
        if self.is_blind:
            return None
        if self._is_corrupt and not self.reading.complete:
            raise NoAnswerError
        for event in self._events.end():
            self._take(event)
        self._take_strays()
        if self._events.foreign and not self.reading.events:
            raise NoAnswerError
        if self._decompressor is not None and self._decompressor.is_cut:
            self.reading.events += 1  # also where nothing could be decompressed yet
        return self.reading.concluded()

    def abandoned(self) -> Conclusion | None:
        """Return the conclusion of a stream that was closed before its end.

        Raises NoAnswerError where its client could not decompress it.
        """
        if self._is_corrupt and not self.reading.complete:
            raise NoAnswerError
        return None if self.is_blind else self.reading.abandoned()

    def _feed_plain(self, chunk: bytes) -> None:
        for event in self._events.feed(chunk):
            self._take(event)
        if self._events.strays:
            self._take_strays()
        reading = self.reading
        self._in_middle = (
            reading.content
            and not reading.complete
            and self._decompressor is None
            and self._events.at_boundary
        )

    def _take(self, event: Event) -> None:
        reading, of_format = self.reading, self._format
        if of_format is None:
            return
        name, data = event
        if name == ERROR:
            self._take_error(data, of_format)
            return
        if reading.content and not reading.complete and self._middle is not None:
            try:
                self._middle(data)
            except (ValueError, RecursionError):
                pass
            else:
                return
        if data.strip() == _DONE:
            reading.complete = True
            reading.events += 1
            return
        value = _decoded(data)
        if isinstance(value, dict) and value.get("type") in _PINGS:
            return
        reading.events += bool(data)  # also where it is no JSON: an event that was cut came
        for one in _objects_in(value):
            of_format.look(one, reading)

    def _take_error(self, data: bytes, of_format: FormatReader) -> None:
        """Take an event whose type is ``error``: a failure whatever its data is."""
        self.reading.events += 1
        values = _objects_in(_decoded(data))
        for one in values:
            of_format.look(one, self.reading)
        self.reading.failed(values[0] if values else None)

    def _take_strays(self) -> None:
        """Take the JSON that is in no field: it counts where it is an error, and only then."""
        strays, self._events.strays = self._events.strays, []
        for stray in strays:
            for one in _objects_in(_decoded(stray)):
                if failure := failure_in(one):
                    self.reading.events += 1
                    self.reading.failed(failure)


def inspected(body: bytes, route_format: str) -> Conclusion | None:
    """Return the conclusion about a whole body without its Content-Encoding; None if unknown.

    A body may be the JSON array that Gemini streams without ``alt=sse``. Raises NoAnswerError for
    one that is no JSON.
    """
    of_format = reader_of(route_format)
    if of_format is None:
        return None
    reading = Reading()
    try:
        value = decode_json(body, ANYTHING)
    except UndecodableError as error:
        if "too deeply" in str(error):
            return None
        if _is_cut(body, error):
            reading.events = bool(body.removeprefix(BYTE_ORDER_MARK).strip())
            return reading.concluded()
        value = _decoded(body)
    if not isinstance(value, dict | list):
        raise NoAnswerError
    for one in _objects_in(value):
        reading.events += 1
        of_format.look(one, reading)
    says_nothing = not (reading.content or reading.refused or reading.finish_reason)
    if of_format.body_is_whole or says_nothing:  # what says nothing is empty rather than cut
        reading.complete = True
    return reading.concluded()


def _is_cut(body: bytes, error: UndecodableError) -> bool:
    """Whether a body that does not decode is the beginning of JSON."""
    text = body.removeprefix(BYTE_ORDER_MARK).strip(b" \t\r\n")
    if BYTE_ORDER_MARK.startswith(text):
        return True
    why = str(error)
    return text[:1] in (b"{", b"[") and (
        "truncated" in why or ("trailing" not in why and _is_open(text))
    )


def _is_open(text: bytes) -> bool:
    """Whether JSON ends inside a string, or with a bracket open.

    Brackets are counted, as decoders name another error first where a number is cut (``-1.``), or
    at what only others accept (NaN, control characters in a string).
    """
    outside = text.replace(b"\\\\", b"").replace(b'\\"', b"").split(b'"')
    is_in_string = len(outside) % 2 == 0
    rest = b"".join(outside[::2])
    depth = rest.count(b"{") + rest.count(b"[") - rest.count(b"}") - rest.count(b"]")
    return _OF_JSON.fullmatch(rest) is not None and (is_in_string or depth > 0)


def _objects_in(value: object) -> list[Mapping[str, Any]]:
    """Return the objects of a decoded value, which may be one or a list of them."""
    return objects([value] if isinstance(value, dict) else value)


def _decoded(data: bytes) -> object:
    """Return the value of JSON that other parsers accept; None where none would."""
    try:
        return decode_json(data, ANYTHING)
    except UndecodableError:
        pass
    try:
        return decode_json_of_others(as_utf8(data))
    except UndecodableError:
        return None
