"""A rollout file in etcd, with its working copy here: read, followed, and changed by transactions.

Every change is compare-and-swap on the key's mod revision, with its rows of the history in the
same transaction. Where the answer to one is lost, the same transaction is sent again: the key has
another revision once it was made, so that it is never made twice.
"""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from random import randrange
from typing import TypeVar
from uuid import uuid4

from msgspec.structs import replace

from rollout_console.changes.clocks import by_heartbeats
from rollout_console.changes.errors import Conflict, NotWritable, Uncertain
from rollout_console.changes.spread import Spread
from rollout_console.etcd.client import EtcdClient
from rollout_console.etcd.errors import EtcdAway, EtcdError, EtcdUncertain
from rollout_console.etcd.watch import KeyWatch
from rollout_console.fleet.kept_change import BEGIN, beginning, decoded, encoded, write_of
from rollout_console.fleet.leadership import Leadership
from rollout_console.fleet.shared_history import SharedHistory
from rollout_console.fleet.view import NO_WRITES, PARTS, View, changed_key, history_key, read_view
from rollout_console.fleet.working_copy import WorkingCopy
from rollout_console.history.errors import Corrupt, HistoryError, Locked
from rollout_console.history.retention import KEPT
from rollout_console.history.rows import NewChange
from rollout_gate.file.revision import revision_of

Result = TypeVar("Result")
READ_EVERY_S = 2.0
"""How often etcd is read without a watch's word, in seconds."""
SETTLE_S = 6.0
"""How long a transaction whose answer was lost is tried again, in seconds."""
_SETTLE_NOTE_S = 1.0
NEWEST = 20
"""How many changes of the history a rollback on a new host waits for."""
PRUNED_ONE_IN = 20
"""One change in so many prunes the history."""
_MOST_DELETED = 100
_SOON_S, _SOON_FOR_S = 0.25, 15.0
"""After a change, how often and how long at most it is looked who has applied it, in seconds."""


