"""The gate: an application asks it, before each request, where to send the request."""

import _thread
import atexit
import logging
import os
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self, TypeVar
from weakref import WeakSet, finalize, ref

from rollout_gate.decision.decision import Decider
from rollout_gate.file.errors import RolloutError
from rollout_gate.file.model import RolloutFile
from rollout_gate.file.parse import parse
from rollout_gate.file.read import read_file
from rollout_gate.file.truncation import Version, absent, missing
from rollout_gate.paths import absolute

if TYPE_CHECKING:  # not at run time: who only decides writes no log
    from rollout_gate.access_log import AccessLine

log = logging.getLogger("rollout_gate")

MOST_REPORTED = 512
"""Limit of the deduplication: of each kind of problem with requests, how many are reported."""

_KEPT_S = 60.0
"""How long, in seconds, a version with missing keys counts as perhaps truncated, even where the
missing keys have no effect yet."""

_SETTLES_FOR_S = 10.0
"""For how long, in seconds, the end of the process waits for a deferred call of another thread."""

_T = TypeVar("_T")
_Seen = tuple[int, int, int, int]
_gates: "WeakSet[Gate]" = WeakSet()


class Gate(Decider):
    """Decides by a rollout file, and polls the file for changes (hot reload).

    A daemon thread stats the path every ``poll_s`` seconds (0.05 to 60), so a request never
    waits for disk I/O. It follows the path, not the inode: an editor's atomic rename, a deletion
    and a restore are all noticed. A file that is missing, torn or invalid leaves the last good
    version in force; before there was one, every decision is ``previous``, rule ``no_file``.

    The callback ``on_change`` gets the new RolloutFile, ``on_trouble`` one sentence each time the
    error changes and an empty string on recovery. ``on_trouble`` also gets each problem reported
    for requests, once, without a recovery. Both are called from the thread that calls
    ``refresh``: the polling thread, and the constructor's for the first read. Exceptions that
    they raise are logged and not propagated. ``subscribe`` adds more callbacks later, and those
    that get the access-log records of the gate's clients.
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
        self._on_line: tuple[Callable[[AccessLine], None], ...] = ()
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
        self._settling: deque[object] = deque()
        self._about: dict[tuple[str, ...], object] = {}
        self._reported_of: Counter[str] = Counter()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self.refresh()
        self._start()
        _gates.add(self)
        finalize(self, _end, self._stop, self._later)

    @property
    def path(self) -> Path:
        """The absolute path of the file; a relative one was resolved at construction."""
        return self._path

    @property
    def trouble(self) -> str:
        """Why the current file is not in force, in one sentence; empty where it is."""
        return self._trouble

    def refresh(self) -> None:
        """Poll the file now, instead of at the next interval; never raises."""
        with self._lock:
            try:
                self._look()
            except RolloutError as error:
                self._say(str(error))
            except Exception as error:
                # No exception may end the polling thread: it would miss every later rollback.
                log.exception("looking at %s failed", self._path)
                self._say(f"{self._path} cannot be used: {type(error).__name__}")
            while self._reported:
                self._tell(self._on_trouble, self._reported.popleft())
        self.settle()

    def report(self, about: tuple[str, ...], sentence: str) -> None:
        """Log a problem with requests, and pass it to ``on_trouble`` at the next poll.

        Problems are deduplicated by ``about``, which begins with their kind: each is reported
        once, by one thread. Of a kind the first MOST_REPORTED are reported, so that names that a
        client makes up (headers, paths) silence no other kind. A request never waits for a
        callback.
        """
        mine = object()
        kind, known = about[0], self._about
        if self._reported_of[kind] < MOST_REPORTED and known.setdefault(about, mine) is mine:
            self._reported_of[kind] += 1
            log.warning("%s", sentence)
            self._reported.append(sentence)

    def later(self, call: Callable[[], None]) -> None:
        """Defer a call to the next poll: for what a finalizer must not do by itself.

        A finalizer may run in any thread, at any point, with whatever locks that thread holds. A
        closed gate polls no more, so a thread runs the call at once; threading.Thread takes locks
        to start, and would not do.
        """
        self._later.append(call)
        if self._stop.is_set():
            with suppress(RuntimeError):  # the interpreter is ending: the exit handler has run
                _thread.start_new_thread(self.settle, ())

    def settle(self) -> None:
        """Run the deferred calls; exceptions are logged, not propagated."""
        token = object()
        self._settling.append(token)
        try:
            self._settle()
        finally:
            with suppress(ValueError):  # a call has forked, and this is the child
                self._settling.remove(token)

    def _settle(self) -> None:
        while self._later:
            try:
                self._later.popleft()()
            except IndexError:  # lost the race: another thread took the last call
                return
            except BaseException as error:
                self._survive(error)
                log.exception("a request could not be settled")

    def subscribe(
        self,
        *,
        on_change: Callable[[RolloutFile], None] | None = None,
        on_trouble: Callable[[str], None] | None = None,
        on_line: "Callable[[AccessLine], None] | None" = None,
    ) -> Callable[[], None]:
        """Add callbacks; returns a function that removes them again, which is idempotent.

        ``on_line`` gets each record that a client of this gate has appended to the access log, in
        the thread of its request, which waits for it: it should take microseconds.
        """

        def unsubscribe() -> None:
            self._on_change = tuple(one for one in self._on_change if one is not on_change)
            self._on_trouble = tuple(one for one in self._on_trouble if one is not on_trouble)
            self._on_line = tuple(one for one in self._on_line if one is not on_line)

        self._on_change += () if on_change is None else (on_change,)
        self._on_trouble += () if on_trouble is None else (on_trouble,)
        self._on_line += () if on_line is None else (on_line,)
        return unsubscribe

    def line_appended(self, line: "AccessLine") -> None:
        """Pass an access-log record to the callbacks; a failure of one is reported once."""
        for callback in self._on_line:
            try:
                callback(line)
            except Exception as error:  # noqa: BLE001 - metrics must not fail the request
                kind = type(error).__name__
                self.report(("on_line", kind), f"a request is not in the metrics: {kind}")

    def close(self) -> None:
        """Stop polling, after the deferred calls; decisions continue by the last good version."""
        self._stop.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout=5)
        self.settle()

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
            self._seen = None  # read_file raises the error that names the cause
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
        """Debounce: whether a file written in place has not changed since the last poll.

        A rename replaces the file atomically; a write in place is read half done.
        """
        settled = not self._is_in_place(seen) or seen == self._unsettled
        self._unsettled = seen
        return settled

    def _is_in_place(self, seen: _Seen) -> bool:
        return self._file is not None and self._seen is not None and seen[0] == self._seen[0]

    def _is_meant(self, seen: _Seen, place: str, after: Version) -> bool:
        """Whether to take a text whose missing keys may send more to TokenLab: it may be truncated.

        One that came by a rename is read once more at the next poll. Any other is refused, with
        RolloutError, until it is saved once more: a writer that was killed, or ran out of disk
        space, leaves it truncated for good. The text is compared with the last complete version,
        as a writer may pause more than once.
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
                    f"{self._path}: {gone} is missing, which may send more to TokenLab;"
                    " it may be half a file, as nothing proves that it came whole, by a rename:"
                    " save it once more if it is whole (touch is enough)"
                )
        elif whole is not None and not renamed and absent(whole, after):
            if self._standing is None:
                self._whole_until = time.monotonic() + _KEPT_S
            self._standing = after
            return True
        self._whole, self._standing = after, None
        return True

    def _came_by_rename(self, seen: _Seen, place: str) -> bool:
        """Whether the file was put in place atomically, by a rename or a symlink swap.

        After a symlink swap the real path differs. A rename sets the inode's change time (ctime)
        later than its last write (mtime); a file created in place has them equal. So has one that
        was renamed within the same tick of the kernel's clock (4 ms; fsync may take less), and
        nothing else in its status tells the two apart: birth time and the folder's times are of
        that tick too.
        """
        return not self._is_in_place(seen) and (place != self._place or seen[3] > seen[2])

    @staticmethod
    def _saved_again(before: tuple[_Seen, str] | None, seen: _Seen, after: Version) -> bool:
        """Whether the same text was written again (inode, mtime); chmod and link set only ctime."""
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
            log.info("%s is valid again", self._path)
        self._tell(self._on_trouble, trouble)

    def _tell(self, callbacks: Iterable[Callable[[_T], None]], value: _T) -> None:
        for callback in callbacks:
            try:
                callback(value)
            except BaseException as error:
                self._survive(error)
                log.exception("a callback of the gate failed")

    def _survive(self, error: BaseException) -> None:
        """Raise again what ends a thread (SystemExit, KeyboardInterrupt), but not the gate's own.

        Without that thread, no later rollback would be seen.
        """
        if not isinstance(error, Exception) and threading.current_thread() is not self._thread:
            raise error

    def _start(self) -> None:
        self._thread = threading.Thread(
            target=_watch, args=(ref(self), self._stop, self._poll_s), name="rollout-gate",
            daemon=True,
        )  # fmt: skip
        self._thread.start()

    def __copy__(self) -> Self:
        """Return the gate itself: a copy would have no thread that reads the file."""
        return self

    def __deepcopy__(self, _memo: object) -> Self:
        """Return the gate itself, also as a part of an application's configuration."""
        return self

    def __reduce__(self) -> str:
        raise TypeError("a Gate cannot be pickled: make one in each process, of the same file")

    def _in_forked_child(self) -> None:
        self._settling.clear()
        self._later.clear()  # the parent runs them, and has written what they write
        if not self._stop.is_set():
            self._lock, self._stop = threading.Lock(), threading.Event()
            finalize(self, _end, self._stop, self._later)
            self._start()


