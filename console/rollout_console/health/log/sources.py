"""Readers of one log file: plain from an offset, or gzip decompressed from its start."""

import os
import stat
import zlib
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from rollout_console.health.log.lines import LineCutter
from rollout_console.health.log.rotation import HEAD, Identity, Rotated

MOST_PACKED = 256 * 1024 * 1024
"""Default limit of decompressed bytes per gzip file."""

_MARK = 256
_PACKED_PIECE = 64 * 1024
_LEAST_PACKED = 18
_MOST_RATIO = 1032
"""The highest compression ratio of DEFLATE."""


class NotAFileError(OSError):
    """Raised where the path of a log is a folder, a pipe or a device, not a regular file."""


def cannot_be_read(path: Path, error: OSError) -> str:
    """Return the sentence of a log, or a folder of logs, that cannot be opened or read."""
    return f"{path} cannot be read: {error.strerror or 'it cannot be opened'}"


class Place(NamedTuple):
    """How far a file was read: up to ``offset``, whose last bytes are ``mark``; ``head`` are the
    first ones, and ``cutter`` has the partial line before the offset."""

    identity: Identity
    offset: int
    mark: bytes
    head: bytes
    cutter: LineCutter


class FileSource:
    """Reads a growing file from a byte ``offset``; ``cutter`` has the partial line before it.

    A file ``descriptor`` that is given is read instead of opening ``path``, which may by now name
    another file. ``truncated`` is set, and reading stops, where the bytes before the offset (up to
    _MARK, kept as ``mark``) are no longer the ones that were read.
    """

    def __init__(
        self,
        path: Path,
        offset: int = 0,
        cutter: LineCutter | None = None,
        descriptor: int | None = None,
    ) -> None:
        if descriptor is None:
            # O_NONBLOCK: opening a FIFO must not block until there is a writer.
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        self._descriptor = descriptor
        status = os.fstat(self._descriptor)
        if not stat.S_ISREG(status.st_mode):
            with suppress(OSError):
                os.close(self._descriptor)
            raise NotAFileError(0, "it is not a file")
        self.identity: Identity = (status.st_dev, status.st_ino)
        self.size = status.st_size
        self.offset = offset
        self.cutter = cutter or LineCutter()
        self.mark = b""
        self.head = b""
        self.truncated = False
        self.trouble = ""
        self.got = 0

    def enter(self, most_bytes: int) -> None:
        """Seek to at most ``most_bytes`` before end of file, at the start of a line."""
        if self.size > most_bytes:
            # One byte earlier: if that byte is a newline, the line after it is complete.
            self.offset = self.size - most_bytes - 1
            self.cutter = LineCutter(entered=True)

    def read(self, most: int) -> bytes:
        """Return complete lines from at most ``most`` bytes; ``got`` is the bytes read."""
        self.got = 0
        if self.truncated:
            return b""
        before = len(self.mark)
        data = os.pread(self._descriptor, most + before, self.offset - before)
        if not data.startswith(self.mark):
            self.truncated = True
            return b""
        if len(data) == before:
            return b""
        self.got = len(data) - before
        self.offset += self.got
        self.mark = data[-_MARK:]
        if len(self.head) < HEAD:
            self.head = os.pread(self._descriptor, min(HEAD, self.offset), 0)
        return self.cutter.cut(data[before:] if before else data)

    @property
    def place(self) -> Place:
        """How far the file was read."""
        return Place(self.identity, self.offset, self.mark, self.head, self.cutter)

    @property
    def is_whole(self) -> bool:
        """Whether the bytes before the offset are those that were read: it is not truncated."""
        before = len(self.mark)
        return os.pread(self._descriptor, before, self.offset - before) == self.mark

    def size_now(self) -> int:
        """Return the file's size in bytes."""
        return os.fstat(self._descriptor).st_size

    def go_on_at(self, place: Place) -> bool:
        """Resume at a place; False where the bytes before it differ, so it is other content."""
        before = len(place.mark)
        if not before or os.pread(self._descriptor, before, place.offset - before) != place.mark:
            return False
        self.offset, self.mark, self.head = place.offset, place.mark, place.head
        self.cutter = place.cutter
        return True

    def take(self, offset: int, most: int) -> bytes:
        """Return raw bytes at any offset (pread), without moving the reader's own."""
        return os.pread(self._descriptor, most, offset)

    def descriptor(self) -> int:
        """Return a duplicate file descriptor (dup), which the caller closes."""
        return os.dup(self._descriptor)

    def restart(self) -> None:
        """Reset the offset to 0 after a truncation."""
        self.offset, self.mark, self.head, self.truncated = 0, b"", b"", False
        unusable = self.cutter.unusable
        self.cutter = LineCutter()
        self.cutter.unusable = unusable

    def modified(self) -> float:
        """Return the modification time, in epoch seconds."""
        return os.fstat(self._descriptor).st_mtime

    def has_mark(self, of: "FileSource") -> bool:
        """Whether this is a copy of ``of`` before truncation: the same bytes before its offset."""
        before = len(of.mark)
        return bool(before) and os.pread(self._descriptor, before, of.offset - before) == of.mark

    def close(self) -> None:
        """Close the file."""
        with suppress(OSError):
            os.close(self._descriptor)


