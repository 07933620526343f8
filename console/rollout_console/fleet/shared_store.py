"""The file store of a working copy: what it writes goes into etcd first."""

from collections.abc import Callable
from contextlib import suppress

from rollout_console.changes.errors import NoFile, NotReadable, NotWritable, StoreError, Written
from rollout_console.changes.file_store import RolloutStore
from rollout_console.changes.snapshot import Prepared, Snapshot
from rollout_console.etcd.errors import EtcdError
from rollout_console.fleet.shared_file import SharedFile
from rollout_gate.file.read import Missing


class SharedStore(RolloutStore):
    """Reads the working copy, and has each change made in etcd by the history's transaction."""

    def __init__(self, shared: SharedFile) -> None:
        super().__init__(shared.path)
        self._shared = shared

    @property
    def name(self) -> str:
        """How the file is called in a sentence."""
        return self._shared.name

    def refresh(self, *, settled: bool = False) -> Snapshot | None:
        """Return the new version, as RolloutStore does; raises StoreError while etcd is away."""
        try:
            found = super().refresh(settled=settled) if self._shared.is_copied else self._held()
        except StoreError as error:
            raise self._named(error) from None
        if found is None and self._shared.trouble:
            raise NotReadable(self._shared.trouble)
        return found

    def _held(self) -> Snapshot | None:
        """Take what etcd has from memory, where the working copy could not be written."""
        self._seen = ()  # the copy is read once it can be
        try:
            return self._take(self._text())
        except Missing as error:
            raise NoFile(str(error)) from None

    def _text(self) -> bytes:
        if self._shared.is_copied:
            return super()._text()
        if self._shared.view.file is None:
            raise Missing(f"{self.path} does not exist")
        return self._shared.view.file.data

    def _replace(
        self, prepared: Prepared, write_ahead: Callable[[], None], *, in_place: bool
    ) -> None:
        """Make the change in etcd, which ``write_ahead`` does; then the working copy follows."""
        write_ahead()
        try:
            with suppress(NotWritable):  # it is kept in memory, and ``trouble`` says so
                self._shared.sync()
        except EtcdError as error:
            raise Written(f"{self.name} was changed; what is shown here follows: {error}") from None

    def _named(self, error: StoreError) -> StoreError:
        """Return an error of the working copy as one of the file that it is a copy of."""
        words = str(error).replace(str(self.path), self.name)
        if isinstance(error, NoFile):
            return NoFile(f"etcd has no {self.name.partition(':')[2]}")
        return type(error)(words) if isinstance(error, NotReadable) else StoreError(words)