def _end(stop: threading.Event, _later: deque[Callable[[], None]]) -> None:
    """End the thread of a gate that is garbage-collected.

    The finalizer refers to the deferred calls, and these to their gate: so a gate that nobody
    refers to any more lives until its thread has run them.
    """
    stop.set()


def settle_all() -> None:
    """Run the deferred calls of all gates, at the end of the process: no poll will.

    A call that another thread has taken is waited for: the thread would end with the process.
    """
    for gate in list(_gates):
        gate.settle()
        ends_at = time.monotonic() + _SETTLES_FOR_S
        while gate._settling and time.monotonic() < ends_at:
            time.sleep(0.001)


atexit.register(settle_all)


def _watch(gate: "ref[Gate]", stop: threading.Event, poll_s: float) -> None:
    """Poll a gate's file until the gate is closed or garbage-collected (weak reference)."""
    while not stop.wait(poll_s):
        watched = gate()
        if watched is None:
            return
        watched.refresh()
        del watched


def _fingerprint(status: os.stat_result) -> _Seen:
    return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _after_fork_in_child() -> None:
    """Restart the polling thread of each gate: a forked child has none of its parent's threads."""
    for gate in list(_gates):
        gate._in_forked_child()


os.register_at_fork(after_in_child=_after_fork_in_child)
