"""A write as it is kept in etcd: its rows of the history, and the text after it, compressed."""

import zlib
from base64 import b64decode, b64encode
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
from msgspec.structs import replace

from rollout_console.history.rows import NewChange, columns_of
from rollout_gate.untrusted import UndecodableError, decode_json

MOST_TEXT = 32 * 2**20
"""Limit of a text in bytes: a few kB of a damaged value must not unpack to gigabytes."""
MOST_PLAIN = 128 * 1024
"""From how many bytes on the rows of a write are compressed, as its text always is."""
ROWS_BITS = 17
"""A row's id is the cluster's revision of its write, and in this many low bits its place in it."""

BEGIN = "begin"
"""The key, below that of the history, of the text with which it begins."""


class KeptRow(msgspec.Struct, frozen=True):
    """A row of the history, without what its write has once; ``at`` is RFC 3339, UTC."""

    at: str
    user: str
    host: str
    ssh_origin: str
    action: str
    route: str | None
    org: str | None
    before: str
    after: str
    reason: str
    verdict: str
    previous_revision: str
    revision: str
    undoes_id: int | None = None
    moves: str = ""


class KeptWrite(msgspec.Struct, frozen=True):
    """The rows of one write, of which the first has the file's transition.

    One without rows is where the history begins: the text that was there ``since`` (RFC 3339).
    """

    rows: tuple[KeptRow, ...]
    revision: str
    packed: str
    since: str = ""
    packed_rows: str = ""
    """Very many rows, compressed: etcd takes no more than 1.5 MiB in a transaction."""

    @property
    def compressed(self) -> bytes:
        """The file's text after the write in zlib's format; raises ValueError where damaged."""
        packed = b64decode(self.packed)
        _unpacked(packed)
        return packed

    @property
    def text(self) -> bytes:
        """The file's text after the write; raises ValueError where it is damaged."""
        return _unpacked(b64decode(self.packed))


def write_of(changes: Sequence[NewChange]) -> KeptWrite:
    """Return the changes of one write as they are kept."""
    first, *others = changes
    # As insert_rows does it: the others have the revision after the write as both of theirs.
    joined = (first, *(replace(one, previous_revision=first.revision) for one in others))
    rows = tuple(KeptRow(**columns_of(one)) for one in joined)
    return KeptWrite(rows, first.revision, _packed(first.after_text))


def beginning(revision: str, text: bytes, since: datetime) -> KeptWrite:
    """Return the beginning of a history."""
    return KeptWrite((), revision, _packed(text), since.isoformat())


def encoded(write: KeptWrite) -> bytes:
    """Return the value of a write's key."""
    data = msgspec.json.encode(write)
    if len(data) > MOST_PLAIN and write.rows:
        rows = _packed(msgspec.json.encode(write.rows))
        data = msgspec.json.encode(replace(write, rows=(), packed_rows=rows))
    return data


def decoded(data: bytes) -> KeptWrite | None:
    """Return the write of a value; None for one that is none."""
    try:
        write = decode_json(data, _WRITE)
        if write.packed_rows:
            rows = decode_json(_unpacked(b64decode(write.packed_rows)), _ROWS)
            write = replace(write, rows=rows, packed_rows="")
        for at in (write.since, *(row.at for row in write.rows)):
            if at and datetime.fromisoformat(at).tzinfo is None:
                return None
    except (UndecodableError, ValueError):
        return None
    return write if len(write.rows) < 1 << ROWS_BITS else None


def dated_within(write: KeptWrite, span: tuple[float, float], now: float) -> KeptWrite:
    """Return a write whose rows are dated by this host's clock where theirs is not within a span.

    One before it, of a clock that is behind, gets its begin, and one after it, of a clock that is
    ahead, ``now``; times are epoch seconds. A raise that seems older than it is would bake too
    short, and a rollback would seem to have drained before it was made.
    """
    rows = []
    for row in write.rows:
        at = datetime.fromisoformat(row.at).timestamp()
        if not span[0] <= at <= span[1]:
            at = span[0] if at < span[0] else now
            row = replace(row, at=datetime.fromtimestamp(at, UTC).isoformat())
        rows.append(row)
    return replace(write, rows=tuple(rows))


def columns(row: KeptRow) -> dict[str, Any]:
    """Return a row's columns in the history's database, those of its place and file aside."""
    return msgspec.structs.asdict(row)


def _unpacked(packed: bytes) -> bytes:
    unpacker = zlib.decompressobj()
    try:
        found = unpacker.decompress(packed, MOST_TEXT)
    except zlib.error:
        raise ValueError("the kept text is damaged") from None
    if not unpacker.eof or unpacker.unused_data:
        raise ValueError("the kept text is damaged, or too long")
    return found


def _packed(text: bytes) -> str:
    return b64encode(zlib.compress(text, 6)).decode()


_WRITE = msgspec.json.Decoder(KeptWrite)
_ROWS = msgspec.json.Decoder(tuple[KeptRow, ...])
