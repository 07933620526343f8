"""Record one request while its response streams through, and write its access-log record."""

import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Literal
from urllib.parse import urlsplit

import msgspec

from rollout_gate.access_log import (
    MOST_ID,
    MOST_NAME,
    REVISION_DIGITS,
    AccessLine,
    AccessLog,
    timestamp,
)
from rollout_gate.answers.error_codes import MOST_TEXT
from rollout_gate.answers.inspect import NoAnswerError, StreamInspector, inspected
from rollout_gate.answers.reading import Conclusion, Outcome
from rollout_gate.answers.status_class import LEFT
from rollout_gate.content_encoding import decompressed, fault_of
from rollout_gate.http.credentials import LEAST_SECRET, credentials_in
from rollout_gate.http.operations import ids_in
from rollout_gate.http.routing import Outgoing
from rollout_gate.http.task_answers import NO_TASK, TaskAnswer, task_answer
from rollout_gate.secret import is_credential, redacted
from rollout_gate.untrusted import (
    BYTE_ORDER_MARK,
    UndecodableError,
    as_utf8,
    begins_as_utf8,
    decode_json,
)

log = logging.getLogger("rollout_gate")

MOST_BODY = 32 * 1024 * 1024
"""Limit in bytes of the buffer of a response, which is kept to its end for an error's code and the
ids in it. The chunks are shared with the application's client, so they take no more memory."""
MOST_TASK = 1024 * 1024
"""Limit in bytes of an answer that may be a task or the media themselves: larger ones are media."""
MOST_CODE = 60
"""Length in characters to which codes and finish reasons are truncated in the log."""
_HASH_DIGITS = 12
_EVENTS = "text/event-stream"
_HOST = os.uname().nodename
_UNKNOWN = Conclusion("ok")
"""In place of a conclusion where there is none: it names no finish reason and no tokens."""
_NULL = msgspec.Raw(b"null")


class _Answer(msgspec.Struct):
    """Fields of a response, decoded lazily one by one: an invalid one does not hide the others."""

    error: msgspec.Raw = _NULL
    id: msgspec.Raw = _NULL
    billing_transaction_id: msgspec.Raw = _NULL


_NO_ANSWER = _Answer()


class _Error(msgspec.Struct):
    code: msgspec.Raw = _NULL
    status: msgspec.Raw = _NULL
    type: msgspec.Raw = _NULL


_answer_of = msgspec.json.Decoder(_Answer)
_answers_of = msgspec.json.Decoder(list[_Answer])
_error_of = msgspec.json.Decoder(_Error)
_text_of = msgspec.json.Decoder(str)


_LENGTH_DIGITS = 18


