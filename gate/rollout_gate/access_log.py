"""Append the access log in JSON Lines: one JSON object per line, one write call per record."""

import errno
import logging
import os
import stat
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Literal

import msgspec

from rollout_gate.answers.reading import Outcome
from rollout_gate.fork_lock import Locked
from rollout_gate.paths import absolute

log = logging.getLogger("rollout_gate")

REVISION_DIGITS = 12
"""Length to which the revision of a decision is truncated in a record."""
MOST_NAME = 256
"""Limit in characters of a route, an org or a model in a record: readers refuse longer ones."""
MOST_ID = 200
"""Limit in characters of an id in a record."""

MOST_REPORTED = 16
"""Limit of the deduplication: the number of types of exceptions that are reported."""

_WRITES_FOR_S = 0.02
_TRIES = 10
"""For how long, and how often, a file that ends in the middle of a line is looked at again."""

TaskState = Literal["open", "completed", "failed", "cancelled"]
"""An async task that runs or waits, and the three ends of one."""


class AccessLine(msgspec.Struct, omit_defaults=True, kw_only=True):
    """One access-log record: one request. It is the log's one schema; names are as in the file.

    ``status`` is the HTTP status, 0 where no complete response came. ``latency_ms`` is the time to
    the last byte, ``ttft_ms`` that to the first content of a stream, both in milliseconds.
    ``outcome`` is what came, whatever the status; absent where it is unknown. ``operation`` is
    absent for the generation itself. ``finish_reason`` and the token counts are as in
    OpenTelemetry's gen_ai conventions. ``bucket`` (0 to 9,999) and ``revision`` (the first 12
    digits) are those of the decision, absent where nothing was decided; ``bound`` is set where an
    id that the request names chose the side instead, and ``moved`` where it names an id of a side
    that is rolled back. ``host`` is who wrote the line, ``key_alias`` the name of the API key that
    the customer used, where the request has one. ``task_status`` is how the async task stands that
    the response is about: of a create, or of a request about the task. There is no field for a
    prompt, a URL, a credential or a provider's routing metadata, so none of them is ever logged.
    """

    ts: str
    route: str
    org: str
    side: str
    model: str
    status: int
    latency_ms: float
    outcome: Outcome | None = None
    operation: str | None = None
    ttft_ms: float | None = None
    finish_reason: str | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    cached_input_tokens: int | None = None
    reasoning_tokens: int | None = None
    error: str | None = None
    request_id: str | None = None
    billing_transaction_id: str | None = None
    task_id: str | None = None
    task_status: TaskState | None = None
    job_id: str | None = None
    attempt: int | None = None
    stream: bool | None = None
    cached: bool | None = None
    bucket: int | None = None
    revision: str | None = None
    bound: bool | None = None
    moved: bool | None = None
    host: str | None = None
    key_alias: str | None = None


