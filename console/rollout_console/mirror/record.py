"""What a mirror has put into its file, kept beside it, so that a local change is known as one."""

import errno
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import msgspec
from msgspec.structs import replace

from rollout_console.changes.mirrored import record_path
from rollout_console.common.files import descriptor_of, write_private
from rollout_console.common.flock import take_flock
from rollout_console.mirror.local_latches import LocalLatch
from rollout_gate.file.read import read_regular
from rollout_gate.untrusted import UndecodableError, decode_json

MOST_BYTES = 32 * 2**20
LOCK_WAIT_S = 1.0
"""How long another mirror of the file is waited for, in seconds."""


class UnusableRecord(Exception):
    """There is a record, and it cannot be read; ``str()`` says where, why and what to do."""


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


def read_record(path: Path, key: str, address: str = "") -> MirrorRecord | None:
    """Return the record of the file at ``path``; None where there is none of this key.

    A missing file alone is no record. Raises UnusableRecord for one that cannot be read: what is
    rolled back on this server alone is in it.
    """
    where = record_path(path)
    try:
        data, _ = read_regular(where, MOST_BYTES)
        found = decode_json(data, _RECORD)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        is_closed = error.errno in (errno.EACCES, errno.EPERM)
        remedy = "give it to the mirror's user with chown" if is_closed else "make it readable"
        raise UnusableRecord(
            f"its record {where} cannot be read ({error.strerror or error}); {remedy}"
        ) from None
    except UndecodableError as error:
        raise UnusableRecord(
            f"its record {where} is damaged ({error}); put it back from a backup, or delete it:"
            " latches of this server stay then, and shares that are 0 here alone are as in etcd"
        ) from None
    return replace(found, address=address) if found.key == key else None


def write_record(path: Path, record: MirrorRecord) -> None:
    """Write the record durably; raises OSError."""
    write_private(record_path(path), msgspec.json.encode(record))


def read_etcd_rollbacks(path: Path) -> frozenset[LocalLatch]:
    """Return the rollbacks that were made from etcd's version while the record was unusable."""
    try:
        data, _ = read_regular(_etcd_rollbacks_path(path), MOST_BYTES)
        found = decode_json(data, _ETCD_ROLLBACKS)
        return frozenset(found)
    except (OSError, UndecodableError):
        return frozenset()


def write_etcd_rollbacks(path: Path, found: frozenset[LocalLatch]) -> None:
    """Keep these rollbacks beside the record, for the next process; raises OSError."""
    if found:
        write_private(_etcd_rollbacks_path(path), msgspec.json.encode(sorted(found, key=str)))
    else:
        _etcd_rollbacks_path(path).unlink(missing_ok=True)


def _etcd_rollbacks_path(path: Path) -> Path:
    return path.with_name(f"{record_path(path).stem}.etcd-rollbacks.json")


@contextmanager
def record_lock(path: Path) -> Iterator[None]:
    """Hold an exclusive flock beside the record: one mirror at a time takes a version with it.

    The file of the lock is empty and stays; the record itself is renamed over, and the lock of the
    folder is the one of each swap. After LOCK_WAIT_S, and where there can be no lock, the block
    runs without: a mirror that hangs holds up no rollback, and the record is read in the block.
    """
    with ExitStack() as stack:
        with suppress(OSError):
            flags = os.O_RDONLY | os.O_CREAT | os.O_NOFOLLOW
            where = path.with_name(f"{record_path(path).name}.lock")
            descriptor = stack.enter_context(descriptor_of(where, flags, 0o644))
            with suppress(OSError):  # another's; root's umask may close it to the service
                os.fchmod(descriptor, 0o644)
            take_flock(descriptor, LOCK_WAIT_S)
        yield


_RECORD = msgspec.json.Decoder(MirrorRecord)
_ETCD_ROLLBACKS = msgspec.json.Decoder(tuple[LocalLatch, ...])