class Recorder:
    """Records one request, from before it is sent until its response ends, breaks or is dropped.

    ``made`` is called with the ids that a good response makes, as soon as it has named them.
    """

    def __init__(
        self,
        log: AccessLog,
        out: Outgoing,
        attempt: int,
        made: Callable[[Outgoing, Sequence[str]], None] = lambda out, ids: None,
    ) -> None:
        self._log = log
        self._made = made
        self._awaits_id = False
        self._out = out
        self._attempt = attempt
        self._started = time.perf_counter()
        self._ttft_ms: float | None = None
        self._status = 0
        self._headers: Mapping[str, str] = {}
        self._in_events = False
        self._keeps = True
        self._pieces: list[bytes] = []
        self._size = 0
        self._passed = 0
        self._opened: tuple[int, bytes | None] = (-1, None)
        self._stream: StreamInspector | None = None
        self._outcome: Outcome | None = None
        self._task: TaskAnswer | None = None
        self._secrets: list[str] | None = None
        self._done = False

    def goes(self, out: Outgoing) -> None:
        """Take the request as it is really sent, where that was not known at the start."""
        self._out, self._secrets = out, None

    @property
    def body(self) -> bytes:
        """The response body without its Content-Encoding; empty if over MOST_BODY bytes."""
        return self._plain() if self._size <= MOST_BODY else b""

    @property
    def is_over(self) -> bool:
        """Whether the record is written, or none is to be."""
        return self._done or self._out.decision is None

    @property
    def is_whole(self) -> bool:
        """Whether all bytes of the response's Content-Length have passed: a client that has them
        may close it before its end is seen here (RFC 9112, 6.3)."""
        said = self._headers.get("content-length", "")
        is_length = said.isdigit() and len(said) <= _LENGTH_DIGITS
        return is_length and not self.is_over and self._passed >= int(said)

    @property
    def status(self) -> int:
        """The HTTP status of the response, 0 without a response."""
        return self._status

    @property
    def has_failed(self) -> bool:
        """Whether the answer is recorded as a failure that callers retry; its status may be 200."""
        return self._outcome in ("error", "truncated")

    def answered(self, status: int, headers: Mapping[str, str]) -> None:
        """Record the start of a response; ``headers`` are by their lower-case names."""
        self._status, self._headers = status, headers
        decision, kind = self._out.decision, headers.get("content-type", "").lower()
        self._in_events = kind.startswith(_EVENTS)
        self._awaits_id = bool(self._out.makes)
        if decision is None:
            self._keeps = False
            return
        if self._out.operation is not None:
            # Of an operation nothing is inspected but an error's code, the ids that it makes, and
            # how a task stands.
            named = bool(self._out.makes) or self._tells_of_task
            self._keeps = status >= 400 or (named and status < 300)
            return
        # Some servers label an event stream as text; whatever is no JSON is read as one.
        is_stream = self._in_events or (self._out.stream and "json" not in kind)
        if status < 300 and is_stream:
            self._in_events, self._keeps = True, False
            self._stream = StreamInspector(decision.format, headers.get("content-encoding", ""))
        else:
            self._keeps = status >= 400 or not self._in_events

    def passed(self, piece: bytes) -> None:
        """Record a chunk of the response as it passes."""
        self._passed += len(piece)
        stream = self._stream
        if stream is not None:
            try:
                stream.feed(piece)
            except Exception as error:  # noqa: BLE001 - inspection must not fail the request
                self._stream = None
                _say_unread(error)
                return
            if self._ttft_ms is None and stream.begun:
                self._ttft_ms = self._elapsed_ms()
            if self._awaits_id and stream.reading.answer_id is not None:
                self._makes([stream.reading.answer_id])
        elif self._keeps:
            self._pieces.append(piece)
            self._size += len(piece)
            self._keeps = self._size <= MOST_BODY

    def ended(self) -> None:
        """Record the end of a complete response; an intermediary's web page is a protocol error."""
        if self._done or self._out.decision is None:
            return
        conclusion = None
        if self._out.operation is not None:
            conclusion = Conclusion("ok")
            if self._out.makes and 200 <= self._status < 300:
                self._makes(ids_in(self.body))
        elif 200 <= self._status < 300:
            try:
                conclusion = self._concluded(self._out.decision.format)
            except NoAnswerError:
                self.failed("protocol")
            except Exception as error:  # noqa: BLE001 - inspection must not fail the request
                _say_unread(error)
        self._finish(None, conclusion)

    def closed(self) -> None:
        """Record that the client closed the response: complete after the last word of a stream.

        A status that is an error was the answer, whether or not its body is read: SDKs that are
        to stream, or to retry, leave it.
        """
        if self._done or self._out.decision is None:
            return
        if self.is_whole and self._fault() != "corrupt":
            self.ended()
            return
        if self._is_refused:
            self._finish(None, None, is_whole=False)
            return
        try:
            conclusion = self._conclusion_if_left()
        except NoAnswerError:
            self.failed("protocol")
            return
        error = None if conclusion is not None else "abandoned"
        self._finish(error, conclusion or Conclusion("abandoned", error))

    @property
    def is_decided(self) -> bool:
        """Whether the response was complete, so that cancelling its reader changes nothing."""
        if self._done:
            return False
        try:
            found = self._conclusion_if_left()
        except NoAnswerError:
            return True
        return found is not None and found.outcome != "abandoned"

    @property
    def _is_refused(self) -> bool:
        """Whether the status alone is the outcome: an error, or a redirect."""
        return self._status >= 300

    def failed(self, error: str) -> None:
        """Record that no response came, or that it broke: both are status 0 to the guard.

        One with the status of an error keeps that, although its body broke.
        """
        if self._is_refused:
            self._finish(None, None, is_whole=False)
            return
        self._status = 0
        outcome: Outcome = "abandoned" if error in LEFT else "error"
        self._finish(error, Conclusion(outcome, error))

    def _concluded(self, route_format: str) -> Conclusion | None:
        """Return the conclusion at the end of the body; None where nothing can be said of it.

        Raises NoAnswerError for a body that is of no API.
        """
        if self._stream is not None:
            return self._stream.concluded()
        if self._in_events or self._size > MOST_BODY:
            return None
        plain = self._decompressed()
        if plain is None:
            return None  # in an unsupported Content-Encoding
        if not begins_as_utf8(plain) or not _may_be_json(plain):
            raise NoAnswerError
        found = inspected(plain, route_format)
        if found is not None and found.outcome in ("truncated", "empty"):
            fault = self._fault()
            if fault == "corrupt":
                raise NoAnswerError
            if fault == "cut" and not plain.strip():
                return Conclusion("truncated", "truncated")
        return found

    def _conclusion_if_left(self) -> Conclusion | None:
        """Return the conclusion of an answer that the application left; None where it is unknown.

        A client may close a response after the last byte, without reading to the end. Raises
        NoAnswerError for what is no answer as far as it came.
        """
        decision = self._out.decision
        if decision is None or not 200 <= self._status < 300 or self._out.operation is not None:
            return None
        if self._stream is not None:
            return self._stream.abandoned()
        if self._fault() == "corrupt":
            raise NoAnswerError
        try:
            found = self._concluded(decision.format)
        except NoAnswerError:
            raise
        except Exception:  # noqa: BLE001 - an unreadable body counts as abandoned
            return None
        return None if found is None or found.outcome in ("truncated", "empty") else found

    def _fault(self) -> Literal["corrupt", "cut"] | None:
        """Return whether the body is not of its Content-Encoding, which no client could decode,
        or ends before that does."""
        encoding = self._headers.get("content-encoding", "")
        return fault_of(self._pieces, encoding, MOST_BODY) if encoding and self._keeps else None

    def _finish(
        self, error: str | None, conclusion: Conclusion | None, *, is_whole: bool = True
    ) -> None:
        """Write the record; ``is_whole`` is whether the body was read to its end."""
        if self._done or self._out.decision is None:
            return
        self._done = True
        out, decision, subject = self._out, self._out.decision, self._out.subject
        is_call, streamed = out.operation is None, self._in_events
        is_read = is_call and not streamed
        is_searched = self._status >= 400 or (is_read and self._may_name_ids())
        found = self._found() if is_searched else _NO_ANSWER
        if out.makes == "response" and is_read and 200 <= self._status < 300:
            self._makes([made] if (made := _id(found.id)) else [])
        if self._status >= 300:
            if error is None:
                unnamed = "protocol" if is_whole else None
                error = (_code(found) or unnamed) if self._status >= 400 else "redirect"
            conclusion = Conclusion("error", error)
        elif conclusion is not None:
            error = error or conclusion.error
        said = conclusion or _UNKNOWN
        self._outcome = None if conclusion is None else said.outcome
        task = self.task
        self._log.append(
            AccessLine(
                ts=timestamp(),
                route=decision.route,
                org=_name(subject.org or ""),
                side=out.side or decision.side,
                model=_name(out.model),
                status=self._status,
                latency_ms=self._elapsed_ms(),
                outcome=self._outcome,
                operation=out.operation,
                ttft_ms=self._ttft_ms if streamed else None,
                finish_reason=self.without_secret(said.finish_reason, MOST_CODE),
                input_tokens=said.input_tokens,
                output_tokens=said.output_tokens,
                cached_input_tokens=said.cached_input_tokens,
                reasoning_tokens=said.reasoning_tokens,
                error=self.without_secret(error, MOST_CODE),
                request_id=self.request_id,
                billing_transaction_id=self.without_secret(
                    self._header("x-billing-transaction-id")
                    or _id(found.billing_transaction_id)
                    or task.billing_transaction_id
                ),
                task_id=self._task_id(),
                task_status=task.state if 200 <= self._status < 300 else None,
                job_id=subject.job_id,
                attempt=self._attempt,
                stream=(streamed or out.stream) if is_call else None,
                cached=True if self._is_cached() else None,
                bucket=decision.bucket if out.proven else None,
                revision=(decision.revision[:REVISION_DIGITS] or None) if out.proven else None,
                bound=True if out.bound else None,
                moved=True if out.moved else None,
                host=_HOST,
                key_alias=self.without_secret(subject.key_alias) or None,
            )
        )

    def _makes(self, ids: Sequence[str]) -> None:
        if self._awaits_id:
            self._awaits_id = False
            try:
                self._made(self._out, ids)
            except Exception as error:  # noqa: BLE001 - the store must not fail the request
                log.warning("an id is not remembered: %s", type(error).__name__)

    def _is_cached(self) -> bool:
        status = self._headers.get("x-cache-status", "").strip().lower()
        return self._status != 0 and status.startswith("hit")

    @property
    def request_id(self) -> str | None:
        """The request id in the response's headers, without any credential."""
        return self.without_secret(self._header("x-request-id", "request-id"))

    @property
    def billing_id(self) -> str | None:
        """The billing transaction id in the headers, or of the task, without any credential."""
        named = self._header("x-billing-transaction-id") or self.task.billing_transaction_id
        return self.without_secret(named)

    @property
    def task(self) -> TaskAnswer:
        """What the response body says of an async task; an empty one before it is complete.

        So an intermediary's web page is not taken for the response to a create.
        """
        if self._task is None:
            small = self._size <= (MOST_BODY if self._out.creates == "task" else MOST_TASK)
            tells = self._tells_of_task and 200 <= self._status < 300 and small
            self._task = task_answer(self._plain()) if tells else NO_TASK
        return self._task

    @property
    def _tells_of_task(self) -> bool:
        """Whether an answer may be about a task."""
        return bool(self._out.creates or self._out.task_id)

    def _task_id(self) -> str | None:
        out, named = self._out, self._header("x-task-id")
        if out.creates and named is None:
            named = self.task.id if out.creates == "task" or self.task.is_task else None
        task = out.task_id or named
        if task and (self.has_secret(task) or is_credential(task)):
            return "redacted"
        return task and task[:MOST_ID]

    def _may_name_ids(self) -> bool:
        """Whether the body may have ids for the log: searching it is faster than decoding it.

        A name in it can be written in another way with escapes alone.
        """
        body = self.body
        is_named = b"billing_transaction_id" in body or b"\\u" in body
        return is_named or self._out.makes == "response"

    def _found(self) -> _Answer:
        """Return the code and the ids of a response, even where other parts of it are invalid."""
        body = self.body
        try:
            return decode_json(body, _answer_of)
        except UndecodableError:
            pass
        try:
            answers = decode_json(as_utf8(body), _answers_of)  # Google's errors may be a list
        except UndecodableError:
            return _Answer()
        return answers[0] if answers else _Answer()

    def _plain(self) -> bytes:
        return self._decompressed() or b""

    def _decompressed(self) -> bytes | None:
        """Return the body decompressed (memoized); None for an unsupported Content-Encoding."""
        if self._opened[0] != self._size:
            data, encoding = b"".join(self._pieces), self._headers.get("content-encoding", "")
            plain = decompressed(data, encoding, MOST_BODY) if encoding else data
            self._opened = (self._size, plain)
        return self._opened[1]

    def _header(self, *names: str) -> str | None:
        for name in names:
            if value := self._headers.get(name):
                return value[:MOST_TEXT]
        return None

    def without_secret(self, text: str | None, most: int = MOST_ID) -> str | None:
        """Drop a text that has a credential of the request, as a server echoes one; cut it.

        It is cut last: the part of a credential before a cut would not be recognized.
        """
        if not text:
            return text
        return "redacted" if self.has_secret(text) else redacted(text)[:most]

    def has_secret(self, text: str) -> bool:
        """Whether a text has a credential of the request.

        An id is asked for that alone: one that only looks like a credential (``mt-4f2a91c0``) is
        needed whole.
        """
        if self._secrets is None:
            query = urlsplit(self._out.url).query if "?" in self._out.url else ""
            known = credentials_in(self._out.headers, query)
            self._secrets = [secret for secret in known if len(secret) >= LEAST_SECRET]
        return any(secret in text for secret in self._secrets)

    def _elapsed_ms(self) -> float:
        # Not round(), which takes several microseconds to print the number and read it again.
        return int((time.perf_counter() - self._started) * 10_000 + 0.5) / 10


