"""Log rotation: the files that logrotate and its like leave next to a log, in order of age."""

import os
import re
import zlib
from contextlib import suppress
from pathlib import Path

import msgspec

HEAD = 256
"""Bytes of a file's head that identify its content: lines have times and request ids in them."""

Identity = tuple[int, int]
"""Device and inode number."""

_SUFFIX = r"(?P<dot>\.)?(?(dot)|-)(?P<mark>\d[\d_.T:-]*?)(?P<gz>\.gz)?|\.gz"


class Rotated(msgspec.Struct, frozen=True):
    """A rotated file as found; ``modified`` is its mtime in epoch seconds, ``size`` in bytes."""

    path: Path
    identity: Identity
    modified: float
    size: int

    @property
    def packed(self) -> bool:
        """Whether it is gzip-compressed."""
        return self.path.suffix == ".gz"

    def head(self) -> bytes:
        """Return up to HEAD first bytes, decompressed; empty where they cannot be read."""
        with suppress(OSError, zlib.error), self.path.open("rb") as stream:
            data = stream.read(4 * HEAD)
            if self.packed:
                data = zlib.decompressobj(31).decompress(data, HEAD)
            return data[:HEAD]
        return b""


def start_of(head: bytes) -> bytes:
    """Return the part of a head that is the fingerprint of the content; empty before it is there.

    It ends with the first line that is an object: lines before it, such as a heading, may be the
    same in all logs. Where that line is longer than the head, it is the head.
    """
    at = 0 if head[:1] == b"{" else head.find(b"\n{") + 1
    if at or head[:1] == b"{":
        end = head.find(b"\n", at) + 1
        if end:
            return head[:end]
    return head if len(head) >= HEAD else b""


def rotated(log: Path) -> list[Rotated]:
    """Return the rotated files of a log, such as NAME.1, NAME.2.gz, NAME-20261123.gz and NAME.gz.

    They are in the log's folder, and are sorted oldest first. Raises OSError where that may not be
    listed, though the log in it may be read.
    """
    found = []
    with os.scandir(log.parent) as entries:
        for entry in entries:
            order = _order(entry.name.removeprefix(log.name))
            if entry.name.startswith(log.name) and order is not None:
                with suppress(OSError):
                    status = entry.stat()
                    if entry.is_file():
                        identity = (status.st_dev, status.st_ino)
                        one = Rotated(Path(entry.path), identity, status.st_mtime, status.st_size)
                        found.append((order, one))
    return [one for _, one in sorted(found, key=lambda pair: pair[0])]


def copies_of(log: Path) -> list[Rotated]:
    """Return files that may be copies of a log under a name of the same stem, newest first.

    logrotate's ``extension`` keeps the extension last (NAME-20261123.EXT, NAME.1.EXT). Another
    writer's log may be called so, too: the content alone tells them apart. None where the folder
    may not be listed.
    """
    found = []
    with suppress(OSError), os.scandir(log.parent) as entries:
        for entry in entries:
            name, is_log = entry.name, entry.name == log.name
            if is_log or not name.removesuffix(".gz").endswith(log.suffix):
                continue
            if name.startswith(log.stem):
                with suppress(OSError):
                    status = entry.stat()
                    if entry.is_file():
                        identity = (status.st_dev, status.st_ino)
                        one = Rotated(Path(entry.path), identity, status.st_mtime, status.st_size)
                        found.append(one)
    return sorted(found, key=lambda one: -one.modified)


def log_of(name: str) -> str:
    """Strip the rotation suffix from a file name; a name without one is returned as it is."""
    for start in range(1, len(name)):
        if name[start] in ".-" and re.fullmatch(_SUFFIX, name[start:]):
            return name[:start]
    return name


def _order(suffix: str) -> tuple[int, str, int] | None:
    """Return a sort key, oldest first: dates ascend, logrotate's numbers descend with age."""
    match = re.fullmatch(_SUFFIX, suffix)
    if match is None:
        return None
    mark = match["mark"] or ""
    if match["dot"] and mark.isdigit() and len(mark) <= 4:
        return 2, "", -int(mark)
    return (0, mark, 0) if mark else (1, "", 0)