class SharedFile:
    """One rollout file of several hosts (thread-safe); opening it reads it: raises EtcdError."""

    def __init__(self, client: EtcdClient, *, hurries: bool = False) -> None:
        """Read it; one that ``hurries`` waits for no more than NEWEST changes of the history."""
        self._client = client
        self._key = client.address.key
        self._copy = WorkingCopy(client.address)
        self._lock = threading.RLock()
        self._stop = threading.Event()
        self._changed = threading.Event()
        self._read_to = 0
        self._moved_history: Path | None = None
        self._asked_at: float | None = None
        """When the last complete reading was asked for (epoch seconds): of what etcd had then, all
        is known."""
        self._election: Leadership | None = None
        self._away_since: float | None = None
        self._is_uncertain = False
        """Whether it is not known if a change was made, as nothing could be read since."""
        self.trouble = ""
        """Why what is shown may not be what etcd has; empty where it is current."""
        self._copy_trouble = ""
        first = _advised(lambda: self._read(NO_WRITES, client))
        self.history = SharedHistory(self._copy.history_path(first.cluster), self)
        self.spread = Spread()
        """Who has applied the version of now."""
        self._view = first
        if hurries:
            _advised(lambda: self._leave_out_older(first.cluster))
        try:
            self.sync()
        except NotWritable:  # a full disk must not stop a rollback
            self._copy.move()
            self.history.path = self._copy.history_path(first.cluster)
            self._read_to = 0
            self.sync()

    @property
    def path(self) -> Path:
        """The path of the working copy."""
        return self._copy.path

    @property
    def name(self) -> str:
        """How it is called in a sentence, such as ``etcd:/rollout/prod``."""
        return f"etcd:{self._key}"

    @property
    def location(self) -> str:
        """What ``--file`` takes for it."""
        return str(self._client.address)

    @property
    def view(self) -> View:
        """What etcd had at the last reading."""
        return self._view

    @property
    def is_copied(self) -> bool:
        """Whether the working copy has what was read last; the disk may be full."""
        return not self._copy_trouble

    def part(self, part: str) -> bytes | None:
        """Return the text of a part at the last reading, None where there is none."""
        value = self._view.parts.get(part)
        return None if value is None else value.data

    @property
    def is_away(self) -> bool:
        """Whether etcd could not be read at the last try."""
        return self._away_since is not None

    @property
    def has_leader(self) -> bool:
        """Whether a guard acts: one that does holds its key by a lease."""
        leader = self._view.leader
        return leader is not None and leader.lease != 0

    def leadership(self, who: str) -> Leadership:
        """Return the election among the guards of all hosts."""
        self._election = Leadership(self._client, who, lambda: self.is_away)
        return self._election

    def sync(self) -> View:
        """Read etcd, and make history and working copy what it has; raises EtcdError, StoreError.

        The history comes first: whoever sees a new text finds who made it.
        """
        with self._lock:
            asked_at, asked_before = time.time(), self._asked_at
            while True:
                known = self._known_write()
                # The cache may be of another process: of its newest write, look whether it is so.
                checks = bool(known[0]) and not self._read_to
                after = known[0] - 1 if checks else max(self._read_to, known[0])
                view = self._read(after, self._client)
                if view.cluster != self._view.cluster or view.revision < max(
                    after, self._view.revision
                ):
                    self._start_again(view, is_restored=True)
                    continue
                if checks and not _begins_with(view, known):
                    self._start_again(view, is_restored=not self._is_pruned(known[0]))
                    continue
                try:
                    self.history.adopt(view.writes, self._asked_at)
                except Corrupt:
                    self._discard_history()
                    continue
                except HistoryError as error:
                    if not isinstance(error, Locked) and self._move_history(view.cluster):
                        continue
                    self.history.lags = True  # told where the history is read; tried again
                    break
                if view.is_whole:
                    self.history.lags = False
                    self._read_to, self._asked_at = view.revision, asked_at
                    break
                self._read_to = view.writes[-1].mod_revision
            before, self._view = self._view.mirrors, view
            clocks = by_heartbeats(before, view.mirrors, asked_before, time.time())
            self.spread = self.spread.after(
                view.text_revision, view.mirrors, time.monotonic(), clocks | self._client.clocks
            )
            self._put_copy(view)
            return view

    def _leave_out_older(self, cluster: int) -> None:
        """Read the newest changes alone, into a temporary cache, where very many are not known
        here: the history of a large file is a hundred MB, which a rollback must not wait for."""
        known, _ = self._known_write()
        writes = [at for _, at in self._client.keys(history_key(self._key)) if at > known]
        if len(writes) > NEWEST and self._move_history(cluster):
            self._read_to = writes[-NEWEST] - 1

    def _move_history(self, cluster: int) -> bool:
        """Move the cache of the history to a temporary folder, in memory where there is one, and
        read it anew there, as where the disk is full. Return False where that was done already."""
        if self._moved_history is not None:
            return False
        with suppress(OSError):
            self._moved_history = self._copy.temporary()
            self.history.path = self._history_path(cluster)
            self._read_to = 0
        return self._moved_history is not None

    def _history_path(self, cluster: int) -> Path:
        path = self._copy.history_path(cluster)
        return path if self._moved_history is None else self._moved_history / path.name

    def _read_again(self) -> View:
        """Return what etcd has, whether or not it can be copied; raises EtcdError."""
        with suppress(NotWritable):
            self.sync()
        return self._view

    def _known_write(self) -> tuple[int, str]:
        try:
            return self.history.newest_write()
        except Corrupt:
            self._discard_history()
            return 0, ""

    def _discard_history(self) -> None:
        self.history.discard()
        self._read_to, self._asked_at = 0, None

    def _read(self, after: int, client: EtcdClient) -> View:
        view = read_view(client, after)
        self._away_since, self.trouble, self._is_uncertain = None, self._copy_trouble, False
        return view

    def _is_pruned(self, revision: int) -> bool:
        """Whether the history begins after a revision: all that is older was pruned."""
        kept = self._client.keys(history_key(self._key))
        return bool(kept) and kept[0][1] > revision

    def _start_again(self, view: View, *, is_restored: bool) -> None:
        """Read the history anew: the cluster was made anew or restored to an earlier revision, or
        what the cache has was pruned."""
        self._read_to, self._asked_at = 0, None
        if is_restored:
            self.spread = replace(self.spread, restored_at=time.monotonic())
        if view.cluster == self._view.cluster:
            with suppress(HistoryError):
                self.history.clear()
        self.history.path = self._history_path(view.cluster)
        with suppress(OSError):
            self._copy.restart()
        self._view = view

    def _put_copy(self, view: View) -> None:
        """Make the working copy what etcd has, unless another process has put a later one there.

        A linearizable reading from now on is no earlier than that, or the cluster was restored.
        """
        files: dict[str, bytes | None] = {"": None if view.file is None else view.file.data}
        for part in PARTS:
            files[part] = view.parts[part].data if part in view.parts else None
        try:
            later = self._copy.put(view.cluster, view.revision, files)
            if later and self._read(NO_WRITES, self._client).revision < later:
                self._copy.restart()
                self._copy.put(view.cluster, view.revision, files)
        except (OSError, NotWritable) as error:
            why = getattr(error, "strerror", None) or str(error)
            self._copy_trouble = self.trouble = (
                f"no copy of {self.name} can be written: {why}; it is kept in memory, and can be"
                f" changed and rolled back as always ({self._copy.folder})"
            )
            raise NotWritable(self._copy_trouble) from None
        if self._copy_trouble:
            self._copy_trouble = self.trouble = ""

    def commit(self, changes: Sequence[NewChange]) -> None:
        """Make one change, with its rows; raises Conflict or EtcdError, and it is not made then.

        Uncertain is raised where that could not be found out in SETTLE_S.
        """
        change = changes[0]
        if self.is_away and not self._is_uncertain:  # a reading leaves nothing uncertain
            _advised(self._read_again)
        base = self._base("", change.previous_revision)
        row = f"{history_key(self._key)}/{uuid4().hex}"
        puts = {self._key: change.after_text, **self._kept(row, encoded(write_of(changes)))}
        try:
            made = _advised(lambda: self._transact({self._key: base, row: 0}, puts, row))
        except (EtcdAway, Uncertain) as error:
            self._note_away(error)  # at once: another change would wait for it as long
            raise
        if not made:
            raise self._conflict(change.previous_revision)
        self._changed.set()
        if not randrange(PRUNED_ONE_IN):
            with suppress(EtcdError):
                self._prune()

    def create(self, data: bytes) -> None:
        """Make the key, which is not there yet; raises Conflict or EtcdError."""
        row = f"{history_key(self._key)}/{BEGIN}"
        begin = encoded(beginning(revision_of(data), data, datetime.now(UTC)))
        if not self._transact(
            {self._key: 0}, {self._key: data, **self._kept(row, begin)}, self._key
        ):
            raise self._conflict("")
        self.sync()

    def note(self, key: str, expected: Mapping[str, int], data: bytes) -> bool:
        """Set a key of the history, if the expected keys are so; return whether it was set."""
        row = f"{history_key(self._key)}/{key}"
        expected = {(name or self._key): revision for name, revision in expected.items()}
        return self._transact({**expected, row: 0}, self._kept(row, data), row, _SETTLE_NOTE_S)

    def publish(self, part: str, before: bytes | None, after: bytes) -> None:
        """Replace the text of a part; raises Conflict or EtcdError, with nothing changed.

        A guard that has led replaces the record of the ramps only while it leads: one that was
        suspended in the middle of a step does not go on with it.
        Uncertain is raised where the answer was lost and etcd cannot be read after that.
        """
        expected = "" if before is None else revision_of(before)
        base = self._base(part, expected)
        key = f"{self._key}/{part}"
        try:
            made = self._client.put_if_unchanged({**self._fence(part), key: base}, {key: after})
        except EtcdUncertain:
            try:
                found = self._read_again().parts.get(part)
            except EtcdAway:
                raise Uncertain(
                    f"{self.name}/{part}: etcd does not answer: whether the change was made is not"
                    " known"
                ) from None
            made = found.mod_revision if found is not None and found.data == after else 0
        if not made:
            raise self._conflict(expected)
        self._read_again()

    def _fence(self, part: str) -> dict[str, int]:
        return self._election.fence if self._election is not None and part == "guard" else {}

    def follow(self) -> None:
        """Keep the copy current in threads of its own, until ``close``."""
        KeyWatch(self._client, self._key, self._changed.set).start(self._stop)
        threading.Thread(target=self._follow, daemon=True, name="etcd-follow").start()

    def wait_for_spread(
        self, timeout_s: float, is_over: Callable[[], bool] = lambda: False
    ) -> Spread:
        """Return who has applied the version of now, once all have or the time is over."""
        until = time.monotonic() + timeout_s
        while not is_over():
            with suppress(EtcdError, NotWritable):
                self.sync()
            if self.spread.is_done or time.monotonic() >= until:
                break
            time.sleep(0.05)
        return self.spread

    def close(self) -> None:
        """End the threads, and close the connections."""
        self._stop.set()
        self._changed.set()
        self._client.close()

    def _follow(self) -> None:
        while not self._stop.is_set():
            is_soon = not self.spread.is_done and self.spread.age_s < _SOON_FOR_S
            self._changed.wait(_SOON_S if is_soon else READ_EVERY_S)
            self._changed.clear()
            if self._stop.is_set():
                return
            try:
                self.sync()
            except NotWritable:
                pass  # it is kept in memory, and ``trouble`` says so
            except EtcdError as error:
                self._note_away(error)
            except RuntimeError:  # the client was closed
                return

    def _note_away(self, error: Exception) -> None:
        if self._away_since is None:
            self._away_since = time.time()
        since = time.strftime("%H:%M:%SZ", time.gmtime(self._away_since))
        cause = str(error).removeprefix("etcd cannot be used: ")
        self.trouble = f"etcd away since {since}, what is shown is of then: {cause}"

    def _kept(self, row: str, data: bytes) -> dict[str, bytes]:
        """Return what is set to keep a write of the history."""
        return {row: data, changed_key(self._key): b""}

    def _base(self, part: str, expected: str) -> int:
        """Return the mod revision of the text that a change was made from; raises Conflict."""
        for again in (True, False):
            value = self._view.parts.get(part) if part else self._view.file
            if ("" if value is None else revision_of(value.data)) == expected:
                return 0 if value is None else value.mod_revision
            if again:
                self._read_again()
        raise self._conflict(expected)

    def _transact(
        self,
        expected: Mapping[str, int],
        puts: Mapping[str, bytes],
        row: str,
        settle_s: float | None = None,
    ) -> bool:
        """Send a transaction until its outcome is known; return whether it was made.

        ``row`` is a key that nothing else sets: with it one finds out whose change it was.
        """
        until, is_lost = time.monotonic() + (settle_s or SETTLE_S), False
        while True:
            try:
                if self._client.put_if_unchanged(expected, puts):
                    return True
                return is_lost and bool(self._client.get(row).values)
            except EtcdUncertain:
                is_lost = True
            except EtcdAway:
                if not is_lost:
                    raise
            if time.monotonic() >= until:
                self._is_uncertain = True
                raise Uncertain(
                    f"{self.name}: etcd does not answer: whether the change was made is not known"
                    " (the history has it if it was); on a server its own file can be rolled back"
                )
            time.sleep(0.1)

    def _prune(self) -> None:
        """Delete all but the newest KEPT writes of the history; it begins later then."""
        found = self._client.keys(history_key(self._key))
        old = [key for key, _ in found[:-KEPT]]
        for first in range(0, len(old), _MOST_DELETED):
            self._client.delete(*old[first : first + _MOST_DELETED])

    def _conflict(self, expected: str) -> Conflict:
        view = self._read_again()
        return Conflict(self.name, expected, view.text_revision or "no file")


def _begins_with(view: View, known: tuple[int, str]) -> bool:
    """Return whether the first write is the one that is known; else it was pruned or restored."""
    first = view.writes[0] if view.writes else None
    if first is None or first.mod_revision != known[0]:
        return False
    write = decoded(first.data)
    return write is not None and write.revision == known[1]


def _advised(call: Callable[[], Result]) -> Result:
    """Call, and add to the error of an etcd that is away what can be done without it."""
    try:
        return call()
    except EtcdAway as error:
        raise EtcdAway(
            f"{error}; on each server its own file can still be rolled back: rollout-console -f"
            " PATH rollback"
        ) from None
