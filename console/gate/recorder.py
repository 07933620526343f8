"""What is learned of one request while its answer passes by, and its line in the access log."""

import os
import time
import zlib
from collections.abc import Mapping
from pathlib import Path

import msgspec

from console.gate.access_log import AccessLine, AccessLog, timestamp
from console.gate.gate import Gate
from console.gate.routing import Outgoing

_MOST_BODY = 256 * 1024
"""So much of an answer is looked at, for an error's code and the ids; a stream's end besides."""
_MOST_CODE = 60
_TAIL = 512
_EVENTS = "text/event-stream"
_ENDS = (b"[DONE]", b"message_stop", b"response.completed", b"response.failed",
         b"response.incomplete", b'"finishReason"')  # fmt: skip
"""What the last event of a stream has in it: one that is closed after it was not abandoned."""


class _Answer(msgspec.Struct):
    error: object = None
    id: object = None
    task_id: object = None
    billing_transaction_id: object = None


_answers = msgspec.json.Decoder(_Answer)


class LogOf:
    """The access log that a gate's file names, wherever that is now, or one that was given."""

    def __init__(self, gate: Gate, given: str | Path | None) -> None:
        self._gate = gate
        self._given = given
        self._log: AccessLog | None = None

    def get(self) -> AccessLog:
        """Return the log to write to."""
        log = self._log
        path = self._path()
        if log is None or log.path != path:
            if log is not None:
                log.close()
            log = self._log = AccessLog(path)
        return log

    def _path(self) -> Path:
        if self._given is not None:
            return Path(self._given)
        file = self._gate.file
        name = file.access_log if file is not None else "access.jsonl"
        # Of a pattern for several writers, each process has a file of its own.
        return self._gate.path.parent / name.replace("*", _own_name())


class Recorder:
    """Follows one request from before it is sent until its answer ends, breaks or is abandoned."""

    def __init__(self, log: AccessLog, out: Outgoing, attempt: int) -> None:
        self._log = log
        self._out = out
        self._attempt = attempt
        self._started = time.perf_counter()
        self._ttft_ms: float | None = None
        self._status = 0
        self._headers: Mapping[str, str] = {}
        self._body = bytearray()
        self._whole = True
        self._tail = b""
        self._done = False

    @property
    def body(self) -> bytes:
        """The answer, uncompressed where it was gzip'd; empty if too long to be kept."""
        return self._plain() if self._whole else b""

    @property
    def status(self) -> int:
        """The status that came, or 0."""
        return self._status

    def answered(self, status: int, headers: Mapping[str, str]) -> None:
        """Note that an answer began; ``headers`` are found in any case."""
        self._status, self._headers = status, headers

    def passed(self, piece: bytes) -> None:
        """Note a piece of the answer as it goes by."""
        if self._ttft_ms is None:
            self._ttft_ms = self._elapsed_ms()
        if len(self._body) + len(piece) <= _MOST_BODY:
            self._body += piece
        else:
            self._whole = False
        self._tail = piece[-_TAIL:] if len(piece) >= _TAIL else (self._tail + piece)[-_TAIL:]

    def ended(self) -> None:
        """The answer is complete; a web page from somewhere in between is none."""
        if self._out.decision and 200 <= self._status < 300 and not self._is_answer():
            self.failed("protocol")
        self._finish(None)

    def closed(self) -> None:
        """The answer is wanted no more: after its last event that is its end."""
        complete = any(end in self._tail for end in _ENDS)
        self._finish(None if complete else "abandoned")

    def failed(self, error: str) -> None:
        """There is no answer, or it broke: to the guard it is as if none came."""
        self._status = 0
        self._finish(error)

    def _finish(self, error: str | None) -> None:
        if self._done or self._out.decision is None:
            return
        self._done = True
        decision, subject = self._out.decision, self._out.subject
        streamed = self._headers.get("content-type", "").startswith(_EVENTS)
        found = self._found() if not streamed or self._status >= 400 else _Answer()
        if self._status >= 400 and error is None:
            error = _code(found)
        self._log.append(
            AccessLine(
                ts=timestamp(),
                route=decision.route,
                org=subject.org or "",
                side=decision.side,
                model=self._out.model,
                status=self._status,
                latency_ms=self._elapsed_ms(),
                ttft_ms=self._ttft_ms if streamed else None,
                error=error,
                request_id=self._header("x-request-id", "request-id"),
                billing_transaction_id=self._header("x-billing-transaction-id")
                or _text(found.billing_transaction_id),
                task_id=self._task_id(found),
                job_id=subject.job_id,
                attempt=self._attempt,
                stream=streamed or self._out.stream,
            )
        )

    def _is_answer(self) -> bool:
        """Whether what came is JSON or events, as far as that can be seen."""
        if self._headers.get("content-type", "").startswith(_EVENTS):
            return True
        if self._headers.get("content-encoding", "identity") not in ("identity", "gzip"):
            return True
        return self._plain().lstrip()[:1] in (b"{", b"[")

    def _task_id(self, found: _Answer) -> str | None:
        if not self._out.creates:
            return None
        return self._header("x-task-id") or _text(found.task_id) or _text(found.id)

    def task_in_body(self) -> str | None:
        """Return the id of the task that the answer's body names; None where it names none.

        A web page from somewhere in between is then not taken for the answer to a create.
        """
        found = self._found()
        return _text(found.task_id) or _text(found.id)

    def _found(self) -> _Answer:
        try:
            return _answers.decode(self.body)
        except (msgspec.DecodeError, RecursionError):
            return _Answer()

    def _plain(self) -> bytes:
        if self._headers.get("content-encoding", "") != "gzip":
            return bytes(self._body)
        try:
            return zlib.decompressobj(31).decompress(bytes(self._body), 4 * _MOST_BODY)
        except zlib.error:
            return b""

    def _header(self, *names: str) -> str | None:
        return next((self._headers[name] for name in names if self._headers.get(name)), None)

    def _elapsed_ms(self) -> float:
        return round((time.perf_counter() - self._started) * 1000, 1)


def _code(found: _Answer) -> str:
    error = found.error if isinstance(found.error, dict) else {}
    codes = (_text(error.get(name)) for name in ("code", "status", "type"))
    return next(filter(None, codes), "protocol")[:_MOST_CODE]


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _own_name() -> str:
    return f"{os.uname().nodename}-{os.getpid()}"
