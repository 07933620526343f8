"""What the console needs of a rollout file that several hosts share; see ``fleet``."""

from collections.abc import Callable
from typing import Protocol

from rollout_console.changes.spread import Spread


class LeaderElection(Protocol):
    """Decides which of several guards acts."""

    no_locks: str

    def hold(self) -> bool:
        """Become or stay the leader; return whether this guard is it."""

    def release(self) -> None:
        """Give it up, so that another guard can lead."""


class Shared(Protocol):
    """A rollout file that several hosts share, of which the switch has a working copy."""

    @property
    def location(self) -> str:
        """What ``--file`` takes for it."""

    @property
    def spread(self) -> Spread:
        """Who has applied the version of now."""

    @property
    def trouble(self) -> str:
        """Why what is shown may not be current; empty where it is."""

    @property
    def is_away(self) -> bool:
        """Whether its store cannot be reached: nothing can be changed now."""

    @property
    def has_leader(self) -> bool:
        """Whether a guard acts."""

    def leadership(self, who: str) -> LeaderElection:
        """Return the election among the guards of all hosts."""

    def part(self, part: str) -> bytes | None:
        """Return the text of a file beside the rollout file, None where there is none."""

    def publish(self, part: str, before: bytes | None, after: bytes) -> None:
        """Replace the text of a file beside the rollout file; raises Conflict or RolloutError."""

    def wait_for_spread(
        self, timeout_s: float, is_over: Callable[[], bool] = lambda: False
    ) -> Spread:
        """Return who has applied the version of now, once all have or the time is over."""
