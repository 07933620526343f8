"""Read-only mode, enforced in one place: every writer is handed a WriteAccess and asks it."""

from rollout_console.common.errors import ReadOnly


class WriteAccess:
    """The permission to change anything, which ``--read-only`` withholds.

    A process has one. Code that writes the rollout file, its history or companion files, a
    credential or an API key calls ``require`` first; caches and the console's own logs need none.
    Code that sends what is billed calls ``require_to_spend``: who looks on spends nothing.
    """

    def __init__(self, *, read_only: bool = False) -> None:
        self.read_only = read_only

    def require(self) -> None:
        """Raise ReadOnly in read-only mode."""
        if self.read_only:
            raise ReadOnly

    def require_to_spend(self) -> None:
        """Raise ReadOnly in read-only mode, for a request that is billed."""
        if self.read_only:
            raise ReadOnly("nothing is sent that is billed; start without --read-only to send it")