class PackedSource:
    """Reads a gzip file, decompressing at most ``limit`` bytes, whatever size it declares."""

    def __init__(self, path: Path, limit: int, descriptor: int | None = None) -> None:
        self._path = path
        self._file = FileSource(path, descriptor=descriptor)  # checks for a regular file
        self._left = limit
        self._at = 0
        self._unpacker = zlib.decompressobj(31)
        self._packed = b""
        self._ended = False
        self.identity = self._file.identity
        self.cutter = LineCutter()
        self.head = b""
        self.trouble = ""
        self.got = 0

    def read(self, most: int) -> bytes:
        """Return complete lines from at most ``most`` decompressed bytes; ``got`` is their count.

        Corrupt or truncated data ends the file, with ``trouble`` set.
        """
        self.got = 0
        while not self._ended:
            try:
                data = self._unpack(min(most, self._left))
            except zlib.error:
                self._end(f"{self._path} is corrupt; only what precedes the error was read")
                break
            if data:
                self.got = len(data)
                self._left -= self.got
                if not self._left:
                    self._end(
                        f"{self._path} exceeds the decompression limit; only its start was read"
                    )
                self.head = (self.head + data[: HEAD - len(self.head)])[:HEAD]
                return self.cutter.cut(data)
        return b""

    def skip(self, offset: int, mark: bytes) -> bool:
        """Skip ``offset`` decompressed bytes; return whether they end in ``mark``."""
        tail = b""
        while offset > 0:
            try:
                data = self._unpack(min(offset, _PACKED_PIECE))
            except zlib.error:
                return False
            if not data and self._ended:
                return False
            offset -= len(data)
            self._left -= len(data)
            self.head = (self.head + data[: HEAD - len(self.head)])[:HEAD]
            tail = (tail + data)[-_MARK:]
        return tail.endswith(mark)

    def descriptor(self) -> int:
        """Return a duplicate file descriptor (dup), which the caller closes."""
        return self._file.descriptor()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _unpack(self, most: int) -> bytes:
        if not self._packed:
            self._packed = self._file.take(self._at, _PACKED_PIECE)
            self._at += len(self._packed)
        if not self._packed:
            whole = self._unpacker.eof or not self._at
            self._end("" if whole else f"{self._path} is broken; its end is missing")
            return b""
        if self._unpacker.eof:
            self._unpacker = zlib.decompressobj(31)  # a gzip file may have several members
        data = self._unpacker.decompress(self._packed, most)
        self._packed = self._unpacker.unconsumed_tail or self._unpacker.unused_data
        return data

    def _end(self, trouble: str) -> None:
        self._ended, self.trouble = True, trouble


def opened(one: Rotated, limit: int) -> FileSource | PackedSource:
    """Open a rotated file; of a gzip file at most ``limit`` bytes are decompressed.

    Raises OSError where it cannot be opened, or where the path has another inode by now.
    """
    source = PackedSource(one.path, limit) if one.packed else FileSource(one.path)
    if source.identity != one.identity:
        source.close()
        raise FileNotFoundError
    return source


def copy_of(one: Rotated, live: FileSource) -> FileSource | PackedSource | None:
    """Open the copy (copytruncate) of a truncated log, at the offset to which that was read.

    Returns None where it is not a copy. Raises OSError where it cannot be opened.
    """
    if one.packed:
        packed = PackedSource(one.path, live.offset + MOST_PACKED)
        if packed.skip(live.offset, live.mark):
            packed.cutter = live.cutter
            return packed
        packed.close()
        return None
    copy = FileSource(one.path, live.offset, live.cutter)
    if copy.has_mark(live):
        copy.mark, copy.head = live.mark, live.head
        return copy
    copy.close()
    return None


def unpacked_size(one: Rotated) -> int:
    """Return the decompressed size in bytes that a gzip file's trailer (ISIZE, RFC 1952) declares.

    It may be wrong; where DEFLATE cannot reach it, the compressed size is returned. Readers have
    a limit of their own.
    """
    if one.size < _LEAST_PACKED:
        return one.size
    with one.path.open("rb") as stream:
        stream.seek(-4, os.SEEK_END)
        claimed = int.from_bytes(stream.read(4), "little")
    return claimed if claimed <= one.size * _MOST_RATIO else one.size
