"""The working copy on this host of a rollout file in etcd, and of the console's files beside it.

Every part of the console reads a file; this one is of one user, who edits only what is in etcd.
Several consoles and commands of that user share it, so none may put an older version back.
"""

import atexit
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp

import msgspec

from rollout_console.changes.errors import NotWritable
from rollout_console.changes.folder_lock import folder_lock
from rollout_console.common.files import write_private
from rollout_console.common.folders import COPIES, COPY_RECORD, working_copies_folder
from rollout_console.etcd.address import EtcdAddress
from rollout_gate.file.read import read_regular
from rollout_gate.untrusted import UndecodableError, decode_json

MOST_BYTES = 32 * 2**20


class _Record(msgspec.Struct, frozen=True):
    cluster: int = 0
    revision: int = 0


class WorkingCopy:
    """The folder with the copy: ``path`` is the rollout file, the others are named after it."""

    def __init__(self, address: EtcdAddress) -> None:
        digest = sha256(str(address).encode()).hexdigest()[:16]
        self.folder = working_copies_folder() / digest
        self.path = self.folder / f"{address.key.rpartition('/')[2]}.toml"

    def move(self) -> None:
        """Move to a temporary folder: the state folder is unusable."""
        self.folder = self.temporary() / COPIES / self.folder.name
        self.path = self.folder / self.path.name

    def temporary(self) -> Path:
        """Return a new folder, in memory where there is any, which ends with the process.

        Raises OSError.
        """
        memory = Path("/dev/shm")  # noqa: S108 - a folder of its own is made in it, 0700
        parent = memory if os.access(memory, os.W_OK) else None
        made = Path(mkdtemp(prefix="rollout-console-", dir=parent))
        atexit.register(rmtree, made, ignore_errors=True)
        return made

    def part(self, name: str) -> Path:
        """Return the path of a file beside the rollout file; of itself for an empty name."""
        return self.path.with_name(f"{self.path.stem}.{name}.toml") if name else self.path

    def history_path(self, cluster: int) -> Path:
        """Return the path of the cached history, which is of one cluster."""
        return self.folder / f"history-{cluster:x}.sqlite3"

    def put(self, cluster: int, revision: int, files: Mapping[str, bytes | None]) -> int:
        """Make the copy what it was in etcd at a revision, unless it is of a later one by now:
        return that then, else 0.

        ``files`` are by their name, None for one that is not there. Raises OSError, NotWritable.
        """
        known = self._record()
        is_same = all(self._read(name) == data for name, data in files.items())
        if is_same and known.cluster == cluster and known.revision >= revision:
            return 0
        try:
            return self._put(cluster, revision, files, wait=not is_same)
        except (OSError, NotWritable):
            if not is_same:
                raise
            return 0  # only the record of the same files lags

    def _put(
        self, cluster: int, revision: int, files: Mapping[str, bytes | None], *, wait: bool
    ) -> int:
        with self._locked(wait=wait):
            before = self._record()
            if before.cluster == cluster and before.revision > revision:
                return before.revision
            # The record first, also of files that are the same: from then on no older one is put.
            record = msgspec.json.encode(_Record(cluster, revision))
            write_private(self._record_path, record, durable=False)
            for name, data in files.items():
                if self._read(name) == data:
                    continue
                if data is None:
                    self.part(name).unlink(missing_ok=True)
                else:
                    write_private(self.part(name), data, durable=False)
        return 0

    def restart(self) -> None:
        """Forget of which revision the copy is: the cluster was restored to an earlier one."""
        with self._locked():
            self._record_path.unlink(missing_ok=True)

    @property
    def _record_path(self) -> Path:
        return self.folder / COPY_RECORD

    def _record(self) -> _Record:
        try:
            return decode_json(read_regular(self._record_path, MOST_BYTES)[0], _RECORD)
        except (OSError, UndecodableError):
            return _Record()

    def _read(self, name: str) -> bytes | None:
        try:
            return read_regular(self.part(name), MOST_BYTES)[0]
        except OSError:
            return None

    @contextmanager
    def _locked(self, *, wait: bool = True) -> Iterator[None]:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with folder_lock(self.folder, self.path, wait=wait):
            yield


_RECORD = msgspec.json.Decoder(_Record)
