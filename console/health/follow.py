"""Following a log file while it grows, is rotated, and is truncated."""

import os
from contextlib import suppress
from pathlib import Path
from typing import Literal

import msgspec

from console.health.record import AccessRecord

MAX_LINE = 64 * 1024


class LogFollower:
    """Gives the new lines of an access log, each whole line once.

    ``start="tail"`` begins at most ``tail_bytes`` before the end, at the start of a line; "head"
    at the first line. A missing or unreadable log is ``trouble``, one sentence, and is looked
    for again at each poll. Lines that are no access-log lines are counted in ``bad_lines``.
    """

    def __init__(
        self,
        path: Path,
        *,
        start: Literal["head", "tail"] = "head",
        tail_bytes: int = 32 * 1024 * 1024,
    ) -> None:
        self._path = path
        self._tail_bytes = tail_bytes if start == "tail" else None
        self._descriptor = -1
        self._identity = (-1, -1)
        self._offset = 0
        self._rest = b""
        self._skipping = False
        self._decoder = msgspec.json.Decoder(AccessRecord)
        self.bad_lines = 0
        self.trouble = ""

    def poll(self, max_bytes: int = 4 * 1024 * 1024) -> list[AccessRecord]:
        """Return the lines that are new, from at most ``max_bytes`` more of the file."""
        self.trouble = ""
        try:
            if self._descriptor < 0:
                self._open()
            data = self._read(max_bytes)
            if not data and self._rotated():
                self.close()
                self._open()
                data = self._read(max_bytes)
        except FileNotFoundError:
            self.trouble = f"no access log yet at {self._path}; waiting for it"
            return []
        except OSError as error:
            self.trouble = f"{self._path} cannot be read: {error.strerror}; trying again"
            self.close()
            return []
        return self._records(data)

    def close(self) -> None:
        """Close the file; the next poll opens what is at the path then."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor = -1

    def _open(self) -> None:
        self._descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        status = os.fstat(self._descriptor)
        self._identity = (status.st_dev, status.st_ino)
        self._offset, self._rest, self._skipping = 0, b"", False
        if self._tail_bytes is not None and status.st_size > self._tail_bytes:
            self._offset = status.st_size - self._tail_bytes
            self._skipping = True  # the line that this lands in
        self._tail_bytes = None  # only the first file is entered in the middle

    def _read(self, max_bytes: int) -> bytes:
        size = os.fstat(self._descriptor).st_size
        if size < self._offset:
            self._offset, self._rest, self._skipping = 0, b"", False
        data = os.pread(self._descriptor, max_bytes, self._offset)
        self._offset += len(data)
        return data

    def _rotated(self) -> bool:
        """Whether another file is at the path now; the old one has been read to its end."""
        try:
            status = self._path.stat()
        except FileNotFoundError:
            return False
        return (status.st_dev, status.st_ino) != self._identity

    def _records(self, data: bytes) -> list[AccessRecord]:
        if not data:
            return []
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
        if not _has_long_line(whole):
            # All at once is several times as fast, and nearly always possible.
            with suppress(ValueError, RecursionError):
                return self._decoder.decode_lines(whole)
        return self._one_by_one(whole)

    def _one_by_one(self, whole: bytes) -> list[AccessRecord]:
        records = []
        for line in whole.split(b"\n"):
            if line and not line.isspace():
                try:
                    if len(line) > MAX_LINE:
                        raise ValueError
                    records.append(self._decoder.decode(line))
                except (ValueError, RecursionError):
                    self.bad_lines += 1
        return records


def _has_long_line(data: bytes) -> bool:
    """Whether a line may be over MAX_LINE; only such a line leaves a stretch without an end."""
    return any(
        data.find(b"\n", start, start + MAX_LINE) < 0
        for start in range(0, len(data) - MAX_LINE, MAX_LINE)
    )