def timestamp(at: datetime | None = None) -> str:
    """Return a time (now if None) as an RFC 3339 timestamp in UTC with milliseconds."""
    if at is None:
        seconds, milliseconds = divmod(time.time_ns() // 1_000_000, 1000)
        return f"{_second(seconds)}.{milliseconds:03d}Z"
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


@lru_cache(maxsize=4)
def _second(at: int) -> str:
    """Return the timestamp of a whole second, without its end; all lines of one have it."""
    return datetime.fromtimestamp(at, UTC).isoformat().removesuffix("+00:00")


class AccessLog(Locked):
    """Appends records to a file (thread-safe); a rotated or deleted file is reopened.

    ``append`` never raises: a record that cannot be written is counted in ``lost``, and the
    logger ``rollout_gate`` reports the first lost record, every thousandth, and the recovery.

    A partial write (short write) of a full disk leaves a torn line, which is counted in ``lost``.
    Its writer ends it at once: a newline takes the place of its last byte, as that needs no space,
    so that the next line of another process begins a line of its own. Where that fails (a
    copy-on-write file system needs space for it; the process may be killed before), whoever opens
    the file next ends it: a writer opens it at its start, after a rotation and after each line
    that it has lost, and looks at the last byte then. What is left is a process that has the file
    open and has lost nothing meanwhile: its next line is appended to that torn one, unreadable,
    and not counted. An empty line is possible where another process is in the middle of its write
    for longer than _WRITES_FOR_S just then, or where the file cannot be read; readers have to skip
    it.

    ``on_line`` is called with each record once it was written, or lost, by the thread that has
    appended it and without the log's lock; an exception of it is logged once for each type.
    """

    def __init__(
        self, path: str | Path, *, on_line: Callable[[AccessLine], None] | None = None
    ) -> None:
        self._descriptor = -1
        super().__init__()
        self._path = absolute(path)
        self._name = os.fspath(self._path)
        self._inode = (-1, -1)
        self._torn = False
        self._failing = False
        self._encoder = msgspec.json.Encoder()
        self._on_line = on_line
        self._reported: set[str] = set()
        self.lost = 0

    @property
    def path(self) -> Path:
        """The absolute path of the log file."""
        return self._path

    def append(self, line: AccessLine) -> None:
        """Write one record with one O_APPEND write, so that processes' records never interleave."""
        with self._lock:
            try:
                data = self._encoded(line)
                self._write(data)
            except Exception as error:  # noqa: BLE001 - a logging error must not fail the request
                self._count_lost(error)
                self._close()
            else:
                if self._failing:
                    self._failing = False
                    log.info("%s is writable again; %d lines were lost", self._path, self.lost)
        if self._on_line is not None:
            try:
                self._on_line(line)
            except Exception as error:  # noqa: BLE001 - metrics must not fail the request
                self._say_unobserved(error)

    def __del__(self) -> None:
        self._close()

    def close(self) -> None:
        """Close the file; a later append opens it again."""
        with self._lock:
            self._close()

    def _encoded(self, line: AccessLine) -> bytes:
        try:
            return self._encoder.encode(line) + b"\n"
        except UnicodeEncodeError:  # a lone surrogate, as os.fsdecode returns
            given = {name: _printable(getattr(line, name)) for name in line.__struct_fields__}
            return self._encoder.encode({k: v for k, v in given.items() if v is not None}) + b"\n"

    def _write(self, data: bytes) -> None:
        descriptor = self._open()
        if self._torn:
            # End the torn line of a partial write, so that this record is not lost with it.
            data = b"\n" + data
        written = os.write(descriptor, data)
        if written != len(data):
            self._torn = written > 0 or self._torn
            if written > 0:
                with suppress(OSError):
                    self._end_torn(descriptor)
            raise OSError(errno.ENOSPC, "the disk is full")
        self._torn = False

    def _end_torn(self, descriptor: int) -> None:
        """Overwrite the last byte of a partial write with a newline; raises OSError.

        The offset after an O_APPEND write is the end of what it has written, whatever others have
        appended since; where a forked child has moved it by a line of its own, that ends with a
        newline already. A second descriptor is needed: with O_APPEND, Linux's pwrite appends.
        """
        end = os.lseek(descriptor, 0, os.SEEK_CUR)
        other = self._opened_again(descriptor)
        try:
            status = os.fstat(other)
            if _inode_of(status) == self._inode and 0 < end <= status.st_size:
                os.pwrite(other, b"\n", end - 1)
        finally:
            os.close(other)

    def _opened_again(self, descriptor: int) -> int:
        """Open the file of a descriptor for writing, also after it was renamed where /proc is."""
        flags = os.O_WRONLY | os.O_CLOEXEC | os.O_NONBLOCK
        try:
            return os.open(f"/proc/self/fd/{descriptor}", flags)
        except FileNotFoundError:
            return os.open(self._path, flags)

    def _count_lost(self, error: Exception) -> None:
        self.lost += 1
        if not self._failing or self.lost % 1000 == 0:
            why = error.strerror if isinstance(error, OSError) else "a line cannot be encoded"
            log.warning("%s cannot be written to: %s; %d lines lost", self._path, why, self.lost)
        self._failing = True

    def _say_unobserved(self, error: Exception) -> None:
        kind = type(error).__name__
        if kind not in self._reported and len(self._reported) < MOST_REPORTED:
            self._reported.add(kind)
            log.warning("on_line of %s failed: %s; this is said once", self._path, kind)

    def _close(self) -> None:
        # Clear the field before closing: a fork in between must not leave the child a closed
        # file descriptor.
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0 and self._is_ours(descriptor):
            with suppress(OSError):
                os.close(descriptor)

    def _is_ours(self, descriptor: int) -> bool:
        """Whether a file descriptor still refers to the log (same device and inode).

        A daemonizing process closes all inherited descriptors, and its next socket may reuse the
        number.
        """
        try:
            return _inode_of(os.fstat(descriptor)) == self._inode
        except OSError:
            return False

    def _open(self) -> int:
        if self._descriptor >= 0:
            try:
                at_path = _inode_of(os.stat(self._name))  # noqa: PTH116 - half the time of Path's
                if at_path == self._inode and self._is_ours(self._descriptor):
                    return self._descriptor
            except FileNotFoundError:
                pass
            self._close()
        # O_NONBLOCK: opening a FIFO must not block a request until the FIFO has a reader.
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK
        descriptor = os.open(self._path, flags, 0o644)
        status = os.fstat(descriptor)
        self._inode = _inode_of(status)
        self._descriptor = descriptor
        if stat.S_ISREG(status.st_mode):
            self._torn = status.st_size > 0 and not self._ends_whole(0 if self._failing else _TRIES)
        return descriptor

    def _ends_whole(self, tries: int) -> bool:
        """Return whether the file ends with a newline; False where it cannot be read.

        It is asked only when the file is opened, so that no ordinary line waits for it. A write of
        another process is not atomic for a reader, and may be under way: it is looked ``tries``
        times more.
        """
        try:
            reading = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError:
            return False
        try:
            while os.pread(reading, 1, os.lseek(reading, -1, os.SEEK_END)) != b"\n":
                if tries <= 0:
                    return False
                tries -= 1
                time.sleep(_WRITES_FOR_S / _TRIES)
            return True
        except OSError:
            return False
        finally:
            os.close(reading)


def _inode_of(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def _printable(value: object) -> object:
    """Return a string with its lone surrogates backslash-escaped; any other value unchanged."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    return value
