"""Writing the access log: one JSON object a line, each appended with a single write."""

import os
from datetime import UTC, datetime
from pathlib import Path

import msgspec


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
    return at.strftime("%Y-%m-%dT%H:%M:%S.") + f"{at.microsecond // 1000:03d}Z"


class AccessLog:
    """Appends lines to a file; a rotated or deleted file is opened again.

    ``append`` never raises: a line that cannot be written is counted in ``lost``.
    """

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)
        self._descriptor = -1
        self._inode = (-1, -1)
        self._encoder = msgspec.json.Encoder()
        self.lost = 0

    def append(self, line: AccessLine) -> None:
        """Write one line with one write call, so that lines of many processes never mix."""
        data = self._encoder.encode(line) + b"\n"
        try:
            if os.write(self._open(), data) != len(data):
                self.lost += 1
        except OSError:
            self.lost += 1
            self.close()

    def close(self) -> None:
        """Close the file; a later append opens it again."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor = -1

    def _open(self) -> int:
        if self._descriptor >= 0:
            try:
                now = self._path.stat()
                if (now.st_dev, now.st_ino) == self._inode:
                    return self._descriptor
            except FileNotFoundError:
                pass
            self.close()
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        self._descriptor = os.open(self._path, flags, 0o644)
        status = os.fstat(self._descriptor)
        self._inode = (status.st_dev, status.st_ino)
        return self._descriptor
