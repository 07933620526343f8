"""Writing the access log: one JSON object a line, each appended with a single write."""

import errno
import logging
import os
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from rollout_gate.fork_lock import Locked
from rollout_gate.paths import absolute

log = logging.getLogger("rollout_gate")


class AccessLine(msgspec.Struct, omit_defaults=True, kw_only=True):
    """One request. ``latency_ms`` is to the last byte; ``status`` is 0 where none came.

    Never a prompt, a URL, a credential or a provider's routing metadata: there is no field for
    them.
    """

    ts: str
    route: str
    org: str
    side: str
    model: str
    status: int
    latency_ms: float
    ttft_ms: float | None = None
    error: str | None = None
    request_id: str | None = None
    billing_transaction_id: str | None = None
    task_id: str | None = None
    job_id: str | None = None
    attempt: int | None = None
    stream: bool | None = None


def timestamp(at: datetime | None = None) -> str:
    """Return a time (now if None) as RFC 3339 in UTC with milliseconds."""
    at = datetime.now(UTC) if at is None else at.astimezone(UTC)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


class AccessLog(Locked):
    """Appends lines to a file, from any thread; a rotated or deleted file is opened again.

    ``append`` never raises: a line that cannot be written is counted in ``lost``, and the log
    record of ``rollout_gate`` says so the first time, every thousandth, and when it is over.
    """

    def __init__(self, path: str | Path) -> None:
        self._descriptor = -1
        super().__init__()
        self._path = absolute(path)
        self._inode = (-1, -1)
        self._torn = False
        self._failing = False
        self._encoder = msgspec.json.Encoder()
        self.lost = 0

    @property
    def path(self) -> Path:
        """Where the lines go."""
        return self._path

    def append(self, line: AccessLine) -> None:
        """Write one line with one write call, so that lines of many processes never mix."""
        with self._lock:
            try:
                data = self._encoded(line)
                self._write(data)
            except Exception as error:  # noqa: BLE001 - a request is not to fail of its log
                self._count_lost(error)
                self._close()
            else:
                if self._failing:
                    self._failing = False
                    log.info("%s is written to again; %d lines were lost", self._path, self.lost)

    def __del__(self) -> None:
        self._close()

    def close(self) -> None:
        """Close the file; a later append opens it again."""
        with self._lock:
            self._close()

    def _encoded(self, line: AccessLine) -> bytes:
        try:
            return self._encoder.encode(line) + b"\n"
        except UnicodeEncodeError:  # a lone surrogate, as os.fsdecode gives them
            given = {name: _printable(getattr(line, name)) for name in line.__struct_fields__}
            return self._encoder.encode({k: v for k, v in given.items() if v is not None}) + b"\n"

    def _write(self, data: bytes) -> None:
        descriptor = self._open()
        if self._torn:
            # The beginning of a line stands there alone; this line must not be lost with it.
            data = b"\n" + data
        written = os.write(descriptor, data)
        if written != len(data):
            self._torn = written > 0 or self._torn
            raise OSError(errno.ENOSPC, "the disk is full")
        self._torn = False

    def _count_lost(self, error: Exception) -> None:
        self.lost += 1
        if not self._failing or self.lost % 1000 == 0:
            why = error.strerror if isinstance(error, OSError) else "a line cannot be encoded"
            log.warning("%s cannot be written to: %s; %d lines lost", self._path, why, self.lost)
        self._failing = True

    def _close(self) -> None:
        # Forgotten first: a fork in between must not leave the child a number that is closed.
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0 and self._is_ours(descriptor):
            with suppress(OSError):
                os.close(descriptor)

    def _is_ours(self, descriptor: int) -> bool:
        """Whether a descriptor is still the log's.

        A daemon closes all that it has inherited, and its next socket gets the number.
        """
        try:
            now = os.fstat(descriptor)
        except OSError:
            return False
        return (now.st_dev, now.st_ino) == self._inode

    def _open(self) -> int:
        if self._descriptor >= 0:
            try:
                now = self._path.stat()
                at_path = (now.st_dev, now.st_ino)
                if at_path == self._inode and self._is_ours(self._descriptor):
                    return self._descriptor
            except FileNotFoundError:
                pass
            self._close()
        # A pipe must not make a request wait for a reader.
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK
        descriptor = os.open(self._path, flags, 0o644)
        status = os.fstat(descriptor)
        self._inode = (status.st_dev, status.st_ino)
        self._descriptor = descriptor
        return descriptor


def _printable(value: object) -> object:
    """Return a text with its lone surrogates written out; anything else as it is."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    return value
