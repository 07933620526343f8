"""What a mirror has put into its file, kept beside it, so that a local change is known as one."""

from pathlib import Path

import msgspec
from msgspec.structs import replace

from rollout_console.changes.mirrored import record_path
from rollout_console.common.files import write_private
from rollout_console.mirror.local_latches import LocalLatch
from rollout_gate.file.read import read_regular
from rollout_gate.untrusted import UndecodableError, decode_json

MOST_BYTES = 32 * 2**20


class Applied(msgspec.Struct, frozen=True):
    """One version: the text in etcd, its revisions there, and the revision of the file written.

    ``wrote`` differs from the text's own revision where local latches were kept in it.
    """

    data: bytes
    mod_revision: int
    cluster: int
    wrote: str


class MirrorRecord(msgspec.Struct):
    """The version in force, and the one that was being written when the process ended, if any.

    ``kept`` is what was rolled back on this server alone, whatever etcd has had since.
    """

    key: str
    address: str = ""
    """Where it is a mirror of, for whoever would change it here."""
    base: Applied | None = None
    coming: Applied | None = None
    kept: tuple[LocalLatch, ...] = ()


def read_record(path: Path, key: str, address: str = "") -> MirrorRecord:
    """Return the record of the file at ``path``; an empty one where there is none of this key."""
    try:
        data, _ = read_regular(record_path(path), MOST_BYTES)
        found = decode_json(data, _RECORD)
    except (OSError, UndecodableError):
        return MirrorRecord(key, address)
    return replace(found, address=address) if found.key == key else MirrorRecord(key, address)


def write_record(path: Path, record: MirrorRecord) -> None:
    """Write the record durably; raises OSError."""
    write_private(record_path(path), msgspec.json.encode(record))


_RECORD = msgspec.json.Decoder(MirrorRecord)
