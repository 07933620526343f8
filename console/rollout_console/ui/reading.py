"""A read from the network or a file, in words: under way since when, or failed until when."""

from rollout_console.tokenlab.errors import Refused

FIRST_WAIT_S = 5.0
MOST_WAIT_S = 300.0
_TOLD_AFTER_S = 2.0
"""Seconds after which it is told for how long a read has been under way."""


class Reading:
    """The state of one kind of read: it is repeated every ``every_s``, and backs off on failure.

    After a failure the waits double from FIRST_WAIT_S to MOST_WAIT_S; a longer one that the API
    asks for is obeyed within the maximum. Times are epoch seconds.
    """

    def __init__(self, what: str, every_s: float) -> None:
        self.what = what
        self.failed = False
        self.done = False
        self._every_s = every_s
        self._wait_s = FIRST_WAIT_S
        self._began_at: float | None = None
        self._next_at = 0.0

    def begin(self, now: float) -> None:
        """Note that a read has begun."""
        self._began_at = now

    def end(self, now: float, error: BaseException | None = None) -> None:
        """Note that a read has ended, by ``error`` or well, and when the next is due."""
        self._began_at, self.failed = None, error is not None
        if error is None:
            self.done, self._wait_s, self._next_at = True, FIRST_WAIT_S, now + self._every_s
            return
        asked = error.retry_after_s if isinstance(error, Refused) else None
        self._next_at = now + min(max(self._wait_s, asked or 0.0), MOST_WAIT_S)
        self._wait_s = min(2 * self._wait_s, MOST_WAIT_S)

    def wait_for_operator(self, now: float) -> None:
        """Note that a read cannot be made before an operator does something, and is no failure."""
        self._began_at, self.failed, self._next_at = None, False, now + self._every_s

    @property
    def is_first(self) -> bool:
        """Whether the first read is under way, so that there is nothing to choose from yet."""
        return self._began_at is not None and not (self.done or self.failed)

    def is_due(self, now: float) -> bool:
        """Return whether the next read is to begin: none is under way, and its time has come.

        Each request of a read has a timeout of its own; a read of many pages takes what it takes.
        """
        if self._began_at is not None:
            return False
        # A clock that was set back must not stop the reads.
        return now >= self._next_at or self._next_at - now > max(self._every_s, MOST_WAIT_S)

    def words(self, now: float) -> str:
        """Return what to say: of the first read that it is under way, of a failure when it ends.

        Empty where there is nothing to say: a good answer is shown, and a repeated read is quiet.
        """
        if self._began_at is not None and (self.failed or not self.done):
            age = now - self._began_at
            return f"reading {self.what}…" + (f" {age:.0f} s" if age >= _TOLD_AFTER_S else "")
        if self.failed:
            return f"next try in {max(self._next_at - now, 0):.0f} s, f5 tries now"
        return ""
