"""The gate that an application asks, before each request, where to send it."""

import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Iterable
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar
from weakref import WeakSet, finalize, ref

from rollout_gate.decision.decision import Decider
from rollout_gate.file.errors import RolloutError
from rollout_gate.file.model import RolloutFile
from rollout_gate.file.parse import parse
from rollout_gate.file.read import read_file
from rollout_gate.file.truncation import Version, absent, missing
from rollout_gate.paths import absolute

log = logging.getLogger("rollout_gate")

MOST_REPORTED = 512
"""A gate remembers so many different things that it has reported of requests, and no more."""

_KEPT_S = 60.0
"""What a version lacks may be half a save for so long, also where that has no effect yet."""

_T = TypeVar("_T")
_Seen = tuple[int, int, int, int]
_gates: "WeakSet[Gate]" = WeakSet()


class Gate(Decider):
    """Decides from a rollout file, and follows the file while it changes.

    A daemon thread looks at the path every ``poll_s`` seconds (0.05 to 60), so a request never
    waits for the disk. The path is looked at, not the inode: an editor's rename, a deletion and
    a restore are all followed. A file that is missing, torn or wrong leaves the last good
    version in force; before there was one, every decision is ``previous``, rule ``no_file``.

    ``on_change`` gets the new RolloutFile, ``on_trouble`` one sentence each time the trouble
    changes and an empty one when it is over. It gets what is reported of requests as well, once,
    and nothing when that is over. Both are called from the watching thread; what they raise is
    logged and goes no further. ``subscribe`` adds more of them later.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        poll_s: float = 0.25,
        on_change: Callable[[RolloutFile], None] | None = None,
        on_trouble: Callable[[str], None] | None = None,
    ) -> None:
        super().__init__()
        self._path = absolute(path)
        self._poll_s = min(60.0, max(0.05, poll_s))
        self._on_change: tuple[Callable[[RolloutFile], None], ...] = ()
        self._on_trouble: tuple[Callable[[str], None], ...] = ()
        self.subscribe(on_change=on_change, on_trouble=on_trouble)
        self._seen: _Seen | None = None
        self._unsettled: _Seen | None = None
        self._doubted: tuple[_Seen, str] | None = None
        self._place = ""
        self._whole: Version | None = None
        self._standing: Version | None = None
        self._whole_until = 0.0
        self._trouble = ""
        self._reported: deque[str] = deque()
        self._later: deque[Callable[[], None]] = deque()
        self._about: dict[Hashable, object] = {}
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self.refresh()
        self._start()
        _gates.add(self)
        finalize(self, self._stop.set)

    @property
    def path(self) -> Path:
        """The rollout file's path; one that was given relative is below the folder of that time."""
        return self._path

    @property
    def trouble(self) -> str:
        """Why the file as it is now is not in force; empty where it is."""
        return self._trouble

    def refresh(self) -> None:
        """Look at the file now, instead of at the next poll; never raises."""
        with self._lock:
            try:
                self._look()
            except RolloutError as error:
                self._say(str(error))
            except Exception as error:
                # The watch must not end of anything: a later rollback would never be seen.
                log.exception("looking at %s failed", self._path)
                self._say(f"{self._path} cannot be used: {type(error).__name__}")
            while self._reported:
                self._tell(self._on_trouble, self._reported.popleft())
        self.settle()

    def report(self, about: Hashable, sentence: str) -> None:
        """Log what is wrong with requests, and tell ``on_trouble`` at the next look at the file.

        It is said the first time that it is about this; of all threads, one says it. After
        MOST_REPORTED different things no more are said. A request waits for nobody's callback.
        """
        mine = object()
        known = self._about
        if len(known) < MOST_REPORTED and known.setdefault(about, mine) is mine:
            log.warning("%s", sentence)
            self._reported.append(sentence)

    def later(self, call: Callable[[], None]) -> None:
        """Call this at the next look at the file: for what a finalizer must not do by itself.

        It may run in any thread, wherever that is, with whatever locks that holds.
        """
        self._later.append(call)

    def settle(self) -> None:
        """Make the calls that wait; what they raise is logged."""
        while self._later:
            try:
                self._later.popleft()()
            except IndexError:  # another thread was faster
                return
            except Exception:
                log.exception("a request could not be settled")

    def subscribe(
        self,
        *,
        on_change: Callable[[RolloutFile], None] | None = None,
        on_trouble: Callable[[str], None] | None = None,
    ) -> Callable[[], None]:
        """Call these from now on; returns what ends it, which may be called more than once."""

        def unsubscribe() -> None:
            self._on_change = tuple(one for one in self._on_change if one is not on_change)
            self._on_trouble = tuple(one for one in self._on_trouble if one is not on_trouble)

        self._on_change += () if on_change is None else (on_change,)
        self._on_trouble += () if on_trouble is None else (on_trouble,)
        return unsubscribe

    def close(self) -> None:
        """Stop following; decisions go on from the last good version."""
        self._stop.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout=5)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _look(self) -> None:
        try:
            status = self._path.stat()
            seen = _fingerprint(status)
            if seen == self._seen or not self._settled(seen):
                return
        except OSError:
            self._seen = None  # read_file says what is the matter
        data, status = read_file(self._path)
        seen = _fingerprint(status)
        try:
            file = parse(data)
        except RolloutError as error:
            self._seen = seen
            raise RolloutError(f"{self._path}: {error}") from None
        changed = self._file is None or self._file.revision != file.revision
        if changed:
            after, place = Version(file, data.decode()), os.path.realpath(self._path)
            if not self._is_meant(seen, place, after):
                return
            self._place = place
        self._seen, self._doubted = seen, None
        if changed:
            self.take(file)
        self._say("")
        if changed:
            self._tell(self._on_change, file)

    def _settled(self, seen: _Seen) -> bool:
        """Whether a file written in place has been let be for one poll.

        A rename puts a whole file in place at once; a write in place is seen half done.
        """
        settled = not self._is_in_place(seen) or seen == self._unsettled
        self._unsettled = seen
        return settled

    def _is_in_place(self, seen: _Seen) -> bool:
        return self._file is not None and self._seen is not None and seen[0] == self._seen[0]

    def _is_meant(self, seen: _Seen, place: str, after: Version) -> bool:
        """Whether a text may be taken that sends more to TokenLab by what it has not any more.

        It may be half a file. One that came by a rename is looked at once more. Any other is
        refused, with RolloutError, until it is saved once more: a writer that was stopped, or
        found the disk full, leaves it so for good. It is compared with the last version that
        lacked nothing, for a writer may pause more than once.
        """
        if self._standing is not None and time.monotonic() >= self._whole_until:
            self._whole, self._standing = self._standing, None
        whole = self._whole
        gone = missing(whole, after) if whole is not None else ""
        renamed = self._came_by_rename(seen, place)
        if gone:
            before, self._doubted = self._doubted, (seen, after.file.revision)
            if renamed and before != self._doubted:
                return False
            if not renamed and not self._saved_again(before, seen, after):
                self._seen = seen
                raise RolloutError(
                    f"{self._path}: {gone} is not in it any more, which may send more to TokenLab;"
                    " as it was written in place it may be half a file: save it once more if it is"
                    " whole"
                )
        elif whole is not None and not renamed and absent(whole, after):
            if self._standing is None:
                self._whole_until = time.monotonic() + _KEPT_S
            self._standing = after
            return True
        self._whole, self._standing = after, None
        return True

    def _came_by_rename(self, seen: _Seen, place: str) -> bool:
        """Whether the file was put there whole.

        That is so where a symlink on the way points elsewhere now. A rename sets the inode's
        change time (ctime) after the last write to it; a file that was made in its place has them
        equal.
        """
        return not self._is_in_place(seen) and (place != self._place or seen[3] > seen[2])

    @staticmethod
    def _saved_again(before: tuple[_Seen, str] | None, seen: _Seen, after: Version) -> bool:
        """Whether the same text was written again; chmod and link set the change time alone."""
        return (
            before is not None
            and before[1] == after.file.revision
            and (before[0][0], before[0][2]) != (seen[0], seen[2])
        )

    def _say(self, trouble: str) -> None:
        if trouble == self._trouble:
            return
        self._trouble = trouble
        if trouble:
            kept = "the last good version stays in force" if self._file else "all goes to previous"
            log.warning("%s; %s", trouble, kept)
        else:
            log.info("%s is good again", self._path)
        self._tell(self._on_trouble, trouble)

    @staticmethod
    def _tell(callbacks: Iterable[Callable[[_T], None]], value: _T) -> None:
        for callback in callbacks:
            try:
                callback(value)
            except Exception:
                log.exception("a callback of the gate failed")

    def _start(self) -> None:
        self._thread = threading.Thread(
            target=_watch, args=(ref(self), self._stop, self._poll_s), name="rollout-gate",
            daemon=True,
        )  # fmt: skip
        self._thread.start()

    def _in_forked_child(self) -> None:
        if not self._stop.is_set():
            self._lock = threading.Lock()
            self._start()


def _watch(gate: "ref[Gate]", stop: threading.Event, poll_s: float) -> None:
    """Look at a gate's file until it is closed, or nobody has the gate any more."""
    while not stop.wait(poll_s):
        watched = gate()
        if watched is None:
            return
        watched.refresh()
        del watched


def _fingerprint(status: os.stat_result) -> _Seen:
    return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _after_fork_in_child() -> None:
    """A forked child has none of its parent's threads: each gate gets a watch of its own."""
    for gate in list(_gates):
        gate._in_forked_child()


os.register_at_fork(after_in_child=_after_fork_in_child)
