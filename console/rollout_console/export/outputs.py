"""Where an export is written: a file, or a key of etcd; never over what is no earlier export."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from rollout_console.changes.output_file import write_output
from rollout_console.common.errors import OperationError
from rollout_console.etcd.client import EtcdClient
from rollout_console.etcd.errors import EtcdError

LOOK_EVERY_S = 2.0
"""How often a key of etcd is read to see whether somebody else has written it, in seconds."""
_TRIES = 5


class Output(Protocol):
    """Where an export goes; ``str()`` names it."""

    def write(self, data: bytes) -> None:
        """Replace the export atomically; raises OperationError or EtcdError."""

    def identity(self) -> object:
        """Return what is another after somebody else has written or removed the export."""

    def is_as_written(self) -> bool:
        """Return whether the export is what was written last."""


class FileOutput:
    """A file. ``is_what`` tells by the first bytes of a file that it is an earlier export."""

    def __init__(
        self, path: Path, rollout_file: Path, what: str, is_what: Callable[[bytes], bool]
    ) -> None:
        self._path = path
        self._rollout_file = rollout_file
        self._what = what
        self._is_what = is_what
        self._wrote = b""

    def __str__(self) -> str:
        return str(self._path)

    def write(self, data: bytes) -> None:
        """Write the file, as ``write_output`` does."""
        write_output(
            self._path, data, rollout_file=self._rollout_file, what=self._what,
            is_what=self._is_what,
        )  # fmt: skip
        self._wrote = data

    def identity(self) -> object:
        """Return the file's inode, size and time; None where there is none."""
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns

    def is_as_written(self) -> bool:
        """Return whether the file has the text that was written last."""
        try:
            return self._path.read_bytes() == self._wrote
        except OSError:
            return False


class EtcdOutput:
    """A key of etcd, written by compare-and-swap."""

    def __init__(self, client: EtcdClient, what: str, is_what: Callable[[bytes], bool]) -> None:
        self._client = client
        self._what = what
        self._is_what = is_what
        self._known: tuple[float, int] = (0.0, 0)

    def __str__(self) -> str:
        return str(self._client.address)

    def write(self, data: bytes) -> None:
        """Set the key; OperationError where its value is something else than an export."""
        key = self._client.address.key
        for _ in range(_TRIES):
            values = self._client.get(key).values
            if values and values[0].data.strip() and not self._is_what(values[0].data):
                raise OperationError(
                    f"{self} has a value that is not {self._what}; give another key"
                )
            before = values[0].mod_revision if values else 0
            made = self._client.put_if_unchanged({key: before}, {key: data})
            if made:
                self._known = time.monotonic(), made
                return
        raise OperationError(f"{self} is being written by somebody else")

    def identity(self) -> object:
        """Return the key's revision, read every LOOK_EVERY_S; the last known while etcd is away."""
        at, revision = self._known
        if time.monotonic() - at >= LOOK_EVERY_S:
            try:
                values = self._client.get(self._client.address.key).values
                revision = values[0].mod_revision if values else 0
            except EtcdError:
                pass  # what is to be written later is told then
            self._known = time.monotonic(), revision
        return revision

    def is_as_written(self) -> bool:
        """Return True: the revision that ``identity`` begins with is that of the write."""
        return True
