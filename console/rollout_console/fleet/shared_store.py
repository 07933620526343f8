"""The file store of a working copy: what it writes goes into etcd first."""

from collections.abc import Callable

from rollout_console.changes.errors import NoFile, NotReadable, NotWritable, StoreError, Written
from rollout_console.changes.file_store import RolloutStore
from rollout_console.changes.snapshot import Prepared, Snapshot
from rollout_console.etcd.errors import EtcdError
from rollout_console.fleet.shared_file import SharedFile


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
            found = super().refresh(settled=settled)
        except StoreError as error:
            raise self._named(error) from None
        if found is None and self._shared.trouble:
            raise NotReadable(self._shared.trouble)
        return found

    def _replace(
        self, prepared: Prepared, write_ahead: Callable[[], None], *, in_place: bool
    ) -> None:
        """Make the change in etcd, which ``write_ahead`` does; then the working copy follows."""
        write_ahead()
        try:
            self._shared.sync()
        except (EtcdError, NotWritable) as error:
            raise Written(f"{self.name} was changed; what is shown here follows: {error}") from None

    def _named(self, error: StoreError) -> StoreError:
        """Return an error of the working copy as one of the file that it is a copy of."""
        words = str(error).replace(str(self.path), self.name)
        if isinstance(error, NoFile):
            return NoFile(f"etcd has no {self.name.partition(':')[2]}")
        return type(error)(words) if isinstance(error, NotReadable) else StoreError(words)