def _name(text: str) -> str:
    """Cut a name that is longer than the log's readers take, and tell it by a hash from others."""
    if len(text) <= MOST_NAME:
        return text
    import hashlib  # lazy import: httpx and httpx2 have loaded it, with OpenSSL

    digits = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:_HASH_DIGITS]
    return f"{text[: MOST_NAME - _HASH_DIGITS - 1]}…{digits}"


def _say_unread(error: Exception) -> None:
    log.warning("the outcome of an answer is not known: %s while reading it", type(error).__name__)


def _may_be_json(body: bytes) -> bool:
    """Whether a body is the beginning of a JSON object or array; an empty one is."""
    rest = body.removeprefix(BYTE_ORDER_MARK).lstrip()
    return rest[:1] in (b"", b"{", b"[") or BYTE_ORDER_MARK.startswith(rest)


def _code(found: _Answer) -> str | None:
    try:
        error = decode_json(found.error, _error_of)
    except UndecodableError:
        error = _Error()
    codes = (_id(code) for code in (error.code, error.status, error.type))
    return next(filter(None, codes), None)


def _id(value: msgspec.Raw) -> str | None:
    if value is _NULL:
        return None
    try:
        return decode_json(value, _text_of)[:MOST_TEXT] or None
    except UndecodableError:
        return None
